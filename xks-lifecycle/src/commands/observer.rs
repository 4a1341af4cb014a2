//! Who learns of each change of the state before the command that made it returns.

use std::{collections::BTreeSet, fmt};

use super::Commands;
use crate::{KeyStoreId, Managed, ManagedCredentials, Snapshot, Touched};

/// Learns of each change of the state, after requests for managed keys see it, and before the command that
/// made it returns: so what an observer does with a change is in force when the command has returned.
///
/// ```
/// use std::{collections::BTreeMap, sync::Mutex};
/// use xks_lifecycle::{
///     KeyStoreId, Managed,
///     commands::{Observed, Observer},
/// };
///
/// /// The external key stores that are served.
/// struct Served(Mutex<BTreeMap<KeyStoreId, Managed>>);
///
/// impl Observer for Served {
///     fn changed(&self, state: &Observed<'_>) {
///         let Ok(mut served) = self.0.lock() else { return };
///         for id in state.key_stores() {
///             match state.snapshot().key_store(id) {
///                 Some(_) => served.insert(id, state.managed(id)),
///                 None => served.remove(&id),
///             };
///         }
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Learns what has changed: first the whole state, then each change, one after the other, in the order of
    /// their revisions. A change may come again.
    ///
    /// It is called while the state is locked, and every command waits for it. It must not call any method of
    /// [`Commands`], which would never return, nor block, nor panic. What takes longer it hands to a task of
    /// its own.
    fn changed(&self, state: &Observed<'_>);
}

/// The state after a change, and what that has touched.
#[derive(Clone, Copy)]
pub struct Observed<'c> {
    pub(super) commands: &'c Commands,
    pub(super) snapshot: &'c Snapshot,
    pub(super) touched: Option<&'c Touched>,
}

impl<'c> Observed<'c> {
    /// Returns the state.
    #[must_use]
    pub const fn snapshot(&self) -> &'c Snapshot {
        self.snapshot
    }

    /// Returns what has changed; none the first time, when everything is new.
    #[must_use]
    pub const fn touched(&self) -> Option<&'c Touched> {
        self.touched
    }

    /// Returns the external key stores that have changed, or a credential of which has: all of them the first
    /// time. One that is not in the state was removed.
    #[must_use]
    pub fn key_stores(&self) -> BTreeSet<KeyStoreId> {
        let Some(touched) = self.touched else {
            return self.snapshot.key_stores().map(|key_store| key_store.id).collect();
        };
        let credentials = touched.credentials.iter();
        let of_credentials = credentials.filter_map(|id| Some(self.snapshot.credential(id)?.key_store));
        touched.key_stores.iter().copied().chain(of_credentials).collect()
    }

    /// Returns the keys of an external key store, as a backend.
    #[must_use]
    pub fn managed(&self, key_store: KeyStoreId) -> Managed {
        Managed::new(self.commands, key_store)
    }

    /// Returns the credentials of an external key store, as a source of credentials. What becomes of them
    /// later is seen by requests without an observer.
    #[must_use]
    pub fn credentials(&self, key_store: KeyStoreId) -> ManagedCredentials {
        ManagedCredentials::new(self.commands, key_store)
    }
}

impl fmt::Debug for Observed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("snapshot", self.snapshot)
            .field("touched", &self.touched)
            .finish_non_exhaustive()
    }
}
