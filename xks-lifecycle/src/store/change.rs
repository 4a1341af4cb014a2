//! Revisions, and the change from one to the next.

use std::{fmt, str::FromStr};

use super::{Claim, ClaimKind, Row, Table};
use crate::{Event, FieldError, field::FieldProblem};

/// Counts the commits of a store. Counts of encryptions, leases, steps of jobs and events do not move it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// That of a store which nothing was committed to.
    pub const ZERO: Self = Self(0);

    /// A revision by its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the revision that the next commit makes.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl FromStr for Revision {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        let (min, max) = (0, u64::MAX);
        number
            .map(Self)
            .ok_or(FieldError::new("revision", FieldProblem::Range { min, max }))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl serde::Serialize for Revision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// The one counter row: the revision, and the code that authenticates it with all rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The revision.
    pub revision: Revision,
    /// The code of the revision with all of its rows; zeros at revision 0.
    pub code: [u8; 32],
}

impl Head {
    /// A head.
    #[must_use]
    pub const fn new(revision: Revision, code: [u8; 32]) -> Self {
        Self { revision, code }
    }
}

/// What one commit changes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChangeSet {
    /// The revision that the store must be at.
    pub expected: Revision,
    /// A claim that must be there, with owner and counter as here: what is done under it is done by one.
    pub condition: Option<Claim>,
    /// The revision that this makes: the next one, or a later one when a backup is restored.
    pub next: Revision,
    /// Rows to insert, or to put in the place of those with the same table and id. Each carries the revision
    /// that has changed it last: this one, or an earlier one when a backup is restored.
    pub rows: Vec<Row<'static>>,
    /// Rows to remove. One that is not there is no error.
    pub removed: Vec<(Table, Box<str>)>,
    /// Claims to insert, or to put in the place of those with the same kind and id, whatever was seen of
    /// them.
    pub claims: Vec<Claim>,
    /// Claims to delete, whatever was seen of them. One that is not there is no error.
    pub ended_claims: Vec<(ClaimKind, Box<str>)>,
    /// Events to append. Those without a revision get that of this change set.
    pub events: Vec<Event>,
    /// The code of the head that this makes.
    pub code: [u8; 32],
}

impl ChangeSet {
    /// A change set that changes nothing but the head.
    #[must_use]
    pub const fn new(expected: Revision, code: [u8; 32]) -> Self {
        Self {
            expected,
            condition: None,
            next: expected.next(),
            rows: Vec::new(),
            removed: Vec::new(),
            claims: Vec::new(),
            ended_claims: Vec::new(),
            events: Vec::new(),
            code,
        }
    }

    /// Returns the head that this makes.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head::new(self.next, self.code)
    }
}
