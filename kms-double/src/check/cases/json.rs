//! Bodies that are not JSON, or not Base64 where they have to be.

use base64::{Engine as _, prelude::BASE64_URL_SAFE};
use serde_json::{Value, json};

use crate::check::{
    body::{self, Operation},
    case::{Case, Stop},
    errors::VALIDATION,
    subject::{Subject, random},
};

const MEANS_JSON: &str = "the proxy accepts invalid JSON: two parsers of one request may read two different requests";
const MEANS_BASE64: &str = "the proxy decodes other bytes than KMS encoded";

pub(super) fn cases() -> Vec<Case> {
    type Change = fn(Vec<u8>) -> Vec<u8>;
    let bodies: [(&str, Change); 8] = [
        ("truncated", |body| {
            body.get(..body.len() / 2).unwrap_or_default().to_vec()
        }),
        ("followed-by-garbage", |body| [&*body, b" garbage"].concat()),
        ("followed-by-another-object", |body| [&*body, b"{}"].concat()),
        ("empty", |_| Vec::new()),
        ("array", |body| [b"[", &*body, b"]"].concat()),
        ("null", |_| b"null".to_vec()),
        ("not-utf-8", |body| {
            let text = String::from_utf8_lossy(&body).into_owned();
            let (head, tail) = text.split_once("4112f4d6").unwrap_or_default();
            [head.as_bytes(), b"\xff\xfe", tail.as_bytes()].concat()
        }),
        ("nested-without-end", |_| {
            [b"{\"a\":".repeat(20_000), b"1".to_vec()].concat()
        }),
    ];
    let mut cases: Vec<_> = bodies
        .into_iter()
        .map(|(name, change)| {
            Case::must(format!("json/{name}"), &["TRN-1"])
                .sends(format!("a signed Encrypt whose body is {}", name.replace('-', " ")))
                .means(MEANS_JSON)
                .refused(VALIDATION, move |subject| {
                    let body = change(usual(subject).to_string().into_bytes());
                    subject.request_of_bytes(&Operation::Encrypt.path(subject.key()), &body)
                })
        })
        .collect();
    cases.push(
        Case::should("json/field-twice", &["TRN-1"])
            .sends("a signed Encrypt with plaintext in it twice")
            .means(MEANS_JSON)
            .refused(VALIDATION, |subject| {
                let body = usual(subject).to_string();
                let body = body.replacen("\"plaintext\"", "\"plaintext\":\"AAAA\",\"plaintext\"", 1);
                subject.request_of_bytes(&Operation::Encrypt.path(subject.key()), body.as_bytes())
            }),
    );
    for (name, value) in [
        ("number", json!(1)),
        ("null", json!(null)),
        ("array", json!(["AAAA"])),
        ("object", json!({})),
        ("bool", json!(true)),
    ] {
        cases.push(
            Case::must(format!("json/plaintext-{name}"), &["ENC-1"])
                .sends(format!("a signed Encrypt with {value} as plaintext"))
                .means(MEANS_JSON)
                .refused(VALIDATION, move |subject| with(subject, "plaintext", value.clone())),
        );
    }
    cases.push(
        Case::must("json/aad-number", &["ENC-1"])
            .sends("a signed Encrypt with 1 as additionalAuthenticatedData")
            .means(MEANS_JSON)
            .refused(VALIDATION, |subject| {
                with(subject, "additionalAuthenticatedData", json!(1))
            }),
    );
    for field in ["plaintext", "additionalAuthenticatedData"] {
        cases.extend(base64(field));
    }
    cases
}

fn base64(field: &'static str) -> Vec<Case> {
    type Text = fn() -> String;
    let texts: [(&str, Text); 7] = [
        ("url-safe", || {
            BASE64_URL_SAFE.encode([0xfb, 0xff, 0xfe, 0xfb, 0xff, 0xfe])
        }),
        ("without-padding", || "QUJDRA".into()),
        ("with-more-padding", || "QUJD====".into()),
        ("with-a-space", || "QUJD REVG".into()),
        ("with-a-line-end", || "QUJD\r\nREVG".into()),
        ("with-another-character", || "QUJD*EVG".into()),
        ("of-one-character", || "Q".into()),
    ];
    let mut cases: Vec<_> = texts
        .into_iter()
        .map(|(name, text)| {
            Case::must(format!("base64/{field}-{name}"), &["ENC-1"])
                .sends(format!(
                    "a signed Encrypt whose {field} is Base64 {}",
                    name.replace('-', " ")
                ))
                .means(MEANS_BASE64)
                .refused(VALIDATION, move |subject| with(subject, field, json!(text())))
        })
        .collect();
    cases.push(
        Case::should(format!("base64/{field}-with-stray-bits"), &["ENC-1"])
            .sends(format!(
                "a signed Encrypt whose {field} is QUJDRB==, where QUJDRA== is right"
            ))
            .means(MEANS_BASE64)
            .refused(VALIDATION, move |subject| with(subject, field, json!("QUJDRB=="))),
    );
    cases
}

fn usual(subject: &Subject) -> Value {
    body::encrypt(subject.setup(), &random(24), Some(b"some AAD"), false)
}

fn with(subject: &Subject, field: &str, value: Value) -> Result<crate::wire::Raw, Stop> {
    let mut body = usual(subject);
    body::set(&mut body, field, value);
    subject.request(&Operation::Encrypt.path(subject.key()), &body)
}
