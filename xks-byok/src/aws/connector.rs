//! From an account's credentials and a Region to clients.

use std::sync::Arc;

use xks_core::async_trait;

use super::{AccessKey, AwsError, Iam, Kms};

/// Where the credentials of an account are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AwsCredentials {
    /// Those that the AWS SDK finds: environment, profile, container or instance role.
    Chain,
    /// An access key.
    AccessKey(AccessKey),
}

/// Makes clients. It sends nothing.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Returns a client of AWS KMS in a Region.
    ///
    /// # Errors
    /// The credentials or the Region cannot be used; the operation of the error is `ListKeys`.
    async fn kms(&self, credentials: &AwsCredentials, region: &str) -> Result<Arc<dyn Kms>, AwsError>;

    /// Returns a client of IAM and STS. IAM has one endpoint for all Regions of a partition, which the Region
    /// selects.
    ///
    /// # Errors
    /// The credentials or the Region cannot be used; the operation of the error is `GetCallerIdentity`.
    async fn iam(&self, credentials: &AwsCredentials, region: &str) -> Result<Arc<dyn Iam>, AwsError>;
}
