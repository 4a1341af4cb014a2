//! The credentials of external key stores, as requests see them.

use std::{
    collections::BTreeMap,
    fmt,
    future::ready,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use xks_core::{
    Credential,
    dependency::{DependencyError, Reply},
    key_store::{AccessKeyId, Credentials},
};

use crate::{KeyStoreCredential, KeyStoreId, Snapshot, Timestamp, commands::Commands, nodes::Node};

/// The credentials of one external key store, for
/// [`KeyStoreBuilder::credentials_from`](xks_core::key_store::KeyStoreBuilder::credentials_from).
///
/// A request loads the list behind an atomic pointer: it takes no lock and waits for nothing. A command on a
/// credential that has returned is in it, and one that has ended is not found from its time on. On one of
/// several [nodes](crate::nodes) that has no lease a credential that is not found may have been made since:
/// the request is answered `DependencyTimeoutException`.
#[derive(Clone)]
pub struct ManagedCredentials {
    list: Arc<List>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// This process as one of several nodes; none if the state belongs to it alone.
    node: Option<Arc<Node>>,
}

impl ManagedCredentials {
    /// The credentials of an external key store that are, or come, under these commands.
    #[must_use]
    pub fn new(commands: &Commands, key_store: KeyStoreId) -> Self {
        Self {
            list: commands.live_credentials().of(key_store),
            now: commands.clock(),
            node: commands.node().cloned(),
        }
    }
}

impl Credentials for ManagedCredentials {
    fn find<'a>(&'a self, access_key_id: &'a str) -> Reply<'a, Option<Credential>> {
        let pass = self.node.as_ref().map(|node| node.lease().enter());
        let list = self.list.load();
        let is_it = |known: &&Known| known.credential.access_key_id().as_str() == access_key_id;
        let found = list.iter().find(is_it);
        let live = found.filter(|known| known.expires.is_none_or(|end| (self.now)() < end));
        match live {
            Some(known) => Reply::Now(Some(known.credential.clone())),
            // What was read may be over: whether there is none is unknown.
            None if pass == Some(None) => Reply::later(ready(Err(DependencyError::timeout(
                "this node has no lease: it did not reach the store in time, so it may not know the credential",
            )))),
            None => Reply::Now(None),
        }
    }
}

impl fmt::Debug for ManagedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedCredentials")
            .field("credentials", &self.list.load().len())
            .finish_non_exhaustive()
    }
}

/// Of one key store: those that were not revoked.
type List = ArcSwap<Vec<Known>>;

#[derive(Clone)]
struct Known {
    /// Clones of it share its signing keys, and when it was used last.
    credential: Credential,
    expires: Option<Timestamp>,
    /// Up to when its last use is in the store.
    noted: Arc<AtomicU64>,
}

impl Known {
    /// A credential as it is now. It goes on with the keys and the use that it had. A legal one is always
    /// made.
    fn new(credential: &KeyStoreCredential, former: Option<&Self>) -> Option<Self> {
        let (shared, noted) = match former {
            Some(former) => (former.credential.clone(), Arc::clone(&former.noted)),
            None => (credential.shared().ok()?, Arc::default()),
        };
        Some(Self {
            credential: shared,
            expires: credential.expires,
            noted,
        })
    }

    fn is(&self, id: &AccessKeyId) -> bool {
        self.credential.access_key_id() == id
    }

    fn last_used(&self) -> Option<Timestamp> {
        self.credential.last_used().map(Timestamp::from)
    }
}

/// The credentials of all external key stores.
#[derive(Default)]
pub(crate) struct LiveCredentials(Mutex<BTreeMap<KeyStoreId, Arc<List>>>);

impl LiveCredentials {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let all = Self::default();
        all.update(
            snapshot,
            snapshot.credentials().map(|credential| &credential.access_key_id),
        );
        all
    }

    /// Nothing that is done under the lock can be left halfway.
    fn lists(&self) -> MutexGuard<'_, BTreeMap<KeyStoreId, Arc<List>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, key_store: KeyStoreId) -> Arc<List> {
        Arc::clone(self.lists().entry(key_store).or_default())
    }

    /// Takes in what has changed in a snapshot. Updates come one after the other.
    pub(crate) fn update<'s>(&self, snapshot: &Snapshot, touched: impl IntoIterator<Item = &'s AccessKeyId>) {
        for credential in touched.into_iter().filter_map(|id| snapshot.credential(id)) {
            let list = self.of(credential.key_store);
            let mut next = Vec::clone(&list.load());
            let place = next.iter().position(|known| known.is(&credential.access_key_id));
            let former = place.map(|place| next.swap_remove(place));
            if !credential.is_revoked {
                next.extend(Known::new(credential, former.as_ref()));
            }
            list.store(Arc::new(next));
        }
    }

    /// When this process has seen a credential used last.
    pub(crate) fn last_used(&self, key_store: KeyStoreId, id: &AccessKeyId) -> Option<Timestamp> {
        let list = self.of(key_store).load_full();
        list.iter().find(|known| known.is(id))?.last_used()
    }

    /// The credentials that were used since it was noted, with when that was last.
    pub(crate) fn used(&self) -> Vec<Used> {
        let lists: Vec<_> = self.lists().values().map(|list| list.load_full()).collect();
        let known = lists.iter().flat_map(|list| list.iter());
        let used = known.filter_map(|known| {
            let time = known.last_used()?;
            (time.seconds() > known.noted.load(Relaxed)).then(|| Used {
                id: known.credential.access_key_id().clone(),
                time,
                noted: Arc::clone(&known.noted),
            })
        });
        used.collect()
    }
}

/// A last use that is not in the store yet.
pub(crate) struct Used {
    pub(crate) id: AccessKeyId,
    pub(crate) time: Timestamp,
    noted: Arc<AtomicU64>,
}

impl Used {
    /// Says that it is in the store.
    pub(crate) fn note(self) {
        self.noted.fetch_max(self.time.seconds(), Relaxed);
    }
}
