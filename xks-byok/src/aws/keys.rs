//! Requests and responses about keys, aliases, policies and tags.

use xks_lifecycle::Timestamp;

use super::{ExpirationModel, PageRequest, open_enum::open_enum};

open_enum! {
    /// Where the material of a KMS key comes from.
    Origin {
        /// Made by AWS KMS.
        AwsKms = "AWS_KMS",
        /// Imported.
        External = "EXTERNAL",
        /// In an AWS CloudHSM cluster.
        AwsCloudHsm = "AWS_CLOUDHSM",
        /// In an external key manager, behind a proxy.
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

open_enum! {
    /// The state of a KMS key.
    KeyState {
        /// Not ready yet.
        Creating = "Creating",
        /// Ready for use.
        Enabled = "Enabled",
        /// Refuses cryptographic operations.
        Disabled = "Disabled",
        /// Is deleted after the waiting time.
        PendingDeletion = "PendingDeletion",
        /// Has no usable material.
        PendingImport = "PendingImport",
        /// A multi-Region key that is deleted after its replicas.
        PendingReplicaDeletion = "PendingReplicaDeletion",
        /// Its key store is not connected.
        Unavailable = "Unavailable",
        /// Its primary Region is changing.
        Updating = "Updating",
    }
}

open_enum! {
    /// Who manages a KMS key.
    KeyManager {
        /// AWS.
        Aws = "AWS",
        /// The customer.
        Customer = "CUSTOMER",
    }
}

/// A tag of a KMS key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Makes a symmetric KMS key for encryption and decryption.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateKeyRequest {
    /// EXTERNAL or EXTERNAL_KEY_STORE.
    pub origin: Origin,
    /// The key store, with EXTERNAL_KEY_STORE.
    pub custom_key_store_id: Option<String>,
    /// The id of the external key, with EXTERNAL_KEY_STORE.
    pub xks_key_id: Option<String>,
    /// At most 8192 characters.
    pub description: Option<String>,
    /// The key policy as JSON; AWS's default policy where it is missing.
    pub policy: Option<String>,
    /// Whether the policy may lock the caller out.
    pub bypass_policy_lockout_safety_check: bool,
    /// At most 50 tags. They need the permission `kms:TagResource` too.
    pub tags: Vec<Tag>,
    /// Whether it can be replicated to other Regions; not in a key store.
    pub multi_region: bool,
}

impl CreateKeyRequest {
    /// A key of origin EXTERNAL, whose material will be imported.
    #[must_use]
    pub const fn external() -> Self {
        Self {
            origin: Origin::External,
            custom_key_store_id: None,
            xks_key_id: None,
            description: None,
            policy: None,
            bypass_policy_lockout_safety_check: false,
            tags: Vec::new(),
            multi_region: false,
        }
    }

    /// A key of an external key store, for an external key.
    pub fn external_key_store(custom_key_store_id: impl Into<String>, xks_key_id: impl Into<String>) -> Self {
        Self {
            origin: Origin::ExternalKeyStore,
            custom_key_store_id: Some(custom_key_store_id.into()),
            xks_key_id: Some(xks_key_id.into()),
            ..Self::external()
        }
    }
}

/// What AWS KMS says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyMetadata {
    /// The id without the ARN.
    pub key_id: String,
    /// The ARN.
    pub arn: String,
    /// The account that owns it: 12 digits.
    pub aws_account_id: String,
    /// When it was made.
    pub creation_date: Option<Timestamp>,
    /// Whether it is enabled.
    pub enabled: bool,
    /// The description.
    pub description: String,
    /// The state.
    pub key_state: KeyState,
    /// Where its material comes from.
    pub origin: Origin,
    /// Who manages it.
    pub key_manager: KeyManager,
    /// `SYMMETRIC_DEFAULT` for what this crate makes.
    pub key_spec: String,
    /// `ENCRYPT_DECRYPT` for what this crate makes.
    pub key_usage: String,
    /// When it is deleted, in state PendingDeletion.
    pub deletion_date: Option<Timestamp>,
    /// When the current material expires.
    pub valid_to: Option<Timestamp>,
    /// Whether it does.
    pub expiration_model: Option<ExpirationModel>,
    /// The key store that it is in.
    pub custom_key_store_id: Option<String>,
    /// The id of its external key.
    pub xks_key_id: Option<String>,
    /// The id of its material, for origins AWS_KMS and EXTERNAL.
    pub current_key_material_id: Option<String>,
    /// Whether it is a multi-Region key.
    pub multi_region: bool,
}

