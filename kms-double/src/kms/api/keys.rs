//! Requests and responses about keys and their aliases.

use super::{ExpirationModel, MultiRegionConfiguration, Tag, null_is_absent};
use serde::{Deserialize, Serialize};

/// Makes a KMS key: with material that KMS makes, over an external key, or one that key material is imported
/// into.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct CreateKeyRequest {
    /// `AWS_KMS`, which is the default, `EXTERNAL_KEY_STORE` or `EXTERNAL`.
    pub origin: Option<String>,
    /// Of an external key: the key store, which has to be connected.
    pub custom_key_store_id: Option<String>,
    /// The external key, of which no other KMS key of the key store is made.
    pub xks_key_id: Option<String>,
    /// Any text.
    pub description: Option<String>,
    /// `ENCRYPT_DECRYPT`, or nothing.
    pub key_usage: Option<String>,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub key_spec: Option<String>,
    /// The former name of the key spec.
    pub customer_master_key_spec: Option<String>,
    /// Whether it can have replicas in other Regions; not over an external key.
    pub multi_region: Option<bool>,
    /// The key policy; by default the account decides by its own policies.
    pub policy: Option<String>,
    /// Whether the caller may lock itself out by that policy.
    pub bypass_policy_lockout_safety_check: Option<bool>,
    /// Tags.
    pub tags: Option<Vec<Tag>>,
}

impl CreateKeyRequest {
    /// Creates a request for a KMS key over this external key.
    pub fn new(custom_key_store_id: impl Into<String>, xks_key_id: impl Into<String>) -> Self {
        Self {
            origin: Some("EXTERNAL_KEY_STORE".into()),
            custom_key_store_id: Some(custom_key_store_id.into()),
            xks_key_id: Some(xks_key_id.into()),
            ..Self::default()
        }
    }
}

impl CreateKeyRequest {
    /// Creates a request for a KMS key without key material, which is imported later.
    #[must_use]
    pub fn external() -> Self {
        Self {
            origin: Some("EXTERNAL".into()),
            ..Self::default()
        }
    }
}

/// Turns automatic rotation on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct EnableKeyRotationRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// 90 to 2560.
    pub rotation_period_in_days: Option<u32>,
}

impl EnableKeyRotationRequest {
    /// Creates a request for a rotation each year.
    pub fn new(key_id: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            rotation_period_in_days: None,
        }
    }
}

/// Names a key: by its key id or its ARN; DescribeKey also takes an alias or an alias's ARN.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyIdRequest {
    /// Which key.
    pub key_id: String,
    /// Taken and not used: there are no grants.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub grant_tokens: Vec<String>,
}

impl KeyIdRequest {
    /// Creates a request for the key of this id or ARN; for DescribeKey also of an alias or an alias's ARN.
    pub fn new(key_id: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            grant_tokens: Vec::new(),
        }
    }
}

/// A key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct KeyMetadataResponse {
    /// Its metadata.
    pub key_metadata: KeyMetadata,
}

/// The state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum KeyState {
    /// All.
    Enabled,
    /// No cryptography.
    Disabled,
    /// No cryptography; it is going to be deleted.
    PendingDeletion,
    /// No cryptography: key material was not imported yet, was deleted, or has expired.
    PendingImport,
    /// No cryptography: its key store is not connected.
    Unavailable,
    /// No cryptography; a primary key that is going to be deleted when its replicas are.
    PendingReplicaDeletion,
    /// Nothing yet: a new replica.
    Creating,
}

/// The metadata of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct KeyMetadata {
    /// The account.
    #[serde(rename = "AWSAccountId")]
    pub account_id: String,
    /// Its id.
    pub key_id: String,
    /// Its ARN.
    pub arn: String,
    /// Seconds since 1970.
    pub creation_date: f64,
    /// Whether its state is Enabled.
    pub enabled: bool,
    /// Any text.
    pub description: String,
    /// `ENCRYPT_DECRYPT`.
    pub key_usage: &'static str,
    /// Its state.
    pub key_state: KeyState,
    /// When it is going to be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<f64>,
    /// `AWS_KMS`, `EXTERNAL_KEY_STORE` or `EXTERNAL`.
    pub origin: &'static str,
    /// Its key store, of an external key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_key_store_id: Option<String>,
    /// Whether any of its imported material expires; none before the first import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_model: Option<ExpirationModel>,
    /// When the first of its imported material expires, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<f64>,
    /// The current one of its material, where KMS has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_key_material_id: Option<String>,
    /// `CUSTOMER`.
    pub key_manager: &'static str,
    /// `SYMMETRIC_DEFAULT`.
    pub key_spec: &'static str,
    /// The former name of the same.
    pub customer_master_key_spec: &'static str,
    /// `SYMMETRIC_DEFAULT` alone.
    pub encryption_algorithms: [&'static str; 1],
    /// Whether it is one of related keys in several Regions.
    pub multi_region: bool,
    /// Those keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_region_configuration: Option<MultiRegionConfiguration>,
    /// In PendingReplicaDeletion: the time that begins when the last replica is deleted, in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_deletion_window_in_days: Option<u32>,
    /// The external key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xks_key_configuration: Option<XksKeyConfiguration>,
}

