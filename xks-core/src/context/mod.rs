//! What is known of a request beside what it asks for: who sent it, over which connection, and for how long
//! its answer is waited for.

mod attempts;

use std::{any::Any, fmt, net::SocketAddr, sync::Arc, time::Instant};

pub(crate) use self::attempts::AttemptLog;
pub use self::attempts::{Attempt, AttemptOutcome, MemberPath, OngoingAttempt, Phase};
use crate::{
    Request,
    key_store::{AccessKeyId, Region, UriPathPrefix},
};

/// The context of an authenticated request. It travels with each call of a
/// [`KeyBackend`](crate::KeyBackend) and to the [`Authorizer`](crate::authorize::Authorizer).
///
/// A backend for several tenants keeps their keys apart by it:
/// ```
/// use xks_core::{BackendError, backend::{BackendErrorKind, DecryptRequest}};
///
/// fn tenant<'a>(request: &DecryptRequest<'a>) -> Result<&'a str, BackendError> {
///     let context = request.context().ok_or(BackendErrorKind::AccessDenied)?;
///     Ok(context.key_store().as_str())
/// }
/// ```
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    request: &'a Request<'a>,
    key_store: &'a UriPathPrefix,
    access_key_id: &'a AccessKeyId,
    signing_region: &'a Region,
    attempts: Option<&'a AttemptLog>,
}

impl<'a> RequestContext<'a> {
    /// Makes a context as the pipeline does: for tests of backends and authorizers. Attempts are not
    /// recorded.
    #[must_use]
    pub const fn new(
        request: &'a Request<'a>,
        key_store: &'a UriPathPrefix,
        access_key_id: &'a AccessKeyId,
        signing_region: &'a Region,
    ) -> Self {
        Self {
            request,
            key_store,
            access_key_id,
            signing_region,
            attempts: None,
        }
    }

    /// The same context with somewhere to record attempts.
    pub(crate) const fn recording(self, attempts: &'a AttemptLog) -> Self {
        Self {
            attempts: Some(attempts),
            ..self
        }
    }

    /// Returns the key store that the request was sent to.
    #[must_use]
    pub const fn key_store(&self) -> &'a UriPathPrefix {
        self.key_store
    }

    /// Returns the credential that signed the request.
    #[must_use]
    pub const fn access_key_id(&self) -> &'a AccessKeyId {
        self.access_key_id
    }

    /// Returns the Region that the request was signed for: that of the calling KMS.
    #[must_use]
    pub const fn signing_region(&self) -> &'a Region {
        self.signing_region
    }

    /// Returns when the request is given up, where the server said so.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.request.origin().deadline
    }

    /// Returns the client's address, where the server said so: a balancer's, if one stands in front.
    #[must_use]
    pub const fn client_address(&self) -> Option<SocketAddr> {
        self.request.origin().client_address
    }

    /// Returns whom the client's TLS certificate names, where the server asked for one.
    #[must_use]
    pub const fn tls_client(&self) -> Option<&'a str> {
        self.request.origin().tls_client
    }

    /// Returns the id under which the server traces the request.
    #[must_use]
    pub const fn trace_id(&self) -> Option<&'a str> {
        self.request.origin().trace_id
    }

    /// Returns what else the server knows of the request, if it is a `T`. Under `xks-http` that is
    /// `http::Extensions`.
    #[must_use]
    pub fn extensions<T: Any>(&self) -> Option<&'a T> {
        self.request.origin().extensions?.downcast_ref()
    }

    /// What is attempted from now on verifies an encryption.
    // ENC-10
    pub(crate) fn begin_verification(&self) {
        if let Some(attempts) = self.attempts {
            attempts.begin_verification();
        }
    }
}

impl fmt::Debug for RequestContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("key_store", &self.key_store)
            .field("access_key_id", &self.access_key_id)
            .field("signing_region", &self.signing_region)
            .field("origin", self.request.origin())
            .finish_non_exhaustive()
    }
}

/// Begins an attempt, on the record if the request has one.
pub(crate) fn begin_attempt<'a>(
    context: Option<&RequestContext<'a>>,
    member: impl Into<Arc<str>>,
) -> OngoingAttempt<'a> {
    match context.and_then(|context| context.attempts) {
        Some(attempts) => attempts.begin(member.into()),
        None => OngoingAttempt::unrecorded(),
    }
}

/// Gives a request of a backend its context.
macro_rules! in_context {
    ($request:ident) => {
        impl<'a> $request<'a> {
            /// Returns the sender of the request, and for how long its answer is waited for. None for a
            /// request that no client sent: one of a [`Fleet`](crate::fleet::Fleet) that compares its
            /// members, or of a test.
            #[must_use]
            pub const fn context(&self) -> Option<&'a $crate::context::RequestContext<'a>> {
                self.context
            }

            /// Gives the request a context: for tests of backends.
            #[must_use]
            pub const fn with_context(mut self, context: &'a $crate::context::RequestContext<'a>) -> Self {
                self.context = Some(context);
                self
            }

            /// Records that one of this backend's several key managers has the request from now on, until the
            /// returned value is dropped. Say its [end](crate::context::OngoingAttempt::end) when it has
            /// answered. The audit record lists [all attempts](crate::audit::AuditRecord::attempts). A
            /// backend that is one key manager records nothing.
            ///
            /// `member` is a name and never a secret; an `Arc<str>` costs no allocation. One attempt begins
            /// after the other has ended: what begins meanwhile stands within it.
            pub fn attempt(&self, member: impl Into<std::sync::Arc<str>>) -> $crate::context::OngoingAttempt<'a> {
                $crate::context::begin_attempt(self.context, member)
            }
        }
    };
}

pub(crate) use in_context;

/// What the server knows of a request's way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin<'a> {
    pub(crate) received: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) client_address: Option<SocketAddr>,
    pub(crate) tls_client: Option<&'a str>,
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) extensions: Option<&'a (dyn Any + Send + Sync)>,
}
