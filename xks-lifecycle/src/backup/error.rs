//! Why a backup cannot be written or restored.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    RepositoryError,
    record::RowError,
    store::{Revision, StoreError},
};

/// Why a backup cannot be written or restored. Nothing was restored then, unless the error of the store
/// [says otherwise](StoreError::is_unknown).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file cannot be read or written.
    #[error("{path:?} {action}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was not possible.
        action: &'static str,
        /// Why.
        reason: io::Error,
    },
    /// The file does not begin as a backup does.
    #[error("{path:?} is not a backup: its first line is not that of one")]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// A later version of this program has made it.
    #[error("the backup has format {found}, and this program knows format {known}: use a newer program")]
    NewerFormat {
        /// The format of the file.
        found: u64,
        /// The latest format that this program knows.
        known: u64,
    },
    /// A line is not as it was written.
    #[error("line {number} of the backup{}: {problem}", named(.name))]
    Line {
        /// Which line, counted from 1.
        number: u64,
        /// What it is about, if that can be read.
        name: Option<String>,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// The end of the file is missing.
    #[error("the backup was cut off after line {lines}: its end is missing; use another copy of it")]
    CutOff {
        /// How many lines there are.
        lines: u64,
    },
    /// A row is authentic, and not known to this version of the program.
    #[error("line {number} of the backup: {error}; use a newer program")]
    Row {
        /// Which line, counted from 1.
        number: u64,
        /// What is wrong with it.
        error: RowError,
    },
    /// All lines are authentic, and together they are not what the revision has.
    #[error("the rows of the backup are not those of revision {0}; use another backup")]
    Head(Revision),
    /// No root opens it, the store is not empty, or it fails.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// Its code is not that of the line in this place.
    #[error("it was edited, or lines were moved, taken away or put in before it; use another copy of the backup")]
    Edited,
    /// It is not what a line can be.
    #[error("it is not a line of a backup")]
    Syntax,
    /// It is of a table, or has a column, that this version of the program does not know.
    #[error("this version of the program does not know it; use a newer one")]
    Unknown,
    /// It comes after the end.
    #[error("it stands behind the end of the backup")]
    AfterTheEnd,
}

impl BackupError {
    pub(super) fn file(path: &Path, action: &'static str, reason: io::Error) -> Self {
        let path = path.into();
        Self::File { path, action, reason }
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}

fn named(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
}
