//! The writer's side: each record is linked to the one before it.

use std::io::Write as _;

use thiserror::Error;

use crate::{
    Head, LineHash, Origin,
    line::{Link, MAX_LINE, Own},
};

/// How far a log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// How many records there are.
    pub size: u64,
    /// The hash of the last one; [`LineHash::NONE`] where there is none.
    pub last: LineHash,
}

impl Position {
    /// Where a log begins.
    pub const START: Self = Self {
        size: 0,
        last: LineHash::NONE,
    };

    /// A position that was kept.
    #[must_use]
    pub const fn new(size: u64, last: LineHash) -> Self {
        Self { size, last }
    }

    /// Returns that behind a line without its end; none if it is no record.
    #[must_use]
    pub fn behind(line: &[u8]) -> Option<Self> {
        let Link { seq, .. } = Link::of(line)?;
        Some(Self::new(seq.saturating_add(1), LineHash::of(line)))
    }
}

/// A record cannot be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the audit record is not one JSON object with members, in one line of less than a mebibyte, whose first member \
     is none of `seq`, `prev` and `audit`"
)]
#[non_exhaustive]
pub struct RecordError;

/// Links records of one log. It writes to memory: its owner writes what it has appended to a file, in the
/// same order.
#[derive(Clone, Debug)]
pub struct Chain {
    origin: Origin,
    position: Position,
}

impl Chain {
    /// Begins a log.
    #[must_use]
    pub const fn new(origin: Origin) -> Self {
        Self::at(origin, Position::START)
    }

    /// Goes on with a log from where it ends.
    #[must_use]
    pub const fn at(origin: Origin, position: Position) -> Self {
        Self { origin, position }
    }

    /// Returns how far it has come.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Returns the log's name.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Appends a record as a line to `lines`: a JSON object, of which only the beginning is looked at.
    ///
    /// # Errors
    /// [`RecordError`]: it has no members, or its first member is `seq`, `prev` or `audit`, which the log
    /// itself writes, or it has an end of line, or is longer than a reader takes. Nothing is appended then.
    pub fn append(&mut self, record: &str, lines: &mut Vec<u8>) -> Result<(), RecordError> {
        let members = members(record)?;
        self.link(members, lines);
        Ok(())
    }

    /// Begins a file, the first one or another, with a record that names the log.
    pub fn begin_file(&mut self, lines: &mut Vec<u8>) {
        let (is_first, origin) = (self.position.size == 0, self.origin.clone());
        self.say(&Own::Begins { is_first, origin }, lines);
    }

    /// Records that this log takes the place of another one, of which so much is known: after a restart, or
    /// where that one could not be written. It should be the second record, which [`Opening`](crate::Opening)
    /// reads.
    pub fn follow(&mut self, origin: &Origin, position: Position, lines: &mut Vec<u8>) {
        let origin = origin.clone();
        self.say(&Own::Follows { origin, position }, lines);
    }

    /// Records that so many records could not be written.
    pub fn lose(&mut self, records: u64, lines: &mut Vec<u8>) {
        self.say(&Own::Lost { records }, lines);
    }

    /// Records that the first so many records of a log, this one or another, are deleted, since they are
    /// too old.
    pub fn delete(&mut self, origin: &Origin, size: u64, lines: &mut Vec<u8>) {
        let origin = origin.clone();
        self.say(&Own::Deleted { origin, size }, lines);
    }

    fn say(&mut self, own: &Own, lines: &mut Vec<u8>) {
        self.link(own.members().as_bytes(), lines);
    }

    fn link(&mut self, members: &[u8], lines: &mut Vec<u8>) {
        let start = lines.len();
        let Position { size, last } = self.position;
        // Writing to memory cannot fail.
        let _ = write!(lines, r#"{{"seq":{size},"prev":"{last}","#);
        lines.extend_from_slice(members);
        let line = lines.get(start..).unwrap_or_default();
        self.position = Position::new(size.saturating_add(1), LineHash::of(line));
        lines.push(b'\n');
    }

    /// Returns the head of what there is, made at this time: seconds since 1970.
    #[must_use]
    pub fn head(&self, time: u64) -> Head {
        Head::new(self.origin.clone(), self.position, time)
    }
}

/// Longer than what a line has before its record, and its end.
const MAX_LINK: usize = 128;

/// What follows the opening brace.
fn members(record: &str) -> Result<&[u8], RecordError> {
    let members = record.strip_prefix('{').ok_or(RecordError)?;
    let taken = [r#""seq""#, r#""prev""#, r#""audit""#];
    let is_taken = taken.iter().any(|name| members.starts_with(name));
    let is_long = members.len() > MAX_LINE - MAX_LINK;
    if !members.starts_with('"') || is_taken || is_long || !members.ends_with('}') || members.contains(['\n', '\r']) {
        return Err(RecordError);
    }
    Ok(members.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        Chain::new(Origin::new("example/node-a/1").unwrap())
    }

    /// What a program of another language would do.
    #[test]
    fn each_line_has_the_hash_of_the_one_before_it() {
        let (mut chain, mut lines) = (chain(), Vec::new());
        chain.begin_file(&mut lines);
        chain.append(r#"{"operation":"Encrypt","n":1}"#, &mut lines).unwrap();
        chain.begin_file(&mut lines);
        chain.append(r#"{"operation":"Decrypt"}"#, &mut lines).unwrap();
        let text = String::from_utf8(lines).unwrap();
        let mut prev = "0".repeat(64);
        for (number, line) in text.lines().enumerate() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (record["seq"].as_u64().unwrap(), record["prev"].as_str().unwrap()),
                (number as u64, &*prev)
            );
            prev = LineHash::of(line.as_bytes()).to_string();
        }
        assert_eq!(chain.position().size, 4);
        assert_eq!(chain.position().last.to_string(), prev);
        assert!(
            text.contains(r#""audit":"opened","origin":"example/node-a/1""#),
            "{text}"
        );
        assert!(text.contains(r#","operation":"Encrypt","n":1}"#), "{text}");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for record in [
            "",
            "{}",
            "[]",
            "text",
            r#"{"a":1"#,
            r#"{"seq":1}"#,
            r#"{"prev":""}"#,
            r#"{"audit":"lost","records":1}"#,
            &format!(r#"{{"long":"{}"}}"#, "x".repeat(MAX_LINE)),
            "{\"a\":1,\n\"b\":2}",
            "{\"a\":\"\r\"}",
        ] {
            let (mut chain, mut lines) = (chain(), Vec::new());
            assert_eq!(chain.append(record, &mut lines), Err(RecordError), "{record}");
            assert_eq!((lines.len(), chain.position()), (0, Position::START));
        }
    }
}