/// The external key of a KMS key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct XksKeyConfiguration {
    /// Its id at the proxy.
    pub id: String,
}

/// Asks for the keys, in the order of their ids.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ListKeysRequest {
    /// The number of items at a time, 1 to 1000.
    pub limit: Option<usize>,
    /// The start of this part: a former answer's `NextMarker`.
    pub marker: Option<String>,
    /// Whose keys; this account's own by default.
    pub resource_owners: Option<Vec<ResourceOwner>>,
}

/// Whose keys ListKeys lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[non_exhaustive]
pub enum ResourceOwner {
    /// This account's.
    #[serde(rename = "SELF")]
    Owned,
    /// Those that others share with this account. There are none.
    #[serde(rename = "OTHER_ACCOUNTS_VIA_RAM")]
    OtherAccountsViaRam,
}

/// Keys.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ListKeysResponse {
    /// The keys.
    pub keys: Vec<KeyListEntry>,
    /// The start of the next part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// Whether there are more.
    pub truncated: bool,
}

/// A key of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct KeyListEntry {
    /// Its id.
    pub key_id: String,
    /// Its ARN.
    pub key_arn: String,
}

/// Deletes a key, after a time in which that can be taken back.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ScheduleKeyDeletionRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// The time, 7 to 30 days, and 30 unless told otherwise.
    pub pending_window_in_days: Option<u32>,
}

impl ScheduleKeyDeletionRequest {
    /// Creates a request to delete the key after 30 days.
    pub fn new(key_id: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            pending_window_in_days: None,
        }
    }
}

/// When a key is going to be deleted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ScheduleKeyDeletionResponse {
    /// Its ARN.
    pub key_id: String,
    /// Seconds since 1970; none of a primary key with replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<f64>,
    /// `PendingDeletion`, or `PendingReplicaDeletion`.
    pub key_state: KeyState,
    /// The time, in days.
    pub pending_window_in_days: u32,
}

/// The key that an operation was done with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct KeyIdResponse {
    /// Its ARN.
    pub key_id: String,
}

/// Gives a key another name.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct CreateAliasRequest {
    /// `alias/` and 1 to 250 of `A-Z a-z 0-9 : / _ -`.
    pub alias_name: String,
    /// The key, by id or ARN.
    pub target_key_id: String,
}

impl CreateAliasRequest {
    /// Creates a request for an alias of a key.
    pub fn new(alias_name: impl Into<String>, target_key_id: impl Into<String>) -> Self {
        Self {
            alias_name: alias_name.into(),
            target_key_id: target_key_id.into(),
        }
    }
}

/// Moves a name to another key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct UpdateAliasRequest {
    /// The name, with `alias/` in front.
    pub alias_name: String,
    /// The new key, by id or ARN.
    pub target_key_id: String,
}

impl UpdateAliasRequest {
    /// Creates a request to move an alias to a key.
    pub fn new(alias_name: impl Into<String>, target_key_id: impl Into<String>) -> Self {
        Self {
            alias_name: alias_name.into(),
            target_key_id: target_key_id.into(),
        }
    }
}

/// Takes a name away from its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct DeleteAliasRequest {
    /// The name, with `alias/` in front.
    pub alias_name: String,
}

impl DeleteAliasRequest {
    /// Creates a request for the alias of this name, with `alias/` in front.
    pub fn new(alias_name: impl Into<String>) -> Self {
        Self {
            alias_name: alias_name.into(),
        }
    }
}

/// Asks for all aliases, or for those of one key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ListAliasesRequest {
    /// Those of this key, by id or ARN.
    pub key_id: Option<String>,
    /// The number of items at a time, 1 to 100; 50 by default.
    pub limit: Option<usize>,
    /// The start of this part: a former answer's `NextMarker`.
    pub marker: Option<String>,
}

/// Aliases, by name.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ListAliasesResponse {
    /// The aliases.
    pub aliases: Vec<AliasListEntry>,
    /// The start of the next part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// Whether there are more.
    pub truncated: bool,
}

/// An alias of the list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct AliasListEntry {
    /// The name, with `alias/` in front.
    pub alias_name: String,
    /// Its ARN.
    pub alias_arn: String,
    /// The id of the key.
    pub target_key_id: String,
    /// Seconds since 1970.
    pub creation_date: f64,
    /// Seconds since 1970.
    pub last_updated_date: f64,
}
