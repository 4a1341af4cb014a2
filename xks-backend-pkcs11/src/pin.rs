//! The PIN, and where it comes from.

use std::{
    env, fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use thiserror::Error;
use xks_core::Zeroizing;

/// No PIN is as long as this, in bytes.
const LONGEST: usize = 4096;

/// The user's PIN, or passphrase. Wiped when dropped, and never printed.
#[derive(Clone)]
#[non_exhaustive]
pub enum Pin {
    /// No login: module protection, or a token that is open already.
    None,
    /// Login with a PIN of no characters, as a card set without a passphrase wants it.
    Empty,
    /// Login with this.
    Set(Zeroizing<String>),
    /// The token has a path of its own for its PIN, such as a keypad: the login leaves it to that, and it is
    /// entered there.
    Protected,
}

impl Pin {
    /// Returns this PIN; [`Pin::Empty`] if the text is empty.
    #[must_use]
    pub fn new(pin: impl Into<String>) -> Self {
        let pin = Zeroizing::new(pin.into());
        if pin.is_empty() { Self::Empty } else { Self::Set(pin) }
    }

    /// Reads the PIN from a file, without a byte order mark at its beginning and line breaks at its end. Logs
    /// [warnings](Self::warnings).
    ///
    /// # Errors
    /// [`PinError::File`], also when it is not a regular file, or holds no UTF-8, what [can be no
    /// PIN](Self::fault), or 4096 bytes and more. A pipe, such as `/dev/fd/3` of a program that hands out
    /// secrets, is read once and may never end: read it yourself, for [`Pin::new`].
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, PinError> {
        let path = path.into();
        let pin = read(&path).and_then(|bytes| match text_of(&bytes) {
            Ok(text) => Ok(Self::new(text)),
            Err(problem) => Err(io::Error::new(io::ErrorKind::InvalidData, problem)),
        });
        let pin = pin.map_err(|source| PinError::File {
            path: path.clone(),
            source,
        })?;
        pin.log_warnings(&path.display());
        Ok(pin)
    }

    /// Reads the PIN from an environment variable. Logs [warnings](Self::warnings).
    ///
    /// # Errors
    /// [`PinError::Environment`] when it is not set, or holds no UTF-8.
    pub fn from_env(variable: &str) -> Result<Self, PinError> {
        let pin = env::var(variable).map(Self::new).map_err(|_| PinError::Environment {
            variable: variable.to_owned(),
        })?;
        pin.log_warnings(&variable);
        Ok(pin)
    }

    /// Returns why a text cannot be a PIN, if so: trying it would cost one of the attempts that a token
    /// allows. A backend with such a PIN is not opened.
    #[must_use]
    pub fn fault(text: &str) -> Option<&'static str> {
        if text.contains('\0') {
            Some("it holds a NUL byte")
        } else if text.contains(['\n', '\r']) {
            Some("it has more than one line")
        } else {
            None
        }
    }

    /// Returns what is odd about the text of a PIN: it may be meant, but most often an editor or a shell has
    /// caused it.
    #[must_use]
    pub fn warnings(text: &str) -> Vec<&'static str> {
        let is_invisible = |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
        let quotes = [
            ('"', '"'),
            ('\'', '\''),
            ('`', '`'),
            ('\u{201c}', '\u{201d}'),
            ('\u{2018}', '\u{2019}'),
        ];
        let is_quoted = |(first, last)| text.strip_prefix(first).is_some_and(|rest: &str| rest.ends_with(last));
        let odd = [
            (
                text.starts_with(char::is_whitespace),
                "it begins with white space, which is used as part of it",
            ),
            (
                text.ends_with(char::is_whitespace),
                "it ends with white space, which is used as part of it",
            ),
            (
                quotes.into_iter().any(is_quoted),
                "it is in quotes, which are used as part of it",
            ),
            (
                ["\\n", "\\r", "\\t"].iter().any(|escape| text.ends_with(escape)),
                "it ends with a backslash and a letter, which are used as part of it",
            ),
            (
                text.contains(is_invisible),
                "it holds an invisible character, which is used as part of it",
            ),
        ];
        odd.into_iter()
            .filter(|(is_so, _)| *is_so)
            .map(|(_, warning)| warning)
            .collect()
    }

    fn log_warnings(&self, source: &dyn fmt::Display) {
        let Self::Set(pin) = self else { return };
        for warning in Self::warnings(pin) {
            tracing::warn!("the PIN of {source}: {warning}");
        }
    }

    /// What `C_Login` is given: none without a login, else the PIN, or none where the token asks for it
    /// itself.
    pub(crate) fn login(&self) -> Option<Option<&[u8]>> {
        match self {
            Self::None => None,
            Self::Empty => Some(Some(&[])),
            Self::Set(pin) => Some(Some(pin.as_bytes())),
            Self::Protected => Some(None),
        }
    }
}

/// The bytes of a file that is not longer than a PIN.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // To open a pipe waits for who writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    fs::File::open(path)?.take(LONGEST as u64).read_to_end(&mut bytes)?;
    if bytes.len() >= LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "too long for a PIN: 4096 bytes or more",
        ));
    }
    Ok(bytes)
}

/// The PIN in the bytes of a file.
fn text_of(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16 text: save it as UTF-8");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")?;
    let text = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .trim_end_matches(['\r', '\n']);
    Pin::fault(text).map_or(Ok(text), Err)
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Empty => "Empty",
            Self::Set(_) => "Set(_)",
            Self::Protected => "Protected",
        })
    }
}

/// Why there is no PIN where one was configured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PinError {
    /// The file could not be read.
    #[error("cannot read the PIN from {}", path.display())]
    #[non_exhaustive]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The environment variable is not set, or holds no UTF-8.
    #[error("the environment variable {variable}, which holds the PIN, is not set or not UTF-8")]
    #[non_exhaustive]
    Environment {
        /// Its name.
        variable: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_pin_and_what_an_editor_has_put_around_it() {
        for bytes in [&b"1234"[..], b"1234\n", b"1234\r\n", b"1234\n\n", b"\xef\xbb\xbf1234\n"] {
            assert_eq!(text_of(bytes), Ok("1234"), "{bytes:?}");
        }
        assert_eq!(text_of(b"12 34 "), Ok("12 34 "), "a blank may be meant");
        assert_eq!(text_of(b""), Ok(""));
        for (bytes, problem) in [
            (&b"1234\0"[..], "NUL"),
            (b"1\n2", "more than one line"),
            (b"1\r2", "more than one line"),
            (b"\xff\xfe1\0", "UTF-16"),
            (b"\xfe\xff\x001", "UTF-16"),
            (b"\xe4", "not UTF-8"),
        ] {
            assert!(text_of(bytes).unwrap_err().contains(problem), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_odd_is_said() {
        for plain in ["1234", "a b", "\"", "user:it's", "pässword"] {
            assert_eq!(Pin::warnings(plain), [""; 0], "{plain}");
            assert_eq!(Pin::fault(plain), None);
        }
        for (text, warning) in [
            (" 1", "begins with white space"),
            ("1\t", "ends with white space"),
            ("\"1\"", "quotes"),
            ("'1'", "quotes"),
            ("\u{201c}1\u{201d}", "quotes"),
            ("`1`", "quotes"),
            ("1\\n", "a backslash and a letter"),
            ("1\u{7f}2", "invisible"),
            ("1\u{200b}", "invisible"),
        ] {
            let warnings = Pin::warnings(text);
            assert!(
                warnings.iter().any(|said| said.contains(warning)),
                "{text:?}: {warnings:?}"
            );
        }
    }
}
