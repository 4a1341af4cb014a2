//! Requests that any client can send: each gets a fitting error with a JSON body, and none is the server's
//! fault.

use std::time::Duration;

use serde_json::{Value, json};
use xks_core::{Request, aad::AadFraming, api::UnreadableBody};
use xks_test_client::{ACCESS_KEY_ID, HOST, Signer};

use crate::support::{Client, base64, decrypt_body, encrypt_body, error_of, from_base64, metadata_body, now};

const METADATA_PATH: &str = "/tenant/kms/xks/v1/keys/usable/metadata";

fn client() -> Client {
    Client::soft(AadFraming::Spec)
}

/// TRN-4: no method but POST, on any operation; elsewhere the path is what is wrong.
#[tokio::test]
async fn every_method_but_post() {
    let client = client();
    for method in [
        "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "POST ", "", "BREW",
    ] {
        for operation in [
            "health",
            "keys/usable/metadata",
            "keys/usable/encrypt",
            "keys/ghost/decrypt",
        ] {
            let path = format!("/tenant/kms/xks/v1/{operation}");
            assert_eq!(
                client.send_unsigned(method, &path, &[], b"").await.0,
                405,
                "{method} {path}"
            );
        }
        assert_eq!(client.send_unsigned(method, "/elsewhere", &[], b"").await.0, 404);
    }
}

/// TRN-4: the method comes before a body that could not be read, and that before a signature.
#[tokio::test]
async fn bodies_that_could_not_be_read() {
    let client = client();
    for (why, posted) in [
        (UnreadableBody::TooLarge { limit: 10 }, 400),
        (UnreadableBody::Incomplete, 400),
        (UnreadableBody::TooSlow, 400),
        (UnreadableBody::NoMemory, 429),
    ] {
        for (method, path, status) in [
            ("GET", METADATA_PATH, 405),
            ("POST", METADATA_PATH, posted),
            ("POST", "/", 404),
        ] {
            let response = client
                .proxy
                .handle(Request::with_unreadable_body(method, path, why))
                .await;
            assert_eq!(response.status(), status, "{method} {path} {why:?}");
        }
    }
}

/// URI-1, URI-2, URI-3, URI-5: paths that are not of the API, signed as well as may be.
#[tokio::test]
async fn paths_that_are_not_of_the_api() {
    let client = client();
    let body = metadata_body().to_string();
    let long = format!("/tenant/kms/xks/v1/keys/{}/metadata", "k".repeat(129));
    let longer = format!("/tenant/kms/xks/v1/keys/{}/metadata", "k".repeat(300));
    for path in [
        "/",
        "/tenant",
        "/tenant/",
        "/tenant/kms/xks/v1",
        "/tenant/kms/xks/v1/",
        "/tenant/kms/xks/v1/keys",
        "/tenant/kms/xks/v1/keys/usable",
        "/tenant/kms/xks/v1/keys/usable/",
        "/tenant/kms/xks/v1/keys/usable/delete",
        "/tenant/kms/xks/v1/keys/usable/metadata/",
        "/tenant/kms/xks/v1/keys/usable/Metadata",
        "/tenant/kms/xks/v1/keys/usable/metadata?x=y",
        "/tenant/kms/xks/v1/keys/usable/metadata?",
        "/tenant/kms/xks/v1/keys/us%61ble/metadata",
        "/tenant/kms/xks/v1/keys/usable%00/metadata",
        "/tenant/kms/xks/v1/keys/%2e%2e/metadata",
        "/tenant/kms/xks/v1/keys/../metadata",
        "/tenant/kms/xks/v1/keys/./metadata",
        "/tenant/kms/xks/v1/keys//metadata",
        "/tenant/kms/xks/v1/keys/a/b/metadata",
        "/tenant/kms/xks/v1/keys/a b/metadata",
        "/tenant//kms/xks/v1/keys/usable/metadata",
        "//tenant/kms/xks/v1/keys/usable/metadata",
        "/tenant/../tenant/kms/xks/v1/keys/usable/metadata",
        "/TENANT/kms/xks/v1/keys/usable/metadata",
        "/tenant2/kms/xks/v1/keys/usable/metadata",
        "/kms/xks/v1/keys/usable/metadata",
        "/tenant/kms/xks/v2/keys/usable/metadata",
        &long,
        &longer,
    ] {
        let headers = client.signer.sign("POST", HOST, METADATA_PATH, &[], body.as_bytes());
        let answer = client.send_unsigned("POST", path, &headers, body.as_bytes()).await;
        assert_eq!(error_of(&answer), "InvalidUriPathException", "{path}");
    }
}

