//! The state of KMS: key stores, keys, aliases.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    access_keys::AccessKey,
    api::{ConnectionState, Connectivity, KeyState, ProxyCredential},
    blob::KeyIdBytes,
    exception::{Exception, ExceptionName},
    failure::{ConnectionErrorCode, Failure, Fault},
    materials::Materials,
    principals::Principal,
    seal::KeyMaterial,
};

pub(crate) const SECONDS_A_DAY: f64 = 86_400.0;

/// All of it, as it stands in a state file too. A change copies it, so keys and aliases are shared with the
/// copy until they change themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) key_stores: Vec<KeyStore>,
    pub(crate) keys: Vec<Arc<Key>>,
    pub(crate) aliases: Vec<Arc<Alias>>,
    pub(crate) principals: Vec<Principal>,
    pub(crate) access_keys: Vec<AccessKey>,
    /// Ids of keys and names of aliases that are not found for the time of one change.
    #[serde(skip)]
    pub(crate) unseen: Arc<HashSet<String>>,
    /// What import tokens are sealed with, once there was one.
    pub(crate) token_secret: Option<KeyMaterial>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyStore {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: f64,
    pub(crate) connection: Connection,
    pub(crate) proxy: ProxySettings,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProxySettings {
    pub(crate) connectivity: Connectivity,
    pub(crate) uri_endpoint: String,
    pub(crate) uri_path: String,
    pub(crate) vpc_service: Option<String>,
    pub(crate) vpc_owner: Option<String>,
    pub(crate) credential: ProxyCredential,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Connection {
    Disconnected,
    /// Until this moment, in seconds since 1970; with what it ends in.
    Connecting {
        until: f64,
        error: Option<ConnectionErrorCode>,
    },
    Connected,
    Disconnecting {
        until: f64,
    },
    Failed(ConnectionErrorCode),
}

impl Connection {
    pub(crate) fn state(self) -> ConnectionState {
        match self {
            Self::Disconnected => ConnectionState::Disconnected,
            Self::Connecting { .. } => ConnectionState::Connecting,
            Self::Disconnecting { .. } => ConnectionState::Disconnecting,
            Self::Connected => ConnectionState::Connected,
            Self::Failed(_) => ConnectionState::Failed,
        }
    }

    /// What it has become by a time.
    pub(crate) fn at(self, now: f64) -> Self {
        match self {
            Self::Connecting { until, error } if until <= now => error.map_or(Self::Connected, Self::Failed),
            Self::Disconnecting { until } if until <= now => Self::Disconnected,
            other => other,
        }
    }

    pub(crate) fn error_code(self) -> Option<ConnectionErrorCode> {
        match self {
            Self::Failed(code) => Some(code),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) description: String,
    pub(crate) created: f64,
    pub(crate) status: KeyStatus,
    pub(crate) backing: Backing,
    pub(crate) policy: String,
    pub(crate) ram_policy: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Where the key material of a key is, by its origin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Backing {
    /// `EXTERNAL_KEY_STORE`: behind a proxy, and a layer of KMS's own.
    ExternalKeyStore(ExternalBacking),
    /// `EXTERNAL`: imported.
    Imported(Materials),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExternalBacking {
    pub(crate) key_store_id: String,
    pub(crate) xks_key_id: String,
    pub(crate) material: KeyMaterial,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum KeyStatus {
    Enabled,
    Disabled,
    /// Until this moment, in seconds since 1970.
    PendingDeletion(f64),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alias {
    /// With `alias/` in front.
    pub(crate) name: String,
    pub(crate) key_id: String,
    pub(crate) created: f64,
    /// When it was last given to a key.
    pub(crate) updated: f64,
}

impl State {
    pub(crate) fn key_store(&self, id: &str) -> Result<&KeyStore, Exception> {
        let found = self.key_stores.iter().find(|store| store.id == id);
        found.ok_or_else(|| no_key_store(id))
    }

    pub(crate) fn key_store_mut(&mut self, id: &str) -> Result<&mut KeyStore, Exception> {
        let found = self.key_stores.iter_mut().find(|store| store.id == id);
        found.ok_or_else(|| no_key_store(id))
    }

    /// By key id, key ARN, alias name or alias ARN.
    pub(crate) fn key(&self, named: &str) -> Result<&Key, Exception> {
        let found = match named.find("alias/") {
            None => return self.key_by_id(named),
            Some(start) => {
                let (before, name) = named.split_at(start);
                let alias = self
                    .aliases
                    .iter()
                    .find(|alias| alias.name == name && self.sees_alias(alias));
                let key = alias.and_then(|alias| self.keys.iter().find(|key| key.id == alias.key_id));
                key.filter(|key| before.is_empty() || key.arn.starts_with(before))
            }
        };
        found.map(|key| &**key).ok_or_else(|| no_key(named))
    }

    /// By key id or key ARN, as operations that change a key want it: an alias may have moved to another key.
    pub(crate) fn key_by_id(&self, named: &str) -> Result<&Key, Exception> {
        let found = self.keys.iter().find(|key| key.has_id(named) && self.sees_key(key));
        found.map(|key| &**key).ok_or_else(|| no_key(named))
    }

    /// By key id or key ARN.
    pub(crate) fn key_mut(&mut self, named: &str) -> Result<&mut Key, Exception> {
        let unseen = &self.unseen;
        let mut keys = self.keys.iter_mut();
        let found = keys.find(|key| key.has_id(named) && !unseen.contains(&key.id));
        found.map(Arc::make_mut).ok_or_else(|| no_key(named))
    }

    /// By the bytes that a blob has of it.
    pub(crate) fn key_of_blob(&self, id: &KeyIdBytes) -> Option<&Key> {
        let found = self.keys.iter().find(|key| key.id_bytes().as_ref() == Some(id));
        found.map(|key| &**key)
    }

    pub(crate) fn key_state(&self, key: &Key) -> KeyState {
        match key.status {
            KeyStatus::PendingDeletion(_) => KeyState::PendingDeletion,
            _ if self.check_connected(key).is_err() => KeyState::Unavailable,
            _ if key.imported().is_some_and(|materials| !materials.are_complete()) => KeyState::PendingImport,
            KeyStatus::Disabled => KeyState::Disabled,
            KeyStatus::Enabled => KeyState::Enabled,
        }
    }

    pub(crate) fn has_keys(&self, key_store_id: &str) -> bool {
        let mut external = self.keys.iter().filter_map(|key| key.external());
        external.any(|external| external.key_store_id == key_store_id)
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
    pub(crate) fn settle(&mut self, now: f64) {
        let is_due = |key: &Key| matches!(key.status, KeyStatus::PendingDeletion(at) if at <= now);
        if self.keys.iter().any(|key| is_due(key)) {
            self.keys.retain(|key| !is_due(key));
            let keys = &self.keys;
            self.aliases
                .retain(|alias| keys.iter().any(|key| key.id == alias.key_id));
        }
        for store in &mut self.key_stores {
            store.connection = store.connection.at(now);
        }
        for key in &mut self.keys {
            let has_expired = |materials: &Materials| materials.has_expired_by(now);
            if key.imported().is_some_and(has_expired)
                && let Some(materials) = Arc::make_mut(key).imported_mut()
            {
                materials.expire(now);
            }
        }
    }
}

impl Key {
    fn has_id(&self, named: &str) -> bool {
        self.id == named || self.arn == named
    }

    /// The external key, of a key in an external key store.
    pub(crate) fn external(&self) -> Option<&ExternalBacking> {
        match &self.backing {
            Backing::ExternalKeyStore(external) => Some(external),
            Backing::Imported(_) => None,
        }
    }

    /// The material, of a key with imported material.
    pub(crate) fn imported(&self) -> Option<&Materials> {
        match &self.backing {
            Backing::Imported(materials) => Some(materials),
            Backing::ExternalKeyStore(_) => None,
        }
    }

    pub(crate) fn imported_mut(&mut self) -> Option<&mut Materials> {
        match &mut self.backing {
            Backing::Imported(materials) => Some(materials),
            Backing::ExternalKeyStore(_) => None,
        }
    }

    /// Its id without the hyphens, as bytes.
    pub(crate) fn id_bytes(&self) -> Option<KeyIdBytes> {
        let digits: String = self.id.chars().filter(|character| *character != '-').collect();
        let number = u128::from_str_radix(&digits, 16).ok()?;
        (digits.len() == 32).then(|| number.to_be_bytes())
    }
}

pub(crate) fn not_connected() -> Fault {
    Fault::new(Failure::NotConnected, "the proxy was not called")
}

/// For what is done with imported material alone.
pub(crate) fn not_imported(arn: &str) -> Exception {
    let message = format!("{arn} origin is EXTERNAL_KEY_STORE which is not valid for this operation.");
    Exception::new(ExceptionName::UnsupportedOperation, message)
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
    use super::*;

    fn state() -> State {
        let key = |number: u32, status| {
            let id = format!("00000000-0000-4000-8000-00000000000{number}");
            Arc::new(Key {
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
            })
        };
        let keys = vec![key(1, KeyStatus::Enabled), key(2, KeyStatus::PendingDeletion(1000.0))];
        let alias = |name: &str, key: &Key| {
            Arc::new(Alias {
                name: name.into(),
                key_id: key.id.clone(),
                created: 0.0,
                updated: 0.0,
            })
        };
        let aliases = vec![alias("alias/one", &keys[0]), alias("alias/two", &keys[1])];
        State {
            keys,
            aliases,
            ..State::default()
        }
    }

    #[test]
    fn a_key_has_four_kinds_of_names() {
        let state = state();
        let key = &state.keys[0];
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
        state.settle(999.0);
        assert_eq!((state.keys.len(), state.aliases.len()), (2, 2));
        state.settle(1000.0);
        assert_eq!((state.keys.len(), state.aliases.len()), (1, 1));
        assert!(state.key("alias/one").is_ok() && state.key("alias/two").is_err());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let state = state();
        let printed = format!("{:?}", state.keys[0]);
        assert!(printed.contains("material: KeyMaterial }"), "{printed}");
    }
}
