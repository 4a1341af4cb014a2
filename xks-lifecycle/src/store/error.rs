//! What can be wrong with a store.

use std::{error::Error as StdError, path::PathBuf};

use thiserror::Error;

use super::Revision;

/// Why a store cannot be opened, read or changed. It shows no row.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else has committed meanwhile. Load what changed, decide again.
    #[error("the state has changed: it is at revision {head}, and the change was made for revision {expected}")]
    Conflict {
        /// The revision that the change was made for.
        expected: Revision,
        /// The revision that the store is at.
        head: Revision,
    },
    /// What was to be changed under a claim is another's to change now.
    #[error("the claim `{id}` was taken over by another process: nothing was changed; that one goes on with the work")]
    ClaimLost {
        /// The claim.
        id: Box<str>,
    },
    /// Another process has the database, or another store of this one.
    #[error("{path:?} is in use by {holder}: a database belongs to one process; stop that one, or use its socket")]
    InUse {
        /// The database.
        path: PathBuf,
        /// What is known of the other process.
        holder: String,
    },
    /// The SQLite that this program was linked with has a known defect.
    #[error("SQLite {found} is too old: 3.51.3 or later is required, since earlier ones can lose commits")]
    OldSqlite {
        /// The version that was found.
        found: &'static str,
    },
    /// A later version of this program has used the database.
    #[error("the database has schema version {found}, and this program knows {known}: use a newer program")]
    NewerSchema {
        /// The version of the database.
        found: u32,
        /// The latest version that this program knows.
        known: u32,
    },
    /// An earlier version of this program has used the database last, and it is opened to be read alone.
    #[error(
        "the database has schema version {found}, and this program reads version {known}: use the program that serves \
         it, or start this one with it first"
    )]
    OlderSchema {
        /// The version of the database.
        found: u32,
        /// The version that this program reads.
        known: u32,
    },
    /// The database is of another program.
    #[error("{path:?} is a database of another program; name another file")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// A setting is wrong, or the file that it names is.
    #[error("`{setting}` {problem}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it, without a secret.
        problem: String,
    },
    /// The database knows user, password or database name otherwise, or permits less.
    #[error("the database refuses this program: {0}; check user, password, database and permissions")]
    Refused(String),
    /// There is no room on the disk, or the database has reached its greatest size.
    #[error("no room for the change: {0}; make room on the disk of the database")]
    Full(String),
    /// The database, its directory or its file system is read-only.
    #[error("the database is read-only: {0}; make file and directory writable for this process")]
    ReadOnly(String),
    /// The disk of the database fails, or this process may not write so much to it.
    #[error(
        "the disk of the database failed: {0}; look at quotas, the limit of file sizes (`ulimit -f`) and the system's log"
    )]
    Disk(String),
    /// The file was removed, or another one is in its place. What would be written to it now would be lost.
    #[error(
        "{path:?} was removed or replaced while this process has it open: nothing is read or written any more, since it \
         would be lost; put the file back that was there, or restart"
    )]
    Replaced {
        /// The database.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error("the database is damaged: {0}; restore a backup")]
    Damaged(String),
    /// The store failed otherwise, or cannot be reached.
    #[error("{detail}: {source}")]
    Unavailable {
        /// What was being done.
        detail: String,
        /// Why it failed.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl StoreError {
    /// A store that failed while `detail` was being done, because of `source`.
    pub fn unavailable(detail: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable {
            detail: detail.into(),
            source: source.into(),
        }
    }

    /// Returns whether the change may have been made although the call failed.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Disk(_))
    }
}
