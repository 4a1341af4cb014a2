//! AWS KMS, IAM and STS in this process, for tests: kms-double behind the traits of [`xks_byok::aws`],
//! without a socket. Quotas, replicas and what goes wrong on purpose are those of the double.

#![forbid(unsafe_code)]

mod iam;
mod json;
mod keys;
mod kms;
mod proxy;
mod simulator;
pub mod suite;
mod wanted;

use std::{collections::BTreeMap, sync::Arc};

use kms_double::kms::Exception;
use serde_json::Value;
use xks_byok::aws::{AccessKey, AwsCredentials, AwsError, AwsErrorKind, Connector, Iam, Kms, Operation, Service};
use xks_core::async_trait;

pub use self::{proxy::TestProxy, simulator::Simulator, wanted::Wanted};

/// The user that [`AwsCredentials::Chain`] belongs to.
pub const CHAIN_USER: &str = "chain";

/// The access key that the chain finds.
const CHAIN: (&str, &str) = ("AKIACHAINCHAINCHAIN7", "what the chain of credentials finds");

/// An account of AWS with some Regions. Clones share it.
#[derive(Clone, Debug)]
pub struct AwsDouble {
    /// The Region that users, roles and access keys are in too.
    home: kms_double::kms::Kms,
    regions: BTreeMap<String, kms_double::kms::Kms>,
}

impl AwsDouble {
    /// Creates an account with one Region, and a user for credentials of the chain.
    ///
    /// # Errors
    /// The double cannot keep its state.
    pub fn new(region: &str, kms: kms_double::kms::Kms) -> Result<Self, Exception> {
        let (id, secret) = CHAIN;
        kms.add_access_key(CHAIN_USER, id, secret)?;
        Ok(Self {
            home: kms.clone(),
            regions: BTreeMap::from([(region.to_owned(), kms)]),
        })
    }

    /// Adds a Region.
    #[must_use]
    pub fn with_region(mut self, region: &str, kms: kms_double::kms::Kms) -> Self {
        self.regions.insert(region.to_owned(), kms);
        self
    }

    /// Returns the double of a Region, of its faults and its clock.
    #[must_use]
    pub fn region(&self, region: &str) -> Option<&kms_double::kms::Kms> {
        self.regions.get(region)
    }

    fn session(
        &self,
        credentials: &AwsCredentials,
        region: &str,
        operation: Operation,
    ) -> Result<Arc<Session>, AwsError> {
        let Some(kms) = self.regions.get(region) else {
            let message = format!("there is no Region {region:?}");
            return Err(AwsError::new(operation, AwsErrorKind::Unreachable, message));
        };
        let access_key = match credentials {
            AwsCredentials::Chain => AccessKey::new(CHAIN.0, CHAIN.1),
            AwsCredentials::AccessKey(key) => key.clone(),
            _ => {
                let message = "credentials of an unknown kind";
                return Err(AwsError::new(operation, AwsErrorKind::NoCredentials, message));
            }
        };
        Ok(Arc::new(Session {
            home: self.home.clone(),
            kms: kms.clone(),
            access_key,
        }))
    }
}

#[async_trait]
impl Connector for AwsDouble {
    async fn kms(&self, credentials: &AwsCredentials, region: &str) -> Result<Arc<dyn Kms>, AwsError> {
        Ok(self.session(credentials, region, Operation::ListKeys)?)
    }

    async fn iam(&self, credentials: &AwsCredentials, region: &str) -> Result<Arc<dyn Iam>, AwsError> {
        Ok(self.session(credentials, region, Operation::GetCallerIdentity)?)
    }
}

/// Calls with some credentials.
struct Session {
    home: kms_double::kms::Kms,
    kms: kms_double::kms::Kms,
    access_key: AccessKey,
}

impl Session {
    /// Calls an operation; fields of the body that are `null` are absent.
    async fn call(&self, operation: Operation, body: Value) -> Result<Value, AwsError> {
        let place = match operation.service() {
            Service::Kms => &self.kms,
            _ => &self.home,
        };
        let AccessKey {
            access_key_id,
            secret_access_key,
            ..
        } = &self.access_key;
        let caller = self.home.signed_in(access_key_id, secret_access_key);
        let caller = caller.map_err(|exception| {
            AwsError::of_exception(operation, 403, exception.name().as_str(), exception.message())
        })?;
        let answer = place.call(&caller, operation.name(), &json::without_nulls(body)).await;
        let answer = answer.map_err(|lost| AwsError::new(operation, AwsErrorKind::AnswerLost, lost.to_string()))?;
        match answer.error_name() {
            None => Ok(answer.body),
            Some(name) => {
                let message = json::text(&answer.body, "message");
                Err(AwsError::of_exception(operation, answer.status, name, message)
                    .with_request_id(Some(&answer.request_id)))
            }
        }
    }
}
