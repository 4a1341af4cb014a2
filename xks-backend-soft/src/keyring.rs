//! The keys of a backend, read without a lock while they are being changed.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use xks_core::KeyId;

use crate::{SoftKeyError, key::SoftKey};

/// The keys of one moment. Its readers are not disturbed by changes, and do not see them.
pub(crate) type Keys = HashMap<KeyId, Arc<SoftKey>>;

/// A set of keys that is replaced as a whole by each change.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: ArcSwap<Keys>,
    /// Changes wait for each other, so that none is lost.
    changing: Mutex<()>,
    /// The length of the longest metadata of all keys that were there so far: kept, since to look through a
    /// million keys takes long.
    metadata_length: AtomicUsize,
}

impl Keyring {
    /// The keys of this moment.
    pub(crate) fn load(&self) -> Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// Adds a key; gives back the one that had the id. Where the new one has the same key material, it counts
    /// on.
    pub(crate) fn insert(&self, id: KeyId, key: SoftKey) -> Option<Arc<SoftKey>> {
        self.change(|keys| self.put(keys, id, key))
    }

    /// Adds keys, as one change.
    pub(crate) fn insert_all(&self, all: impl IntoIterator<Item = (KeyId, SoftKey)>) {
        self.change(|keys| {
            for (id, key) in all {
                self.put(keys, id, key);
            }
        });
    }

    fn put(&self, keys: &mut Keys, id: KeyId, key: SoftKey) -> Option<Arc<SoftKey>> {
        let key = match keys.get(&id) {
            Some(earlier) => key.counting_on(earlier),
            None => key,
        };
        self.note(&key);
        keys.insert(id, Arc::new(key))
    }

    pub(crate) fn remove(&self, id: &KeyId) -> Option<Arc<SoftKey>> {
        self.change(|keys| keys.remove(id))
    }

    /// Puts what `update` makes of a key in its place.
    pub(crate) fn update(
        &self,
        id: &KeyId,
        update: impl FnOnce(SoftKey) -> Result<SoftKey, SoftKeyError>,
    ) -> Result<Arc<SoftKey>, SoftKeyError> {
        self.change(|keys| {
            let key = keys.get_mut(id).ok_or_else(|| SoftKeyError::UnknownKey(id.clone()))?;
            *key = Arc::new(update(SoftKey::clone(key))?);
            self.note(key);
            Ok(Arc::clone(key))
        })
    }

    /// The most bytes of metadata of a ciphertext: at least those of a version 1, which any new key has.
    pub(crate) fn metadata_length(&self) -> usize {
        let longest = self.metadata_length.load(Ordering::Relaxed);
        longest.max("key_version=1".len())
    }

    fn note(&self, key: &SoftKey) {
        self.metadata_length.fetch_max(key.metadata_length(), Ordering::Relaxed);
    }

    /// Changes the keys as a whole. Other changes wait for their turn.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Keys) -> T) -> T {
        // Nothing is guarded but the order, so a panic of another thread has broken nothing.
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = Keys::clone(&self.keys.load());
        let outcome = change(&mut keys);
        self.keys.store(Arc::new(keys));
        outcome
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.load().iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use xks_core::backend::KeyStatus;

    use super::*;
    use crate::version::KeyVersion;

    fn id(text: &str) -> KeyId {
        text.parse().unwrap()
    }

    fn key(byte: u8) -> SoftKey {
        SoftKey::new(KeyVersion::new(1, [byte; 32]).unwrap())
    }

    #[test]
    fn who_has_loaded_the_keys_keeps_them() {
        let keyring = Keyring::default();
        keyring.insert(id("a"), key(1));
        let before = keyring.load();
        assert!(keyring.remove(&id("a")).is_some() && keyring.remove(&id("a")).is_none());
        assert!(before.contains_key("a") && !keyring.load().contains_key("a"));
    }

    #[test]
    fn a_key_inserted_again_counts_on() {
        let keyring = Keyring::default();
        keyring.insert(
            id("a"),
            SoftKey::new(KeyVersion::new(1, [1; 32]).unwrap().with_encryptions(50)),
        );
        let encryptions = || keyring.load()["a"].newest_version().encryptions();
        keyring.insert(id("a"), key(1));
        assert_eq!(encryptions(), 50);
        // The same key under another number, behind a newer one.
        let renumbered = SoftKey::new(KeyVersion::new(7, [1; 32]).unwrap())
            .with_version(KeyVersion::new(8, [2; 32]).unwrap())
            .unwrap();
        keyring.insert(id("a"), renumbered);
        let counts: Vec<_> = keyring.load()["a"].versions().map(KeyVersion::encryptions).collect();
        assert_eq!(counts, [50, 0]);
        keyring.insert(id("a"), key(3));
        assert_eq!(encryptions(), 0);
    }

    #[test]
    fn keys_inserted_together_are_all_there_and_count_on() {
        let keyring = Keyring::default();
        let counted = KeyVersion::new(1, [1; 32]).unwrap().with_encryptions(50);
        keyring.insert(id("a"), SoftKey::new(counted));
        keyring.insert_all([(id("a"), key(1)), (id("b"), key(2))]);
        let keys = keyring.load();
        assert_eq!((keys.len(), keys["a"].newest_version().encryptions()), (2, 50));
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let keyring = Keyring::default();
        let unknown = keyring.update(&id("a"), Ok).unwrap_err();
        assert_eq!(unknown.to_string(), "no key a: insert it first");
        keyring.insert(id("a"), key(1));
        assert!(keyring.update(&id("a"), |key| key.without_version(1)).is_err());
        assert!(keyring.load().contains_key("a"));
    }

    #[test]
    fn no_change_is_lost() {
        let keyring = Keyring::default();
        keyring.insert(id("shared"), key(0));
        thread::scope(|scope| {
            for thread in 0..8_u8 {
                let keyring = &keyring;
                scope.spawn(move || {
                    for number in 0..50 {
                        keyring.insert(id(&format!("{thread}-{number}")), key(thread));
                        keyring
                            .update(&id("shared"), |key| {
                                let next = key.newest_version().number() + 1;
                                let mut bytes = [0; 32];
                                bytes[..4].copy_from_slice(&next.to_be_bytes());
                                key.with_status(KeyStatus::Disabled)
                                    .with_version(KeyVersion::new(next, bytes)?)
                            })
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(keyring.load().len(), 401);
        assert_eq!(keyring.load()["shared"].versions().count(), 401);
    }
}
