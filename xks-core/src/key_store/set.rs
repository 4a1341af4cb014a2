//! The key stores that a proxy serves, and how they are changed while it does.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use super::{AccessKeyId, Credential, KeyStore, KeyStoreBuilder, KeyStoreError, KeyStoreProblem, UriPathPrefix};
use crate::persistent_map::PersistentMap;

/// The key stores that a proxy serves. They can be changed while requests are being served, without a lock
/// for those who read; a request goes on with the key store that it began with.
///
/// A change of one key store costs the same however many there are. Each change is atomic: no request sees
/// half of it, and one that fails changes nothing. Changes wait for each other, so that none is lost. A
/// credential that is also in the key store that takes another one's place keeps the signing keys that were
/// derived from it, and its last use.
///
/// ```
/// # use xks_core::{Credential, KeyStore, KeyStores, key_store::{KeyStoreError, UriPathPrefix}};
/// # fn doc(tenant_a: KeyStore, tenant_b: KeyStore, old: Credential, new: Credential) -> Result<(), KeyStoreError> {
/// let key_stores = KeyStores::new([tenant_a, tenant_b])?;
/// # let prefix: UriPathPrefix = "/tenant-a".parse().unwrap();
///
/// // A credential is rotated with an overlap:
/// key_stores.update(&prefix, |tenant_a| tenant_a.credential(new))?;
/// key_stores.update(&prefix, |tenant_a| tenant_a.without_credential(old.access_key_id()))?;
///
/// // A key store is blocked, then no longer served:
/// key_stores.update(&prefix, |tenant_a| tenant_a.blocked(true))?;
/// key_stores.remove("/tenant-a");
/// # Ok(())
/// # }
/// ```
pub struct KeyStores {
    current: ArcSwap<KeyStoreSet>,
    /// Changes wait for each other, so that none is lost.
    changing: Mutex<()>,
}

impl KeyStores {
    /// Serves these.
    ///
    /// # Errors
    /// [`KeyStoreError`] when two have the same prefix, or an access key id with different secrets.
    pub fn new<S: Into<Arc<KeyStore>>>(key_stores: impl IntoIterator<Item = S>) -> Result<Self, KeyStoreError> {
        let set = KeyStoreSet::default();
        Ok(Self {
            current: ArcSwap::from_pointee(set.replaced_by(key_stores)?),
            changing: Mutex::new(()),
        })
    }

    /// Returns the key stores of this moment, which later changes leave as they are.
    #[must_use]
    pub fn snapshot(&self) -> Arc<KeyStoreSet> {
        self.current.load_full()
    }

    /// Returns the key store of a prefix.
    #[must_use]
    pub fn get(&self, prefix: &str) -> Option<Arc<KeyStore>> {
        self.current.load().get(prefix).cloned()
    }

    /// Adds a key store, in place of the one with the same prefix if there is one, which is returned.
    ///
    /// # Errors
    /// [`KeyStoreError`] when it has an access key id with another secret than another one.
    pub fn insert(&self, key_store: impl Into<Arc<KeyStore>>) -> Result<Option<Arc<KeyStore>>, KeyStoreError> {
        self.change(|set| set.insert(key_store))
    }

    /// Removes and returns the key store of a prefix, if there is one. Its requests are answered
    /// `InvalidUriPathException` from then on.
    pub fn remove(&self, prefix: &str) -> Option<Arc<KeyStore>> {
        let removed: Result<_, std::convert::Infallible> = self.change(|set| Ok(set.remove(prefix)));
        let Ok(removed) = removed;
        removed
    }

    /// Changes one key store, and returns what it has become: `change` gets a [builder](KeyStore::to_builder)
    /// that has all that it is made of. It must not call `self`, which waits for it.
    ///
    /// # Errors
    /// [`KeyStoreError`] when there is no key store of this prefix, and as [`KeyStoreBuilder::build`] and
    /// [`insert`](Self::insert).
    pub fn update(
        &self,
        prefix: &UriPathPrefix,
        change: impl FnOnce(KeyStoreBuilder) -> KeyStoreBuilder,
    ) -> Result<Arc<KeyStore>, KeyStoreError> {
        self.change(|set| {
            let former = set.get(prefix.as_str()).ok_or_else(|| KeyStoreError {
                prefix: prefix.clone(),
                problem: KeyStoreProblem::Unknown,
            })?;
            let key_store = Arc::new(change(former.to_builder()).build()?);
            set.insert(Arc::clone(&key_store))?;
            Ok(key_store)
        })
    }

    /// Replaces the whole set. To keep a key store, pass the `Arc` that [`get`](Self::get) returned.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn replace<S: Into<Arc<KeyStore>>>(
        &self,
        key_stores: impl IntoIterator<Item = S>,
    ) -> Result<(), KeyStoreError> {
        self.change(|set| {
            *set = set.replaced_by(key_stores)?;
            Ok(())
        })
    }

    /// Makes several changes as one. Nothing is changed when `change` returns an error. It must not call
    /// `self`, which waits for it.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn change<T, E>(&self, change: impl FnOnce(&mut KeyStoreSet) -> Result<T, E>) -> Result<T, E> {
        // Nothing is guarded but the order of changes, so a panic of another thread has broken nothing.
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let mut set = KeyStoreSet::clone(&current);
        set.former = Some(current);
        let result = change(&mut set)?;
        set.former = None;
        self.current.store(Arc::new(set));
        Ok(result)
    }
}

