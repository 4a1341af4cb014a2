//! A settings file that is being read: what was wrong with it so far, with lines, so that everything is said
//! at once; and which files it names.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashSet},
    fmt::{self, Display},
    fs::{self, File},
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

use thiserror::Error;
use toml::de::DeTable;
use xks_core::Zeroizing;

use super::{
    secrecy::{looks_secret, may_be_the_secret},
    syntax,
    table::{Item, Table},
};

/// No settings file, and none that it names, is larger than this.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// The byte order mark, with which some editors begin a text.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// The severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Severity {
    /// It cannot be served like that.
    Error,
    /// It can be served, with a warning.
    Warning,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    file: PathBuf,
    line: usize,
    pub(crate) text: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}: {}", self.file.display(), self.line, self.text)
    }
}

/// A file that is being read: what it says, what was wrong with it so far, and which other files it named.
pub(crate) struct Source<'i> {
    path: &'i Path,
    text: &'i str,
    /// The end of each line.
    line_ends: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    files: RefCell<BTreeSet<PathBuf>>,
    has_errors: Cell<bool>,
    is_sample_proxys: Cell<bool>,
}

/// The result of [`Source::finish`].
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    /// The file itself, and those that it named.
    pub(crate) files: BTreeSet<PathBuf>,
    pub(crate) has_errors: bool,
}

impl<'i> Source<'i> {
    pub(crate) fn new(path: &'i Path, text: &'i str) -> Self {
        Self {
            path,
            text,
            line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            problems: RefCell::default(),
            files: RefCell::new(BTreeSet::from([path.to_owned()])),
            has_errors: Cell::new(false),
            is_sample_proxys: Cell::new(false),
        }
    }

    /// From now on it is read as the sample proxy reads: a relative path begins at the working directory, if
    /// there is such a file, and a key that is unknown is passed over, with a warning; but for what keeps
    /// a client out.
    pub(crate) fn is_sample_proxys(&self) {
        self.is_sample_proxys.set(true);
    }

    pub(crate) fn unknown_key(&self, table: &str, span: Range<usize>, text: String) {
        if self.is_sample_proxys.get() && table != "security" {
            self.warn(span, format!("{text}; ignored, as in the sample proxy"));
        } else {
            self.error(span, text);
        }
    }

