//! The default audit sink: one `tracing` event for each record. It hands texts to `tracing` unchanged, at
//! most shortened: its formatters quote and escape them.

use std::{
    fmt::{Display, Write as _},
    ptr,
};

use tracing::Level;

use super::{Attempt, AttemptOutcome, AuditRecord, AuditSink, MemberPath, Outcome};
use crate::{
    api::{ErrorName, Operation, RequestMetadata},
    key_store::{AccessKeyId, Region, UriPathPrefix},
};

/// The default sink: one [`tracing`] event for each request, with the target `xks::audit`; an answered
/// request is of level INFO, a refused one WARN, an internal failure ERROR. Texts are recorded as texts, of
/// which `tracing`'s formatters make quoted and escaped ones; a text of more than 2048 characters is cut.
///
/// **Nothing is recorded without a subscriber.** The shortest is `tracing_subscriber::fmt().init()`, of the
/// crate `tracing-subscriber`, at the start of `main`; one with a filter has to let `xks::audit` through.
// LOG-2
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a unit struct is written by its name, and stays one"
)]
pub struct TracingAudit;

impl AuditSink for TracingAudit {
    fn record(&self, record: &AuditRecord<'_>) {
        let outcome = record.outcome;
        let served_by = record.served_by();
        macro_rules! said {
            ($field:ident) => {
                record
                    .request_metadata
                    .and_then(|metadata| metadata.$field())
                    .map(clipped)
            };
        }
        // Texts go in as texts: the formatter quotes and escapes them, so that none can forge a field or a
        // line.
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    target: "xks::audit",
                    $level,
                    kms_request_id = said!(kms_request_id),
                    operation = record.operation.map(Operation::as_str),
                    key = record.key,
                    key_store = record.key_store.map(UriPathPrefix::as_str),
                    status = outcome.status(),
                    error = outcome.error_name().map(ErrorName::as_str),
                    message_sent = outcome.message(),
                    reason = outcome.reason().map(clipped),
                    policy = record.policy.map(clipped),
                    served_by = served_by.map(MemberPath::text).as_deref().map(clipped),
                    tried_before = tried_before(record).as_deref().map(clipped),
                    attempts = listed(record.attempts).as_deref().map(clipped),
                    principal = said!(aws_principal_arn),
                    kms_operation = said!(kms_operation),
                    kms_key_arn = said!(kms_key_arn),
                    kms_via_service = said!(kms_via_service),
                    source_vpc = said!(aws_source_vpc),
                    source_vpce = said!(aws_source_vpce),
                    extra = record.request_metadata.and_then(extra).as_deref().map(clipped),
                    access_key_id = record.access_key_id.map(AccessKeyId::as_str),
                    signing_region = record.signing_region.map(Region::as_str),
                    claimed_access_key_id = record.claimed_access_key_id,
                    claimed_signing_region = record.claimed_signing_region,
                    client = record.client_address.as_ref().map(display),
                    tls_client = record.tls_client.map(clipped),
                    trace_id = record.trace_id.map(clipped),
                    method = (record.method != "POST").then(|| clipped(record.method)),
                    // Of a path that is not understood, or whose prefix no key store has.
                    path = record.key_store.is_none().then(|| path_of(record.target)),
                    duration_us = u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
                )
            };
        }
        match outcome {
            Outcome::Success => event!(Level::INFO),
            Outcome::Failure {
                error: Some(ErrorName::Internal),
                ..
            } => event!(Level::ERROR),
            Outcome::Failure { .. } | Outcome::Cancelled => event!(Level::WARN),
        }
    }
}

/// The key managers that had the request and failed, with commas.
fn tried_before(record: &AuditRecord<'_>) -> Option<String> {
    let served_by = record.served_by();
    let in_vain = |attempt: &&Attempt| {
        attempt.outcome != AttemptOutcome::Answered
            && !served_by.is_some_and(|by| ptr::eq(by, &raw const attempt.member))
    };
    text_of(
        record.attempts.iter().filter(in_vain).map(|attempt| &attempt.member),
        ", ",
    )
}

/// All attempts with their outcomes, where there is more to say than who served.
fn listed(attempts: &[Attempt]) -> Option<String> {
    let is_told_by_its_member = matches!(attempts, [only] if only.outcome == AttemptOutcome::Answered);
    text_of(attempts.iter().filter(|_| !is_told_by_its_member), "; ")
}

fn text_of<T: Display>(parts: impl Iterator<Item = T>, separator: &str) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        let separator = if text.is_empty() { "" } else { separator };
        let _ = write!(text, "{separator}{part}"); // a String takes everything
    }
    (!text.is_empty()).then_some(text)
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
        return text; // the usual case
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

    /// LOG-2: no client floods the log, and no signature of a pre-signed URL gets into it.
    #[test]
    fn what_is_logged_is_bounded() {
        assert_eq!(path_of("/a/b?X-Amz-Signature=00ff"), "/a/b");
        assert_eq!(path_of("/a#b"), "/a");
        assert_eq!(path_of(&"ü".repeat(1000)), "ü".repeat(256));
        assert_eq!(clipped(&"ü".repeat(5000)), "ü".repeat(2048));
        assert_eq!(clipped("short"), "short");
    }
}
