//! The PIN, and where it comes from.

use std::{
    env, fmt, fs,
    io::{self, Read as _},
    path::PathBuf,
};

use thiserror::Error;
use xks_core::Zeroizing;

/// No PIN is as long as this, in bytes.
const LONGEST: usize = 4096;

/// The user's PIN, or passphrase. Wiped when dropped, and never printed.
#[derive(Clone)]
#[non_exhaustive]
pub enum Pin {
    /// Nobody logs in: module protection, or a token that is open already.
    None,
    /// Somebody logs in with a PIN of no characters, as a card set without a passphrase wants it.
    Empty,
    /// Somebody logs in with this.
    Set(Zeroizing<String>),
    /// The token has a path of its own for its PIN, such as a keypad: somebody logs in, and it is entered there.
    Protected,
}

impl Pin {
    /// This PIN; [`Pin::Empty`] if the text is empty.
    #[must_use]
    pub fn new(pin: impl Into<String>) -> Self {
        let pin = Zeroizing::new(pin.into());
        if pin.is_empty() { Self::Empty } else { Self::Set(pin) }
    }

    /// The PIN in a file: all of it but one line break at the end.
    ///
    /// # Errors
    /// [`PinError::File`], also when the file holds no UTF-8, or 4096 bytes and more.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, PinError> {
        let path = path.into();
        let mut text = Zeroizing::new(String::with_capacity(LONGEST));
        let read = fs::File::open(&path).and_then(|file| file.take(LONGEST as u64).read_to_string(&mut text));
        let read = read.and_then(|length| match length {
            LONGEST => Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a PIN")),
            _ => Ok(()),
        });
        read.map_err(|source| PinError::File { path, source })?;
        let pin = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Self::new(pin.strip_suffix('\r').unwrap_or(pin)))
    }

    /// The PIN in an environment variable.
    ///
    /// # Errors
    /// [`PinError::Environment`] when it is not set, or holds no UTF-8.
    pub fn from_env(variable: &str) -> Result<Self, PinError> {
        env::var(variable).map(Self::new).map_err(|_| PinError::Environment {
            variable: variable.to_owned(),
        })
    }

    /// What `C_Login` is given: none when nobody logs in, else the PIN, or none where the token asks for it itself.
    pub(crate) fn login(&self) -> Option<Option<&[u8]>> {
        match self {
            Self::None => None,
            Self::Empty => Some(Some(&[])),
            Self::Set(pin) => Some(Some(pin.as_bytes())),
            Self::Protected => Some(None),
        }
    }
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

/// Why there is no PIN where one was said to be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PinError {
    /// The file could not be read.
    #[error("the PIN cannot be read from {}", path.display())]
    #[non_exhaustive]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The environment variable is not set, or holds no UTF-8.
    #[error("the environment variable {variable} is not set, or holds no UTF-8: it shall hold the PIN")]
    #[non_exhaustive]
    Environment {
        /// Its name.
        variable: String,
    },
}