impl fmt::Debug for KeyStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.load().fmt(f)
    }
}

/// Key stores, each with a prefix of its own. A clone shares all of them, and costs the same however many
/// there are.
#[derive(Clone, Default)]
pub struct KeyStoreSet {
    by_prefix: PersistentMap<UriPathPrefix, Arc<KeyStore>>,
    by_access_key_id: PersistentMap<AccessKeyId, Holders>,
    /// While it is being changed, what it was before: a key store that is removed and added again keeps what
    /// is known of its credentials.
    former: Option<Arc<Self>>,
}

/// The key stores that have one credential.
#[derive(Clone)]
struct Holders {
    credential: Credential,
    count: usize,
}

impl KeyStoreSet {
    /// Returns the number of key stores.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.by_prefix.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all key stores, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<KeyStore>> {
        self.by_prefix.iter().map(|(_, key_store)| key_store)
    }

    /// Returns the key store of a prefix.
    #[must_use]
    pub fn get(&self, prefix: &str) -> Option<&Arc<KeyStore>> {
        self.by_prefix.get(prefix)
    }

    /// Adds a key store, in place of the one with the same prefix if there is one, which is returned.
    ///
    /// # Errors
    /// [`KeyStoreError`] when it has an access key id with another secret than another one; nothing has
    /// changed then.
    pub fn insert(&mut self, key_store: impl Into<Arc<KeyStore>>) -> Result<Option<Arc<KeyStore>>, KeyStoreError> {
        let key_store = key_store.into();
        let former = self.get(key_store.prefix().as_str());
        // SIG-6: an access key id names one secret. Several key stores may have the same credential; each
        // still has its own keys.
        let names_another_secret = |credential: &&Credential| {
            let id = credential.access_key_id();
            self.by_access_key_id.get(id).is_some_and(|holders| {
                let is_former_one = former.is_some_and(|former| former.listed_credential(id).is_some());
                holders.count > usize::from(is_former_one) && holders.credential != **credential
            })
        };
        if let Some(credential) = key_store.credentials().iter().find(names_another_secret) {
            return Err(KeyStoreError {
                prefix: key_store.prefix().clone(),
                problem: KeyStoreProblem::AccessKeyIdTaken(credential.access_key_id().clone()),
            });
        }
        if let Some(former) = &self.former {
            former.hand_over_to(&key_store);
        }
        let former = self.remove(key_store.prefix().as_str());
        for credential in key_store.credentials() {
            let id = credential.access_key_id();
            let count = self.by_access_key_id.get(id).map_or(0, |holders| holders.count);
            let holders = Holders {
                credential: credential.clone(),
                count: count + 1,
            };
            self.by_access_key_id.insert(id.clone(), holders);
        }
        self.by_prefix.insert(key_store.prefix().clone(), key_store);
        Ok(former)
    }

    /// Removes and returns the key store of a prefix, if there is one.
    pub fn remove(&mut self, prefix: &str) -> Option<Arc<KeyStore>> {
        let removed = self.by_prefix.remove(prefix)?;
        for id in removed.credentials().iter().map(Credential::access_key_id) {
            let others = self
                .by_access_key_id
                .get(id)
                .filter(|holders| holders.count > 1)
                .cloned();
            match others {
                Some(Holders { credential, count }) => {
                    let count = count - 1;
                    self.by_access_key_id.insert(id.clone(), Holders { credential, count });
                }
                None => drop(self.by_access_key_id.remove(id)),
            }
        }
        Some(removed)
    }

    /// Returns a set of these, as a change of this one.
    fn replaced_by<S: Into<Arc<KeyStore>>>(
        &self,
        key_stores: impl IntoIterator<Item = S>,
    ) -> Result<Self, KeyStoreError> {
        let mut set = Self {
            former: self.former.clone(),
            ..Self::default()
        };
        for key_store in key_stores {
            if let Some(former) = set.insert(key_store)? {
                return Err(KeyStoreError {
                    prefix: former.prefix().clone(),
                    problem: KeyStoreProblem::PrefixTaken,
                });
            }
        }
        Ok(set)
    }

    /// Gives the credentials of a key store what is known of those that are the same.
    fn hand_over_to(&self, key_store: &KeyStore) {
        let former = self.get(key_store.prefix().as_str());
        for credential in key_store.credentials() {
            let id = credential.access_key_id();
            let of_former = former.and_then(|former| former.listed_credential(id));
            let of_others = self.by_access_key_id.get(id).map(|holders| &holders.credential);
            for known in of_former.into_iter().chain(of_others) {
                credential.take_over(known);
            }
        }
    }
}

impl fmt::Debug for KeyStoreSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
