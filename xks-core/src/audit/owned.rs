//! A record that outlives its request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Attempt, AuditRecord, Outcome};
use crate::{
    api::{ErrorName, Operation, RequestMetadata},
    key_store::{AccessKeyId, Region, UriPathPrefix},
};

/// An [`AuditRecord`] that outlives its request, for a sink that passes it on: to a channel, a queue, another
/// thread.
///
/// ```
/// use std::sync::mpsc::SyncSender;
/// use xks_core::audit::{AuditRecord, AuditSink, OwnedAuditRecord};
///
/// struct ToChannel(SyncSender<OwnedAuditRecord>);
///
/// impl AuditSink for ToChannel {
///     fn record(&self, record: &AuditRecord<'_>) {
///         if self.0.try_send(record.to_owned()).is_err() {
///             // The queue is full: count it, since a sink must not wait.
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct OwnedAuditRecord {
    method: String,
    target: String,
    operation: Option<Operation>,
    key_store: Option<UriPathPrefix>,
    key: Option<String>,
    access_key_id: Option<AccessKeyId>,
    signing_region: Option<Region>,
    claimed_access_key_id: Option<String>,
    claimed_signing_region: Option<String>,
    client_address: Option<SocketAddr>,
    tls_client: Option<String>,
    trace_id: Option<String>,
    request_metadata: Option<RequestMetadata<'static>>,
    policy: Option<String>,
    attempts: Arc<[Attempt]>,
    outcome: OwnedOutcome,
    duration: Duration,
}

#[derive(Clone, Debug)]
enum OwnedOutcome {
    Success,
    Failure {
        status: u16,
        error: Option<ErrorName>,
        message: String,
        reason: Option<String>,
    },
    Cancelled,
}

impl OwnedAuditRecord {
    /// Returns the record, for whatever takes one: a sink, or code that reads its fields. It has no
    /// extensions.
    #[must_use]
    pub fn record(&self) -> AuditRecord<'_> {
        AuditRecord {
            method: &self.method,
            target: &self.target,
            operation: self.operation,
            key_store: self.key_store.as_ref(),
            key: self.key.as_deref(),
            access_key_id: self.access_key_id.as_ref(),
            signing_region: self.signing_region.as_ref(),
            claimed_access_key_id: self.claimed_access_key_id.as_deref(),
            claimed_signing_region: self.claimed_signing_region.as_deref(),
            client_address: self.client_address,
            tls_client: self.tls_client.as_deref(),
            trace_id: self.trace_id.as_deref(),
            extensions: None,
            request_metadata: self.request_metadata.as_ref(),
            policy: self.policy.as_deref(),
            attempts: &self.attempts,
            outcome: match &self.outcome {
                OwnedOutcome::Success => Outcome::Success,
                OwnedOutcome::Failure {
                    status,
                    error,
                    message,
                    reason,
                } => Outcome::Failure {
                    status: *status,
                    error: *error,
                    message,
                    reason: reason.as_deref(),
                },
                OwnedOutcome::Cancelled => Outcome::Cancelled,
            },
            duration: self.duration,
        }
    }
}

impl From<AuditRecord<'_>> for OwnedAuditRecord {
    fn from(record: AuditRecord<'_>) -> Self {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            method: record.method.to_owned(),
            target: record.target.to_owned(),
            operation: record.operation,
            key_store: record.key_store.cloned(),
            key: text(record.key),
            access_key_id: record.access_key_id.cloned(),
            signing_region: record.signing_region.cloned(),
            claimed_access_key_id: text(record.claimed_access_key_id),
            claimed_signing_region: text(record.claimed_signing_region),
            client_address: record.client_address,
            tls_client: text(record.tls_client),
            trace_id: text(record.trace_id),
            request_metadata: record.request_metadata.map(RequestMetadata::to_owned),
            policy: text(record.policy),
            attempts: record.attempts.into(),
            outcome: match record.outcome {
                Outcome::Success => OwnedOutcome::Success,
                Outcome::Failure {
                    status,
                    error,
                    message,
                    reason,
                } => OwnedOutcome::Failure {
                    status,
                    error,
                    message: message.to_owned(),
                    reason: text(reason),
                },
                Outcome::Cancelled => OwnedOutcome::Cancelled,
            },
            duration: record.duration,
        }
    }
}