impl KeyMetadata {
    /// Creates the description of a symmetric key, with the other fields empty.
    pub fn new(key_id: impl Into<String>, arn: impl Into<String>, origin: Origin, key_state: KeyState) -> Self {
        Self {
            key_id: key_id.into(),
            arn: arn.into(),
            aws_account_id: String::new(),
            creation_date: None,
            enabled: key_state == KeyState::Enabled,
            description: String::new(),
            key_state,
            origin,
            key_manager: KeyManager::Customer,
            key_spec: "SYMMETRIC_DEFAULT".into(),
            key_usage: "ENCRYPT_DECRYPT".into(),
            deletion_date: None,
            valid_to: None,
            expiration_model: None,
            custom_key_store_id: None,
            xks_key_id: None,
            current_key_material_id: None,
            multi_region: false,
        }
    }
}

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct KeyListEntry {
    /// The id.
    pub key_id: String,
    /// The ARN.
    pub key_arn: String,
}

impl KeyListEntry {
    /// Creates one.
    pub fn new(key_id: impl Into<String>, key_arn: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            key_arn: key_arn.into(),
        }
    }
}

/// Which aliases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListAliasesRequest {
    /// Those of this key, by id or ARN; all where it is missing.
    pub key_id: Option<String>,
    /// The page.
    pub page: PageRequest,
}

impl ListAliasesRequest {
    /// All aliases of account and Region.
    #[must_use]
    pub const fn all(page: PageRequest) -> Self {
        Self { key_id: None, page }
    }

    /// The aliases of a key.
    pub fn of(key_id: impl Into<String>, page: PageRequest) -> Self {
        Self {
            key_id: Some(key_id.into()),
            page,
        }
    }
}

/// An alias in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct AliasListEntry {
    /// It begins with `alias/`.
    pub alias_name: String,
    /// The ARN.
    pub alias_arn: String,
    /// The id of its key; missing where AWS has reserved the name for a key that it has not made.
    pub target_key_id: Option<String>,
}

impl AliasListEntry {
    /// Creates one.
    pub fn new(alias_name: impl Into<String>, alias_arn: impl Into<String>, target_key_id: Option<String>) -> Self {
        Self {
            alias_name: alias_name.into(),
            alias_arn: alias_arn.into(),
            target_key_id,
        }
    }
}

/// Replaces the policy `default` of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutKeyPolicyRequest {
    /// The key, by id or ARN.
    pub key_id: String,
    /// The policy as JSON.
    pub policy: String,
    /// Whether the policy may lock the caller out.
    pub bypass_policy_lockout_safety_check: bool,
}

impl PutKeyPolicyRequest {
    /// Creates a request that AWS refuses where the caller would be locked out.
    pub fn new(key_id: impl Into<String>, policy: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            policy: policy.into(),
            bypass_policy_lockout_safety_check: false,
        }
    }
}

/// A deletion that was scheduled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduledKeyDeletion {
    /// When the key is deleted; missing for a multi-Region primary key with replicas.
    pub deletion_date: Option<Timestamp>,
    /// The state: PendingDeletion, or PendingReplicaDeletion.
    pub key_state: KeyState,
}

impl ScheduledKeyDeletion {
    /// Creates one.
    #[must_use]
    pub const fn new(deletion_date: Option<Timestamp>, key_state: KeyState) -> Self {
        Self {
            deletion_date,
            key_state,
        }
    }
}

/// When a key was last used, as far as AWS KMS has tracked that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyLastUsage {
    /// The last successful cryptographic operation; missing when there was none since tracking began.
    pub last_usage: Option<LastUsage>,
    /// When tracking began.
    pub tracking_start_date: Option<Timestamp>,
    /// When the key was made.
    pub key_creation_date: Option<Timestamp>,
}

impl KeyLastUsage {
    /// Creates one.
    #[must_use]
    pub const fn new(last_usage: Option<LastUsage>) -> Self {
        Self {
            last_usage,
            tracking_start_date: None,
            key_creation_date: None,
        }
    }
}

/// A cryptographic operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastUsage {
    /// Its name, such as `GenerateDataKey`.
    pub operation: String,
    /// When it was.
    pub timestamp: Option<Timestamp>,
    /// The id of its event in CloudTrail.
    pub cloud_trail_event_id: Option<String>,
    /// The id of the request: the `kmsRequestId` that the proxy of an external key store got.
    pub kms_request_id: Option<String>,
}

impl LastUsage {
    /// Creates one.
    pub fn new(operation: impl Into<String>, timestamp: Option<Timestamp>) -> Self {
        Self {
            operation: operation.into(),
            timestamp,
            cloud_trail_event_id: None,
            kms_request_id: None,
        }
    }
}
