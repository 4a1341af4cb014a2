//! Steps: one call of AWS that changes something, or one change of the state.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::aws::Operation;

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// What of a key store in AWS is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Update {
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The path of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The id of the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The connectivity, with the endpoint service if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connectivity: Option<String>,
    /// The endpoint service of the VPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_service: Option<String>,
    /// Its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_owner: Option<String>,
}

impl Update {
    /// Returns whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether AWS takes it only while the key store is disconnected.
    #[must_use]
    pub const fn needs_disconnection(&self) -> bool {
        self.endpoint.is_some() || self.connectivity.is_some() || self.vpc_service.is_some() || self.vpc_owner.is_some()
    }
}

/// What a step does. Which key or key store is meant the job knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Takes a key store or KMS key under management that is there already.
    Adopt {
        /// Its id in AWS: of a key its ARN.
        id: String,
    },
    /// Makes the key store.
    CreateKeyStore {
        /// Its name.
        name: String,
        /// What AWS KMS connects to.
        endpoint: String,
        /// The path of the proxy.
        path: String,
        /// The id of the credential.
        access_key_id: String,
        /// The endpoint service of the VPC, and its owner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vpc: Option<(String, Option<String>)>,
    },
    /// Changes the key store.
    UpdateKeyStore(Update),
    /// Begins to connect the key store.
    ConnectKeyStore,
    /// Begins to disconnect the key store.
    DisconnectKeyStore,
    /// Deletes the key store.
    DeleteKeyStore,
    /// Makes the KMS key.
    CreateKey {
        /// The value of the operation tag.
        operation: String,
        /// In which key store.
        custom_key_store_id: String,
        /// For which external key.
        xks_key_id: String,
        /// Its description.
        description: String,
        /// Its tags, without the operation tag.
        tags: BTreeMap<String, String>,
        /// Its policy.
        policy: String,
    },
    /// Enables the key.
    EnableKey,
    /// Replaces the description.
    UpdateDescription {
        /// By this.
        description: String,
    },
    /// Replaces the policy `default`.
    PutPolicy {
        /// By this.
        policy: String,
    },
    /// Adds tags, or gives those that are there another value.
    Tag {
        /// These.
        tags: BTreeMap<String, String>,
    },
    /// Makes the alias.
    CreateAlias {
        /// Its name.
        alias: String,
    },
    /// Disables the key.
    DisableKey,
    /// Schedules the deletion of the key.
    ScheduleDeletion {
        /// After so many days.
        days: u32,
    },
    /// Cancels the deletion of the key, which is disabled then.
    CancelDeletion,
    /// Schedules the deletion of a KMS key that a job has made and no record knows.
    DeleteOrphan {
        /// Its ARN.
        arn: String,
        /// After so many days.
        days: u32,
    },
    /// Takes what is gone in AWS out of the state.
    Forget,
    /// Rotates the access key of the account, which takes several calls.
    RotateAccessKey {
        /// The one that is replaced.
        access_key_id: String,
    },
}

impl Action {
    /// Returns the operation of AWS that it calls, if it calls one.
    #[must_use]
    pub const fn operation(&self) -> Option<Operation> {
        Some(match self {
            Self::Adopt { .. } | Self::Forget | Self::RotateAccessKey { .. } => return None,
            Self::CreateKeyStore { .. } => Operation::CreateCustomKeyStore,
            Self::UpdateKeyStore(_) => Operation::UpdateCustomKeyStore,
            Self::ConnectKeyStore => Operation::ConnectCustomKeyStore,
            Self::DisconnectKeyStore => Operation::DisconnectCustomKeyStore,
            Self::DeleteKeyStore => Operation::DeleteCustomKeyStore,
            Self::CreateKey { .. } => Operation::CreateKey,
            Self::EnableKey => Operation::EnableKey,
            Self::UpdateDescription { .. } => Operation::UpdateKeyDescription,
            Self::PutPolicy { .. } => Operation::PutKeyPolicy,
            Self::Tag { .. } => Operation::TagResource,
            Self::CreateAlias { .. } => Operation::CreateAlias,
            Self::DisableKey => Operation::DisableKey,
            Self::ScheduleDeletion { .. } | Self::DeleteOrphan { .. } => Operation::ScheduleKeyDeletion,
            Self::CancelDeletion => Operation::CancelKeyDeletion,
        })
    }

    /// Returns whether it makes something whose answer, when it is lost, must be searched for.
    #[must_use]
    pub const fn creates(&self) -> bool {
        matches!(self, Self::CreateKeyStore { .. } | Self::CreateKey { .. })
    }

    /// Returns whether it deletes something.
    #[must_use]
    pub const fn deletes(&self) -> bool {
        matches!(
            self,
            Self::DeleteKeyStore | Self::ScheduleDeletion { .. } | Self::DeleteOrphan { .. }
        )
    }
}

/// As a person reads it.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt { id } => write!(f, "take {id} under management"),
            Self::CreateKeyStore { name, .. } => write!(f, "create the key store {name}"),
            Self::UpdateKeyStore(_) => f.write_str("update the key store"),
            Self::ConnectKeyStore => f.write_str("connect the key store"),
            Self::DisconnectKeyStore => f.write_str("disconnect the key store"),
            Self::DeleteKeyStore => f.write_str("delete the key store"),
            Self::CreateKey { xks_key_id, .. } => write!(f, "create the KMS key for the external key {xks_key_id}"),
            Self::EnableKey => f.write_str("enable the KMS key"),
            Self::UpdateDescription { .. } => f.write_str("change the description"),
            Self::PutPolicy { .. } => f.write_str("change the key policy"),
            Self::Tag { tags } => {
                let keys: Vec<_> = tags.keys().map(String::as_str).collect();
                write!(f, "set the tags {}", keys.join(", "))
            }
            Self::CreateAlias { alias } => write!(f, "create {alias}"),
            Self::DisableKey => f.write_str("disable the KMS key"),
            Self::ScheduleDeletion { days } => write!(f, "schedule the deletion of the KMS key in {days} days"),
            Self::DeleteOrphan { arn, days } => write!(f, "schedule the deletion of {arn} in {days} days"),
            Self::CancelDeletion => f.write_str("cancel the deletion of the KMS key"),
            Self::Forget => f.write_str("note that it is gone in AWS"),
            Self::RotateAccessKey { access_key_id } => write!(f, "rotate the access key {access_key_id}"),
        }
    }
}
