//! Secondary authorization: may this principal use this key for this operation, beyond what the signature
//! proves?

mod rules;

use std::sync::Arc;

pub use self::rules::{Rule, Rules};
use crate::{
    KeyId,
    api::{KeyOperation, RequestMetadata},
    context::RequestContext,
    dependency::Reply,
};

/// Decides about each operation on a key, after authentication and before the key manager is asked.
/// Specification: GetHealthStatus.
///
/// Health is never put before it: there is no [`KeyOperation`] for health.
///
/// One that decides by itself, as [`Rules`] do, says so at once:
/// ```
/// use xks_core::{
///     authorize::{Authorizer, Decision, Subject},
///     dependency::Reply,
/// };
///
/// struct OneAccount(String);
///
/// impl Authorizer for OneAccount {
///     fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
///         Reply::Now(match subject.account() {
///             Some(account) if account == self.0 => Decision::allow(),
///             _ => Decision::deny("not of this account"),
///         })
///     }
/// }
/// ```
///
/// A policy engine that is asked over a network decides later. A request is refused when the engine fails or
/// is late, with the error name that [`DependencyError`](crate::dependency::DependencyError) says. KMS waits
/// 250 ms for all of a request, so the engine should be near:
/// ```
/// use serde_json::{Value, json};
/// use xks_core::{
///     authorize::{Authorizer, Decision, Subject},
///     dependency::{DependencyError, Reply},
/// };
///
/// /// Open Policy Agent, which answers `{"result": true}` where its policy allows.
/// struct Opa {
///     http: HttpClient,
/// }
///
/// impl Authorizer for Opa {
///     fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
///         let question = json!({"input": {
///             "principal": subject.principal,
///             "key": subject.key.as_str(),
///             "operation": subject.operation.as_str(),
///         }});
///         Reply::later(async move {
///             let failed = |error| DependencyError::failed("OPA does not answer").with_source(error);
///             let answer = self.http.post("/v1/data/xks/allow", question).await.map_err(failed)?;
///             Ok(match answer.get("result") {
///                 Some(Value::Bool(true)) => Decision::allow_by("xks/allow"),
///                 _ => Decision::deny("xks/allow"), // no result is no permission
///             })
///         })
///     }
/// }
/// # struct HttpClient;
/// # impl HttpClient {
/// #     async fn post(&self, _: &str, _: Value) -> std::io::Result<Value> { Ok(json!({"result": true})) }
/// # }
/// # let opa: std::sync::Arc<dyn Authorizer> = std::sync::Arc::new(Opa { http: HttpClient });
/// ```
pub trait Authorizer: Send + Sync + 'static {
    /// Decides, and says by which policy. It is called for each request and must not block.
    ///
    /// # Errors
    /// A decision that comes later may fail, which refuses the request.
    ///
    /// # Cancellation
    /// The future is dropped when the request's time is up, or when the client has gone.
    fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision>;
}

impl<T: Authorizer + ?Sized> Authorizer for Arc<T> {
    fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
        (**self).authorize(subject)
    }
}

/// The subject of a decision: who uses which key for which operation.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Subject<'a> {
    /// The principal that called KMS: an ARN, a service principal or `AWS Internal`. Specification:
    /// requestMetadata.
    // MD-6
    pub principal: &'a str,
    /// The external key.
    pub key: &'a KeyId,
    /// The operation on the key.
    pub operation: KeyOperation,
    /// All that KMS says about the call, unknown fields among it. Specification: Appendix B.
    // MD-5
    pub request_metadata: &'a RequestMetadata<'a>,
    /// The key store, the credential, the Region, the connection and the time of the request.
    pub context: &'a RequestContext<'a>,
}

impl<'a> Subject<'a> {
    /// Creates a subject, as the pipeline does, and tests of authorizers. The principal is that of the
    /// metadata.
    ///
    /// ```
    /// use xks_core::{
    ///     Request,
    ///     api::{KeyOperation, RequestMetadata},
    ///     authorize::Subject,
    ///     context::RequestContext,
    /// };
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (request, key_store) = (Request::new("POST", "/", b""), "/example/tenant-a".parse()?);
    /// let (access_key_id, region) = ("BETWEEN2TENAND3TENCHARACTERS".parse()?, "eu-central-1".parse()?);
    /// let context = RequestContext::new(&request, &key_store, &access_key_id, &region);
    ///
    /// let metadata = RequestMetadata::from_json(r#"{"awsPrincipalArn": "ec2.amazonaws.com"}"#)?;
    /// let key = "payroll".parse()?;
    /// let subject = Subject::new(&context, &key, KeyOperation::Encrypt, &metadata);
    /// assert_eq!(subject.principal, "ec2.amazonaws.com");
    /// assert_eq!(subject.context.key_store().as_str(), "/example/tenant-a");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(
        context: &'a RequestContext<'a>,
        key: &'a KeyId,
        operation: KeyOperation,
        request_metadata: &'a RequestMetadata<'a>,
    ) -> Self {
        Self {
            principal: request_metadata.aws_principal_arn().unwrap_or_default(),
            key,
            operation,
            request_metadata,
            context,
        }
    }

    /// Returns the AWS account of the principal, where the principal is an ARN.
    #[must_use]
    pub fn account(&self) -> Option<&'a str> {
        arn_part(self.principal, 4)
    }

    /// Returns the Region of the KMS key, or the one that the request was signed for where KMS names no key
    /// yet (as when a KMS key is created).
    #[must_use]
    pub fn region(&self) -> &'a str {
        self.request_metadata
            .kms_key_arn()
            .and_then(|arn| arn_part(arn, 3))
            .unwrap_or(self.context.signing_region().as_str())
    }
}

/// A part of `arn:partition:service:region:account:resource`, unless it is empty.
fn arn_part(arn: &str, index: usize) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let is_arn = parts.clone().count() == 6 && parts.clone().next() == Some("arn");
    parts.nth(index).filter(|part| is_arn && !part.is_empty())
}

/// The decision of an [`Authorizer`]. The policy's name goes to the log and is never sent.
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

    /// Denies, by a policy.
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
    fn authorize<'a>(&'a self, _subject: &'a Subject<'a>) -> Reply<'a, Decision> {
        Reply::Now(Decision::allow())
    }
}
