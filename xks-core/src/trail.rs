//! The request trace: what is known of a request so far, and the guarantee that it is recorded exactly once:
//! when it is answered, or when it is dropped before that.
//!
//! `xks-http` does the same while it reads a body.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use crate::{
    KeyStore, Request, Response,
    api::RequestMetadata,
    audit::{AuditRecord, AuditSink, Outcome},
    context::AttemptLog,
    error::Error,
    route::{Route, Target},
    sigv4::{self, ClaimedSigner, Verified},
    timer::Timer,
};

pub(crate) struct Trail<'a> {
    sink: &'a dyn AuditSink,
    timer: &'a dyn Timer,
    request: &'a Request<'a>,
    started: Instant,
    pub(crate) route: Option<Route<'a>>,
    pub(crate) key_store: Option<Arc<KeyStore>>,
    pub(crate) verified: Option<Verified<'a>>,
    pub(crate) request_metadata: Option<RequestMetadata<'a>>,
    pub(crate) policy: Option<Arc<str>>,
    pub(crate) attempts: &'a AttemptLog,
    end: End,
}

enum End {
    Open,
    Answered { status: u16 },
    Failed(Error),
}

impl<'a> Trail<'a> {
    pub(crate) fn new(
        sink: &'a dyn AuditSink,
        timer: &'a dyn Timer,
        request: &'a Request<'a>,
        attempts: &'a AttemptLog,
    ) -> Self {
        Self {
            sink,
            timer,
            request,
            started: request.origin().received.unwrap_or_else(|| timer.now()),
            route: None,
            key_store: None,
            verified: None,
            request_metadata: None,
            policy: None,
            attempts,
            end: End::Open,
        }
    }

    /// Ends the trail: an error becomes its answer here.
    pub(crate) fn end(mut self, answer: Result<Response, Error>) -> Response {
        match answer {
            Ok(response) => {
                self.end = End::Answered {
                    status: response.status(),
                };
                response
            }
            Err(error) => {
                let response = Response::error(error.name, &error.message);
                self.end = End::Failed(error);
                response
            }
        }
    }
}

impl Drop for Trail<'_> {
    fn drop(&mut self) {
        let outcome = match &self.end {
            End::Open => Outcome::Cancelled,
            End::Answered { status: 200 } => Outcome::Success,
            // The only answer that is neither 200 nor made from an error is a 405.
            End::Answered { status } => Outcome::Failure {
                status: *status,
                error: None,
                message: Response::USE_POST,
                reason: None,
            },
            End::Failed(error) => Outcome::Failure {
                status: error.name.status(),
                error: Some(error.name),
                message: &error.message,
                reason: error.reason.as_deref(),
            },
        };
        let (origin, attempts) = (self.request.origin(), self.attempts.take());
        let claimed = match &self.verified {
            Some(_) => ClaimedSigner::default(),
            None => sigv4::claimed_signer(self.request),
        };
        let record = AuditRecord {
            method: self.request.method(),
            target: self.request.target(),
            operation: self.route.map(|route| route.operation()),
            key_store: self.key_store.as_ref().map(|key_store| key_store.prefix()),
            key: self.route.and_then(|route| match route.target {
                Target::Key { id, .. } => Some(id),
                Target::Health => None,
            }),
            access_key_id: self.verified.as_ref().map(Verified::access_key_id),
            signing_region: self.verified.as_ref().map(Verified::region),
            claimed_access_key_id: claimed.access_key_id,
            claimed_signing_region: claimed.signing_region,
            client_address: origin.client_address,
            tls_client: origin.tls_client,
            trace_id: origin.trace_id,
            extensions: origin.extensions,
            request_metadata: self.request_metadata.as_ref(),
            policy: self.policy.as_deref(),
            attempts: &attempts,
            outcome,
            duration: self.timer.now().saturating_duration_since(self.started),
        };
        // A sink that panics costs its record, not the request.
        let _ = catch_unwind(AssertUnwindSafe(|| self.sink.record(&record)));
    }
}
