//! Heads: how long a log is, and the hash of its last record, signed.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use thiserror::Error;

use crate::{KeyError, LineHash, Origin, Position, SigningKey, VerifyingKey};

/// The dash before a signature of a signed note.
const DASH: &str = "\u{2014} ";

/// The greatest length of a signed head, in bytes.
const MAX_LENGTH: usize = 2048;

/// What is said of a log at a time. As a text it has four lines: origin, number of records, hash of the last
/// one in base64, and the time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The log.
    pub origin: Origin,
    /// How far it had come.
    pub position: Position,
    /// When: seconds since 1970.
    pub time: u64,
}

/// A text is not a signed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "this is no signed head of an audit log: four lines (origin, number, hash, time), an empty one, and a signature"
)]
#[non_exhaustive]
pub struct HeadError;

impl Head {
    pub(crate) const fn new(origin: Origin, position: Position, time: u64) -> Self {
        Self { origin, position, time }
    }

    /// Signs it.
    ///
    /// # Errors
    /// [`KeyError::Signing`]: there is no randomness.
    pub fn sign(self, key: &SigningKey) -> Result<SignedHead, KeyError> {
        let signature = key.sign(self.to_string().as_bytes())?;
        Ok(SignedHead::new(self, key.verifying_key(), signature))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { size, last } = self.position;
        let hash = STANDARD.encode(last.as_bytes());
        write!(f, "{}\n{size}\n{hash}\ntime {}\n", self.origin, self.time)
    }
}

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let lines: Vec<_> = text.split('\n').collect();
        let [origin, size, hash, time, ""] = *lines else {
            return Err(HeadError);
        };
        let hash = STANDARD.decode(hash).ok().and_then(|hash| hash.try_into().ok());
        let position = Position::new(number(size)?, LineHash::from_bytes(hash.ok_or(HeadError)?));
        let time = number(time.strip_prefix("time ").ok_or(HeadError)?)?;
        Ok(Self::new(origin.parse().map_err(|_| HeadError)?, position, time))
    }
}

/// A number in the one form that it has.
fn number(text: &str) -> Result<u64, HeadError> {
    let number: u64 = text.parse().map_err(|_| HeadError)?;
    match number.to_string() == text {
        true => Ok(number),
        false => Err(HeadError),
    }
}

/// A head with its signature: the text of a signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    head: Head,
    key_name: Origin,
    key_id: [u8; 4],
    signature: Vec<u8>,
}

impl SignedHead {
    /// A head that was signed elsewhere, by the other half of this key: the signature is that of the head's
    /// text, in DER.
    #[must_use]
    pub fn new(head: Head, key: &VerifyingKey, signature: Vec<u8>) -> Self {
        Self {
            head,
            key_name: key.name().clone(),
            key_id: key.id(),
            signature,
        }
    }

    /// Splits a text of signed heads, one after the other, as a file of them is.
    pub fn split(text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let dash = if rest.starts_with(DASH) {
                Some(0)
            } else {
                rest.find("\n\u{2014} ").map(|at| at + 1)
            };
            let end = dash.and_then(|dash| rest.get(dash..)?.find('\n').map(|end| dash + end + 1));
            let (head, behind) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
            rest = behind;
            (!head.is_empty()).then_some(head)
        })
    }

    /// Returns the head, whoever has signed it.
    #[must_use]
    pub const fn unverified(&self) -> &Head {
        &self.head
    }

    /// Returns the head if one of these keys has signed it.
    #[must_use]
    pub fn verified<'k>(&self, keys: impl IntoIterator<Item = &'k VerifyingKey>) -> Option<&Head> {
        let text = self.head.to_string();
        let mut keys = keys.into_iter();
        let is_signed = keys.any(|key| {
            *key.name() == self.key_name && key.id() == self.key_id && key.verifies(text.as_bytes(), &self.signature)
        });
        is_signed.then_some(&self.head)
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = STANDARD.encode([self.key_id.as_slice(), &self.signature].concat());
        write!(f, "{}\n{DASH}{} {signature}\n", self.head, self.key_name)
    }
}

impl FromStr for SignedHead {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        if text.len() > MAX_LENGTH {
            return Err(HeadError);
        }
        let (head, signature) = text.split_once("\n\n").ok_or(HeadError)?;
        let head = format!("{head}\n").parse()?;
        let line = signature.strip_prefix(DASH).and_then(|line| line.strip_suffix('\n'));
        let (name, signature) = line.and_then(|line| line.split_once(' ')).ok_or(HeadError)?;
        let bytes = STANDARD.decode(signature).map_err(|_| HeadError)?;
        let (key_id, signature) = bytes.split_first_chunk().ok_or(HeadError)?;
        Ok(Self {
            head,
            key_name: name.parse().map_err(|_| HeadError)?,
            key_id: *key_id,
            signature: signature.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> (SignedHead, SigningKey) {
        let origin = Origin::new("example/node-a/1").unwrap();
        let (key, _) = SigningKey::generate(Origin::new("example/audit").unwrap()).unwrap();
        let head = Head::new(origin, Position::new(12, LineHash::of(b"line")), 1_764_500_000);
        (head.sign(&key).unwrap(), key)
    }

    #[test]
    fn a_head_comes_back_from_its_text() {
        let (signed, key) = signed();
        let text = signed.to_string();
        assert!(text.starts_with("example/node-a/1\n12\n"), "{text}");
        assert_eq!(text.lines().count(), 6, "{text}");
        let read: SignedHead = text.parse().unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.verified([key.verifying_key()]), Some(signed.unverified()));
    }

    #[test]
    fn a_head_of_another_key_or_another_text_is_not_verified() {
        let (signed, key) = signed();
        let (other, _) = SigningKey::generate(key.verifying_key().name().clone()).unwrap();
        assert_eq!(signed.verified([other.verifying_key()]), None);
        assert_eq!(signed.verified([]), None);
        for (from, to) in [("\n12\n", "\n13\n"), ("node-a", "node-b"), ("time 1", "time 2")] {
            let changed: SignedHead = signed.to_string().replacen(from, to, 1).parse().unwrap();
            assert_eq!(changed.verified([key.verifying_key()]), None, "{from:?}");
        }
    }

    #[test]
    fn a_file_of_heads_is_split() {
        let text = signed().0.to_string();
        let other = signed().0.to_string();
        let split = |text: &str| SignedHead::split(text).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(split(&format!("{text}{other}")), [text.clone(), other.clone()]);
        assert_eq!(split(""), Vec::<String>::new());
        // The last one was being written.
        let torn = other.trim_end();
        assert_eq!(split(&format!("{text}{torn}")), [text, torn.to_owned()]);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let text = signed().0.to_string();
        for wrong in [
            String::new(),
            text.replacen("\n12\n", "\n012\n", 1),
            text.replacen("\n12\n", "\n+12\n", 1),
            text.replacen("time ", "", 1),
            text.replacen('\n', "\r\n", 1),
            text.replacen("\n\n", "\n", 1),
            text.replacen(DASH, "- ", 1),
            text.trim_end().to_owned(),
            format!("{text}{text}"),
            format!("{text}{}", " ".repeat(MAX_LENGTH)),
        ] {
            assert_eq!(wrong.parse::<SignedHead>(), Err(HeadError), "{wrong}");
        }
    }
}
