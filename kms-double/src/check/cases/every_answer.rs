//! Rules for every answer of the whole run, whatever its request was.

use http::Method;

use crate::check::{
    body::{self, Operation},
    case::{Case, Stop},
    subject::Subject,
    watch::Rule,
};
use crate::wire::Raw;

pub(super) fn cases() -> Vec<Case> {
    let rules: [(&str, &'static [&'static str], Rule, &str, &'static str); 9] = [
        (
            "is-json",
            &["TRN-1"],
            Rule::ContentType,
            "content-type application/json",
            "KMS does not parse the response",
        ),
        (
            "error-is-named",
            &["section 8"],
            Rule::Named,
            "a JSON body with one of the twelve errorNames with every error but 405",
            "KMS can only report a general failure to its caller",
        ),
        (
            "status-fits",
            &["section 8"],
            Rule::Status,
            "200, or the status that belongs to the errorName",
            "KMS and its caller see different errors",
        ),
        (
            "message-is-clean",
            &["section 8"],
            Rule::Message,
            "no errorMessage, or one of less than 512 printable ASCII characters",
            "KMS rejects the response",
        ),
        (
            "error-fits-the-operation",
            &["section 8", "HLT-4"],
            Rule::OfOperation,
            "only errors that the specification lists for the operation",
            "KMS does not expect this error for this operation",
        ),
        (
            "no-secret",
            &["SIG-8"],
            Rule::NoSecret,
            "no secret access key",
            "a reader of the response can sign requests",
        ),
        (
            "no-expected-signature",
            &["SIG-8"],
            Rule::NoExpectedSignature,
            "no expected signature in a response",
            "an unauthenticated client learns how to sign its request",
        ),
        (
            "no-plaintext",
            &["ENC-12"],
            Rule::NoPlaintext,
            "no plaintext in an error",
            "KMS shows errors to its callers",
        ),
        (
            "no-innards",
            &["SIG-8"],
            Rule::NoInnards,
            "no stack trace or source file",
            "unauthenticated clients learn implementation details",
        ),
    ];
    let case = |(name, ids, rule, expected, means): (&str, _, Rule, &'static str, &'static str)| {
        Case::must(format!("every-answer/{name}"), ids)
            .sends("one request of each kind, and all earlier requests")
            .expects(expected)
            .means(means)
            .steps(move |subject| async move {
                each_kind(&subject).await?;
                let watch = subject.watch();
                match watch.broken(rule) {
                    Some(how) => Err(Stop::Failed(how)),
                    None if watch.answers == 0 => Err(Stop::not_tried("no response")),
                    None => Ok(Some(format!(
                        "{} responses, {} of them errors",
                        watch.answers, watch.errors
                    ))),
                }
            })
    };
    rules.into_iter().map(case).collect()
}

/// So that a run of this case alone sees something too.
async fn each_kind(subject: &Subject) -> Result<(), Stop> {
    if subject.watch().answers > 20 {
        return Ok(());
    }
    let setup = subject.setup();
    let metadata = body::plain(setup, Operation::Metadata).to_string();
    let path = Operation::Metadata.path(subject.key());
    let mut wrong = subject.request_of_bytes(&path, metadata.as_bytes())?;
    wrong.body = bytes::Bytes::from_static(b"{}");
    let encryption = body::encrypt(setup, b"a plaintext that is never told", None, false);
    let encrypt = Operation::Encrypt.path(subject.key());
    let missing = Operation::Encrypt.path(subject.missing_key());
    for request in [
        subject.request_of_bytes(&path, metadata.as_bytes())?,
        subject.request("health", &body::plain(setup, Operation::Health))?,
        subject.request(&encrypt, &encryption)?,
        subject.request(&missing, &encryption)?,
        subject.request_of_bytes(&encrypt, b"{\"plaintext\":")?,
        subject.request("nothing", &encryption)?,
        subject.unsigned(&path, metadata.as_bytes())?,
        Raw::unsigned(subject.endpoint(), Method::GET, &path, b"")?,
        wrong,
    ] {
        // Whether there is an answer is another case's.
        if let Err(Stop::NotTried(reason)) = subject.send(&request).await {
            return Err(Stop::NotTried(reason));
        }
    }
    Ok(())
}
