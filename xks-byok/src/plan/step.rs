//! Steps: one call of AWS that changes something, or one change of the state.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use xks_lifecycle::Timestamp;

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
    /// Makes material in its key manager.
    MakeMaterial {
        /// Its id.
        material: String,
        /// Its number.
        number: u32,
    },
    /// Makes a KMS key that awaits material.
    CreateImportKey {
        /// The value of the operation tag.
        operation: String,
        /// The number of the material that it is for.
        number: u32,
        /// Its description.
        description: String,
        /// Its tags, without the operation tag.
        tags: BTreeMap<String, String>,
        /// Its policy.
        policy: String,
    },
    /// Wraps material under a key of AWS, and imports it.
    ImportMaterial {
        /// Its id.
        material: String,
        /// Its number.
        number: u32,
        /// The id that AWS has given to it; nothing if the KMS key never had it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kms_material: Option<String>,
        /// Its end in AWS, in seconds since 1970; nothing if it does not end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid_to: Option<u64>,
    },
    /// Notes which material of AWS is which of ours.
    NoteMaterial {
        /// Its id.
        material: String,
        /// Its number.
        number: u32,
        /// The ARN of the KMS key.
        kms_key: String,
        /// The id that AWS has given to it.
        kms_material: String,
        /// Its end in AWS, in seconds since 1970; nothing if it does not end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid_to: Option<u64>,
    },
    /// Makes the material that waits for it the one that encrypts.
    RotateOnDemand {
        /// The number of that material.
        number: u32,
    },
    /// Moves the alias to the KMS key.
    MoveAlias {
        /// Its name.
        alias: String,
        /// The id of the key that it leads to.
        from: String,
    },
    /// Disables a KMS key that the alias has left.
    DisableFormer {
        /// Its ARN.
        key: String,
        /// The number of its material, if it is one of ours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u32>,
    },
    /// Notes which KMS key the alias leads to, and that the materials before this one are former ones.
    NoteCurrent {
        /// The number of the current material; 0 if there is none of ours.
        number: u32,
    },
    /// Deletes material in AWS. It stays here.
    DeleteMaterial {
        /// Its number.
        number: u32,
        /// The id that AWS has given to it.
        kms_material: String,
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
            Self::Adopt { .. }
            | Self::Forget
            | Self::MakeMaterial { .. }
            | Self::NoteMaterial { .. }
            | Self::NoteCurrent { .. }
            | Self::RotateAccessKey { .. } => return None,
            Self::CreateKeyStore { .. } => Operation::CreateCustomKeyStore,
            Self::UpdateKeyStore(_) => Operation::UpdateCustomKeyStore,
            Self::ConnectKeyStore => Operation::ConnectCustomKeyStore,
            Self::DisconnectKeyStore => Operation::DisconnectCustomKeyStore,
            Self::DeleteKeyStore => Operation::DeleteCustomKeyStore,
            Self::CreateKey { .. } | Self::CreateImportKey { .. } => Operation::CreateKey,
            Self::ImportMaterial { .. } => Operation::ImportKeyMaterial,
            Self::RotateOnDemand { .. } => Operation::RotateKeyOnDemand,
            Self::MoveAlias { .. } => Operation::UpdateAlias,
            Self::DeleteMaterial { .. } => Operation::DeleteImportedKeyMaterial,
            Self::EnableKey => Operation::EnableKey,
            Self::UpdateDescription { .. } => Operation::UpdateKeyDescription,
            Self::PutPolicy { .. } => Operation::PutKeyPolicy,
            Self::Tag { .. } => Operation::TagResource,
            Self::CreateAlias { .. } => Operation::CreateAlias,
            Self::DisableKey | Self::DisableFormer { .. } => Operation::DisableKey,
            Self::ScheduleDeletion { .. } | Self::DeleteOrphan { .. } => Operation::ScheduleKeyDeletion,
            Self::CancelDeletion => Operation::CancelKeyDeletion,
        })
    }

    /// Returns whether it makes something whose answer, when it is lost, must be searched for.
    #[must_use]
    pub const fn creates(&self) -> bool {
        matches!(
            self,
            Self::CreateKeyStore { .. } | Self::CreateKey { .. } | Self::CreateImportKey { .. }
        )
    }

    /// Returns whether it deletes a key or a key store.
    #[must_use]
    pub const fn deletes(&self) -> bool {
        matches!(
            self,
            Self::DeleteKeyStore | Self::ScheduleDeletion { .. } | Self::DeleteOrphan { .. }
        )
    }

    /// Returns whether AWS may not show for a while what it has done.
    #[must_use]
    pub const fn settles(&self) -> bool {
        self.creates() || matches!(self, Self::ImportMaterial { .. })
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
            Self::MakeMaterial { number, .. } => write!(f, "make material {number} in its key manager"),
            Self::CreateImportKey { number, .. } => write!(f, "create the KMS key for material {number}"),
            Self::ImportMaterial {
                number,
                kms_material,
                valid_to,
                ..
            } => {
                let again = if kms_material.is_some() { " again" } else { "" };
                write!(f, "wrap material {number} and import it{again}")?;
                match valid_to.and_then(|end| Timestamp::from_seconds("valid_to", end).ok()) {
                    Some(end) => write!(f, ", until {end}"),
                    None => Ok(()),
                }
            }
            Self::NoteMaterial { number, .. } => write!(f, "note that AWS has material {number}"),
            Self::RotateOnDemand { number } => write!(f, "rotate the KMS key on demand to material {number}"),
            Self::MoveAlias { alias, from } => write!(f, "move {alias} from the KMS key {from}"),
            Self::DisableFormer { key, .. } => write!(f, "disable the former KMS key {key}"),
            Self::NoteCurrent { number: 0 } => f.write_str("note which KMS key the alias leads to"),
            Self::NoteCurrent { number } => write!(f, "note that material {number} is the current one"),
            Self::DeleteMaterial { number, .. } => write!(f, "delete material {number} in AWS"),
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
