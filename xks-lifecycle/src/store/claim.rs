//! Claims: rows outside of the revision, which change by compare and swap.
//!
//! Counts of encryptions, the leases of nodes, who does a job or keeps a schedule, and what nodes try a new
//! version with are claims. Each has an owner and a counter, and a writer names both as it last saw them: the
//! condition stands in the write itself, so that a claim which somebody took over meanwhile is not written by
//! its former owner.

use super::{Revision, StoreError};
use crate::field::named_enum;

/// What a claim is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ClaimKind {
    /// Encryptions that were reserved of a version.
    Count,
    /// Encryptions and decryptions that were made with a version.
    Usage,
    /// When a credential was used last: its counter is that time.
    Credential,
    /// The lease of a node.
    Node,
    /// Who keeps a schedule, or does a job.
    Job,
    /// What the creator of a version has encrypted with it, for every node to open: from its publication to
    /// its promotion. It is no column of the version, since a program of the schema version before serves
    /// the same database, and takes a row with a column that it does not know for edited.
    KnownAnswer,
    /// How far a [job](crate::jobs) has come.
    CloudJob,
    /// From when on AWS may be called, so that its request quotas are kept.
    CloudQuota,
}

named_enum! {
    ClaimKind,
    Count => "count",
    Usage => "usage",
    Credential => "credential",
    Node => "node",
    Job => "job",
    KnownAnswer => "known-answer",
    CloudJob => "cloud-job",
    CloudQuota => "cloud-quota",
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// What it is about.
    pub kind: ClaimKind,
    /// Which one.
    pub id: Box<str>,
    /// Whose it is: of a node its incarnation.
    pub owner: Box<str>,
    /// Incremented with each renewal, or what was reserved.
    pub counter: u64,
    /// What else its user keeps there.
    pub body: Box<str>,
}

impl Claim {
    /// A claim.
    #[must_use]
    pub fn new(kind: ClaimKind, id: &str, owner: &str, counter: u64, body: &str) -> Self {
        Self {
            kind,
            id: id.into(),
            owner: owner.into(),
            counter,
            body: body.into(),
        }
    }

    /// The same claim with another counter.
    #[must_use]
    pub fn with_counter(&self, counter: u64) -> Self {
        Self {
            counter,
            ..self.clone()
        }
    }

    /// The error of a change under this claim, which is not there as it is here.
    pub(crate) fn lost(&self) -> StoreError {
        let id = self.id.clone();
        StoreError::ClaimLost { id }
    }

    pub(crate) fn is_as_seen(&self, seen: &Self) -> bool {
        (&self.owner, self.counter) == (&seen.owner, seen.counter)
    }
}

/// One change of one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are three ways to change a row")]
pub enum Swap {
    /// Inserts a claim, if there is none of its kind and id.
    Insert(Claim),
    /// Replaces a claim, if owner and counter are as they were seen. Kind and id are those that were seen.
    Replace {
        /// As it was seen.
        seen: Claim,
        /// As it shall be.
        next: Claim,
    },
    /// Deletes a claim, if owner and counter are as they were seen.
    Delete(Claim),
}

impl Swap {
    /// Kind and id of the claim.
    pub(crate) fn place(&self) -> (ClaimKind, &str) {
        let (Self::Insert(claim) | Self::Replace { seen: claim, .. } | Self::Delete(claim)) = self;
        (claim.kind, &claim.id)
    }
}

/// What came of a [`Swap`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swapped {
    /// Whether the claim was as seen, and was changed.
    pub is_done: bool,
    /// The claim as it is now.
    pub claim: Option<Claim>,
    /// The revision of the store at that moment.
    pub revision: Revision,
}

impl Swapped {
    /// The outcome of a swap.
    #[must_use]
    pub const fn new(is_done: bool, claim: Option<Claim>, revision: Revision) -> Self {
        Self {
            is_done,
            claim,
            revision,
        }
    }
}
