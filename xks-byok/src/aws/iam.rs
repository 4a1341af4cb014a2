//! The trait for IAM and STS.

use xks_core::async_trait;

use super::{AccessKeyMetadata, AccessKeyStatus, AwsError, CallerIdentity, Identity, NewAccessKey, Page, PageRequest};

/// AWS IAM and STS, as the user or role of some credentials. A user name that is missing means the caller.
///
/// # Errors
/// Each operation: [`AwsError`], whose kind says whether it may have been done all the same.
///
/// # Cancellation
/// A future may be dropped at any time. Whether the operation was done is unknown then, as after
/// [`AwsErrorKind::AnswerLost`](super::AwsErrorKind::AnswerLost).
#[async_trait]
pub trait Iam: Send + Sync + 'static {
    /// STS: returns who the credentials belong to. Needs no permission.
    async fn get_caller_identity(&self) -> Result<CallerIdentity, AwsError>;

    /// Returns a user.
    async fn get_user(&self, user_name: Option<&str>) -> Result<Identity, AwsError>;

    /// Lists the users of the account.
    async fn list_users(&self, page: PageRequest) -> Result<Page<Identity>, AwsError>;

    /// Lists the roles of the account.
    async fn list_roles(&self, page: PageRequest) -> Result<Page<Identity>, AwsError>;

    /// Lists the access keys of a user.
    async fn list_access_keys(
        &self,
        user_name: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<AccessKeyMetadata>, AwsError>;

    /// Makes an access key, and returns the secret, which is never shown again.
    async fn create_access_key(&self, user_name: Option<&str>) -> Result<NewAccessKey, AwsError>;

    /// Lets an access key be used, or no longer.
    async fn update_access_key(
        &self,
        user_name: Option<&str>,
        access_key_id: &str,
        status: AccessKeyStatus,
    ) -> Result<(), AwsError>;

    /// Deletes an access key.
    async fn delete_access_key(&self, user_name: Option<&str>, access_key_id: &str) -> Result<(), AwsError>;
}
