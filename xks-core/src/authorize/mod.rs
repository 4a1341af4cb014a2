//! Secondary authorization (AUZ-1): may this principal use this key for this, beyond what the signature proves?

mod rules;

use std::sync::Arc;

pub use self::rules::{Rule, Rules};
use crate::{
    KeyId,
    api::{KeyOperation, RequestMetadata},
    key_store::UriPathPrefix,
};

/// Decides about each operation on a key, after authentication and before the key manager is asked.
///
/// Health is never put before it: there is no [`KeyOperation`] for health (HLT-2). It runs on the way of every
/// request and must not block.
pub trait Authorizer: Send + Sync + 'static {
    /// Yes or no, and by which policy.
    fn authorize(&self, subject: &Subject<'_>) -> Decision;
}

impl<T: Authorizer + ?Sized> Authorizer for Arc<T> {
    fn authorize(&self, subject: &Subject<'_>) -> Decision {
        (**self).authorize(subject)
    }
}

/// What is to be decided about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Subject<'a> {
    /// Who called KMS: an ARN, a service principal or `AWS Internal` (MD-6).
    pub principal: &'a str,
    /// The external key.
    pub key: &'a KeyId,
    /// What is to be done with it.
    pub operation: KeyOperation,
    /// The key store it belongs to.
    pub key_store: &'a UriPathPrefix,
    /// The Region that the request was signed for.
    pub signing_region: &'a str,
    /// All that KMS says about the call, unknown fields among it (MD-5).
    pub request_metadata: &'a RequestMetadata<'a>,
}

impl<'a> Subject<'a> {
    /// A subject, as the pipeline makes it: for tests of authorizers. The principal is that of the metadata.
    #[must_use]
    pub fn new(
        key_store: &'a UriPathPrefix,
        key: &'a KeyId,
        operation: KeyOperation,
        signing_region: &'a str,
        request_metadata: &'a RequestMetadata<'a>,
    ) -> Self {
        let principal = request_metadata.aws_principal_arn().unwrap_or_default();
        Self {
            principal,
            key,
            operation,
            key_store,
            signing_region,
            request_metadata,
        }
    }

    /// The AWS account of the principal, where the principal is an ARN.
    #[must_use]
    pub fn account(&self) -> Option<&'a str> {
        arn_part(self.principal, 4)
    }

    /// The Region of the KMS key, or the one that the request was signed for where KMS names no key yet (as when
    /// a KMS key is created).
    #[must_use]
    pub fn region(&self) -> &'a str {
        self.request_metadata
            .kms_key_arn()
            .and_then(|arn| arn_part(arn, 3))
            .unwrap_or(self.signing_region)
    }
}

/// A part of `arn:partition:service:region:account:resource`, unless it is empty.
fn arn_part(arn: &str, index: usize) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let is_arn = parts.clone().count() == 6 && parts.clone().next() == Some("arn");
    parts.nth(index).filter(|part| is_arn && !part.is_empty())
}

/// What an [`Authorizer`] says. The policy's name goes to the log and is never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Yes.
    Allow {
        /// The policy that allows it, where there is one.
        policy: Option<Arc<str>>,
    },
    /// No → `AccessDeniedException`.
    Deny {
        /// The policy that denies it.
        policy: Arc<str>,
    },
}

impl Decision {
    /// Yes, by no policy in particular.
    #[must_use]
    pub const fn allow() -> Self {
        Self::Allow { policy: None }
    }

    /// Yes, by a policy.
    #[must_use]
    pub fn allow_by(policy: impl Into<Arc<str>>) -> Self {
        Self::Allow {
            policy: Some(policy.into()),
        }
    }

    /// No, by a policy.
    #[must_use]
    pub fn deny(policy: impl Into<Arc<str>>) -> Self {
        Self::Deny { policy: policy.into() }
    }
}

/// Leaves it all to AWS: what a key store does when it is given no authorizer.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a unit struct is written by its name, and stays one"
)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _subject: &Subject<'_>) -> Decision {
        Decision::allow()
    }
}
