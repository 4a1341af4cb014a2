//! The APIs of KMS, IAM and STS in this process, without a socket: an operation by its name, with JSON in and
//! JSON out, for tests of tools that call AWS.
//!
//! ```
//! use kms_double::kms::{Caller, Clock, Kms, RequestQuotas, Trouble};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Clock::stopped_at(1_796_000_000.0);
//! let kms = Kms::builder()
//!     .clock(clock.clone())
//!     .request_quotas(RequestQuotas::aws())
//!     .build()?;
//! let alice = Caller::new("arn:aws:iam::111122223333:user/Alice");
//!
//! let made = kms.call(&alice, "CreateKey", &json!({ "Origin": "EXTERNAL" })).await?;
//! let key_id = made.body["KeyMetadata"]["KeyId"].as_str().ok_or("no key id")?;
//! assert_eq!(made.body["KeyMetadata"]["KeyState"], "PendingImport");
//!
//! // The effect is there, and its answer is not.
//! kms.faults().inject("CreateAlias", 1, Trouble::LostAfter);
//! let alias = json!({ "AliasName": "alias/a", "TargetKeyId": key_id });
//! kms.call(&alice, "CreateAlias", &alias).await.unwrap_err();
//! clock.advance(std::time::Duration::from_secs(1)); // for the request quota
//! let again = kms.call(&alice, "CreateAlias", &alias).await?;
//! assert_eq!((again.status, again.error_name()), (400, Some("AlreadyExistsException")));
//!
//! // IAM and STS: members as in their XML; dates are seconds since 1970.
//! kms.add_access_key("Alice", "AKIAIOSFODNN7EXAMPLE", "a secret")?;
//! let users = kms.call(&alice, "ListUsers", &json!({})).await?;
//! assert_eq!(users.body["Users"][0]["UserName"], "Alice");
//! let who = kms
//!     .call_signed("AKIAIOSFODNN7EXAMPLE", "a secret", "GetCallerIdentity", &json!({}))
//!     .await?;
//! assert_eq!(who.body["Arn"], alice.principal_arn());
//! # Ok(())
//! # }
//! ```

mod error;
mod identity;
pub(crate) mod json;
mod kms;

use serde_json::Value;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

pub(crate) use self::error::{error_body, status_and_code};
use crate::kms::{Caller, Exception, ExceptionName, Kms, uuid};

/// The service that an operation belongs to. They have protocols and error codes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// AWS KMS: JSON.
    Kms,
    /// IAM: a form in, XML out.
    Iam,
    /// STS: as IAM.
    Sts,
}

impl Service {
    pub(crate) fn of(operation: &str) -> Self {
        match operation {
            "GetCallerIdentity" => Self::Sts,
            "GetUser" | "ListUsers" | "ListRoles" => Self::Iam,
            _ if operation.ends_with("AccessKey") || operation.ends_with("AccessKeys") => Self::Iam,
            _ => Self::Kms,
        }
    }
}

/// The answer to a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status: 200, or that of the error.
    pub status: u16,
    /// The members of the answer; `{}` where there are none. Of an error `__type`, its code, and `message`.
    pub body: Value,
    /// The id of the request.
    pub request_id: String,
}

impl Answer {
    /// Returns the code of the error, where it is one.
    #[must_use]
    pub fn error_name(&self) -> Option<&str> {
        match self.status {
            200 => None,
            _ => self.body.get("__type")?.as_str(),
        }
    }
}

/// There is no answer, and nothing says whether the operation was done: see
/// [`Trouble`](crate::kms::Trouble).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the answer was lost: whether the operation was done is unknown")]
#[non_exhaustive]
pub struct AnswerLost;

impl Kms {
    /// Calls an operation of KMS, IAM or STS by its name, as over HTTP: quotas, replicas and what goes wrong
    /// on purpose are the same, and so are statuses and errors. See [the module](crate::call).
    ///
    /// # Errors
    /// The answer was lost on purpose. Whatever else goes wrong is an answer.
    pub async fn call(&self, caller: &Caller, operation: &str, body: &Value) -> Result<Answer, AnswerLost> {
        let body = Zeroizing::new(body.to_string());
        let (caller, request_id) = match &caller.request_id {
            Some(id) => (caller.clone(), id.clone()),
            None => match uuid() {
                Ok(id) => (caller.clone().request_id(&id), id),
                Err(exception) => return answer(operation, String::new(), Err(exception)),
            },
        };
        answer(
            operation,
            request_id,
            dispatched(self, &caller, operation, body.as_bytes()).await,
        )
    }

    /// Calls an operation as the user whose access key this is, as a signed request does when [callers are
    /// verified](Self::signed_in).
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub async fn call_signed(
        &self,
        access_key_id: &str,
        secret_access_key: &str,
        operation: &str,
        body: &Value,
    ) -> Result<Answer, AnswerLost> {
        match self.signed_in(access_key_id, secret_access_key) {
            Ok(caller) => self.call(&caller, operation, body).await,
            Err(exception) => answer(operation, uuid().unwrap_or_default(), Err(exception)),
        }
    }

    /// Returns the user whose access key this is.
    ///
    /// # Errors
    /// `UnrecognizedClient`: there is no such access key, or it is inactive or does not work yet.
    /// `InvalidSignature`: its secret is another one.
    pub fn signed_in(&self, access_key_id: &str, secret_access_key: &str) -> Result<Caller, Exception> {
        let (caller, secret) = self.signer(access_key_id)?;
        if !bool::from(secret.ct_eq(secret_access_key.as_bytes())) {
            return Err(Exception::wrong_signature());
        }
        Ok(caller)
    }
}

/// Does an operation. Returns the body of the answer.
pub(crate) async fn dispatched(
    kms: &Kms,
    caller: &Caller,
    operation: &str,
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Exception> {
    match Service::of(operation) {
        Service::Kms => kms::answer(kms, caller, operation, body).await,
        Service::Iam | Service::Sts => identity::answer(kms, caller, operation, body).await,
    }
}

fn answer(
    operation: &str,
    request_id: String,
    result: Result<Zeroizing<Vec<u8>>, Exception>,
) -> Result<Answer, AnswerLost> {
    let (status, body) = match result {
        Ok(body) if body.is_empty() => (200, Value::Object(serde_json::Map::new())),
        Ok(body) => (200, serde_json::from_slice(&body).unwrap_or_default()),
        Err(exception) if exception.name() == ExceptionName::AnswerLost => return Err(AnswerLost),
        Err(exception) => {
            let (status, code) = status_and_code(&exception, Service::of(operation));
            (status, error_body(code, exception.message()))
        }
    };
    Ok(Answer {
        status,
        body,
        request_id,
    })
}
