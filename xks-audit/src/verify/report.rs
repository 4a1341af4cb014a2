//! What was found.

use std::{collections::BTreeMap, fmt};

use crate::Origin;

/// How many faults a report has: the first ones.
const MOST_FAULTS: usize = 100;

/// A line of a file, counted from 1; a head has none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The name of the file or of the head.
    pub name: String,
    /// The line, or 0.
    pub line: u64,
}

impl Place {
    pub(super) fn new(name: &str, line: u64) -> Self {
        Self {
            name: name.to_owned(),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.name),
            line => write!(f, "{}:{line}", self.name),
        }
    }
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Where it was noticed.
    pub place: Place,
    /// What it is.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)
    }
}

/// The kinds of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// A record was changed, or what the one at this place says of it.
    Changed {
        /// The number of the record.
        seq: u64,
    },
    /// Records are not there: the first and the last of them.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A record that was there before, or belongs before this place.
    Moved {
        /// Its number.
        seq: u64,
    },
    /// The line is no record.
    NotARecord,
    /// The file does not begin with a record that names its log.
    NoOrigin,
    /// The file or the head is of another log.
    OfAnother {
        /// Of this one.
        origin: Origin,
    },
    /// The head has no signature of one of the keys, or is none.
    HeadNotSigned,
    /// The records up to this number are others than those that the head was made of.
    HeadDiffers {
        /// How many there were.
        size: u64,
    },
    /// The log ends before the head was made: its end was cut off.
    Cut {
        /// How many records there are.
        size: u64,
        /// How many there were.
        head: u64,
    },
}

impl FaultKind {
    /// Returns its name, for programs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Changed { .. } => "changed",
            Self::Missing { .. } => "missing",
            Self::Moved { .. } => "moved",
            Self::NotARecord => "not-a-record",
            Self::NoOrigin => "no-origin",
            Self::OfAnother { .. } => "of-another",
            Self::HeadNotSigned => "head-not-signed",
            Self::HeadDiffers { .. } => "head-differs",
            Self::Cut { .. } => "cut",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { seq } => write!(f, "record {seq} was changed, or what this one says of it"),
            Self::Missing { from, to } if from == to => write!(f, "record {from} is missing before this one"),
            Self::Missing { from, to } => write!(f, "the records {from} to {to} are missing before this one"),
            Self::Moved { seq } => write!(f, "record {seq} was moved here, or repeated"),
            Self::NotARecord => f.write_str("this is no record"),
            Self::NoOrigin => f.write_str("the file does not begin with a record that names its log"),
            Self::OfAnother { origin } => write!(f, "this belongs to another log, {origin}"),
            Self::HeadNotSigned => f.write_str("this head is not signed by a key that was given"),
            Self::HeadDiffers { size } => {
                write!(f, "the first {size} records are others than were there for this head")
            }
            Self::Cut { size, head } => {
                write!(
                    f,
                    "the end was cut off: there are {size} records, and {head} were there for this head"
                )
            }
        }
    }
}

/// What is known of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Its name, where a file or a head says it.
    pub origin: Option<Origin>,
    /// The number of the first record.
    pub first: Option<u64>,
    /// How many records there were in its life, those in deleted files too.
    pub size: u64,
    /// How many were read, in their place.
    pub records: u64,
    /// How many files.
    pub files: u64,
    /// How many heads.
    pub heads: u64,
    /// How many records the last signed head vouches for.
    pub anchored: Option<u64>,
    /// How many records come after it.
    pub unanchored: u64,
    /// How many records the writer could not write, as it says itself.
    pub lost: u64,
    /// What it has deleted, as it says: of which log, and its first so many records. At most 65 536 logs.
    pub deleted: BTreeMap<Origin, u64>,
    /// Lines without an end: what was being written when the machine stopped. They are no records.
    pub torn: Vec<Place>,
    /// What is wrong, in the order in which it was found; the first hundred.
    pub faults: Vec<Fault>,
    /// How many there are.
    pub fault_count: u64,
}

impl Report {
    /// Takes the first so many records as anchored: by a later log, which names them and is anchored itself.
    pub fn anchor(&mut self, size: u64) {
        if self.anchored.is_none_or(|known| known < size) && size <= self.size {
            self.anchored = Some(size);
            self.unanchored = self.size - size;
        }
    }

    pub(super) fn add(&mut self, place: Place, kind: FaultKind) {
        self.fault_count += 1;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { place, kind });
        }
    }

    /// Returns whether nothing is wrong. Records that are [not anchored](Self::unanchored) may still have
    /// been followed by others.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.fault_count == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        for place in &self.torn {
            writeln!(
                f,
                "{place}: the line has no end: what was being written when the writer stopped"
            )?;
        }
        if self.lost > 0 {
            writeln!(
                f,
                "{} records were lost, as the log itself says: they could not be written",
                self.lost
            )?;
        }
        match &self.origin {
            Some(origin) => write!(f, "{origin}: ")?,
            None => f.write_str("no log: ")?,
        }
        write!(
            f,
            "{} records in {} files, {} faults; ",
            self.records, self.files, self.fault_count
        )?;
        match self.unanchored {
            0 => f.write_str("all of them anchored"),
            count => write!(f, "{count} not anchored: no head vouches for them"),
        }
    }
}