/// SIG-1, SIG-2, SIG-5, SIG-9: headers that authenticate nothing, and all answers alike.
#[tokio::test]
async fn headers_that_authenticate_nothing() {
    let client = client();
    let body = metadata_body().to_string();
    let good = || client.signer.sign("POST", HOST, METADATA_PATH, &[], body.as_bytes());
    let value = |headers: &[(String, String)], name: &str| {
        headers
            .iter()
            .find(|(candidate, _)| candidate == name)
            .unwrap()
            .1
            .clone()
    };
    let (authorization, date) = (value(&good(), "authorization"), value(&good(), "x-amz-date"));
    let with = |name: &str, value: &str| {
        let mut headers = good();
        headers
            .iter_mut()
            .filter(|(candidate, _)| candidate == name)
            .for_each(|header| header.1 = value.into());
        headers
    };
    let without = |name: &str| {
        good()
            .into_iter()
            .filter(|(candidate, _)| candidate != name)
            .collect::<Vec<_>>()
    };
    let doubled = |name: &str, value: &str| {
        let mut headers = good();
        headers.push((name.into(), value.into()));
        headers
    };
    let changed = |change: fn(&mut Signer)| {
        let mut signer = client.signer.clone();
        change(&mut signer);
        signer.sign("POST", HOST, METADATA_PATH, &[], body.as_bytes())
    };
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let at = |time| {
        Signer {
            time,
            ..client.signer.clone()
        }
        .sign("POST", HOST, METADATA_PATH, &[], body.as_bytes())
    };

    let mut answers = Vec::new();
    for headers in [
        vec![],
        without("authorization"),
        without("x-amz-date"),
        without("host"),
        doubled("authorization", &authorization),
        doubled("x-amz-date", &date),
        doubled("host", HOST),
        doubled("Authorization", "Basic dXNlcjpwYXNz"),
        with("authorization", ""),
        with("authorization", "AWS4-HMAC-SHA256"),
        with("authorization", "Bearer abc"),
        with("authorization", &authorization.to_lowercase()),
        with("authorization", &authorization[..authorization.len() - 1]),
        with("authorization", &format!("{authorization}0")),
        with("authorization", &"A".repeat(100_000)),
        with(
            "authorization",
            &authorization.replace("host;x-amz-date", &"h;".repeat(40_000)),
        ),
        with(
            "authorization",
            &authorization.replace("host;x-amz-date", "host;not-sent;x-amz-date"),
        ),
        with("authorization", &authorization.replace("Signature=", "Signature=\u{0}")),
        with("x-amz-date", ""),
        with("x-amz-date", "now"),
        with("x-amz-date", "99999999T999999Z"),
        with("x-amz-date", &date.to_lowercase()),
        with("host", "other.example.com"),
        changed(|signer| signer.region = "us-west-2".into()),
        changed(|signer| signer.service = "kms".into()),
        changed(|signer| signer.access_key_id = format!("Invalid{ACCESS_KEY_ID}")),
        changed(|signer| signer.access_key_id = "A".repeat(20)),
        changed(|signer| signer.secret_access_key = format!("Invalid{}", signer.secret_access_key)),
        at(now() - minutes(6)),
        at(now() + minutes(6)),
        at(now() - minutes(60 * 24)),
    ] {
        let answer = client
            .send_unsigned("POST", METADATA_PATH, &headers, body.as_bytes())
            .await;
        assert_eq!(error_of(&answer), "AuthenticationFailedException", "{headers:?}");
        answers.push(answer);
    }
    // SIG-9: no answer depends on keys or bodies before that.
    for path in [
        METADATA_PATH,
        "/tenant/kms/xks/v1/keys/ghost/encrypt",
        "/tenant/kms/xks/v1/health",
    ] {
        for body in [&b""[..], b"{", b"{}", &[0xff; 100]] {
            answers.push(client.send_unsigned("POST", path, &[], body).await);
        }
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "SIG-8: all rejections look alike"
    );
}

