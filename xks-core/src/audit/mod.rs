//! One record for every request: what was asked, by whom, of which key, and how it ended.

mod events;
mod owned;
#[cfg(feature = "serde")]
mod serialize;

use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

pub(crate) use self::events::clipped;
pub use self::{events::TracingAudit, owned::OwnedAuditRecord};
pub use crate::context::{Attempt, AttemptOutcome, MemberPath, Phase};
use crate::{
    api::{ErrorName, Operation, RequestMetadata},
    key_store::{AccessKeyId, Region, UriPathPrefix},
};

/// Where audit records go: a log, a metric, a queue.
///
/// It is called once for every request, on the thread that serves it, and must not block.
pub trait AuditSink: Send + Sync + 'static {
    /// Records a request that has ended.
    fn record(&self, record: &AuditRecord<'_>);
}

impl<T: AuditSink + ?Sized> AuditSink for Arc<T> {
    fn record(&self, record: &AuditRecord<'_>) {
        (**self).record(record);
    }
}

/// The record of one request. It never holds plaintext, key material or a signature. Texts from the client
/// are as they came: a sink that writes lines quotes them, escapes control characters and bounds their
/// length.
///
/// A sink that passes records on to another thread takes an [owned copy](Self::to_owned). A test of a sink
/// makes a record with [`new`](Self::new) and sets the fields that it is about.
///
/// With the feature `serde` both are `Serialize`: under the names that the log has, the attempts as a list.
// LOG-1, LOG-2, MD-4
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AuditRecord<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The request target.
    pub target: &'a str,
    /// The operation, once the path was understood.
    pub operation: Option<Operation>,
    /// The key store, once it was found.
    pub key_store: Option<&'a UriPathPrefix>,
    /// The external key id of the path, whether or not there is such a key.
    pub key: Option<&'a str>,
    /// The credential that signed, once the signature was verified.
    pub access_key_id: Option<&'a AccessKeyId>,
    /// The Region that the request was signed for, once the signature was verified.
    pub signing_region: Option<&'a Region>,
    /// The access key id that a request names of which no signature was verified, as on a 401: any
    /// client may have sent it. It has the alphabet and the length of one.
    pub claimed_access_key_id: Option<&'a str>,
    /// The Region that a request names of which no signature was verified. It has the alphabet and the length
    /// of one.
    pub claimed_signing_region: Option<&'a str>,
    /// Where the connection comes from, if the server said so: a balancer's address, if one stands in front.
    pub client_address: Option<SocketAddr>,
    /// The name in the client's TLS certificate, if the server asked for one.
    pub tls_client: Option<&'a str>,
    /// The id under which the server traces the request.
    pub trace_id: Option<&'a str>,
    /// Further data of the server about the request: see [`extension`](Self::extension).
    pub extensions: Option<&'a (dyn Any + Send + Sync)>,
    /// KMS's own data about the call, once the body was decoded.
    pub request_metadata: Option<&'a RequestMetadata<'a>>,
    /// The policy that decided, where secondary authorization was asked and named one.
    pub policy: Option<&'a str>,
    /// The key managers that had the request, in their order, where the backend is several, as a
    /// [`Fleet`](crate::fleet::Fleet) is. They explain the time taken.
    pub attempts: &'a [Attempt],
    /// The outcome.
    pub outcome: Outcome<'a>,
    /// From the request's head, where the server says when that came, to its answer.
    pub duration: Duration,
}

impl<'a> AuditRecord<'a> {
    /// Makes a record in which nothing more is known: for tests of audit sinks.
    #[must_use]
    pub const fn new(method: &'a str, target: &'a str, outcome: Outcome<'a>) -> Self {
        Self {
            method,
            target,
            operation: None,
            key_store: None,
            key: None,
            access_key_id: None,
            signing_region: None,
            claimed_access_key_id: None,
            claimed_signing_region: None,
            client_address: None,
            tls_client: None,
            trace_id: None,
            extensions: None,
            request_metadata: None,
            policy: None,
            attempts: &[],
            outcome,
            duration: Duration::ZERO,
        }
    }

    /// Copies the record, for a sink that passes it on. The server's extensions stay behind.
    #[must_use]
    pub fn to_owned(&self) -> OwnedAuditRecord {
        OwnedAuditRecord::from(*self)
    }

    /// Returns what else the server knows of the request, if it is a `T`. Under `xks-http` that is
    /// `http::Extensions`.
    #[must_use]
    pub fn extension<T: Any>(&self) -> Option<&'a T> {
        self.extensions?.downcast_ref()
    }

    /// Returns the key manager that did what KMS asked for, or that was asked last: the last of the
    /// [attempts](Self::attempts) at the operation. None where the backend is one key manager that has no
    /// name.
    #[must_use]
    pub fn served_by(&self) -> Option<&'a MemberPath> {
        let mut attempts = self.attempts.iter().rev();
        let attempt = attempts.find(|attempt| attempt.phase == Phase::Operation)?;
        Some(&attempt.member)
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// 200.
    Success,
    /// An error was answered.
    #[non_exhaustive]
    Failure {
        /// The HTTP status.
        status: u16,
        /// The name on the wire; none for 405.
        error: Option<ErrorName>,
        /// The message in the response.
        message: &'a str,
        /// The reason, for the log alone.
        reason: Option<&'a str>,
    },
    /// Nothing was answered: the server dropped the request, as when its client has gone.
    Cancelled,
}

impl<'a> Outcome<'a> {
    /// Makes the outcome of a request that was answered with an error: for tests of audit sinks.
    #[must_use]
    pub const fn failure(error: ErrorName, reason: Option<&'a str>) -> Self {
        Self::Failure {
            status: error.status(),
            error: Some(error),
            message: error.message(),
            reason,
        }
    }

    /// Returns the HTTP status that was answered, if any was.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Success => Some(200),
            Self::Failure { status, .. } => Some(*status),
            Self::Cancelled => None,
        }
    }

    /// Returns the error's name on the wire; none for a success, a 405 and where nothing was answered.
    #[must_use]
    pub const fn error_name(&self) -> Option<ErrorName> {
        match self {
            Self::Failure { error, .. } => *error,
            Self::Success | Self::Cancelled => None,
        }
    }

    /// Returns the message in the response, if it was an error.
    #[must_use]
    pub const fn message(&self) -> Option<&'a str> {
        match self {
            Self::Failure { message, .. } => Some(message),
            Self::Success | Self::Cancelled => None,
        }
    }

    /// Returns the reason for the log alone, where there is one.
    #[must_use]
    pub const fn reason(&self) -> Option<&'a str> {
        match self {
            Self::Success => None,
            Self::Failure { reason, .. } => *reason,
            Self::Cancelled => Some("the client cancelled the request"),
        }
    }
}
