//! The handles by which a session knows the keys that it has used.

use std::{collections::HashMap, sync::Arc};

use cryptoki_sys as ck;
use xks_core::KeyId;

use super::Key;
use crate::handles::HandleTime;

/// How many keys a session knows: more than a token has, as a rule.
const MOST_HELD: usize = 16_384;

/// A key, and its handle in a session.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    pub(crate) key: Arc<Key>,
    pub(crate) handle: ck::CK_OBJECT_HANDLE,
    /// When this session has seen that the handle is the key's. None: the module was giving out handles then.
    pub(crate) as_of: Option<HandleTime>,
}

/// The keys that a session knows.
#[derive(Debug, Default)]
pub(crate) struct Held(HashMap<KeyId, Holding>);

impl Held {
    pub(crate) fn get(&self, id: &KeyId) -> Option<&Holding> {
        self.0.get(id)
    }

    pub(crate) fn put(&mut self, id: &KeyId, holding: Holding) -> &Holding {
        if self.0.len() >= MOST_HELD && !self.0.contains_key(id) {
            self.0.clear();
        }
        self.0.entry(id.clone()).insert_entry(holding).into_mut()
    }

    pub(crate) fn remove(&mut self, id: &KeyId) {
        self.0.remove(id);
    }
}
