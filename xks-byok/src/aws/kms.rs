//! The trait for AWS KMS.

use xks_core::async_trait;

use super::{
    AliasListEntry, AwsError, CreateCustomKeyStoreRequest, CreateKeyRequest, CustomKeyStore,
    DescribeCustomKeyStoresRequest, GetParametersForImportRequest, ImportKeyMaterialRequest, ImportParameters,
    KeyLastUsage, KeyListEntry, KeyMetadata, ListAliasesRequest, ListKeyRotationsRequest, Page, PageRequest,
    PutKeyPolicyRequest, RotationsListEntry, ScheduledKeyDeletion, Tag, UpdateCustomKeyStoreRequest,
};

/// AWS KMS in one Region, as the user or role of some credentials.
///
/// Each method is the operation of its name. `key_id` is a key id or a key ARN.
///
/// # Errors
/// Each operation: [`AwsError`], whose kind says whether it may have been done all the same.
///
/// # Cancellation
/// A future may be dropped at any time. Whether the operation was done is unknown then, as after
/// [`AwsErrorKind::AnswerLost`](super::AwsErrorKind::AnswerLost).
#[async_trait]
pub trait Kms: Send + Sync + 'static {
    /// Makes a KMS key. There is no client token: a repeated call makes another key.
    async fn create_key(&self, request: CreateKeyRequest) -> Result<KeyMetadata, AwsError>;

    /// Describes a key; an alias name may take the place of its id.
    async fn describe_key(&self, key_id: &str) -> Result<KeyMetadata, AwsError>;

    /// Lists the keys that the account owns; a page has at most 1000.
    async fn list_keys(&self, page: PageRequest) -> Result<Page<KeyListEntry>, AwsError>;

    /// Lists aliases, those of AWS's own keys too; a page has at most 100.
    async fn list_aliases(&self, request: ListAliasesRequest) -> Result<Page<AliasListEntry>, AwsError>;

    /// Makes an alias; its name begins with `alias/`.
    async fn create_alias(&self, alias_name: &str, target_key_id: &str) -> Result<(), AwsError>;

    /// Moves an alias to a key of the same type and usage.
    async fn update_alias(&self, alias_name: &str, target_key_id: &str) -> Result<(), AwsError>;

    /// Deletes an alias.
    async fn delete_alias(&self, alias_name: &str) -> Result<(), AwsError>;

    /// Returns a policy as JSON text; `policy_name` is `default` or `AWS_RAM`.
    async fn get_key_policy(&self, key_id: &str, policy_name: &str) -> Result<String, AwsError>;

    /// Replaces the policy `default`.
    async fn put_key_policy(&self, request: PutKeyPolicyRequest) -> Result<(), AwsError>;

    /// Lists the names of a key's policies.
    async fn list_key_policies(&self, key_id: &str, page: PageRequest) -> Result<Page<String>, AwsError>;

    /// Lists the tags of a key; a page has at most 50.
    async fn list_resource_tags(&self, key_id: &str, page: PageRequest) -> Result<Page<Tag>, AwsError>;

    /// Adds tags to a key, or gives those that it has another value.
    async fn tag_resource(&self, key_id: &str, tags: Vec<Tag>) -> Result<(), AwsError>;

    /// Takes tags from a key, by their keys.
    async fn untag_resource(&self, key_id: &str, tag_keys: Vec<String>) -> Result<(), AwsError>;

    /// Replaces the description of a key.
    async fn update_key_description(&self, key_id: &str, description: &str) -> Result<(), AwsError>;

    /// Enables a key.
    async fn enable_key(&self, key_id: &str) -> Result<(), AwsError>;

    /// Disables a key.
    async fn disable_key(&self, key_id: &str) -> Result<(), AwsError>;

    /// Schedules the deletion of a key, after 7 to 30 days.
    async fn schedule_key_deletion(
        &self,
        key_id: &str,
        pending_window_in_days: u32,
    ) -> Result<ScheduledKeyDeletion, AwsError>;

    /// Cancels the deletion of a key, which is disabled afterwards.
    async fn cancel_key_deletion(&self, key_id: &str) -> Result<(), AwsError>;

    /// Returns when a key was last used; no alias may take the place of its id.
    async fn get_key_last_usage(&self, key_id: &str) -> Result<KeyLastUsage, AwsError>;

    /// Returns a public key that wraps material for a KMS key, and the token that belongs to it.
    async fn get_parameters_for_import(
        &self,
        request: GetParametersForImportRequest,
    ) -> Result<ImportParameters, AwsError>;

    /// Imports wrapped material. Returns its id: 64 hexadecimal digits, or nothing where AWS gives none.
    async fn import_key_material(&self, request: ImportKeyMaterialRequest) -> Result<Option<String>, AwsError>;

    /// Deletes imported material, the current one where none is named. Returns the id of what was deleted.
    async fn delete_imported_key_material(
        &self,
        key_id: &str,
        key_material_id: Option<&str>,
    ) -> Result<Option<String>, AwsError>;

    /// Makes the material that waits for it the current one. A key has 25 such rotations in its life.
    async fn rotate_key_on_demand(&self, key_id: &str) -> Result<(), AwsError>;

    /// Lists the materials or the rotations of a key of origin AWS_KMS or EXTERNAL; a page has at most 1000.
    async fn list_key_rotations(&self, request: ListKeyRotationsRequest) -> Result<Page<RotationsListEntry>, AwsError>;

    /// Makes an external key store, which is disconnected. Returns its id.
    async fn create_custom_key_store(&self, request: CreateCustomKeyStoreRequest) -> Result<String, AwsError>;

    /// Changes an external key store.
    async fn update_custom_key_store(&self, request: UpdateCustomKeyStoreRequest) -> Result<(), AwsError>;

    /// Begins to connect a key store: its connection state tells how that ends, minutes later.
    async fn connect_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError>;

    /// Begins to disconnect a key store.
    async fn disconnect_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError>;

    /// Describes one key store or a page of them. None of an id or a name that does not exist is
    /// [`CustomKeyStoreNotFound`](super::AwsErrorKind::CustomKeyStoreNotFound).
    async fn describe_custom_key_stores(
        &self,
        request: DescribeCustomKeyStoresRequest,
    ) -> Result<Page<CustomKeyStore>, AwsError>;

    /// Deletes a key store that is disconnected and has no KMS keys.
    async fn delete_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError>;
}
