//! Requests and responses about keys in several Regions.

use serde::{Deserialize, Serialize};

use super::{KeyMetadata, Tag};

/// Makes a replica of a primary key in another Region.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ReplicateKeyRequest {
    /// The primary key, by id or ARN.
    pub key_id: String,
    /// The Region of the replica.
    pub replica_region: String,
    /// The replica's key policy; by default the account decides by its own policies.
    pub policy: Option<String>,
    /// Whether the caller may lock itself out by that policy.
    pub bypass_policy_lockout_safety_check: Option<bool>,
    /// Any text.
    pub description: Option<String>,
    /// The replica's tags.
    pub tags: Option<Vec<Tag>>,
}

impl ReplicateKeyRequest {
    /// Creates a request for a replica in a Region.
    pub fn new(key_id: impl Into<String>, replica_region: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            replica_region: replica_region.into(),
            policy: None,
            bypass_policy_lockout_safety_check: None,
            description: None,
            tags: None,
        }
    }
}

/// A new replica.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ReplicateKeyResponse {
    /// Its metadata: its state is Creating.
    pub replica_key_metadata: KeyMetadata,
    /// Its key policy.
    pub replica_policy: String,
    /// Its tags.
    pub replica_tags: Vec<Tag>,
}

/// Makes a replica the primary key, and the primary key a replica.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct UpdatePrimaryRegionRequest {
    /// The primary key, by id or ARN.
    pub key_id: String,
    /// The Region of the replica.
    pub primary_region: String,
}

impl UpdatePrimaryRegionRequest {
    /// Creates a request for another primary Region.
    pub fn new(key_id: impl Into<String>, primary_region: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            primary_region: primary_region.into(),
        }
    }
}

/// Whether a key is the primary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum MultiRegionKeyType {
    /// It is.
    Primary,
    /// It is a replica.
    Replica,
}

/// One of related keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct MultiRegionKey {
    /// Its ARN.
    pub arn: String,
    /// Its Region.
    pub region: String,
}

/// The related keys of a key, itself among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct MultiRegionConfiguration {
    /// What this one is.
    pub multi_region_key_type: MultiRegionKeyType,
    /// The primary key.
    pub primary_key: MultiRegionKey,
    /// Its replicas.
    pub replica_keys: Vec<MultiRegionKey>,
}
