//! The name of a log.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The name of a log: deployment, node and incarnation, such as `example/node-a/1`. It stands in the first
/// record and in each head, and names the key of the heads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

/// A text cannot name a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the origin {0:?} of an audit log: it has 1 to {most} printable ASCII characters, none of them a space, a plus \
     sign, a quotation mark or a backslash",
    most = Origin::MAX_LENGTH
)]
pub struct OriginError(String);

impl Origin {
    /// The greatest length, in characters.
    pub const MAX_LENGTH: usize = 256;

    /// # Errors
    /// [`OriginError`]: it is empty or too long, or has characters other than printable ones of ASCII, or a
    /// space or a plus sign, which notes do not take, or what JSON would escape.
    pub fn new(text: impl Into<String>) -> Result<Self, OriginError> {
        let text = text.into();
        let is_legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'+' | b'"' | b'\\');
        if (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_legal) {
            Ok(Self(text))
        } else {
            Err(OriginError(text))
        }
    }

    /// Returns it as a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::new(text)
    }
}
