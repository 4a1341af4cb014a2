//! Which keys of a backend belong to a key store.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{KeyId, persistent_map::PersistentMap};

#[derive(Clone)]
pub(super) enum KeySet {
    All,
    Listed(PersistentMap<KeyId, ()>),
    Where(Arc<dyn Fn(&KeyId) -> bool + Send + Sync>),
}

impl KeySet {
    /// Returns the key of that id, if it belongs to the key store. `id` is a legal id.
    // URI-3
    pub(super) fn find(&self, id: &str) -> Option<Cow<'_, KeyId>> {
        match self {
            Self::All => KeyId::new(id).ok().map(Cow::Owned),
            Self::Listed(keys) => keys.get_key_value(id).map(|(key, ())| Cow::Borrowed(key)),
            Self::Where(belongs) => KeyId::new(id).ok().filter(|key| belongs(key)).map(Cow::Owned),
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all keys of the backend"),
            Self::Listed(keys) => f.debug_set().entries(keys.iter().map(|(key, ())| key)).finish(),
            Self::Where(_) => f.write_str("the keys that a predicate chooses"),
        }
    }
}
