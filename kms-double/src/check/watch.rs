//! Checks of every answer, whatever case it belongs to: the form of errors, secrets, times and the
//! clock.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, header};
use serde_json::Value;

use super::{body::Operation, date, errors, signature};
use crate::wire::{Answer, Credential, Raw};

/// What holds for every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    ContentType,
    Named,
    Status,
    Message,
    OfOperation,
    NoSecret,
    NoExpectedSignature,
    NoPlaintext,
    NoInnards,
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) answers: usize,
    pub(super) errors: usize,
    /// How often each rule was broken, and how for the first time.
    broken: BTreeMap<Rule, (usize, String)>,
    /// Times of answers with 200, by operation.
    pub(super) times: BTreeMap<&'static str, Vec<Duration>>,
    /// The proxy's clock less ours, in seconds: not below the first and not above the second.
    skew: Option<(f64, f64)>,
}

impl Watch {
    /// Looks at an answer, and what it was an answer to.
    pub(super) fn see(&mut self, request: &Raw, answer: &Answer, arrived: SystemTime, credential: &Credential) {
        self.answers += 1;
        self.see_clock(answer, arrived);
        let operation = Operation::of(request);
        if answer.status == 200
            && let Some(operation) = operation
        {
            self.times.entry(operation.name()).or_default().push(answer.took);
        }
        let what = format!("{} {}", answer.status, answer.error_name().unwrap_or_default());
        let mut found = Vec::new();
        // The specification has no body for 405.
        let is_bare = answer.status == 405 && answer.body.is_empty();
        if !is_bare && !is_json(&answer.headers) {
            let kind = content_type(&answer.headers);
            found.push((
                Rule::ContentType,
                format!("{} with content-type {kind}", what.trim_end()),
            ));
        }
        if answer.status >= 400 {
            self.errors += 1;
            found.extend(form(answer, operation));
        } else if answer.status != 200 {
            found.push((Rule::Status, format!("the status {}", answer.status)));
        }
        found.extend(leaks(request, answer, credential));
        for (rule, how) in found {
            self.broken.entry(rule).or_insert((0, how)).0 += 1;
        }
    }

    pub(super) fn broken(&self, rule: Rule) -> Option<String> {
        let (times, how) = self.broken.get(&rule)?;
        Some(format!("{how} ({times} of {} answers)", self.answers))
    }

    /// A `Date` says the second that has begun.
    fn see_clock(&mut self, answer: &Answer, arrived: SystemTime) {
        let date = answer.headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(date::parse_http) else {
            return;
        };
        let low = seconds_from(arrived, date);
        let high = seconds_from(arrived - answer.took, date) + 1.0;
        self.skew = Some(match self.skew {
            Some((lowest, highest)) if low.max(lowest) <= high.min(highest) => (low.max(lowest), high.min(highest)),
            _ => (low, high),
        });
    }

    /// The proxy's clock less ours, in seconds, where its answers have a date.
    pub(super) fn skew(&self) -> Option<f64> {
        self.skew.map(|(low, high)| f64::midpoint(low, high))
    }
}

fn seconds_from(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(later) => later.as_secs_f64(),
        Err(earlier) => -earlier.duration().as_secs_f64(),
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    value.map_or("absent".into(), |value| format!("{value:?}").chars().take(60).collect())
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = text.and_then(|text| text.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The form of an error.
fn form(answer: &Answer, operation: Option<Operation>) -> Vec<(Rule, String)> {
    let mut found = Vec::new();
    let json = answer.json();
    let name = answer.error_name();
    let status = answer.status;
    match name.as_deref().map(|name| (name, errors::status(name))) {
        // The table has no name for it.
        None if status == 405 => {}
        None if json.is_none() => found.push((Rule::Named, format!("{status} with a body that is not JSON"))),
        None => found.push((Rule::Named, format!("{status} without errorName"))),
        Some((name, None)) => {
            let name: String = name.chars().take(60).collect();
            found.push((Rule::Named, format!("{status} with the errorName {name:?}")));
        }
        Some((name, Some(right))) if status != right => found.push((Rule::Status, format!("{status} for {name}"))),
        Some((name, _)) => {
            // HLT-4; and the table says to which operations the others belong.
            let is_wrong = match operation {
                Some(Operation::Health) => ["AccessDeniedException", "KeyNotFoundException"].contains(&name),
                Some(Operation::Encrypt | Operation::Metadata) => name == "InvalidCiphertextException",
                _ => false,
            } || operation == Some(Operation::Health)
                && ["InvalidCiphertextException", "InvalidKeyUsageException"].contains(&name);
            if is_wrong {
                let operation = operation.map_or("", Operation::name);
                found.push((Rule::OfOperation, format!("{name} for {operation}")));
            }
        }
    }
    match json.as_ref().and_then(|json| json.get("errorMessage")) {
        None => {}
        Some(Value::String(message)) if message.len() >= 512 => {
            found.push((Rule::Message, format!("an errorMessage of {} bytes", message.len())));
        }
        Some(Value::String(message)) if message.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) => {}
        Some(Value::String(_)) => found.push((Rule::Message, "an errorMessage that is not printable ASCII".into())),
        Some(_) => found.push((Rule::Message, "an errorMessage that is not a string".into())),
    }
    found
}

/// Secrets that no answer may hold. The finding does not repeat them.
fn leaks(request: &Raw, answer: &Answer, credential: &Credential) -> Vec<(Rule, String)> {
    let mut text = String::from_utf8_lossy(&answer.body).into_owned();
    for value in answer.headers.values() {
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    let mut found = Vec::new();
    let what = format!("in a {}", answer.status);
    if !credential.secret().is_empty() && text.contains(credential.secret()) {
        found.push((Rule::NoSecret, format!("the secret access key {what}")));
    }
    if signature::missing_from(request, credential).is_some_and(|expected| text.contains(&expected)) {
        found.push((
            Rule::NoExpectedSignature,
            format!("the signature that was expected {what}"),
        ));
    }
    if answer.status != 200 {
        if plaintext(request).is_some_and(|plaintext| {
            let raw = BASE64_STANDARD.decode(&plaintext).unwrap_or_default();
            text.contains(&plaintext)
                || std::str::from_utf8(&raw).is_ok_and(|raw| !raw.is_empty() && text.contains(raw))
        }) {
            found.push((Rule::NoPlaintext, format!("the plaintext {what}")));
        }
        let innards = [
            "panicked at",
            "stack backtrace",
            "Traceback (most recent",
            "goroutine ",
            "\tat ",
            "\\tat ",
            ".rs:",
        ];
        if let Some(inner) = innards.iter().find(|inner| text.contains(**inner)) {
            found.push((Rule::NoInnards, format!("{inner:?} {what}")));
        }
    }
    found
}

/// The plaintext of a request in Base64, where it is long enough not to be found by chance.
fn plaintext(request: &Raw) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    let text = body.get("plaintext")?.as_str()?;
    (text.len() >= 12).then(|| text.to_owned())
}
