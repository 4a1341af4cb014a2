//! The reader's side: what is wrong with a log, and where.

mod report;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
    sync::Arc,
};

pub use self::report::{Fault, FaultKind, Place, Report};
use crate::{
    Head, Line, LineHash, Lines, Origin, Position,
    line::{Link, Own},
};

/// The most logs of which another one may say that they were deleted, so that a hostile file does not fill
/// the memory. What is not kept is missing, if it is missed.
const MOST_DELETED: usize = 1 << 16;

/// What is known of how far a log had come.
#[derive(Debug)]
struct Known {
    /// Where it was found.
    name: Arc<str>,
    last: LineHash,
    is_signed: bool,
}

/// How a file begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// The log that it belongs to.
    pub origin: Origin,
    /// The number of its first record.
    pub seq: u64,
    /// The log whose place this one takes, and how much of it is known.
    pub follows: Option<(Origin, Position)>,
}

impl Opening {
    /// Reads the first two lines of a file; none if the first is not one that a file begins with.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(file: impl BufRead) -> io::Result<Option<Self>> {
        let mut lines = Lines::new(file);
        let mut next = || -> io::Result<Vec<u8>> {
            Ok(match lines.read()? {
                Some(Line::Whole(line)) => line.to_vec(),
                _ => Vec::new(), // which is no record
            })
        };
        let (first, second) = (next()?, next()?);
        let (Some(Link { seq, .. }), Some(Own::Begins { origin, .. })) = (Link::of(&first), Own::of(&first)) else {
            return Ok(None);
        };
        let follows = match Own::of(&second) {
            Some(Own::Follows { origin, position }) => Some((origin, position)),
            _ => None,
        };
        Ok(Some(Self { origin, seq, follows }))
    }
}

/// Verifies one log: first the heads that are known of it, then its files, in their order.
///
/// Files that were deleted since they were old are accepted where a signed head is of the very place at which
/// the oldest one begins that is left.
#[derive(Debug, Default)]
pub struct Verifier {
    /// What is known by how far the log had come.
    known: BTreeMap<u64, Vec<Known>>,
    /// That of the head before: most have the same.
    name: Option<Arc<str>>,
    position: Option<Position>,
    /// The line before is no record, so that nothing is known of its hash.
    is_lost: bool,
    report: Report,
}

impl Verifier {
    /// Begins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a head that is [verified](crate::SignedHead::verified); none is one that is not, which is a
    /// fault. `name` says where it comes from.
    pub fn head(&mut self, name: &str, head: Option<&Head>) {
        self.report.heads += 1;
        let place = Place::new(name, 0);
        let Some(head) = head else {
            self.report.add(place, FaultKind::HeadNotSigned);
            return;
        };
        self.is_of(&place, &head.origin);
        self.know(name, head.position, true);
    }

    /// Takes what another log says of this one, whose place it has taken. It is compared as a head is, and
    /// anchors nothing by itself. `name` says where it comes from.
    pub fn known(&mut self, name: &str, position: Position) {
        self.know(name, position, false);
    }

    fn know(&mut self, name: &str, Position { size, last }: Position, is_signed: bool) {
        let at_size = self.known.entry(size).or_insert_with(|| Vec::with_capacity(1));
        // Each minute says the same while nothing happens.
        if at_size
            .iter()
            .any(|known| known.last == last && known.is_signed == is_signed)
        {
            return;
        }
        let name = match &self.name {
            Some(known) if **known == *name => Arc::clone(known),
            _ => Arc::clone(self.name.insert(name.into())),
        };
        at_size.push(Known { name, last, is_signed });
    }

