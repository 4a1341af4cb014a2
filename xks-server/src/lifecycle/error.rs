//! Why keys under management cannot be served.

use std::path::PathBuf;

use thiserror::Error;
use xks_lifecycle::{RandomError, RepositoryError, backup::BackupError, seal::RootError, store::StoreError};

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
    /// `is_final`: as above.
    #[error("store.file = {file:?}: not restored")]
    Restore {
        file: PathBuf,
        is_final: bool,
        #[source]
        error: BackupError,
    },
    #[error("not backed up")]
    Backup(#[source] BackupError),
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
            Self::Repository { is_final, error, .. } => of_repository(error, *is_final),
            Self::Restore { is_final, error, .. } => match error {
                BackupError::Repository(error) => of_repository(error, *is_final),
                BackupError::File { .. } => FAILURE,
                _ => WRONG_SETTINGS,
            },
            Self::Backup(_) | Self::Random(_) | Self::Thread => FAILURE,
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

/// Whether another start may go well: when another process has ended, or the disk has room.
const fn of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::OldSqlite { .. }
        | StoreError::NewerSchema { .. }
        | StoreError::OlderSchema { .. }
        | StoreError::Foreign { .. }
        | StoreError::ReadOnly(_)
        | StoreError::Damaged(_) => WRONG_SETTINGS,
        _ => FAILURE,
    }
}
