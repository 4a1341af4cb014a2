//! Why keys under management cannot be served.

use std::path::PathBuf;

use thiserror::Error;
use xks_lifecycle::{RandomError, RepositoryError, seal::RootError, store::StoreError};

use crate::{FAILURE, WRONG_SETTINGS};

/// Why the store of keys under management cannot be opened or made.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error(
        "store.file = {0:?}: there is no store: make it and its roots with `{program} store create SETTINGS`, or \
         restore a backup",
        program = .1
    )]
    NoStore(PathBuf, &'static str),
    #[error(
        "store.file = {0:?}: it has a state already, and stays as it is; to begin with an empty one, name another file"
    )]
    Exists(PathBuf),
    #[error("store.file = {0:?}")]
    Store(PathBuf, #[source] StoreError),
    /// `is_final`: no root is in a backend, which may be away for a while.
    #[error("store.file = {file:?}")]
    Repository {
        file: PathBuf,
        is_final: bool,
        #[source]
        error: RepositoryError,
    },
    #[error("store.roots: root `{0}`")]
    Root(String, #[source] RootError),
    #[error("store.roots: root `{root}`: [backends.{backend}] is not open")]
    NoBackend { root: String, backend: String },
    #[error("lifecycle.backends: [backends.{0}] has no key manager")]
    NoManager(String),
    #[error("lifecycle")]
    Random(#[from] RandomError),
    #[error("the thread that opens the store has ended")]
    Thread,
}

impl StartError {
    /// The status to end with when the start fails so.
    pub(crate) const fn exit_status(&self) -> u8 {
        match self {
            Self::NoStore(..) | Self::Exists(_) | Self::Root(..) | Self::NoBackend { .. } | Self::NoManager(_) => {
                WRONG_SETTINGS
            }
            Self::Store(_, error) => of_store(error),
            Self::Repository { is_final, error, .. } => match error {
                RepositoryError::Store(error) => of_store(error),
                RepositoryError::NoRoot { .. } if !*is_final => FAILURE,
                RepositoryError::Root { .. } if !*is_final => FAILURE,
                _ => WRONG_SETTINGS,
            },
            Self::Random(_) | Self::Thread => FAILURE,
        }
    }
}

/// Whether another start may go well: when another process has ended, or the disk has room.
const fn of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::OldSqlite { .. }
        | StoreError::NewerSchema { .. }
        | StoreError::Foreign { .. }
        | StoreError::ReadOnly(_)
        | StoreError::Damaged(_) => WRONG_SETTINGS,
        _ => FAILURE,
    }
}
