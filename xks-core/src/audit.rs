//! One record for every request (LOG-1, MD-4): what was asked, by whom, of which key, and how it ended.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use tracing::{Level, field::display};

use crate::{AccessKeyId, ErrorName, Operation, RequestMetadata, UriPathPrefix};

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
/// as they came: a sink that writes lines escapes control characters (LOG-2), as [`TracingAudit`] does.
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
    /// How it ended.
    pub outcome: Outcome<'a>,
    /// From the call of the pipeline to its answer.
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
/// of level INFO, a refused one WARN, an internal failure ERROR.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
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
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    target: "xks::audit",
                    $level,
                    kms_request_id = escaped(record.request_metadata.and_then(|m| m.kms_request_id())),
                    operation = record.operation.map(Operation::as_str),
                    key = escaped(record.key),
                    key_store = record.key_store.map(UriPathPrefix::as_str),
                    status = record.outcome.status(),
                    error = error.map(ErrorName::as_str),
                    message_sent = escaped(message),
                    reason = escaped(reason),
                    policy = escaped(record.policy),
                    principal = escaped(record.request_metadata.and_then(|m| m.aws_principal_arn())),
                    kms_operation = escaped(record.request_metadata.and_then(|m| m.kms_operation())),
                    kms_key_arn = escaped(record.request_metadata.and_then(|m| m.kms_key_arn())),
                    kms_via_service = escaped(record.request_metadata.and_then(|m| m.kms_via_service())),
                    source_vpc = escaped(record.request_metadata.and_then(|m| m.aws_source_vpc())),
                    source_vpce = escaped(record.request_metadata.and_then(|m| m.aws_source_vpce())),
                    extra = record.request_metadata.and_then(extra).map(display),
                    access_key_id = record.access_key_id.map(AccessKeyId::as_str),
                    signing_region = record.signing_region,
                    method = record.operation.is_none().then(|| display(Escaped(record.method))),
                    path = record.operation.is_none().then(|| display(Escaped(record.target))),
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

fn escaped(text: Option<&str>) -> Option<tracing::field::DisplayValue<Escaped<'_>>> {
    text.map(|text| display(Escaped(text)))
}

/// A text that can neither end a log line nor steer a terminal (LOG-2).
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            // Besides control characters: what reorders text or is taken for a line's end.
            let is_unsafe = character.is_control()
                || matches!(character, '\\' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if is_unsafe {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// The fields that are not known, as one JSON object's inside.
fn extra(metadata: &RequestMetadata<'_>) -> Option<String> {
    let mut text = String::new();
    for (name, value) in metadata.extra() {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}{}: {}", Escaped(name), Escaped(value));
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOG-2: nothing from a request can end a line or steer a terminal.
    #[test]
    fn control_characters_are_escaped() {
        let text = Escaped("a\nb\r\u{1b}[2J\u{85}\u{202e}\\\u{2028}ü").to_string();
        assert_eq!(text, r"a\nb\r\u{1b}[2J\u{85}\u{202e}\\\u{2028}ü");
    }
}
