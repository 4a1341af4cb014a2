//! What is wanted, from the state.

use std::collections::BTreeMap;

use thiserror::Error;
use xks_lifecycle::{
    CloudKey, CloudKeyId, CloudKeyOrigin, CloudKeyStore, CloudKeyStoreId, CloudMaterialId, DeletionDays, Snapshot,
    Timestamp, WantedKey, WantedKeyStore, key_state::KeyState,
};

use super::{DesiredImport, policy_json};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Desired {
    /// Of a key store in AWS.
    KeyStore(DesiredKeyStore),
    /// Of a KMS key in an external key store.
    Key(DesiredKey),
    /// Of the KMS keys behind an alias, whose material is imported.
    Import(DesiredImport),
}

/// What is wanted of a key store in AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DesiredKeyStore {
    /// Its name.
    pub name: String,
    /// What AWS KMS connects to.
    pub endpoint: String,
    /// The path of the proxy: prefix and `/kms/xks/v1`.
    pub path: String,
    /// The endpoint service of the VPC, and its owner.
    pub vpc: Option<(String, Option<String>)>,
    /// The credential that AWS KMS shall use: the newest one that is live.
    pub access_key_id: Option<String>,
    /// What it shall be.
    pub wanted: WantedKeyStore,
    /// Its id in AWS, if known.
    pub id: Option<String>,
}

/// What is wanted of a KMS key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DesiredKey {
    /// Its alias.
    pub alias: String,
    /// Its description.
    pub description: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its policy as JSON; none if the number of the account is not known yet.
    pub policy: Option<String>,
    /// The key store that it is in, once known.
    pub custom_key_store_id: Option<String>,
    /// The external key.
    pub xks_key_id: String,
    /// The state of the external key.
    pub external: KeyState,
    /// What it shall be.
    pub wanted: WantedKey,
    /// Its ARN, if known.
    pub arn: Option<String>,
}

/// Why it cannot be said what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Undesirable {
    /// It has no plan from what is there: what is done with it takes its own steps.
    #[error("{0}: its steps do not follow from what is wanted")]
    Unplanned(String),
    /// It is not a former material.
    #[error("cloud-materials/{0} shares its KMS key with the current material: start a job of cloud-keys/{1}")]
    Current(CloudMaterialId, CloudKeyId),
    /// It is not in the state.
    #[error("there is no {0}")]
    Unknown(String),
}

impl Desired {
    /// What is wanted of a key store in AWS.
    ///
    /// # Errors
    /// It, or what it refers to, is not there.
    pub fn key_store(state: &Snapshot, id: CloudKeyStoreId, now: Timestamp) -> Result<Self, Undesirable> {
        let unknown = |what: String| Undesirable::Unknown(what);
        let wanted: &CloudKeyStore = state
            .cloud_key_store(id)
            .ok_or_else(|| unknown(format!("cloud-key-stores/{id}")))?;
        let ours = state
            .key_store(wanted.key_store)
            .ok_or_else(|| unknown(format!("key-stores/{}", wanted.key_store)))?;
        let credentials = state.credentials().filter(|credential| credential.key_store == ours.id);
        let live = credentials.filter(|credential| credential.is_live(now));
        let newest = live.max_by_key(|credential| (credential.expires.is_none(), credential.created));
        Ok(Self::KeyStore(DesiredKeyStore {
            name: wanted.name.to_string(),
            endpoint: wanted.endpoint.to_string(),
            path: format!("{}/kms/xks/v1", ours.prefix),
            vpc: wanted.vpc.as_ref().map(|vpc| {
                let owner = vpc.owner.as_ref().map(ToString::to_string);
                (vpc.name.to_string(), owner)
            }),
            access_key_id: newest.map(|credential| credential.access_key_id.to_string()),
            wanted: wanted.wanted,
            id: wanted.custom_key_store_id.as_ref().map(ToString::to_string),
        }))
    }

    /// What is wanted of a former material, and of the KMS key that it has of its own.
    ///
    /// # Errors
    /// It, or what it refers to, is not there. [`Undesirable::Current`]: its KMS key is that of the current
    /// material, of which the [cloud key](Self::key) has the plan.
    pub fn material(state: &Snapshot, id: CloudMaterialId, now: Timestamp) -> Result<Self, Undesirable> {
        let unknown = || Undesirable::Unknown(format!("cloud-materials/{id}"));
        let material = state.cloud_material(id).ok_or_else(unknown)?;
        match Self::key(state, material.cloud_key, now)? {
            Self::Import(desired) => match desired.about(material.number) {
                desired @ DesiredImport { former: Some(_), .. } => Ok(Self::Import(desired)),
                _ => Err(Undesirable::Current(id, material.cloud_key)),
            },
            Self::Key(_) | Self::KeyStore(_) => Err(unknown()),
        }
    }

    /// What is wanted of a KMS key.
    ///
    /// # Errors
    /// It, or what it refers to, is not there.
    pub fn key(state: &Snapshot, id: CloudKeyId, now: Timestamp) -> Result<Self, Undesirable> {
        let unknown = |what: String| Undesirable::Unknown(what);
        let wanted: &CloudKey = state.cloud_key(id).ok_or_else(|| unknown(format!("cloud-keys/{id}")))?;
        let account = state
            .cloud_account(wanted.account)
            .ok_or_else(|| unknown(format!("cloud-accounts/{}", wanted.account)))?;
        let (store, key) = match &wanted.origin {
            CloudKeyOrigin::ExternalKeyStore { cloud_key_store, key } => (cloud_key_store, key),
            CloudKeyOrigin::External(import) => {
                return Ok(Self::Import(DesiredImport::of(state, wanted, import, account, now)));
            }
            _ => return Err(unknown(format!("origin of cloud-keys/{id} that this version knows"))),
        };
        let store = state
            .cloud_key_store(*store)
            .ok_or_else(|| unknown(format!("cloud-key-stores/{store}")))?;
        let external = state.key(key).ok_or_else(|| unknown(format!("keys/{key}")))?;
        Ok(Self::Key(DesiredKey {
            alias: wanted.alias.to_string(),
            description: wanted.description.to_string(),
            tags: tags(wanted),
            policy: policy_json(&wanted.policy, account.account.as_ref(), &wanted.region),
            custom_key_store_id: store.custom_key_store_id.as_ref().map(ToString::to_string),
            xks_key_id: key.to_string(),
            external: external.state_at(now),
            wanted: wanted.wanted,
            arn: wanted.kms_key.as_ref().map(ToString::to_string),
        }))
    }
}

pub(super) fn tags(wanted: &CloudKey) -> BTreeMap<String, String> {
    let tags = wanted.tags.iter();
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl DesiredKeyStore {
    /// A key store at a public endpoint that shall be connected.
    pub fn new(name: impl Into<String>, endpoint: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            endpoint: endpoint.into(),
            path: path.into(),
            vpc: None,
            access_key_id: None,
            wanted: WantedKeyStore::Connected,
            id: None,
        }
    }
}

impl DesiredKey {
    /// A KMS key for an external key that is enabled.
    pub fn new(alias: impl Into<String>, xks_key_id: impl Into<String>) -> Self {
        Self {
            alias: alias.into(),
            description: String::new(),
            tags: BTreeMap::new(),
            policy: None,
            custom_key_store_id: None,
            xks_key_id: xks_key_id.into(),
            external: KeyState::Enabled,
            wanted: WantedKey::Enabled,
            arn: None,
        }
    }

    pub(super) const fn deletion(&self) -> Option<DeletionDays> {
        match self.wanted {
            WantedKey::Deleted(days) => Some(days),
            _ => None,
        }
    }
}