/// MD-1, ENC-1: bodies that are not what they should be, signed.
#[tokio::test]
async fn bodies_that_are_not_what_they_should_be() {
    let client = client();
    let encrypted = client.encrypt("usable", &encrypt_body(b"x", None, false)).await.1;
    for (operation, good) in [
        ("health", metadata_body()),
        ("keys/usable/metadata", metadata_body()),
        ("keys/usable/encrypt", encrypt_body(b"x", Some(b"aad"), true)),
        ("keys/usable/decrypt", decrypt_body(&encrypted, None)),
    ] {
        let good = good.to_string();
        let bodies = [
            Vec::new(),
            b" ".to_vec(),
            b"{}".to_vec(),
            b"[]".to_vec(),
            b"null".to_vec(),
            b"\0".to_vec(),
            vec![0xff; 1000],
            vec![b'['; 100_000],
            b"{\"a\":".repeat(100_000),
            vec![b'x'; 10_000_000],
            good.as_bytes()[..good.len() / 2].to_vec(),
            format!("{good}{good}").into_bytes(),
            format!("{good}\0").into_bytes(),
            good.replace("requestMetadata", "RequestMetadata").into_bytes(),
            br#"{"requestMetadata":{}}"#.to_vec(),
            br#"{"requestMetadata":null}"#.to_vec(),
            br#"{"requestMetadata":"text"}"#.to_vec(),
        ];
        let path = format!("/tenant/kms/xks/v1/{operation}");
        for body in bodies {
            let answer = client.send("POST", &path, &body).await;
            assert_eq!(
                error_of(&answer),
                "ValidationException",
                "{path} {:?}",
                &body[..body.len().min(40)]
            );
        }
        assert_eq!(client.send("POST", &path, good.as_bytes()).await.0, 200);
    }
}

/// ENC-4, DEC-2: parts of any size.
#[tokio::test]
async fn parts_of_any_size() {
    let client = client();
    for (plaintext, aad, expected) in [
        (4300, 8192, "none"),
        (4301, 0, "UnsupportedOperationException"),
        (0, 8193, "UnsupportedOperationException"),
        (0, 65_535, "UnsupportedOperationException"),
        (0, 65_536, "UnsupportedOperationException"),
        (0, 100_000, "UnsupportedOperationException"),
        (1_000_000, 1_000_000, "UnsupportedOperationException"),
    ] {
        let body = encrypt_body(&vec![1; plaintext], Some(&vec![2; aad]), true);
        assert_eq!(
            error_of(&client.encrypt("usable", &body).await),
            expected,
            "{plaintext} {aad}"
        );
    }
    let encrypted = client
        .encrypt("usable", &encrypt_body(&[b'x'; 32], None, false))
        .await
        .1;
    let good = decrypt_body(&encrypted, None);
    for length in (0..40).chain([64, 255, 256, 70_000]) {
        for field in [
            "initializationVector",
            "authenticationTag",
            "ciphertextMetadata",
            "ciphertext",
        ] {
            let mut body = good.clone();
            body[field] = base64(&vec![0; length]);
            let (status, answer) = client.decrypt("usable", &body).await;
            assert!(
                status == 400 || field == "ciphertext" && status == 501,
                "{field} {length}: {status} {answer}"
            );
        }
    }
    // A byte moved from the tag to the ciphertext is not a tag of 15 bytes but no tag at all.
    let (mut body, tag) = (good.clone(), from_base64(&good["authenticationTag"]));
    body["ciphertext"] = base64(&[&from_base64(&good["ciphertext"])[..], &tag[..1]].concat());
    body["authenticationTag"] = base64(&tag[1..]);
    assert_eq!(error_of(&client.decrypt("usable", &body).await), "ValidationException");
}

/// MD-2, MD-3, MD-5, MD-6, TRN-5: legitimate requests that look odd.
#[tokio::test]
async fn odd_but_legitimate_requests() {
    let client = client();
    let arn = format!("arn:aws:iam::123456789012:role/{}", "r".repeat(2048 - 31));
    assert_eq!(arn.len(), 2048);
    let mut odd = encrypt_body(b"", Some(b""), true);
    for (field, value) in [
        ("kmsOperation", json!("TeleportDataKey")),
        ("kmsRequestId", json!("\u{1F511} \" \\ \n")),
        ("awsPrincipalArn", json!(arn)),
        ("awsSourceVpc", json!("vpc-1")),
        ("unknown", json!([[[1]]])),
    ] {
        odd["requestMetadata"][field] = value;
    }
    odd["unknown"] = json!({ "a": Value::Null });
    assert_eq!(client.encrypt("usable", &odd).await.0, 200);
    let spaced = format!("\r\n {} \t\n", serde_json::to_string_pretty(&odd).unwrap());
    assert_eq!(
        client
            .send("POST", "/tenant/kms/xks/v1/keys/usable/encrypt", spaced.as_bytes())
            .await
            .0,
        200
    );
}
