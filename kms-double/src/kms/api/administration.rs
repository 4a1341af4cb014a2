//! Requests and responses about key policies, tags, descriptions and the last use.

use serde::{Deserialize, Serialize};

use super::null_is_absent;

/// A tag of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Tag {
    /// 1 to 128 characters.
    pub tag_key: String,
    /// 0 to 256 characters.
    pub tag_value: String,
}

impl Tag {
    /// Creates a tag.
    pub fn new(tag_key: impl Into<String>, tag_value: impl Into<String>) -> Self {
        Self {
            tag_key: tag_key.into(),
            tag_value: tag_value.into(),
        }
    }
}

/// Adds tags to a key, or gives those that it has another value.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct TagResourceRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// The tags.
    pub tags: Vec<Tag>,
}

impl TagResourceRequest {
    /// Creates a request.
    pub fn new(key_id: impl Into<String>, tags: impl Into<Vec<Tag>>) -> Self {
        Self {
            key_id: key_id.into(),
            tags: tags.into(),
        }
    }
}

/// Takes tags from a key, where it has them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct UntagResourceRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// The keys of the tags.
    pub tag_keys: Vec<String>,
}

impl UntagResourceRequest {
    /// Creates a request.
    pub fn new(key_id: impl Into<String>, tag_keys: impl Into<Vec<String>>) -> Self {
        Self {
            key_id: key_id.into(),
            tag_keys: tag_keys.into(),
        }
    }
}

/// Asks for the tags or the policies of a key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ListOfKeyRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// The number of items at a time: 1 to 50 tags, 1 to 1000 policies.
    pub limit: Option<usize>,
    /// The start of this part: a former answer's `NextMarker`.
    pub marker: Option<String>,
}

impl ListOfKeyRequest {
    /// Creates a request for the first part.
    pub fn new(key_id: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            limit: None,
            marker: None,
        }
    }
}

/// The tags of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ListResourceTagsResponse {
    /// The tags, by their keys.
    pub tags: Vec<Tag>,
    /// The start of the next part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// Whether there are more.
    pub truncated: bool,
}

/// The names of the policies of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ListKeyPoliciesResponse {
    /// `default`, and `AWS_RAM` for a key that is shared.
    pub policy_names: Vec<String>,
    /// The start of the next part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// Whether there are more.
    pub truncated: bool,
}

/// Replaces the key policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct PutKeyPolicyRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// `default`, or nothing.
    pub policy_name: Option<String>,
    /// The policy, in JSON.
    pub policy: String,
    /// Whether the caller may lock itself out.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub bypass_policy_lockout_safety_check: bool,
}

impl PutKeyPolicyRequest {
    /// Creates a request for the policy `default`.
    pub fn new(key_id: impl Into<String>, policy: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            policy_name: None,
            policy: policy.into(),
            bypass_policy_lockout_safety_check: false,
        }
    }
}

/// Asks for a policy of a key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct GetKeyPolicyRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// `default`, which is the default, or `AWS_RAM`.
    pub policy_name: Option<String>,
}

impl GetKeyPolicyRequest {
    /// Creates a request for the policy `default`.
    pub fn new(key_id: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            policy_name: None,
        }
    }
}

/// A policy of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct GetKeyPolicyResponse {
    /// The policy, as it was put.
    pub policy: String,
    /// Its name.
    pub policy_name: String,
}

/// Replaces the description of a key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct UpdateKeyDescriptionRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// 0 to 8192 characters.
    pub description: String,
}

impl UpdateKeyDescriptionRequest {
    /// Creates a request.
    pub fn new(key_id: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            description: description.into(),
        }
    }
}

/// When a key was last used, as far as that was seen.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct GetKeyLastUsageResponse {
    /// The ARN of the key.
    pub key_id: String,
    /// Empty when it was not used since tracking began.
    pub key_last_usage: KeyLastUsage,
    /// When tracking began, in seconds since 1970: with this process, or with the key.
    pub tracking_start_date: f64,
    /// When the key was made, in seconds since 1970.
    pub key_creation_date: f64,
}

/// The last successful cryptographic operation with a key.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct KeyLastUsage {
    /// The operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// In seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<f64>,
    /// A random id: there is no CloudTrail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_trail_event_id: Option<String>,
    /// The id of the request, which a proxy gets as `kmsRequestId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_request_id: Option<String>,
}
