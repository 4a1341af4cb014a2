//! Why a repository cannot load or change the state.

use std::fmt;

use thiserror::Error;

use crate::{
    ChangeError, KeyVersionId, RandomError,
    record::RowError,
    seal::{RootError, SealError},
    store::{Revision, StoreError},
};

/// Why the state cannot be loaded or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The store failed, or its state has changed meanwhile.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was committed to the store yet.
    #[error("the store is empty: create its state first")]
    Empty,
    /// The store has a state already.
    #[error("the store has a state already, of revision {0}")]
    Exists(Revision),
    /// No root was given that the data key can be wrapped under.
    #[error("at least one root is required")]
    RootRequired,
    /// A root cannot be used.
    #[error("root `{name}`: {error}")]
    Root {
        /// Which one.
        name: String,
        /// Why.
        error: RootError,
    },
    /// None of the roots opens the store.
    #[error("no root opens the store: {}; the store knows {}", listed(.failed), listed(.known))]
    NoRoot {
        /// The roots that were tried, each with why it does not open the store.
        failed: Vec<String>,
        /// The names of the roots that the store knows.
        known: Vec<String>,
    },
    /// Rows were edited, moved, put back or taken away, or are not known to this version of the program.
    #[error("{} of the store cannot be trusted: {}", rows(.0), listed(.0))]
    Rows(Vec<RowError>),
    /// Each row is authentic, and all together are not what the revision has.
    #[error(
        "the rows of the store are not those of revision {0}, although each is authentic and fits the list of \
         changes: the head, or rows and list together, were put back from an older copy; restore a whole backup"
    )]
    Head(Revision),
    /// The store is at an earlier revision than before.
    #[error("the store went back from revision {known} to {found}: an older copy of it was restored")]
    WentBack {
        /// The revision that was seen.
        known: Revision,
        /// The revision that the store is at now.
        found: Revision,
    },
    /// The store has another history than the one that was seen.
    #[error(
        "the store is at revision {found}, which does not follow from revision {known} as it was seen: an older copy \
         was restored, and changed since"
    )]
    Forked {
        /// The revision that was seen.
        known: Revision,
        /// The revision that the store is at now.
        found: Revision,
    },
    /// The change contradicts the state.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A secret cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// All encryptions that a version may make are reserved.
    #[error("version {version}: {limit} encryptions are reserved, and no more may be made; rotate the key")]
    Exhausted {
        /// Which version.
        version: KeyVersionId,
        /// How many it may make.
        limit: u64,
    },
}

impl From<RandomError> for RepositoryError {
    fn from(error: RandomError) -> Self {
        Self::Seal(error.into())
    }
}

fn listed(items: &[impl fmt::Display]) -> String {
    const SHOWN: usize = 10;
    let mut text: Vec<_> = items.iter().take(SHOWN).map(ToString::to_string).collect();
    match items.len() {
        0 => text.push("none".to_owned()),
        length if length > SHOWN => text.push(format!("and {} more", length - SHOWN)),
        _ => {}
    }
    text.join("; ")
}

fn rows(errors: &[RowError]) -> String {
    match errors.len() {
        1 => "1 row".to_owned(),
        length => format!("{length} rows"),
    }
}
