//! Secrets: from a file, from a variable of the environment, or as they stand in the settings.

use std::{env, fmt, path::PathBuf};

use subtle::ConstantTimeEq as _;
use xks_core::Zeroizing;

use super::{
    secrecy::is_usual_variable,
    table::{Item, Table},
};

/// The origin of a secret. Only a new one is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretOrigin {
    /// Made at this start.
    New,
    File(PathBuf),
    Environment(String),
    Settings,
}

/// A secret of the settings: never printed, wiped when it is dropped, compared in constant time.
#[derive(Clone)]
pub struct Secret(pub(crate) Zeroizing<Vec<u8>>);

impl Secret {
    /// Returns the secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(_)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Table<'_, '_> {
    /// Takes a secret from one of three keys: one that names a file, one that names a variable of the
    /// environment, and one that holds the secret.
    ///
    /// Returns `None` if no key is there, or the secret cannot be read, which is reported.
    pub fn secret(&mut self, keys: [&'static str; 3]) -> Option<Secret> {
        let (secret, _) = self.one_secret(keys)?;
        Some(Secret(Zeroizing::new(secret.value.as_bytes().to_vec())))
    }

    /// A secret from a file, from a variable, or as it stands here: one of the three.
    pub(crate) fn one_secret(&mut self, keys: [&'static str; 3]) -> Option<(Item<Zeroizing<String>>, SecretOrigin)> {
        let source = self.source;
        let [file, key, here] = keys;
        let file_name = self.text(file);
        let file = file_name.and_then(|name| source.file(file, name, true));
        let (variable, here) = (self.text(key), self.text(here));
        if [file.is_some(), variable.is_some(), here.is_some()]
            .iter()
            .filter(|is_there| **is_there)
            .count()
            > 1
        {
            self.error(format!("more than one of `{}`: set exactly one", keys.join("`, `")));
        }
        if let Some(file) = file {
            let value = source.read_text(&file)?;
            return Some((Item { value, span: file.span }, SecretOrigin::File(file.value)));
        }
        if let Some(variable) = variable {
            return match env::var(&variable.value) {
                Ok(secret) => {
                    let secret = Item {
                        value: Zeroizing::new(secret),
                        span: variable.span,
                    };
                    Some((secret, SecretOrigin::Environment(variable.value)))
                }
                Err(_) => {
                    // Somebody may have written the secret itself there.
                    let name = match is_usual_variable(&variable.value) {
                        true => &*variable.value,
                        false => "that it names",
                    };
                    let wrong = format!("`{key}`: the environment variable {name} is not set or not UTF-8");
                    source.error(variable.span, wrong);
                    None
                }
            };
        }
        here.map(|secret| {
            let secret = Item {
                value: Zeroizing::new(secret.value),
                span: secret.span,
            };
            (secret, SecretOrigin::Settings)
        })
    }
}