    /// The whole file; none if it is no TOML.
    pub(crate) fn root(&self) -> Option<Table<'_, 'i>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut lines = BTreeSet::new();
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            // What else is wrong with a line mostly follows from the first.
            if lines.insert(self.line(span.start)) {
                let text = syntax::explained(self.text, &span, error.message());
                self.error(span, text);
            }
        }
        let span = table.span();
        errors
            .is_empty()
            .then(|| Table::new(self, String::new(), 0..span.start, table.into_inner()))
    }

    pub(crate) fn error(&self, span: Range<usize>, text: impl Into<String>) {
        self.has_errors.set(true);
        self.note(Severity::Error, span, text.into());
    }

    pub(crate) fn warn(&self, span: Range<usize>, text: impl Into<String>) {
        self.note(Severity::Warning, span, text.into());
    }

    fn note(&self, severity: Severity, span: Range<usize>, text: String) {
        let problem = Problem {
            severity,
            file: self.path.to_owned(),
            line: self.line(span.start),
            text,
        };
        self.problems.borrow_mut().push(problem);
    }

    /// The line of an offset, from 1.
    fn line(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.has_errors.get()
    }

    /// A path as the file means it: relative to its own folder.
    fn path(&self, path: &str) -> PathBuf {
        if self.is_sample_proxys.get()
            && let Ok(there) = std::path::absolute(path)
            && there.exists()
        {
            return there;
        }
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The path of a folder that `key` names.
    pub(crate) fn folder(&self, key: &str, name: Item<String>) -> Option<Item<PathBuf>> {
        let Item { value: name, span } = name;
        if !is_name(&name) {
            self.error(span, format!("`{key}` must be the path of a directory"));
            return None;
        }
        let value = self.path(&name);
        Some(Item { value, span })
    }

    /// The path of a file that `key` names; none if what stands there is no name, or may be what the file
    /// should hold.
    pub(crate) fn file(&self, key: &str, name: Item<String>, holds_secret: bool) -> Option<Item<PathBuf>> {
        let Item { value: name, span } = name;
        if !is_name(&name) {
            let wrong = format!("`{key}` must be the path of a file, not its content: write the content into a file");
            self.error(span, wrong);
            return None;
        }
        let path = self.path(&name);
        let is_doubtful = looks_secret(&name) || (holds_secret && may_be_the_secret(&name, &path));
        if is_doubtful && !path.exists() {
            self.files.borrow_mut().insert(path);
            let folder = self.path.parent().unwrap_or(Path::new("")).display();
            let wrong = format!(
                "`{key}`: no such file (relative to {folder}); the path is not shown, since it may be the secret \
                 itself"
            );
            self.error(span, wrong);
            return None;
        }
        Some(Item { value: path, span })
    }

    /// The content of a file that the settings name. It is watched from then on, readable or not.
    pub(crate) fn read(&self, path: &Item<PathBuf>) -> Option<Zeroizing<Vec<u8>>> {
        self.read_by(path, read)
    }

    /// The same, by another reader.
    pub(crate) fn read_by<T>(&self, path: &Item<PathBuf>, read: impl FnOnce(&Path) -> io::Result<T>) -> Option<T> {
        self.files.borrow_mut().insert(path.value.clone());
        let content = check(&path.value).and_then(|()| read(&path.value));
        content
            .map_err(|error| {
                let text = format!("cannot read {}: {error}", path.value.display());
                self.error(path.span.clone(), text);
            })
            .ok()
    }

    /// The text of a file that the settings name, without a byte order mark and the line breaks at its end.
    pub(crate) fn read_text(&self, path: &Item<PathBuf>) -> Option<Zeroizing<String>> {
        let content = self.read(path)?;
        let file = path.value.display();
        let text = text_of(&content)
            .map_err(|wrong| self.error(path.span.clone(), format!("{file} {wrong}")))
            .ok()?;
        let text = match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(text) => {
                let warning = format!("{file} begins with a byte order mark, which is ignored");
                self.warn(path.span.clone(), warning);
                text
            }
            None => text,
        };
        Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    pub(crate) fn finish(self) -> Findings {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        let mut said = HashSet::new();
        problems.retain(|problem| said.insert(problem.clone()));
        Findings {
            problems,
            files: self.files.into_inner(),
            has_errors: self.has_errors.get(),
        }
    }
}

/// Whether a text may be the name of a file or folder.
fn is_name(text: &str) -> bool {
    !text.contains("-----BEGIN") && !text.chars().any(char::is_control)
}

/// Describes the bytes of a file that are not text.
#[derive(Clone, Copy, Debug, Error)]
pub(super) enum NoText {
    #[error("is UTF-16 text: save it as UTF-8")]
    Utf16,
    /// From this offset on.
    #[error("is not UTF-8: save the file as UTF-8")]
    NotUtf8(usize),
}

pub(super) fn text_of(content: &[u8]) -> Result<&str, NoText> {
    if content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]) {
        return Err(NoText::Utf16);
    }
    str::from_utf8(content).map_err(|error| NoText::NotUtf8(error.valid_up_to()))
}

/// The content of a regular file.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    check(path)?;
    let mut content = Zeroizing::new(Vec::new());
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    check_length(content.len() as u64)?; // it may have grown
    Ok(content)
}

/// A pipe or a device might have no end, or hang.
fn check(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file: pipes and devices are not read"));
    }
    check_length(found.len())
}

fn check_length(bytes: u64) -> io::Result<()> {
    match bytes <= MOST_BYTES {
        true => Ok(()),
        false => Err(io::Error::other("larger than 4 MiB")),
    }
}
