//! One record for every request: what was asked, by whom, of which key, and how it ended.
//!
//! [`TracingAudit`] hands texts to `tracing` unchanged, at most shortened: its formatters quote and escape them.

use std::{sync::Arc, time::Duration};

use tracing::Level;

use crate::{
    api::{ErrorName, Operation, RequestMetadata},
    key_store::{AccessKeyId, UriPathPrefix},
};

/// Where audit records go: a log, a metric, a queue.
///
/// It is called once for every request, on the thread that serves it, and must not block.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes note of a request that has ended.
    fn record(&self, record: &AuditRecord<'_>);
}

impl<T: AuditSink + ?Sized> AuditSink for Arc<T> {
    fn record(&self, record: &AuditRecord<'_>) {
        (**self).record(record);
    }
}

/// What happened to one request. It never holds plaintext, key material or a signature. Texts from the client are
/// as they came: a sink that writes lines quotes them, escapes control characters and bounds their length.
// LOG-2
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
    pub signing_region: Option<&'a str>,
    /// What KMS said about the call, once the body was decoded.
    pub request_metadata: Option<&'a RequestMetadata<'a>>,
    /// The policy that decided, where secondary authorization was asked and named one.
    pub policy: Option<&'a str>,
    /// Which of several key managers served the request, where the backend has several, as a
    /// [`Fleet`](crate::fleet::Fleet) does: the one that gave the answer, or that was asked last. Where fleets are nested,
    /// all the way to it: `outer/inner`. Where the trial decryption was another one's: `hsm-a, trial hsm-b`.
    pub served_by: Option<&'a str>,
    /// Those that were asked before it in vain, in their order: `hsm-a, hsm-c`. They explain the time taken.
    pub tried_before: Option<&'a str>,
    /// How it ended.
    pub outcome: Outcome<'a>,
    /// From the request's head, where the server says when that came, to its answer.
    pub duration: Duration,
}

/// How a request ended.
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
        /// What the client was told.
        message: &'a str,
        /// What only the log is told.
        reason: Option<&'a str>,
    },
    /// Nothing was answered: the server dropped the request, as when its client has gone.
    Cancelled,
}

impl Outcome<'_> {
    /// The HTTP status that was answered, if any was.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Success => Some(200),
            Self::Failure { status, .. } => Some(*status),
            Self::Cancelled => None,
        }
    }
}

/// The default sink: one [`tracing`] event for each request, with the target `xks::audit`; an answered request is
/// of level INFO, a refused one WARN, an internal failure ERROR. Texts are recorded as texts, of which `tracing`'s
/// formatters make quoted and escaped ones; a text of more than 2048 characters is cut.
// LOG-2
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a unit struct is written by its name, and stays one"
)]
pub struct TracingAudit;

impl AuditSink for TracingAudit {
    fn record(&self, record: &AuditRecord<'_>) {
        let (error, message, reason) = match record.outcome {
            Outcome::Success => (None, None, None),
            Outcome::Failure {
                error, message, reason, ..
            } => (error, Some(message), reason),
            Outcome::Cancelled => (None, None, Some("the request was dropped before it was answered")),
        };
        macro_rules! said {
            ($field:ident) => {
                record
                    .request_metadata
                    .and_then(|metadata| metadata.$field())
                    .map(clipped)
            };
        }
        // Texts go in as texts: the formatter quotes and escapes them, so that none can forge a field or a line.
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    target: "xks::audit",
                    $level,
                    kms_request_id = said!(kms_request_id),
                    operation = record.operation.map(Operation::as_str),
                    key = record.key,
                    key_store = record.key_store.map(UriPathPrefix::as_str),
                    status = record.outcome.status(),
                    error = error.map(ErrorName::as_str),
                    message_sent = message,
                    reason = reason.map(clipped),
                    policy = record.policy.map(clipped),
                    served_by = record.served_by.map(clipped),
                    tried_before = record.tried_before.map(clipped),
                    principal = said!(aws_principal_arn),
                    kms_operation = said!(kms_operation),
                    kms_key_arn = said!(kms_key_arn),
                    kms_via_service = said!(kms_via_service),
                    source_vpc = said!(aws_source_vpc),
                    source_vpce = said!(aws_source_vpce),
                    extra = record.request_metadata.and_then(extra).as_deref().map(clipped),
                    access_key_id = record.access_key_id.map(AccessKeyId::as_str),
                    signing_region = record.signing_region,
                    method = (record.method != "POST").then(|| clipped(record.method)),
                    // Of a path that is not understood, or whose prefix is nobody's.
                    path = record.key_store.is_none().then(|| path_of(record.target)),
                    duration_us = u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
                )
            };
        }
        match record.outcome {
            Outcome::Success => event!(Level::INFO),
            Outcome::Failure {
                error: Some(ErrorName::Internal),
                ..
            } => event!(Level::ERROR),
            Outcome::Failure { .. } | Outcome::Cancelled => event!(Level::WARN),
        }
    }
}

/// A text, or the beginning of one that would flood the log: the longest ARN is logged whole.
// TRN-5
pub(crate) fn clipped(text: &str) -> &str {
    beginning(text, 2048)
}

/// The path of a target that is none of the API's, without its query, which may hold a signature.
fn path_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    beginning(path, 256)
}

/// The first `length` characters.
fn beginning(text: &str, length: usize) -> &str {
    if text.len() <= length {
        return text; // as good as always
    }
    let end = text.char_indices().nth(length).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text)
}

/// The fields that are not known, as the inside of a JSON object.
// MD-5
fn extra(metadata: &RequestMetadata<'_>) -> Option<String> {
    let fields: Vec<_> = metadata
        .extra()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    (!fields.is_empty()).then(|| fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOG-2: nobody floods the log, and no signature of a pre-signed URL gets into it.
    #[test]
    fn what_is_logged_is_bounded() {
        assert_eq!(path_of("/a/b?X-Amz-Signature=00ff"), "/a/b");
        assert_eq!(path_of("/a#b"), "/a");
        assert_eq!(path_of(&"ü".repeat(1000)), "ü".repeat(256));
        assert_eq!(clipped(&"ü".repeat(5000)), "ü".repeat(2048));
        assert_eq!(clipped("short"), "short");
    }
}
