//! What is known of a request so far, and the guarantee that it is recorded exactly once: when it is answered, or
//! when it is dropped before that.
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
    attribution::Attribution,
    audit::{AuditRecord, AuditSink, Outcome},
    error::Error,
    route::{Route, Target},
    sigv4::Verified,
};

pub(crate) struct Trail<'a> {
    sink: &'a dyn AuditSink,
    started: Instant,
    method: &'a str,
    target: &'a str,
    pub(crate) route: Option<Route<'a>>,
    pub(crate) key_store: Option<Arc<KeyStore>>,
    pub(crate) verified: Option<Verified<'a>>,
    pub(crate) request_metadata: Option<RequestMetadata<'a>>,
    pub(crate) policy: Option<Arc<str>>,
    pub(crate) served_by: &'a Attribution,
    end: End,
}

enum End {
    Open,
    Answered { status: u16 },
    Failed(Error),
}

impl<'a> Trail<'a> {
    pub(crate) fn new(sink: &'a dyn AuditSink, request: &Request<'a>, served_by: &'a Attribution) -> Self {
        Self {
            sink,
            started: request.received(),
            method: request.method(),
            target: request.target(),
            route: None,
            key_store: None,
            verified: None,
            request_metadata: None,
            policy: None,
            served_by,
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
        let served = self.served_by.take();
        let record = AuditRecord {
            method: self.method,
            target: self.target,
            operation: self.route.map(|route| route.operation()),
            key_store: self.key_store.as_ref().map(|key_store| key_store.prefix()),
            key: self.route.and_then(|route| match route.target {
                Target::Key { id, .. } => Some(id),
                Target::Health => None,
            }),
            access_key_id: self.verified.as_ref().map(Verified::access_key_id),
            signing_region: self.verified.as_ref().map(Verified::region),
            request_metadata: self.request_metadata.as_ref(),
            policy: self.policy.as_deref(),
            served_by: Some(&*served.by).filter(|by| !by.is_empty()),
            tried_before: Some(&*served.tried_before).filter(|members| !members.is_empty()),
            outcome,
            duration: self.started.elapsed(),
        };
        // A sink that panics costs its record, not the request.
        let _ = catch_unwind(AssertUnwindSafe(|| self.sink.record(&record)));
    }
}
