//! The state of KMS: key stores, keys, aliases.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    access_keys::AccessKey,
    api::KeyState,
    blob::KeyIdBytes,
    exception::{Exception, ExceptionName},
    failure::{Failure, Fault},
    key::{Backing, Key, KeyStatus},
    key_store::{Connection, KeyStore},
    multi_region,
    principals::Principal,
    seal::KeyMaterial,
    sorted::{Named, Sorted},
};

pub(crate) const SECONDS_A_DAY: f64 = 86_400.0;

/// That of one Region, as it stands in a state file too. A change copies it, and shares with it all but what
/// changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) key_stores: Arc<Vec<KeyStore>>,
    keys: Sorted<Key>,
    aliases: Sorted<Alias>,
    pub(crate) principals: Arc<Vec<Principal>>,
    pub(crate) access_keys: Arc<Vec<AccessKey>>,
    /// What import tokens are sealed with, once there was one.
    pub(crate) token_secret: Option<KeyMaterial>,
    /// `KEY-ID ALIAS`.
    #[serde(skip)]
    aliases_of_keys: Sorted<Entry>,
    /// `KEY-STORE-ID EXTERNAL-KEY-ID` of the keys in external key stores.
    #[serde(skip)]
    external_keys: Sorted<Entry>,
    /// Before then nothing happens to keys by itself.
    #[serde(skip)]
    next_due: f64,
    /// Keys and aliases that are not in here are not found, for the time of one change.
    #[serde(skip)]
    seen: Option<Arc<Self>>,
}

/// An entry of an index.
#[derive(Debug)]
struct Entry(String);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alias {
    /// With `alias/` in front.
    pub(crate) name: String,
    pub(crate) key_id: String,
    pub(crate) created: f64,
    /// When it was last given to a key.
    pub(crate) updated: f64,
}

impl Named for Entry {
    fn name(&self) -> &str {
        &self.0
    }
}

impl Named for Alias {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_name(text: &str) -> bool {
        text.starts_with("alias/")
    }
}

impl Alias {
    fn entry(&self) -> Entry {
        Entry(format!("{} {}", self.key_id, self.name))
    }
}

impl State {
    /// Only the keys and aliases of another state are found, or all of them.
    pub(crate) fn seen_as(mut self, seen: Option<Self>) -> Self {
        self.seen = seen.map(Arc::new);
        self
    }

    /// A Region without anything but users, roles and access keys.
    pub(crate) fn with_the_account_of(&self) -> Self {
        let mut fresh = Self::default();
        fresh.take_account_of(self);
        fresh
    }

    pub(crate) fn take_account_of(&mut self, other: &Self) {
        (self.principals, self.access_keys) = (other.principals.clone(), other.access_keys.clone());
    }

