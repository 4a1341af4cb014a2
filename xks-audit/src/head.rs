//! Heads: how long a log is, and the hash of its last record, signed.

use std::{
    fmt,
    io::{self, BufRead, Read as _},
    str::FromStr,
};

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

    /// Reads the next one of a file of signed heads, one after the other. None at the end, also where the
    /// last one was being written when the machine stopped. Takes little memory, whatever the file holds.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(file: &mut impl BufRead) -> io::Result<Option<Result<Self, HeadError>>> {
        let mut text = Vec::new();
        loop {
            let start = text.len();
            let most = (MAX_LENGTH + 1).saturating_sub(start) as u64;
            file.by_ref().take(most).read_until(b'\n', &mut text)?;
            let line = text.get(start..).unwrap_or_default();
            if text.len() > MAX_LENGTH {
                return Ok(Some(Err(HeadError)));
            } else if !line.ends_with(b"\n") {
                return Ok(None);
            } else if line.starts_with(DASH.as_bytes()) {
                let text = std::str::from_utf8(&text).map_err(|_| HeadError);
                return Ok(Some(text.and_then(str::parse)));
            }
        }
    }

    /// Returns the head, whether its signature is good or not.
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
    fn a_file_of_heads_is_read() {
        let read = |mut file: &[u8]| {
            let mut heads = Vec::new();
            while let Some(head) = SignedHead::read(&mut file).unwrap() {
                heads.push(head.map(|head| head.to_string()));
            }
            heads
        };
        let (text, other) = (signed().0.to_string(), signed().0.to_string());
        let both = [Ok(text.clone()), Ok(other.clone())];
        assert_eq!(read(format!("{text}{other}").as_bytes()), both);
        assert_eq!(read(b""), []);
        // The last one was being written.
        for end in 1..other.len() {
            let torn = [text.as_bytes(), &other.as_bytes()[..end]].concat();
            assert_eq!(read(&torn), [Ok(text.clone())], "{end}");
        }
        // What is none hides none of the others.
        let wrong = other.replacen("time", "Time", 1);
        let among = [
            text.as_bytes(),
            wrong.as_bytes(),
            b"\xff\n",
            DASH.as_bytes(),
            b"\n",
            other.as_bytes(),
        ]
        .concat();
        let [first, second] = both;
        assert_eq!(read(&among), [first, Err(HeadError), Err(HeadError), second]);
        assert_eq!(read(&vec![b'x'; 2 * MAX_LENGTH + 10]), [Err(HeadError), Err(HeadError)]);
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
