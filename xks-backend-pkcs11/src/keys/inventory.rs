//! Looking through all keys of a token, so that not each of them has to be searched for, and so that a name
//! that two keys have is noticed.
//!
//! The keys are preloaded before the token serves requests: for 300 ms where a search fits into a request's
//! deadline, and for a minute where it does not, as with ten thousand keys; health shows the progress. The
//! rest follows in the background. When a token with many keys comes back, a search for each of them would
//! keep it down.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
    vec,
};

use cryptoki_sys as ck;
use xks_core::{KeyId, text::Hex};

use super::{
    Key, Keys,
    attributes::fails_the_object,
    key::{Identity, trimmed},
    on_token::On,
};
use crate::{
    attribute::Attribute,
    config::{KeyLookup, KeyName},
    error::CallError,
};

/// How many keys of a token are looked through.
pub(crate) const MOST_KEYS: usize = 100_000;

/// The keys of a token, as far as they have been looked at.
pub(crate) struct Inventory {
    pub(crate) login_epoch: u64,
    /// Those that have not been looked at.
    left: vec::IntoIter<ck::CK_OBJECT_HANDLE>,
    /// How many there are in all.
    pub(crate) total: usize,
    pub(crate) began: Instant,
    /// How long the search for all of them took.
    pub(crate) search_took: Duration,
    named: HashMap<KeyId, Named>,
}

/// The keys that have an external key id.
#[derive(Default)]
struct Named {
    exactly: Vec<Key>,
    /// By a label that is filled up.
    filled_up: Vec<Key>,
}

/// What an inventory comes to.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) keys: Vec<(KeyId, Key)>,
    /// Ids that several keys have.
    pub(crate) several: Vec<(KeyId, Vec<Identity>)>,
}

/// The handles of the token's keys, up to so many.
pub(crate) fn secret_keys(on: On<'_>, most: usize) -> Result<Vec<ck::CK_OBJECT_HANDLE>, CallError> {
    let template = [
        Attribute::Number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
        Attribute::Flag(ck::CKA_TOKEN, true),
    ];
    on.cryptoki.find(on.session, &template, most)
}

impl Keys {
    /// Finds the token's keys; those with the handles `known` are not looked at again.
    pub(crate) fn begin_inventory(
        &self,
        on: On<'_>,
        known: &HashSet<ck::CK_OBJECT_HANDLE>,
    ) -> Result<Inventory, CallError> {
        let began = Instant::now();
        let mut handles = secret_keys(on, MOST_KEYS)?;
        let search_took = began.elapsed();
        let total = handles.len();
        if total >= MOST_KEYS {
            // A second key of a name could be one of the others.
            tracing::warn!(
                most_keys = MOST_KEYS,
                "the token has too many keys to preload: searching for each one"
            );
            handles.clear();
        }
        // A search for one key goes through all of them, if the module has no index.
        self.searches.note(search_took);
        handles.retain(|handle| !known.contains(handle));
        Ok(Inventory {
            login_epoch: on.login_epoch,
            left: handles.into_iter(),
            total,
            began,
            search_took,
            named: HashMap::new(),
        })
    }

    /// Looks at one key after the other for as long as it may; says whether all have been looked at.
    pub(crate) fn go_on(
        &self,
        inventory: &mut Inventory,
        on: On<'_>,
        mut may_go_on: impl FnMut(&Inventory) -> bool,
    ) -> Result<bool, CallError> {
        while may_go_on(inventory) {
            let Some(handle) = inventory.left.next() else {
                return Ok(true);
            };
            let seen = match self.see(on, handle) {
                Ok(seen) => seen,
                Err(error) if error.says_object_is_gone() => continue,
                Err(error) if fails_the_object(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(cause = %error, handle, "the attributes of a key cannot be read");
                    continue;
                }
            };
            if !seen.is_on_token() {
                continue;
            }
            for (id, is_exact) in self.ids(&seen.key.identity) {
                let named = inventory.named.entry(id).or_default();
                let keys = if is_exact {
                    &mut named.exactly
                } else {
                    &mut named.filled_up
                };
                keys.push(seen.key.clone());
            }
        }
        Ok(inventory.left.as_slice().is_empty())
    }

    /// The external key ids that a key has, and whether its name is exactly that.
    fn ids(&self, identity: &Identity) -> Vec<(KeyId, bool)> {
        let label = |label: &[u8]| String::from_utf8(label.to_vec()).ok().map(KeyName::Label);
        let filled_up = |label: &&[u8]| trimmed(label).len() < label.len();
        let exact = [
            identity.label.as_deref().and_then(label),
            identity.id.as_deref().map(|id| KeyName::Id(id.to_vec())),
        ];
        let exact = exact.into_iter().flatten().map(|name| (name, true));
        let filled_up = identity.label.as_deref().filter(filled_up).map(trimmed);
        let names = exact.chain(filled_up.and_then(label).map(|name| (name, false)));
        let mut ids = Vec::new();
        for (name, is_exact) in names {
            ids.extend(
                self.named
                    .get(&name)
                    .into_iter()
                    .flatten()
                    .map(|id| (id.clone(), is_exact)),
            );
            let text = match (&self.lookup, name) {
                (KeyLookup::Label, KeyName::Label(label)) => label,
                (KeyLookup::Id, KeyName::Id(id)) => Hex(&id).to_string(),
                _ => continue,
            };
            // Ids that are named stand for another name.
            let id = text.parse().ok().filter(|id| !self.names.contains_key(id));
            ids.extend(id.map(|id| (id, is_exact)));
        }
        ids
    }
}

impl Inventory {
    /// Whether there are so many keys that none is looked at.
    pub(crate) const fn is_too_large(&self) -> bool {
        self.total >= MOST_KEYS
    }

    /// How many keys have been looked at.
    pub(crate) fn looked_at(&self) -> usize {
        self.total - self.left.len().min(self.total)
    }

    /// What was found, without the key that the token is tested with.
    pub(crate) fn found(self, is_test_key: impl Fn(&Identity) -> bool) -> Found {
        let mut found = Found::default();
        for (id, named) in self.named {
            let mut keys = if named.exactly.is_empty() {
                named.filled_up
            } else {
                named.exactly
            };
            match (keys.pop(), keys.is_empty()) {
                (Some(key), true) if !is_test_key(&key.identity) => found.keys.push((id, key)),
                (Some(key), false) => {
                    keys.push(key);
                    found
                        .several
                        .push((id, keys.into_iter().map(|key| key.identity).collect()));
                }
                _ => {}
            }
        }
        found
    }
}
