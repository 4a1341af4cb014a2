//! A line of the log: what of it belongs to the chain.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::Origin;

/// What the first record of a log is about.
pub(crate) const OPENED: &str = "opened";
/// What that of each later file is about.
pub(crate) const CONTINUED: &str = "continued";

/// The SHA-256 of a line without its end. Shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// What the first line of a log has instead of the hash of a line before it.
    pub const NONE: Self = Self([0; 32]);

    /// Returns that of a line without its end.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }

    /// Returns the hash with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn from_hex(digits: &[u8]) -> Option<Self> {
        let (pairs, []) = digits.as_chunks::<2>() else {
            return None;
        };
        let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(bytes))
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a line says of its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) seq: u64,
    pub(crate) prev: LineHash,
}

impl Link {
    /// Reads it from the beginning of a line, in the one form that it has.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(br#"{"seq":"#)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at_checked(digits)?;
        let has_one_form = digits == b"0" || digits.first().is_some_and(|first| *first != b'0');
        let seq = std::str::from_utf8(digits)
            .ok()?
            .parse()
            .ok()
            .filter(|_| has_one_form)?;
        let (prev, rest) = rest.strip_prefix(br#","prev":""#)?.split_at_checked(64)?;
        let prev = LineHash::from_hex(prev)?;
        (rest.starts_with(b"\"") && line.ends_with(b"}")).then_some(Self { seq, prev })
    }
}

/// The members of the record that a file begins with.
pub(crate) fn opening_members(event: &str, origin: &Origin) -> String {
    format!(r#""audit":"{event}","origin":"{origin}","version":1}}"#)
}

/// Reads the log's name from a line with a link, if it is one that a file begins with.
pub(crate) fn opening(line: &[u8]) -> Option<Origin> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, members) = text.split_once(r#"","audit":""#)?;
    let (event, members) = members.split_once(r#"","origin":""#)?;
    let origin = members.strip_suffix(r#"","version":1}"#)?.parse().ok()?;
    let is_one = matches!(event, OPENED | CONTINUED) && text.ends_with(&opening_members(event, &origin));
    is_one.then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_one_form() {
        let hash = LineHash::of(b"line");
        assert_eq!(hash.to_string().len(), 64);
        for (line, seq) in [
            (format!(r#"{{"seq":0,"prev":"{hash}"}}"#), 0),
            (
                format!(r#"{{"seq":18446744073709551615,"prev":"{hash}","a":{{}}}}"#),
                u64::MAX,
            ),
        ] {
            assert_eq!(Link::of(line.as_bytes()), Some(Link { seq, prev: hash }));
        }
        for line in [
            String::new(),
            "{}".into(),
            format!(r#"{{"seq":,"prev":"{hash}"}}"#),
            format!(r#"{{"seq":01,"prev":"{hash}"}}"#),
            format!(r#"{{"seq":18446744073709551616,"prev":"{hash}"}}"#),
            format!(r#"{{"seq": 1,"prev":"{hash}"}}"#),
            format!(r#"{{"seq":1,"prev":"{}"}}"#, hash.to_string().to_uppercase()),
            format!(r#"{{"seq":1,"prev":"{hash}0"}}"#),
            format!(r#"{{"seq":1,"prev":"{hash}""#),
            format!(r#"{{"prev":"{hash}","seq":1}}"#),
        ] {
            assert_eq!(Link::of(line.as_bytes()), None, "{line}");
        }
    }
}
