//! A line of the log: what of it belongs to the chain.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{Origin, Position};

/// The greatest length of a line with its end, in bytes: longer than any record, and short enough for memory.
pub(crate) const MAX_LINE: usize = 1 << 20;

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

/// What a log says of itself, in records among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// A file begins: the first one of the log, or a later one.
    Begins { is_first: bool, origin: Origin },
    /// This log takes the place of another one, of which so much is known.
    Follows { origin: Origin, position: Position },
    /// So many records could not be written.
    Lost { records: u64 },
    /// The first so many records of a log were deleted with their files, as the writer was told to.
    Deleted { origin: Origin, size: u64 },
}

impl Own {
    /// The members, with the brace behind them.
    pub(crate) fn members(&self) -> String {
        match self {
            Self::Begins { is_first, origin } => {
                let event = if *is_first { "opened" } else { "continued" };
                format!(r#""audit":"{event}","origin":"{origin}","version":1}}"#)
            }
            Self::Follows { origin, position } => {
                let Position { size, last } = position;
                format!(r#""audit":"follows","origin":"{origin}","size":{size},"last":"{last}"}}"#)
            }
            Self::Lost { records } => format!(r#""audit":"lost","records":{records}}}"#),
            Self::Deleted { origin, size } => format!(r#""audit":"deleted","origin":"{origin}","size":{size}}}"#),
        }
    }

    /// Reads it from a line with a link, in the one form that it has.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        // Behind the link, whose hash has 64 digits.
        let (_, hash) = std::str::from_utf8(line).ok()?.split_once(r#","prev":""#)?;
        let members = hash.get(64..)?.strip_prefix(r#"",""#)?;
        let (event, rest) = members.strip_prefix(r#"audit":""#)?.split_once('"')?;
        let origin = || rest.strip_prefix(r#","origin":""#)?.split_once('"');
        let number = |text: &str| -> Option<u64> { text.split([',', '}']).next()?.parse().ok() };
        let own = match event {
            "opened" | "continued" => Self::Begins {
                is_first: event == "opened",
                origin: origin()?.0.parse().ok()?,
            },
            "follows" => {
                let (origin, rest) = origin()?;
                let size = number(rest.strip_prefix(r#","size":"#)?)?;
                let (_, last) = rest.split_once(r#","last":""#)?;
                let last = LineHash::from_hex(last.strip_suffix(r#""}"#)?.as_bytes())?;
                Self::Follows {
                    origin: origin.parse().ok()?,
                    position: Position::new(size, last),
                }
            }
            "lost" => Self::Lost {
                records: number(rest.strip_prefix(r#","records":"#)?)?,
            },
            "deleted" => {
                let (origin, rest) = origin()?;
                Self::Deleted {
                    origin: origin.parse().ok()?,
                    size: number(rest.strip_prefix(r#","size":"#)?)?,
                }
            }
            _ => return None,
        };
        let has_one_form = members.strip_prefix('"').unwrap_or(members) == own.members().strip_prefix('"')?;
        has_one_form.then_some(own)
    }
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

    #[test]
    fn what_a_log_says_of_itself_has_one_form() {
        let origin = || Origin::new("example/node-a/1").unwrap();
        let position = Position::new(7, LineHash::of(b"line"));
        for own in [
            Own::Begins {
                is_first: true,
                origin: origin(),
            },
            Own::Begins {
                is_first: false,
                origin: origin(),
            },
            Own::Follows {
                origin: origin(),
                position,
            },
            Own::Lost { records: 3 },
            Own::Deleted {
                origin: origin(),
                size: 7,
            },
        ] {
            let line = |members: &str| format!(r#"{{"seq":4,"prev":"{}",{members}"#, LineHash::of(b"line"));
            let text = own.members();
            assert_eq!(Own::of(line(&text).as_bytes()), Some(own), "{text}");
            for wrong in [
                text.replacen("audit", "Audit", 1),
                text.replacen('}', ",\"more\":1}", 1),
                format!(r#""first":"",{text}"#),
            ] {
                assert_eq!(Own::of(line(&wrong).as_bytes()), None, "{wrong}");
            }
            let between = line(&text).replacen("\",\"audit", "\"x\",\"audit", 1);
            assert_eq!(Own::of(between.as_bytes()), None, "{between}");
        }
    }
}
