//! The fuzz targets: one function each, which panics when something does not hold.
//!
//! `cargo fuzz run --features libfuzzer <target>` feeds them with what libFuzzer makes of the corpus;
//! `cargo test` in this folder with the corpus alone.

#![forbid(unsafe_code)]

mod proxy;
mod signer;

use serde_json::Value;
use xks_core::{
    AccessKeyId, ErrorName, KeyId, Request, RequestMetadata, Response, SecretAccessKey, UnreadableBody, UriPathPrefix,
};

use self::{
    proxy::{DATE, HOST, PATHS, answer},
    signer::authorization,
};

/// Any exchange at all. The input is written like HTTP: method and target, header lines, an empty line, the body;
/// instead of a body, a third word in the first line says why there is none.
///
/// Whatever comes in is answered, from the specification's table, and never with an internal error: the backend
/// behind it does not fail, so that could only be a panic. Returns the status.
pub fn handle(input: &[u8]) -> u16 {
    let (head, body) = match input.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let mut words = first.splitn(3, ' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
    });
    let request = match words.next() {
        None => Request::new(method, target, body),
        Some("too-large") => Request::with_unreadable_body(method, target, UnreadableBody::TooLarge { limit: 65_536 }),
        Some("too-slow") => Request::with_unreadable_body(method, target, UnreadableBody::TooSlow),
        Some(_) => Request::with_unreadable_body(method, target, UnreadableBody::Incomplete),
    };
    let response = answer(request.headers(headers));
    check(&response);
    assert_ne!(response.status(), 500);
    response.status()
}

/// Any body, with a signature that is valid. The first byte of the input chooses the operation, the rest is the body.
///
/// It is authentic and asks for a key that exists, so it is served, or refused because of the body alone; and what
/// was encrypted can be decrypted. Returns the status.
pub fn signed(input: &[u8]) -> u16 {
    let (choice, body) = input.split_first().unwrap_or((&0, &[]));
    let path = PATHS[usize::from(*choice) % PATHS.len()];
    let response = answer_signed(path, body);
    let object = check(&response);
    assert!(
        matches!(response.status(), 200 | 400 | 501),
        "{path}: {}",
        response.status()
    );
    // Not every body that is served is a `Value`: unknown fields are not looked into.
    if let (true, Ok(request)) = (path.ends_with("/encrypt"), serde_json::from_slice::<Value>(body))
        && response.status() == 200
    {
        let decrypted = answer_signed(&path.replace("encrypt", "decrypt"), &decrypt_body(&request, &object));
        assert_eq!(check(&decrypted)["plaintext"], request["plaintext"]);
    }
    response.status()
}

/// The parsers of short texts against their rules, written once more.
pub fn text_types(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let all = |legal: fn(u8) -> bool| text.bytes().all(legal);

    let is_key_id = (1..=128).contains(&text.len())
        && all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && !matches!(text, "." | "..");
    assert_eq!(KeyId::new(text).is_ok(), is_key_id);

    let is_prefix = text.len() <= 117
        && all(|byte| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte))
        && (text.is_empty() || text.starts_with('/') && text.split('/').skip(1).all(|part| !part.is_empty()));
    assert_eq!(UriPathPrefix::new(text).is_ok(), is_prefix);

    let is_access_key_id = (20..=30).contains(&text.len()) && all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
    assert_eq!(AccessKeyId::new(text).is_ok(), is_access_key_id);

    let is_secret =
        (43..=64).contains(&text.len()) && all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    assert_eq!(SecretAccessKey::new(text.to_owned()).is_ok(), is_secret);

    // Not every metadata is a `Value`: the values of unknown fields are not looked into.
    if let (Ok(metadata), Ok(value)) = (RequestMetadata::from_json(text), serde_json::from_str::<Value>(text)) {
        for (field, found) in [
            ("awsPrincipalArn", metadata.aws_principal_arn()),
            ("awsSourceVpc", metadata.aws_source_vpc()),
            ("awsSourceVpce", metadata.aws_source_vpce()),
            ("kmsKeyArn", metadata.kms_key_arn()),
            ("kmsOperation", metadata.kms_operation()),
            ("kmsRequestId", metadata.kms_request_id()),
            ("kmsViaService", metadata.kms_via_service()),
        ] {
            assert_eq!(found, value[field].as_str(), "{field}");
        }
        for (name, json) in metadata.extra() {
            assert!(value.get(name).is_some(), "{name}");
            serde_json::from_str::<Value>(json).expect("an extra field has a JSON value");
        }
    }
}

fn answer_signed(path: &str, body: &[u8]) -> Response {
    let authorization = authorization(path, body);
    let request = Request::new("POST", path, body)
        .header("host", HOST.as_bytes())
        .header("x-amz-date", DATE.as_bytes())
        .header("authorization", authorization.as_bytes());
    answer(request)
}

/// The request for the decryption of what an encryption returned.
fn decrypt_body(encrypt: &Value, encrypted: &Value) -> Vec<u8> {
    let mut body = encrypted.clone();
    for field in ["requestMetadata", "encryptionAlgorithm", "additionalAuthenticatedData"] {
        if let Some(value) = encrypt.get(field) {
            body[field] = value.clone();
        }
    }
    serde_json::to_vec(&body).expect("a value serializes")
}

/// What holds for every answer: its status and name are of the specification's table, and its body says why.
fn check(response: &Response) -> Value {
    let body: Value = serde_json::from_slice(response.body()).expect("every body is JSON");
    assert!(body.is_object());
    assert!(response.headers().contains(&("content-type", "application/json")));
    if response.status() == 200 {
        return body;
    }
    let message = body["errorMessage"].as_str().expect("a failure has a message");
    assert!(
        message.len() < 512 && message.bytes().all(|byte| matches!(byte, 0x20..=0x7e)),
        "{message:?}"
    );
    if response.status() == 405 {
        assert!(response.headers().contains(&("allow", "POST")));
    } else {
        let name = ErrorName::ALL
            .into_iter()
            .find(|name| body["errorName"] == name.as_str());
        assert_eq!(name.map(ErrorName::status), Some(response.status()), "{body}");
    }
    body
}
