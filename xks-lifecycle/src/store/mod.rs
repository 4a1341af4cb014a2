//! Where the state is kept: [`Store`], which knows rows and nothing of what they mean.
//!
//! A store keeps the rows of [tables](Table) under one revision, a row for each claim, and a list of events.
//! It holds no key: secrets come to it sealed, and whether a row was tampered with is for the
//! [`Repository`](crate::Repository) to find out. So each database needs little code, and all of them pass
//! one suite of contracts.

mod change;
mod claim;
mod durability;
mod error;
mod memory;
mod notifier;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

use xks_core::async_trait;

pub(crate) use self::notifier::Notifier;
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresSettings, PostgresStore, PostgresWarning};
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::{
    change::{ChangeSet, Head, Revision},
    claim::{Claim, ClaimKind, Swap, Swapped},
    durability::Durability,
    error::StoreError,
    memory::MemoryStore,
    row::{Cell, Loaded, Row, RowCode, RowSink, Table},
};
use crate::Event;

/// What to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// All rows of all tables.
    Everything,
    /// All rows of one table.
    Table(Table),
    /// Rows that were changed or removed after a revision.
    Since(Revision),
}

/// Keeps the state: SQLite in a file, PostgreSQL, or memory for tests.
///
/// # You must
/// * apply a change set whole or not at all, and only at the revision that it expects. The revision is one
///   counter row, which is updated last, so that the order of revisions is the order of commits;
/// * have a change set on the disk before [`commit`](Self::commit) returns, unless the state ends with the
///   process;
/// * show a [`load`](Self::load) one revision: all rows as that revision has them, and no others;
/// * remember of each row that was ever put the revision that it carries, and of each that was removed the
///   revision that did;
/// * keep cells as they are, to the last byte;
/// * leave the revision alone in [`swap`](Self::swap) and [`record`](Self::record);
/// * serve calls from many tasks at once.
///
/// # Cancellation
/// A future may be dropped at any time. Whether its change was made is unknown then, as after
/// [`StoreError::Unavailable`]: load what changed since the revision that is known.
///
/// # Errors
/// [`StoreError::Conflict`] from a commit at another revision; the others say what is wrong with the store.
///
/// # Conformance
/// `xks_lifecycle::store_conformance!`, of the feature `testkit`, makes a test of each of these rules in the
/// store's own tests.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads rows, hands each to `sink`, and returns the head of the revision that they belong to.
    ///
    /// Rows come table by table, in the order of [`Table::ALL`], and within a table in no order. With
    /// [`Scope::Since`] a row comes with the revision that last changed it, and a row that is not there any
    /// more comes as nothing.
    ///
    /// # Errors
    /// Those of the store.
    async fn load(&self, scope: Scope, sink: RowSink) -> Result<Head, StoreError>;

    /// Applies a change set, as one transaction: rows, removals, claims, ended claims, events, and the head
    /// last.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the store is at another revision than the change set expects;
    /// [`StoreError::ClaimLost`] when the claim that it names is not as it was seen, which no swap may change
    /// before the commit has ended; and those of the store. Nothing was changed unless the error [says
    /// otherwise](StoreError::is_unknown).
    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError>;

    /// Waits until the store is at a later revision than `after`, and returns which.
    ///
    /// # Errors
    /// Those of the store.
    async fn follow(&self, after: Revision) -> Result<Revision, StoreError>;

    /// Inserts, replaces or deletes one claim, if it is as the caller last saw it. The revision stays.
    ///
    /// # Errors
    /// Those of the store. A claim that is not as it was seen is no error: see [`Swapped`].
    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError>;

    /// Returns all claims of a kind, in the order of their ids, and the revision at that moment.
    ///
    /// # Errors
    /// Those of the store.
    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError>;

    /// As [`swap`](Self::swap), and returns all claims of the kind too, as after the swap: what a node asks
    /// for when it renews its lease. The revision is that of the list, or of a moment since the call began.
    /// By default it makes both calls; a store at the other end of a network needs one round trip.
    ///
    /// # Errors
    /// Those of the store. The claim may have been changed all the same.
    async fn swap_and_list(&self, swap: Swap) -> Result<(Swapped, Vec<Claim>), StoreError> {
        let kind = swap.place().0;
        let swapped = self.swap(swap).await?;
        let (claims, revision) = self.claims(kind).await?;
        Ok((Swapped { revision, ..swapped }, claims))
    }

    /// Returns what can lose a commit that has returned. By default [`Durability::Single`].
    ///
    /// # Errors
    /// Those of the store.
    async fn durability(&self) -> Result<Durability, StoreError> {
        Ok(Durability::Single)
    }

    /// Appends events that belong to no change of the state. The revision stays.
    ///
    /// # Errors
    /// Those of the store; then none of them is there.
    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError>;

    /// Returns at most `limit` events after the event of this number, oldest first, each with its number. The
    /// first one has the number 1 or more.
    ///
    /// # Errors
    /// Those of the store.
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError>;
}
