//! Why keys under management cannot be served.

use std::fmt;
#[cfg(feature = "postgres")]
use std::io;

use thiserror::Error;
use xks_lifecycle::{
    RandomError, RepositoryError, backup::BackupError, nodes::NodeError, seal::RootError, store::StoreError,
};

use crate::{FAILURE, WRONG_SETTINGS, settings::StorePlace};

/// Where the store is, as errors show it.
#[derive(Debug)]
pub(crate) struct Place {
    shown: String,
    is_file: bool,
}

impl Place {
    pub(super) fn new(place: &StorePlace) -> Self {
        Self {
            shown: place.to_string(),
            is_file: matches!(place, StorePlace::File(_)),
        }
    }

    const fn noun(&self) -> &'static str {
        if self.is_file { "file" } else { "database" }
    }

    /// What to do about a database that does not answer.
    const fn hint(&self, error: &StoreError) -> &'static str {
        match error {
            StoreError::Unavailable { .. } if !self.is_file => {
                ": the database cannot be reached; when it can be, or `url` is right, start again"
            }
            _ => "",
        }
    }

    const fn hint_of(&self, error: &RepositoryError) -> &'static str {
        match error {
            RepositoryError::Store(error) => self.hint(error),
            _ => "",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Why the store of keys under management cannot be opened or made.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error(
        "{0}: there is no store: make it and its roots with `{program} store create SETTINGS`, or restore a backup",
        program = .1
    )]
    NoStore(Place, &'static str),
    #[error("{0}: it has a state already, and stays as it is; to begin with an empty one, name another {noun}", noun = .0.noun())]
    Exists(Place),
    #[error("{0}{hint}", hint = .0.hint(.1))]
    Store(Place, #[source] StoreError),
    /// `is_final`: no root is in a backend, which may be away for a while.
    #[error("{place}{hint}", hint = place.hint_of(error))]
    Repository {
        place: Place,
        is_final: bool,
        #[source]
        error: RepositoryError,
    },
    /// `is_final`: as above.
    #[error("{place}: not restored")]
    Restore {
        place: Place,
        is_final: bool,
        #[source]
        error: BackupError,
    },
    /// Before anything was asked.
    #[error("several nodes on one database")]
    Node(#[from] NodeError),
    #[cfg(feature = "postgres")]
    #[error("cannot start the threads for the database: {0}")]
    Threads(#[source] io::Error),
    #[error("not backed up")]
    Backup(#[source] BackupError),
    #[error("store.roots: root `{0}`")]
    Root(String, #[source] RootError),
    #[error("store.roots: root `{root}`: [backends.{backend}] is not open")]
    NoBackend { root: String, backend: String },
    #[error("lifecycle.backends: [backends.{0}] has no key manager")]
    NoManager(String),
    #[error("cloud: {0}")]
    Cloud(String),
    #[error("lifecycle")]
    Random(#[from] RandomError),
    #[error("the thread that opens the store has ended")]
    Thread,
}

impl StartError {
    /// The status to end with when the start fails so.
    pub(crate) const fn exit_status(&self) -> u8 {
        match self {
            Self::Cloud(_)
            | Self::NoStore(..)
            | Self::Exists(_)
            | Self::Root(..)
            | Self::NoBackend { .. }
            | Self::NoManager(_) => WRONG_SETTINGS,
            Self::Store(_, error) => of_store(error),
            Self::Repository { is_final, error, .. } => of_repository(error, *is_final),
            Self::Restore { is_final, error, .. } => match error {
                BackupError::Repository(error) => of_repository(error, *is_final),
                BackupError::File { .. } => FAILURE,
                _ => WRONG_SETTINGS,
            },
            Self::Node(NodeError::NoLeaseClock) => WRONG_SETTINGS,
            #[cfg(feature = "postgres")]
            Self::Threads(_) => FAILURE,
            Self::Backup(_) | Self::Node(_) | Self::Random(_) | Self::Thread => FAILURE,
        }
    }
}

const fn of_repository(error: &RepositoryError, is_final: bool) -> u8 {
    match error {
        RepositoryError::Store(error) => of_store(error),
        RepositoryError::NoRoot { .. } | RepositoryError::Root { .. } if !is_final => FAILURE,
        _ => WRONG_SETTINGS,
    }
}

/// Whether another start may go well: when another process has ended, the disk has room, or the database can
/// be reached.
const fn of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::OldSqlite { .. }
        | StoreError::NewerSchema { .. }
        | StoreError::OlderSchema { .. }
        | StoreError::Foreign { .. }
        | StoreError::Setting { .. }
        | StoreError::Refused(_)
        | StoreError::ReadOnly(_)
        | StoreError::Damaged(_) => WRONG_SETTINGS,
        _ => FAILURE,
    }
}