    pub(crate) fn shares_account_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.principals, &other.principals) && Arc::ptr_eq(&self.access_keys, &other.access_keys)
    }

    pub(crate) fn key_store(&self, id: &str) -> Result<&KeyStore, Exception> {
        let found = self.key_stores.iter().find(|store| store.id == id);
        found.ok_or_else(|| no_key_store(id))
    }

    pub(crate) fn key_store_mut(&mut self, id: &str) -> Result<&mut KeyStore, Exception> {
        let found = Arc::make_mut(&mut self.key_stores)
            .iter_mut()
            .find(|store| store.id == id);
        found.ok_or_else(|| no_key_store(id))
    }

    /// The keys, by id.
    pub(crate) fn keys(&self) -> &Sorted<Key> {
        &self.keys
    }

    /// The aliases, by name.
    pub(crate) fn aliases(&self) -> &Sorted<Alias> {
        &self.aliases
    }

    /// The aliases of one key, by name.
    pub(crate) fn aliases_of<'a>(&'a self, key_id: &str) -> Vec<&'a Arc<Alias>> {
        let start = format!("{key_id} ");
        let entries = self.aliases_of_keys.beginning_with(&start);
        let names = entries.filter_map(|entry| entry.0.strip_prefix(&*start));
        names.filter_map(|name| self.aliases.get(name)).collect()
    }

    /// By key id, key ARN, alias name or alias ARN.
    pub(crate) fn key(&self, named: &str) -> Result<&Key, Exception> {
        let found = match named.find("alias/") {
            None => return self.key_by_id(named),
            Some(start) => {
                let (before, name) = named.split_at(start);
                let alias = self.alias(name);
                let key = alias.and_then(|alias| self.keys.get(&alias.key_id));
                key.filter(|key| before.is_empty() || key.arn.starts_with(before))
            }
        };
        found.map(|key| &**key).ok_or_else(|| no_key(named))
    }

    /// By key id or key ARN, as operations that change a key want it: an alias may have moved to another key.
    pub(crate) fn key_by_id(&self, named: &str) -> Result<&Key, Exception> {
        let id = named.rsplit_once(":key/").map_or(named, |(_, id)| id);
        let found = self.keys.get(id).filter(|key| key.id == named || key.arn == named);
        let is_seen = |key: &&Arc<Key>| self.seen.as_ref().is_none_or(|seen| seen.keys.get(&key.id).is_some());
        found.filter(is_seen).map(|key| &**key).ok_or_else(|| no_key(named))
    }

    /// By its name, with `alias/` in front.
    pub(crate) fn alias(&self, name: &str) -> Option<&Alias> {
        let is_seen = |alias: &&Arc<Alias>| {
            self.seen
                .as_ref()
                .is_none_or(|seen| seen.aliases.get(&alias.name).is_some())
        };
        self.aliases.get(name).filter(is_seen).map(|alias| &**alias)
    }

    /// By the bytes that a blob has of it.
    pub(crate) fn key_of_blob(&self, id: &KeyIdBytes) -> Option<&Key> {
        let number = u128::from_be_bytes(*id);
        let key = self.keys.get(&hyphenated(number));
        let key = key.or_else(|| self.keys.get(&multi_region::id(number)))?;
        (key.id_bytes().as_ref() == Some(id)).then_some(&**key)
    }

    /// Changes a key, by key id or key ARN; or not at all.
    pub(crate) fn change_key<T>(
        &mut self,
        named: &str,
        change: impl FnOnce(&mut Key) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        let mut key = self.key_by_id(named)?.clone();
        let result = change(&mut key)?;
        self.put_key(key);
        Ok(result)
    }

    /// Takes in a key, in the place of the one that has its id.
    pub(crate) fn put_key(&mut self, key: Key) {
        self.next_due = self.next_due.min(key.next_due());
        if let Some(entry) = external_entry(&key) {
            self.external_keys.put(entry);
        }
        self.keys.put(key);
    }

    /// Removes a key and its aliases.
    pub(crate) fn remove_key(&mut self, id: &str) {
        let names = self.aliases_of(id).into_iter().map(|alias| alias.name.clone());
        for name in names.collect::<Vec<_>>() {
            self.remove_alias(&name);
        }
        if let Some(entry) = self.keys.remove(id).and_then(|key| external_entry(&key)) {
            self.external_keys.remove(entry.name());
        }
    }

    /// Takes in an alias, in the place of the one that has its name.
    pub(crate) fn put_alias(&mut self, alias: Alias) {
        self.remove_alias(&alias.name);
        self.aliases_of_keys.put(alias.entry());
        self.aliases.put(alias);
    }

    pub(crate) fn remove_alias(&mut self, name: &str) {
        if let Some(alias) = self.aliases.remove(name) {
            self.aliases_of_keys.remove(alias.entry().name());
        }
    }

    /// Makes what is not in the state file: indexes.
    pub(crate) fn indexed(mut self) -> Self {
        self.external_keys = self.keys.iter().filter_map(|key| external_entry(key)).collect();
        self.aliases_of_keys = self.aliases.iter().map(|alias| alias.entry()).collect();
        self
    }

    pub(crate) fn key_state(&self, key: &Key) -> KeyState {
        match key.status {
            KeyStatus::PendingDeletion(_) => KeyState::PendingDeletion,
            KeyStatus::PendingReplicaDeletion(_) => KeyState::PendingReplicaDeletion,
            KeyStatus::Creating(_) => KeyState::Creating,
            _ if self.check_connected(key).is_err() => KeyState::Unavailable,
            _ if key.imported().is_some_and(|materials| !materials.are_complete()) => KeyState::PendingImport,
            KeyStatus::Disabled => KeyState::Disabled,
            KeyStatus::Enabled => KeyState::Enabled,
        }
    }

    pub(crate) fn has_keys(&self, key_store_id: &str) -> bool {
        let start = format!("{key_store_id} ");
        self.external_keys.beginning_with(&start).next().is_some()
    }

    /// Whether there is a KMS key of an external key.
    pub(crate) fn uses_external_key(&self, key_store_id: &str, xks_key_id: &str) -> bool {
        let name = format!("{key_store_id} {xks_key_id}");
        self.external_keys.get(&name).is_some()
    }

    /// Refuses a key whose key store is not connected.
    pub(crate) fn check_connected(&self, key: &Key) -> Result<(), Exception> {
        let Backing::ExternalKeyStore(external) = &key.backing else {
            return Ok(());
        };
        let store = self.key_store(&external.key_store_id)?;
        if store.connection != Connection::Connected {
            return Err(not_connected().at_cryptography());
        }
        Ok(())
    }

    /// Does what is due: deletes keys whose waiting period is over, and imported material that has expired.
    /// Returns whether anything was, and adds what it has removed: key id and time.
    pub(crate) fn settle(&mut self, now: f64, removed: &mut Vec<(String, f64)>) -> bool {
        if self
            .key_stores
            .iter()
            .any(|store| store.connection.at(now) != store.connection)
        {
            for store in Arc::make_mut(&mut self.key_stores) {
                store.connection = store.connection.at(now);
            }
        }
        if now < self.next_due {
            return false;
        }
        let is_due = |key: &&Arc<Key>| key.next_due() <= now;
        let due: Vec<_> = self.keys.iter().filter(is_due).cloned().collect();
        let was_due = !due.is_empty();
        for key in due {
            if let KeyStatus::PendingDeletion(at) = key.status
                && at <= now
            {
                self.remove_key(&key.id);
                removed.push((key.id.clone(), at));
                continue;
            }
            let mut key = Key::clone(&key);
            if matches!(key.status, KeyStatus::Creating(at) if at <= now) {
                key.status = KeyStatus::Enabled;
            }
            if let Ok(materials) = key.imported_mut() {
                materials.expire(now);
            }
            self.put_key(key);
        }
        self.next_due = self.keys.iter().map(|key| key.next_due()).fold(f64::INFINITY, f64::min);
        was_due
    }
}

