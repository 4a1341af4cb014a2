//! Which published versions a node can use in its own key managers.
//!
//! A version is promoted when every node can use it. So each node opens what its creator has encrypted with
//! it, and says in its row through which revision it has tried all versions that were published then.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;

use crate::{KeyVersionId, store::Revision};

/// What the row of a node says of versions that are published and not promoted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Usable {
    /// The node has tried every version that was published at this revision or before; none while it has not.
    pub tried: Option<Revision>,
    /// Those that it cannot use, or some of them.
    pub failed: Vec<Unusable>,
    /// How many more it cannot use.
    pub more: u64,
}

/// A version that a node cannot use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Unusable {
    /// The version: external key id, a slash, and the version's id.
    pub version: Box<str>,
    /// Why, in at most 200 bytes.
    pub reason: Box<str>,
}

/// The versions that a command waits for, as rows name them; none for all that were published.
pub(super) type Versions = Option<Arc<BTreeSet<Box<str>>>>;

impl Usable {
    /// So many versions are named in a row, which is written with each renewal.
    const NAMED: usize = 4;
    /// So many bytes a reason has at most.
    const REASON: usize = 200;

    /// Returns the revision through which the node can use every version that was published.
    #[must_use]
    pub const fn through(&self) -> Option<Revision> {
        if self.failed.is_empty() { self.tried } else { None }
    }

    /// Whether the node can use versions that were published at a revision or before.
    pub(super) fn can_use(&self, revision: Revision, versions: &Versions) -> bool {
        self.has_tried(revision) && self.first_of(versions).is_none() && (self.more == 0 || versions.is_none())
    }

    pub(super) fn has_tried(&self, revision: Revision) -> bool {
        self.tried >= Some(revision)
    }

    /// The first of the versions that is known not to work.
    pub(super) fn first_of(&self, versions: &Versions) -> Option<&Unusable> {
        let is_wanted = |failed: &&Unusable| versions.as_ref().is_none_or(|all| all.contains(&failed.version));
        self.failed.iter().find(is_wanted)
    }
}

/// Keeps account of the published versions that a node has tried: a pure state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Usability {
    /// The revision that was taken in last, and what was published there.
    revision: Revision,
    published: BTreeSet<KeyVersionId>,
    /// Of these, those that work here, and those that do not.
    works: BTreeSet<KeyVersionId>,
    failed: BTreeMap<KeyVersionId, Box<str>>,
    /// The last revision at which nothing was left to try.
    tried: Option<Revision>,
}

impl Usability {
    /// Takes in which versions are published at a revision. What is published no more is forgotten.
    pub fn take_in(&mut self, revision: Revision, published: BTreeSet<KeyVersionId>) {
        self.works.retain(|version| published.contains(version));
        self.failed.retain(|version, _| published.contains(version));
        self.published = published;
        self.revision = revision;
        self.settle();
    }

    /// Takes in whether a version works here.
    pub fn tried(&mut self, version: &KeyVersionId, outcome: Result<(), String>) {
        if !self.published.contains(version) {
            return;
        }
        match outcome {
            Ok(()) => {
                self.failed.remove(version);
                self.works.insert(version.clone());
            }
            Err(reason) => {
                let mut ends = (0..=Usable::REASON.min(reason.len())).rev();
                let end = ends.find(|end| reason.is_char_boundary(*end)).unwrap_or_default();
                self.failed
                    .insert(version.clone(), reason.get(..end).unwrap_or_default().into());
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        if self.untried().next().is_none() {
            self.tried = Some(self.revision);
        }
    }

    /// Returns what was not tried yet.
    pub fn untried(&self) -> impl Iterator<Item = &KeyVersionId> {
        let is_untried =
            |version: &&KeyVersionId| !self.works.contains(*version) && !self.failed.contains_key(*version);
        // Of few sets the lengths say so at once.
        let is_any = self.published.len() > self.works.len() + self.failed.len();
        self.published.iter().filter(move |_| is_any).filter(is_untried)
    }

    /// Returns what was tried and does not work here.
    pub fn failed(&self) -> impl ExactSizeIterator<Item = &KeyVersionId> {
        self.failed.keys()
    }

    /// Returns what the row says.
    #[must_use]
    pub fn usable(&self) -> Usable {
        let named = self.failed.iter().take(Usable::NAMED);
        let failed: Vec<_> = named
            .map(|(version, reason)| Unusable {
                version: version.to_string().into(),
                reason: reason.clone(),
            })
            .collect();
        Usable {
            tried: self.tried,
            more: (self.failed.len() - failed.len()) as u64,
            failed,
        }
    }
}
