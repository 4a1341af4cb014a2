//! A table of a TOML file, from which keys are taken one by one, with their types. What is not taken is
//! unknown, and refused.

use std::{
    collections::BTreeSet,
    fmt::{self, Display},
    net::SocketAddr,
    ops::{Range, RangeInclusive},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use xks_core::Zeroizing;

use super::{
    secrecy::{shown, shown_key},
    source::Source,
};

/// Settings that name a file with a secret in it.
const FILES_OF_SECRETS: [&str; 2] = ["private_key", "tls_key_pem"];

/// The time of a request, or of a fleet for one; and its name in settings files of before.
pub(crate) const TIMEOUT_MS: [&str; 2] = ["timeout_ms", "budget_ms"];

/// A value, and where it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Item<T> {
    /// The value.
    pub value: T,
    pub(crate) span: Range<usize>,
}

/// A table, from which each key is taken once. When it is dropped, the keys that are left are reported as
/// unknown: take every key before the first return.
///
/// Methods that take a key return `None` where it is not there, or is wrong, which is reported with its line.
///
/// ```
/// use std::time::Duration;
///
/// use xks_server::settings::{Secret, Table};
///
/// #[derive(PartialEq)]
/// struct Vault {
///     url: String,
///     token: Secret,
///     timeout: Duration,
/// }
///
/// // [backends.vault]
/// // kind = "acme"
/// // url = "https://vault.example.com"
/// // token_file = "vault.token"
/// fn read(table: &mut Table<'_, '_>) -> Option<Vault> {
///     let url = table.text("url");
///     let token = table.secret(["token_file", "token_env", "token"]);
///     let timeout = table.milliseconds("timeout_ms", 1..=10_000);
///     let url = table.needed("url", url)?; // "`url` is missing in [backends.vault]"
///     if !url.value.starts_with("https://") {
///         table.error_at(&url, "`url` must begin with https://"); // with the line of the value
///     }
///     Some(Vault {
///         url: url.value,
///         token: table.needed("token_file", token)?,
///         timeout: timeout.unwrap_or(Duration::from_millis(100)),
///     })
/// }
/// ```
pub struct Table<'s, 'i> {
    pub(crate) source: &'s Source<'i>,
    /// Such as `server.tcp_keepalive`; empty for the whole file.
    name: String,
    pub(crate) span: Range<usize>,
    entries: DeTable<'i>,
    /// The keys that were asked for, and those of them that were there.
    known: BTreeSet<&'static str>,
    present: BTreeSet<&'static str>,
}

/// A value that may be either.
pub(crate) enum FlagOrTable<'s, 'i> {
    Flag(Item<bool>),
    Table(Table<'s, 'i>),
}

impl<'s, 'i> Table<'s, 'i> {
    pub(super) fn new(source: &'s Source<'i>, name: String, span: Range<usize>, entries: DeTable<'i>) -> Self {
        Self {
            source,
            name,
            span,
            entries,
            known: BTreeSet::new(),
            present: BTreeSet::new(),
        }
    }