    /// Reads a file of the log. `name` is what the report calls it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn file(&mut self, name: &str, file: impl BufRead) -> io::Result<()> {
        self.report.files += 1;
        let (mut lines, mut number) = (Lines::new(file), 0);
        while let Some(line) = lines.read()? {
            number += 1;
            let place = Place::new(name, number);
            match line {
                Line::Whole(line) => self.line(place, line),
                Line::TooLong => self.no_record(place),
                Line::Torn => self.report.torn.push(place),
            }
        }
        Ok(())
    }

    fn no_record(&mut self, place: Place) {
        self.report.add(place, FaultKind::NotARecord);
        self.is_lost = true;
    }

    fn line(&mut self, place: Place, line: &[u8]) {
        let Some(link) = Link::of(line) else {
            return self.no_record(place);
        };
        let own = Own::of(line);
        if place.line == 1 {
            match &own {
                Some(Own::Begins { origin, .. }) => self.is_of(&place, origin),
                _ => self.report.add(place.clone(), FaultKind::NoOrigin),
            }
        }
        let is_lost = std::mem::take(&mut self.is_lost);
        let position = self.position.unwrap_or_else(|| self.begin(&place, link));
        // A line that is no record stands where this one's predecessor was.
        let lost = u64::from(is_lost);
        match link.seq.checked_sub(position.size) {
            Some(0) if link.prev == position.last => {}
            Some(0) if position.size == 0 => self.report.add(place, FaultKind::Changed { seq: 0 }),
            Some(0) => {
                let seq = position.size - 1;
                self.report.add(place, FaultKind::Changed { seq });
            }
            Some(more) if more <= lost => {}
            Some(_) => {
                let (from, to) = (position.size, link.seq - 1);
                self.report.add(place, FaultKind::Missing { from, to });
            }
            None => {
                self.report.add(place, FaultKind::Moved { seq: link.seq });
                return;
            }
        }
        match own {
            Some(Own::Lost { records }) => self.report.lost = self.report.lost.saturating_add(records),
            Some(Own::Deleted { origin, size }) => {
                let deleted = &mut self.report.deleted;
                if deleted.len() < MOST_DELETED || deleted.contains_key(&origin) {
                    let known = deleted.entry(origin).or_default();
                    *known = size.max(*known);
                }
            }
            _ => {}
        }
        self.report.records += 1;
        self.arrive(Position::new(link.seq.saturating_add(1), LineHash::of(line)));
    }

    /// Where the oldest file begins that is left.
    fn begin(&mut self, place: &Place, link: Link) -> Position {
        self.report.first = Some(link.seq);
        if link.seq == 0 {
            return Position::START;
        }
        let start = Position::new(link.seq, link.prev);
        let known = self.known.get(&start.size);
        let is_known = known.is_some_and(|known| known.iter().any(|known| known.is_signed && known.last == start.last));
        if !is_known {
            let (from, to) = (0, link.seq - 1);
            self.report.add(place.clone(), FaultKind::Missing { from, to });
        }
        self.arrive(start);
        start
    }

    /// Compares what is there with the heads of this place.
    fn arrive(&mut self, position: Position) {
        self.position = Some(position);
        for Known { name, last, is_signed } in self.known.remove(&position.size).unwrap_or_default() {
            if last != position.last {
                let size = position.size;
                self.report.add(Place::new(&name, 0), FaultKind::HeadDiffers { size });
            } else if is_signed {
                self.report.anchored = Some(position.size);
            }
        }
    }

    fn is_of(&mut self, place: &Place, origin: &Origin) {
        match &self.report.origin {
            None => self.report.origin = Some(origin.clone()),
            Some(known) if known == origin => {}
            Some(_) => {
                let origin = origin.clone();
                self.report.add(place.clone(), FaultKind::OfAnother { origin });
            }
        }
    }

    /// Ends, and says what was found.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let size = self.position.map_or(0, |position| position.size);
        for (head, known) in std::mem::take(&mut self.known).split_off(&size.saturating_add(1)) {
            for Known { name, .. } in known {
                self.report.add(Place::new(&name, 0), FaultKind::Cut { size, head });
            }
        }
        self.report.size = size;
        let known = self.report.anchored.or(self.report.first).unwrap_or(0);
        self.report.unanchored = size - known.min(size);
        self.report
    }
}
