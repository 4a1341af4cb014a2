//! requestMetadata: what has to be there, and what may.

use serde_json::{Value, json};

use crate::check::{
    body::{self, Operation, Sealed},
    case::{Case, Stop},
    errors::VALIDATION,
    subject::Subject,
};
use crate::wire::Raw;

const MEANS_MISSING: &str = "the proxy serves requests without a principal: authorization and audit log have no \
                             value";
const MEANS_REFUSED: &str = "requests that KMS sends for some AWS services, or with future fields, fail";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in Operation::ALL {
        for field in operation.required() {
            cases.push(
                Case::must(
                    format!("request-metadata/{}-without-{field}", operation.name()),
                    &["MD-1"],
                )
                .sends(format!("a request whose requestMetadata has no {field}"))
                .means(MEANS_MISSING)
                .refused(VALIDATION, move |subject| {
                    of(subject, operation, |body| {
                        if let Some(metadata) = body.get_mut("requestMetadata") {
                            body::remove(metadata, field);
                        }
                    })
                }),
            );
        }
        if operation != Operation::Health {
            cases.push(
                Case::must(format!("request-metadata/{}-without", operation.name()), &["MD-1"])
                    .sends("a request without requestMetadata")
                    .means(MEANS_MISSING)
                    .refused(VALIDATION, move |subject| {
                        of(subject, operation, |body| body::remove(body, "requestMetadata"))
                    }),
            );
        }
    }
    let wrong = [
        ("null", json!(null)),
        ("string", json!("arn")),
        ("array", json!([])),
        (
            "number-as-principal",
            json!({ "awsPrincipalArn": 1, "kmsOperation": "DescribeKey", "kmsRequestId": "1" }),
        ),
    ];
    for (name, value) in wrong {
        cases.push(
            Case::must(format!("request-metadata/{name}"), &["MD-1"])
                .sends(format!("GetKeyMetadata with {value} as requestMetadata"))
                .means(MEANS_MISSING)
                .refused(VALIDATION, move |subject| {
                    of(subject, Operation::Metadata, |body| {
                        body::set(body, "requestMetadata", value.clone());
                    })
                }),
        );
    }
    let long = format!("arn:aws:iam::123456789012:role/{}", "r".repeat(2048 - 31));
    let long_key = format!("arn:aws:kms:us-east-1:123456789012:key/{}", "k".repeat(2048 - 39));
    let served: [(&str, &'static [&'static str], &str, Value); 14] = [
        (
            "unknown-operation",
            &["MD-2"],
            "kmsOperation",
            json!("AnOperationOfTomorrow"),
        ),
        ("odd-request-id", &["MD-3"], "kmsRequestId", json!("1")),
        ("long-request-id", &["MD-3"], "kmsRequestId", json!("i".repeat(400))),
        (
            "request-id-beyond-ascii",
            &["MD-3"],
            "kmsRequestId",
            json!("\u{65e5}\u{672c} \" \\ \n"),
        ),
        (
            "service-principal",
            &["MD-6"],
            "awsPrincipalArn",
            json!("ec2.amazonaws.com"),
        ),
        ("aws-internal", &["MD-6"], "awsPrincipalArn", json!("AWS Internal")),
        (
            "principal-of-2048-characters",
            &["TRN-5"],
            "awsPrincipalArn",
            json!(long),
        ),
        ("key-arn-of-2048-characters", &["TRN-5"], "kmsKeyArn", json!(long_key)),
        ("source-vpc", &["MD-5"], "awsSourceVpc", json!("vpc-1234")),
        ("source-vpce", &["MD-5"], "awsSourceVpce", json!("vpce-1234")),
        (
            "via-service",
            &["MD-5"],
            "kmsViaService",
            json!("ebs.us-east-1.amazonaws.com"),
        ),
        ("unknown-field", &["MD-5"], "sourceIdentity", json!("alice")),
        (
            "unknown-nested-field",
            &["MD-5"],
            "nitroAttestation",
            json!({ "pcrs": { "0": ["00", null, 1.5, true] } }),
        ),
        ("unknown-null-field", &["MD-5"], "aTagOfTomorrow", json!(null)),
    ];
    for (name, ids, field, value) in served {
        for operation in [Operation::Metadata, Operation::Encrypt] {
            let (field, value) = (field.to_owned(), value.clone());
            let shown: String = value.to_string().chars().take(40).collect();
            cases.push(
                Case::must(format!("request-metadata/{}-{name}", operation.name()), ids)
                    .sends(format!("a request with {field} {shown}"))
                    .means(MEANS_REFUSED)
                    .served(move |subject| {
                        of(subject, operation, |body| {
                            body::set_metadata(body, &field, value.clone());
                        })
                    }),
            );
        }
    }
    for (name, field) in [("source-vpc", "awsSourceVpc"), ("via-service", "kmsViaService")] {
        cases.push(
            Case::should(format!("request-metadata/encrypt-null-{name}"), &["MD-1"])
                .sends(format!("Encrypt with null as {field}, which is optional"))
                .means("a client that writes null for what it does not know is refused; AWS's sample proxy serves it")
                .served(move |subject| {
                    of(subject, Operation::Encrypt, |body| {
                        body::set_metadata(body, field, Value::Null);
                    })
                }),
        );
    }
    cases.push(
        Case::must("request-metadata/health-unknown-field", &["MD-5"])
            .sends("a health request with unknown fields")
            .means(MEANS_REFUSED)
            .served(|subject| {
                of(subject, Operation::Health, |body| {
                    body::set_metadata(body, "aFieldOfTomorrow", json!({ "deep": [{}] }));
                })
            }),
    );
    cases.push(
        Case::should("request-metadata/unknown-field-beside", &["MD-5"])
            .sends("Encrypt with an unknown field beside requestMetadata")
            .means(MEANS_REFUSED)
            .served(|subject| {
                of(subject, Operation::Encrypt, |body| {
                    body::set(body, "aFieldOfTomorrow", json!({}));
                })
            }),
    );
    cases
}

/// An operation's request, with a change.
fn of(subject: &Subject, operation: Operation, change: impl FnOnce(&mut Value)) -> Result<Raw, Stop> {
    let setup = subject.setup();
    let mut body = match operation {
        Operation::Encrypt => body::encrypt(setup, b"sixteen bytes...", None, false),
        Operation::Decrypt => Sealed::of_nothing().body(setup),
        Operation::Metadata | Operation::Health => body::plain(setup, operation),
    };
    change(&mut body);
    subject.request(&operation.path(subject.key()), &body)
}