    /// Returns whether the table has a key that is not taken yet.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.known.insert(key);
        let value = self.entries.remove(key)?;
        self.present.insert(key);
        Some(value)
    }

    /// A value of one type, or an error that says which type it should have.
    fn typed<T>(
        &mut self,
        key: &'static str,
        type_name: &str,
        convert: impl FnOnce(DeValue<'i>) -> Option<T>,
    ) -> Option<Item<T>> {
        let value = self.take(key)?;
        let span = value.span();
        let converted = convert(value.into_inner());
        if converted.is_none() {
            self.source.error(span.clone(), format!("`{key}` must be {type_name}"));
        }
        converted.map(|value| Item { value, span })
    }

    /// Takes a text.
    pub fn text(&mut self, key: &'static str) -> Option<Item<String>> {
        self.typed(key, "a text in quotes", text)
    }

    /// A text, or a whole number as one.
    pub(crate) fn text_or_number(&mut self, key: &'static str) -> Option<Item<String>> {
        self.typed(key, "a text in quotes, or a number", |value| match value {
            DeValue::Integer(number) => Some(number.to_string()),
            value => text(value),
        })
    }

    /// Takes `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let flag = self.typed(key, "true or false", |value| value.as_bool());
        flag.map(|item| item.value)
    }

    /// Takes a whole number within the range.
    pub fn number<T: TryFrom<u64>>(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<T> {
        self.number_item(key, range).map(|item| item.value)
    }

    pub(crate) fn number_item<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Item<T>> {
        let within = format!("a whole number from {} to {}", range.start(), range.end());
        self.typed(key, &within, |value| {
            let number = value.as_integer()?;
            let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
            range.contains(&number).then(|| T::try_from(number).ok()).flatten()
        })
    }

    /// Takes a whole number under either of two names, and returns the name. Both at once are an error.
    pub(crate) fn number_of_either<T: TryFrom<u64>>(
        &mut self,
        [name, alias]: [&'static str; 2],
        range: RangeInclusive<u64>,
    ) -> Option<(&'static str, Item<T>)> {
        let (value, other) = (self.number_item(name, range.clone()), self.number_item(alias, range));
        if self.is_present(name) && self.is_present(alias) {
            self.error(format!(
                "`{name}` and `{alias}` are two names of one setting: remove `{alias}`"
            ));
        }
        let value = value.map(|value| (name, value));
        value.or_else(|| other.map(|other| (alias, other)))
    }

    /// Takes a time in milliseconds within the range.
    pub fn milliseconds(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        self.number(key, range).map(Duration::from_millis)
    }

    /// Takes a time in seconds within the range.
    pub fn seconds(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        self.number(key, range).map(Duration::from_secs)
    }

    /// Takes the path of a folder, which need not be there.
    pub fn folder(&mut self, key: &'static str) -> Option<Item<PathBuf>> {
        let name = self.text(key)?;
        self.source.folder(key, name)
    }

    /// Takes the path of a file. A relative one begins at the folder of the settings file.
    pub fn path(&mut self, key: &'static str) -> Option<Item<PathBuf>> {
        let name = self.text(key)?;
        self.source.file(key, name, FILES_OF_SECRETS.contains(&key))
    }

    /// Takes a listener's address: an IP address and a port.
    pub fn address(&mut self, key: &'static str) -> Option<Item<SocketAddr>> {
        let text = self.typed(
            key,
            "an IP address with a port in quotes, such as \"127.0.0.1:443\"",
            text,
        )?;
        match text.value.parse() {
            Ok(value) => Some(Item { value, span: text.span }),
            Err(_) => {
                let wrong = format!(
                    "`{key} = {}`: not an IP address with a port, such as \"127.0.0.1:443\", or \"0.0.0.0:443\" for \
                     all interfaces; names are not resolved",
                    shown(&text.value)
                );
                self.source.error(text.span, wrong);
                None
            }
        }
    }

    /// Takes a text that stands for something, such as a key id.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<Item<T>> {
        let text = self.text(key)?;
        match text.value.parse() {
            Ok(value) => Some(Item { value, span: text.span }),
            Err(error) => {
                self.source.error(text.span, format!("`{key}`: {error}"));
                None
            }
        }
    }

    /// Takes one of a few words.
    pub fn one_of<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let wrong = format!(
                "`{key}` must be one of {}, not {}",
                known.join(", "),
                shown(&text.value)
            );
            self.source.error(text.span, wrong);
        }
        found.map(|(_, value)| value.clone())
    }

    /// Takes a list of texts.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Item<String>>> {
        self.typed(key, "a list of texts: [\"...\", \"...\"]", |value| {
            let DeValue::Array(array) = value else { return None };
            let item = |value: Spanned<DeValue<'i>>| {
                let span = value.span();
                text(value.into_inner()).map(|value| Item { value, span })
            };
            array.into_iter().map(item).collect()
        })
        .map(|item| item.value)
    }

    /// Takes a list of texts that stand for something; those that do not are left out, with an error each.
    pub fn parsed_list<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<Vec<Item<T>>> {
        let texts = self.texts(key)?;
        let parse = |text: Item<String>| match text.value.parse() {
            Ok(value) => Some(Item { value, span: text.span }),
            Err(error) => {
                let wrong = format!("`{key}`: {}: {error}", shown(&text.value));
                self.source.error(text.span, wrong);
                None
            }
        };
        let is_empty = texts.is_empty();
        let parsed: Vec<_> = texts.into_iter().filter_map(parse).collect();
        // One of which nothing is left is not an empty one.
        (is_empty || !parsed.is_empty()).then_some(parsed)
    }

    /// Takes `true` or `false`, or a table.
    pub(crate) fn flag_or_table(&mut self, key: &'static str) -> Option<FlagOrTable<'s, 'i>> {
        match self.entries.get(key).map(Spanned::get_ref) {
            Some(DeValue::Table(_)) => self.table(key).map(FlagOrTable::Table),
            _ => {
                let flag = self.typed(key, "true or false, or a table", |value| value.as_bool());
                flag.map(FlagOrTable::Flag)
            }
        }
    }

    /// Takes a table.
    pub fn table(&mut self, key: &'static str) -> Option<Self> {
        let name = self.name_of(key);
        let table = self.typed(key, "a table", |value| match value {
            DeValue::Table(table) => Some(table),
            _ => None,
        })?;
        Some(Self::new(self.source, name, table.span, table.value))
    }

    /// Takes `[[key]]`, as often as it is there.
    pub fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let (source, name) = (self.source, self.name_of(key));
        let tables = self.typed(key, "tables: [[...]]", |value| {
            let DeValue::Array(array) = value else { return None };
            let table = |value: Spanned<DeValue<'i>>| {
                let span = value.span();
                match value.into_inner() {
                    DeValue::Table(table) => Some(Self::new(source, name.clone(), span, table)),
                    _ => None,
                }
            };
            array.into_iter().map(table).collect::<Option<Vec<_>>>()
        });
        tables.map(|item| item.value).unwrap_or_default()
    }

    /// Returns all that this table holds, as texts: for a table whose keys are the user's own.
    pub fn into_texts(mut self) -> Vec<(String, Item<String>)> {
        let mut texts = Vec::new();
        for (name, value) in std::mem::take(&mut self.entries) {
            let span = value.span();
            match text(value.into_inner()) {
                Some(value) => texts.push((name.get_ref().to_string(), Item { value, span })),
                None => self
                    .source
                    .error(span, format!("{} must be a text in quotes", shown_key(name.get_ref()))),
            }
        }
        texts
    }

    /// Returns all that this table holds, as tables: for a table whose keys are the user's own.
    pub fn into_tables(mut self) -> Vec<(String, Self)> {
        let mut tables = Vec::new();
        for (name, value) in std::mem::take(&mut self.entries) {
            let span = name.span();
            let name = name.get_ref().to_string();
            match value.into_inner() {
                DeValue::Table(table) => {
                    let full = format!("{}.{name}", self.name);
                    tables.push((name, Self::new(self.source, full, span, table)));
                }
                _ => self
                    .source
                    .error(span, format!("`{name}` must be a table: [{}.{name}]", self.name)),
            }
        }
        tables
    }

    /// Reports `key` as missing if there is no value. What is there and wrong has been reported already.
    pub fn needed<T>(&self, key: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.present.contains(key) {
            self.error(match self.name.as_str() {
                "" => format!("`{key}` is missing"),
                name => format!("`{key}` is missing in [{name}]"),
            });
        }
        value
    }

    /// Whether a key holds this text; it stays there.
    pub(crate) fn says(&self, key: &str, text: &str) -> bool {
        let value = self.entries.get(key).map(Spanned::get_ref);
        matches!(value, Some(DeValue::String(found)) if *found == text)
    }

    pub(crate) fn is_present(&self, key: &str) -> bool {
        self.present.contains(key)
    }

    /// Ignores the keys that are left, where it cannot be decided which of them are known.
    pub(crate) fn forget(&mut self) {
        self.entries.clear();
    }

    /// Reports an error at the line of the table.
    pub fn error(&self, text: impl Into<String>) {
        self.source.error(self.span.clone(), text);
    }

    /// Reports an error at the line of a value.
    pub fn error_at<T>(&self, item: &Item<T>, text: impl Into<String>) {
        self.source.error(item.span.clone(), text);
    }

    /// Reports a warning at the line of the table: it can be served, and the operator should know.
    pub fn warn(&self, text: impl Into<String>) {
        self.source.warn(self.span.clone(), text);
    }

    /// Reports a warning at the line of a value: it can be served, and the operator should know.
    pub fn warn_at<T>(&self, item: &Item<T>, text: impl Into<String>) {
        self.source.warn(item.span.clone(), text);
    }

    /// Reads a file that the settings name. The server reloads when it changes.
    pub fn read(&self, path: &Item<PathBuf>) -> Option<Zeroizing<Vec<u8>>> {
        self.source.read(path)
    }

    /// Reads the text of a file that the settings name, without the line breaks at its end. The server
    /// reloads when it changes.
    pub fn read_text(&self, path: &Item<PathBuf>) -> Option<Zeroizing<String>> {
        self.source.read_text(path)
    }

    fn name_of(&self, key: &str) -> String {
        match self.name.as_str() {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }
}

impl fmt::Debug for Table<'_, '_> {
    /// Without what it holds, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Drop for Table<'_, '_> {
    fn drop(&mut self) {
        for key in self.entries.keys() {
            let unknown = shown_key(key.get_ref());
            let wrong = match nearest(key.get_ref(), &self.known) {
                Some(known) => format!("unknown key {unknown}; did you mean `{known}`?"),
                None => {
                    let known: Vec<_> = self.known.iter().copied().collect();
                    format!("unknown key {unknown}; known keys: {}", known.join(", "))
                }
            };
            self.source.unknown_key(&self.name, key.span(), wrong);
        }
    }
}

/// The known key that was probably meant.
fn nearest<'k>(unknown: &str, known: &BTreeSet<&'k str>) -> Option<&'k str> {
    let distance = |known: &&&str| strsim::damerau_levenshtein(unknown, known);
    let nearest = known.iter().min_by_key(distance)?;
    (distance(&nearest) <= unknown.len() / 3 + 1).then_some(*nearest)
}

fn text(value: DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.into_owned()),
        _ => None,
    }
}