fn external_entry(key: &Key) -> Option<Entry> {
    let external = key.external()?;
    Some(Entry(format!("{} {}", external.key_store_id, external.xks_key_id)))
}

/// A number as a UUID is written.
pub(crate) fn hyphenated(number: u128) -> String {
    let hex = format!("{number:032x}");
    let (parts, _) = [8, 4, 4, 4, 12]
        .iter()
        .fold((Vec::new(), &*hex), |(mut parts, rest), length| {
            let (part, rest) = rest.split_at_checked(*length).unwrap_or((rest, ""));
            parts.push(part);
            (parts, rest)
        });
    parts.join("-")
}

pub(crate) fn not_connected() -> Fault {
    Fault::new(Failure::NotConnected, "the proxy was not called")
}

fn no_key(named: &str) -> Exception {
    let message = if named.contains("alias/") {
        format!("{named:?} names no key. Where an alias is not taken, name the key by its id or ARN")
    } else {
        format!("The key {named:?} does not exist")
    };
    Exception::new(ExceptionName::NotFound, message)
}

fn no_key_store(id: &str) -> Exception {
    let message = format!("There is no custom key store {id:?}");
    Exception::new(ExceptionName::CustomKeyStoreNotFound, message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::key::ExternalBacking, *};

    fn state() -> State {
        let key = |number: u32, status| {
            let id = format!("00000000-0000-4000-8000-00000000000{number}");
            Key {
                arn: format!("arn:aws:kms:us-east-1:111122223333:key/{id}"),
                id,
                description: String::new(),
                created: 0.0,
                status,
                backing: Backing::ExternalKeyStore(ExternalBacking {
                    key_store_id: "cks-1".into(),
                    xks_key_id: "external".into(),
                    material: KeyMaterial::generate().unwrap(),
                }),
                policy: String::new(),
                ram_policy: None,
                tags: BTreeMap::new(),
                multi_region: None,
            }
        };
        let keys = [key(1, KeyStatus::Enabled), key(2, KeyStatus::PendingDeletion(1000.0))];
        let mut state = State::default();
        for (name, key) in ["alias/one", "alias/two"].into_iter().zip(keys) {
            state.put_alias(Alias {
                name: name.into(),
                key_id: key.id.clone(),
                created: 0.0,
                updated: 0.0,
            });
            state.put_key(key);
        }
        state
    }

    #[test]
    fn a_key_has_four_kinds_of_names() {
        let state = state();
        let key = state.keys.iter().next().unwrap();
        let alias_arn = "arn:aws:kms:us-east-1:111122223333:alias/one";
        for name in [&*key.id, &key.arn, "alias/one", alias_arn] {
            assert_eq!(state.key(name).unwrap().id, key.id, "{name}");
        }
        let elsewhere = "arn:aws:kms:eu-west-1:111122223333:alias/one";
        for name in ["", "alias/", "alias/three", elsewhere, "alias"] {
            let exception = state.key(name).unwrap_err();
            assert_eq!(exception.name(), ExceptionName::NotFound, "{name}");
        }
        assert_eq!(state.key_of_blob(&key.id_bytes().unwrap()).unwrap().id, key.id);
        assert!(state.key_of_blob(&[0; 16]).is_none());
        for name in [&*key.id, &key.arn] {
            assert_eq!(state.key_by_id(name).unwrap().id, key.id, "{name}");
        }
        for name in ["alias/one", alias_arn, ""] {
            let exception = state.key_by_id(name).unwrap_err();
            assert_eq!(exception.name(), ExceptionName::NotFound, "{name}");
        }
    }

    #[test]
    fn a_key_is_deleted_when_its_time_has_come_and_its_aliases_with_it() {
        let mut state = state();
        let mut removed = Vec::new();
        assert!(!state.settle(999.0, &mut removed));
        assert_eq!((state.keys.len(), state.aliases.len()), (2, 2));
        assert!(state.settle(1000.0, &mut removed));
        assert_eq!(removed, [("00000000-0000-4000-8000-000000000002".to_owned(), 1000.0)]);
        assert_eq!((state.keys.len(), state.aliases.len()), (1, 1));
        assert!(state.key("alias/one").is_ok() && state.key("alias/two").is_err());
        assert_eq!(state.next_due, f64::INFINITY);
    }

    #[test]
    fn indexes_follow_keys_and_aliases() {
        let mut state = state();
        let (first, second) = (
            "00000000-0000-4000-8000-000000000001",
            "00000000-0000-4000-8000-000000000002",
        );
        let names = |state: &State, id| {
            state
                .aliases_of(id)
                .iter()
                .map(|alias| alias.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&state, first), names(&state, second)),
            (vec!["alias/one".into()], vec!["alias/two".into()])
        );
        let mut moved = state.alias("alias/one").unwrap().clone();
        moved.key_id = second.into();
        state.put_alias(moved);
        assert_eq!(names(&state, first), Vec::<String>::new());
        assert_eq!(names(&state, second), ["alias/one", "alias/two"]);
        assert!(state.has_keys("cks-1") && state.uses_external_key("cks-1", "external") && !state.has_keys("cks"));
        let text = serde_json::to_string(&state).unwrap();
        let again = serde_json::from_str::<State>(&text).unwrap().indexed();
        assert_eq!(names(&again, second), ["alias/one", "alias/two"]);
        assert!(again.has_keys("cks-1"));
        state.remove_key(first);
        assert!(state.key("alias/one").is_ok(), "it is the second one's");
        state.remove_key(second);
        assert_eq!(
            (state.keys.len(), state.aliases.len(), state.has_keys("cks-1")),
            (0, 0, false)
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        let state = state();
        let printed = format!("{:?}", state.keys.iter().next().unwrap());
        assert!(printed.contains("material: KeyMaterial }"), "{printed}");
    }
}
