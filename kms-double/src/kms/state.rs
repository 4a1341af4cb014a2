//! The state of KMS: key stores, keys, aliases.

use serde::{Deserialize, Serialize};

use super::{
    api::{ConnectionState, Connectivity, KeyState, ProxyCredential},
    blob::KeyIdBytes,
    exception::{Exception, ExceptionName},
    failure::ConnectionErrorCode,
    seal::KeyMaterial,
};

/// All of it, as it stands in a state file too.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) key_stores: Vec<KeyStore>,
    pub(crate) keys: Vec<Key>,
    pub(crate) aliases: Vec<Alias>,
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
    pub(crate) credential: ProxyCredential,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Connection {
    Disconnected,
    Connected,
    Failed(ConnectionErrorCode),
}

impl Connection {
    pub(crate) fn state(self) -> ConnectionState {
        match self {
            Self::Disconnected => ConnectionState::Disconnected,
            Self::Connected => ConnectionState::Connected,
            Self::Failed(_) => ConnectionState::Failed,
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
    pub(crate) key_store_id: String,
    pub(crate) xks_key_id: String,
    pub(crate) description: String,
    pub(crate) created: f64,
    pub(crate) status: KeyStatus,
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
                let alias = self.aliases.iter().find(|alias| alias.name == name);
                let key = alias.and_then(|alias| self.keys.iter().find(|key| key.id == alias.key_id));
                key.filter(|key| before.is_empty() || key.arn.starts_with(before))
            }
        };
        found.ok_or_else(|| no_key(named))
    }

    /// By key id or key ARN, as operations that change a key want it: an alias may have moved to another key.
    pub(crate) fn key_by_id(&self, named: &str) -> Result<&Key, Exception> {
        let found = self.keys.iter().find(|key| key.has_id(named));
        found.ok_or_else(|| no_key(named))
    }

    /// By key id or key ARN.
    pub(crate) fn key_mut(&mut self, named: &str) -> Result<&mut Key, Exception> {
        let found = self.keys.iter_mut().find(|key| key.has_id(named));
        found.ok_or_else(|| no_key(named))
    }

    /// By the bytes that a blob has of it.
    pub(crate) fn key_of_blob(&self, id: &KeyIdBytes) -> Option<&Key> {
        self.keys.iter().find(|key| key.id_bytes().as_ref() == Some(id))
    }

    pub(crate) fn key_state(&self, key: &Key) -> KeyState {
        let is_connected = |store: &KeyStore| store.connection == Connection::Connected;
        match key.status {
            KeyStatus::PendingDeletion(_) => KeyState::PendingDeletion,
            _ if !self.key_store(&key.key_store_id).is_ok_and(is_connected) => KeyState::Unavailable,
            KeyStatus::Disabled => KeyState::Disabled,
            KeyStatus::Enabled => KeyState::Enabled,
        }
    }

    /// Forgets the keys whose time has come.
    pub(crate) fn delete_due_keys(&mut self, now: f64) {
        self.keys
            .retain(|key| !matches!(key.status, KeyStatus::PendingDeletion(at) if at <= now));
        let keys = &self.keys;
        self.aliases
            .retain(|alias| keys.iter().any(|key| key.id == alias.key_id));
    }
}

impl Key {
    fn has_id(&self, named: &str) -> bool {
        self.id == named || self.arn == named
    }

    /// Its id without the hyphens, as bytes.
    pub(crate) fn id_bytes(&self) -> Option<KeyIdBytes> {
        let digits: String = self.id.chars().filter(|character| *character != '-').collect();
        let number = u128::from_str_radix(&digits, 16).ok()?;
        (digits.len() == 32).then(|| number.to_be_bytes())
    }
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
            Key {
                arn: format!("arn:aws:kms:us-east-1:111122223333:key/{id}"),
                id,
                key_store_id: "cks-1".into(),
                xks_key_id: "external".into(),
                description: String::new(),
                created: 0.0,
                status,
                material: KeyMaterial::generate().unwrap(),
            }
        };
        let keys = vec![key(1, KeyStatus::Enabled), key(2, KeyStatus::PendingDeletion(1000.0))];
        let alias = |name: &str, key: &Key| Alias {
            name: name.into(),
            key_id: key.id.clone(),
            created: 0.0,
        };
        let aliases = vec![alias("alias/one", &keys[0]), alias("alias/two", &keys[1])];
        State {
            key_stores: Vec::new(),
            keys,
            aliases,
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
        state.delete_due_keys(999.0);
        assert_eq!((state.keys.len(), state.aliases.len()), (2, 2));
        state.delete_due_keys(1000.0);
        assert_eq!((state.keys.len(), state.aliases.len()), (1, 1));
        assert!(state.key("alias/one").is_ok() && state.key("alias/two").is_err());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let state = state();
        assert_eq!(format!("{:?}", state.keys[0].material), "KeyMaterial");
    }
}
