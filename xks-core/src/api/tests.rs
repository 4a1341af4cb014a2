//! What decodes, what does not, and that decoding undoes encoding.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    Zeroizing,
    aad::{AadFraming, BoundAad},
    backend::{
        CiphertextMetadata, EncryptRequest, Encrypted, GetKeyMetadataRequest, KeyMetadata, KeySpec, KeyStatus,
        KeyUsage, Limits,
    },
};

const METADATA: &str = r#"{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:us-east-2:123456789012:key/1","kmsOperation":"Encrypt","kmsRequestId":"r"}"#;

fn encrypt_body() -> Value {
    json!({
        "requestMetadata": serde_json::from_str::<Value>(METADATA).unwrap(),
        "plaintext": "cGxhaW50ZXh0",
        "encryptionAlgorithm": "AES_GCM",
        "additionalAuthenticatedData": "YWFk",
        "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
    })
}

fn decrypt_body() -> Value {
    json!({
        "requestMetadata": serde_json::from_str::<Value>(METADATA).unwrap(),
        "ciphertext": "Y2lwaGVydGV4dA==",
        "initializationVector": "MTIzNDU2Nzg5MDEy",
        "authenticationTag": "MTIzNDU2Nzg5MDEyMzQ1Ng==",
        "ciphertextMetadata": "a2V5X3ZlcnNpb249MQ==",
        "encryptionAlgorithm": "AES_GCM",
        "additionalAuthenticatedData": "YWFk",
    })
}

fn decode_encrypt(body: &[u8]) -> Result<(), Error> {
    EncryptBody::decode(&Verified::unchecked(body), &mut None).map(drop)
}

fn decode_decrypt(body: &[u8]) -> Result<(), Error> {
    DecryptBody::decode(&Verified::unchecked(body), &mut None).map(drop)
}

fn decode_key_metadata(body: &[u8]) -> Result<(), Error> {
    GetKeyMetadataRequest::decode(&Verified::unchecked(body), &mut None).map(drop)
}

fn decode_health(body: &[u8]) -> Result<(), Error> {
    decode_health_request(&Verified::unchecked(body), &mut None)
}

type Decode = fn(&[u8]) -> Result<(), Error>;

/// Each operation with a good body, and the fields that it cannot do without.
fn operations() -> [(Decode, Value, &'static [&'static str], &'static [&'static str]); 4] {
    let metadata = || json!({ "requestMetadata": serde_json::from_str::<Value>(METADATA).unwrap() });
    [
        (
            decode_encrypt,
            encrypt_body(),
            &["requestMetadata", "plaintext", "encryptionAlgorithm"],
            &["awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"],
        ),
        (
            decode_decrypt,
            decrypt_body(),
            &[
                "requestMetadata",
                "ciphertext",
                "initializationVector",
                "authenticationTag",
                "encryptionAlgorithm",
            ],
            &["awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"],
        ),
        (
            decode_key_metadata,
            metadata(),
            &["requestMetadata"],
            &["awsPrincipalArn", "kmsOperation", "kmsRequestId"],
        ),
        (
            decode_health,
            metadata(),
            &["requestMetadata"],
            &["kmsOperation", "kmsRequestId"],
        ),
    ]
}

fn fails(decode: Decode, body: &[u8]) -> String {
    let error = decode(body).expect_err(&String::from_utf8_lossy(&body[..body.len().min(300)]));
    assert_eq!(error.name, ErrorName::Validation);
    error.message.into_owned()
}

/// MD-1: each field that must be there is missed by name, and no other is.
#[test]
fn fields_that_must_be_there() {
    for (decode, good, needed, needed_metadata) in operations() {
        decode(good.to_string().as_bytes()).unwrap();
        for field in good.as_object().unwrap().keys() {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(field);
            let body = body.to_string();
            if needed.contains(&field.as_str()) {
                assert_eq!(fails(decode, body.as_bytes()), format!("{field} is missing"));
            } else {
                decode(body.as_bytes()).unwrap();
            }
        }
        for field in good["requestMetadata"].as_object().unwrap().keys() {
            let mut body = good.clone();
            body["requestMetadata"].as_object_mut().unwrap().remove(field);
            let body = body.to_string();
            if needed_metadata.contains(&field.as_str()) {
                assert_eq!(
                    fails(decode, body.as_bytes()),
                    format!("requestMetadata.{field} is missing")
                );
            } else {
                decode(body.as_bytes()).unwrap();
            }
        }
    }
}

/// MD-1: `null` counts as absent, wherever it is: an optional field may be, one that must be there may not.
#[test]
fn null_is_absence() {
    for (decode, good, ..) in operations() {
        let said = |body: &Value| decode(body.to_string().as_bytes()).map_err(|error| error.message);
        let parts = [
            ("", good.clone()),
            ("/requestMetadata", good["requestMetadata"].clone()),
        ];
        for (part, fields) in parts {
            for field in fields.as_object().unwrap().keys() {
                let (mut null, mut absent) = (good.clone(), good.clone());
                null.pointer_mut(part).unwrap()[field] = Value::Null;
                absent.pointer_mut(part).unwrap().as_object_mut().unwrap().remove(field);
                assert_eq!(said(&null), said(&absent), "{part} {field}");
                // Twice is twice.
                let (once, name) = (null.to_string(), format!("\"{field}\":null"));
                let twice = once.replacen(&name, &format!("{name},{name}"), 1);
                assert_ne!(once, twice);
                assert!(fails(decode, twice.as_bytes()).contains("twice"), "{part} {field}");
            }
        }
    }
    let metadata = RequestMetadata::from_json(r#"{"kmsViaService": null, "ofTomorrow": null}"#).unwrap();
    assert_eq!(metadata.kms_via_service(), None);
    assert_eq!(metadata.extra().collect::<Vec<_>>(), [("ofTomorrow", "null")]);
}

/// MD-1: nothing but a string will do, in any field that is known.
#[test]
fn fields_of_the_wrong_type() {
    let wrong = [json!(1), json!(true), json!([]), json!({}), json!(["YWFk"])];
    for (decode, good, ..) in operations() {
        for wrong in &wrong {
            for field in good.as_object().unwrap().keys() {
                let mut body = good.clone();
                body[field] = wrong.clone();
                fails(decode, body.to_string().as_bytes());
            }
            for field in good["requestMetadata"].as_object().unwrap().keys() {
                let mut body = good.clone();
                body["requestMetadata"][field] = wrong.clone();
                fails(decode, body.to_string().as_bytes());
            }
        }
    }
}

/// MD-2, MD-3, MD-5, MD-6, TRN-5: what KMS may say is not ours to judge.
#[test]
fn what_kms_may_say_is_not_judged() {
    for (decode, good, ..) in operations() {
        for (field, value) in [
            ("kmsOperation", json!("AnOperationOfTheYear2050")),
            ("kmsOperation", json!("")),
            ("kmsRequestId", json!("not a UUID \n \u{0} ü")),
            ("awsPrincipalArn", json!("ec2.amazonaws.com")),
            ("awsPrincipalArn", json!("AWS Internal")),
            (
                "awsPrincipalArn",
                json!(format!("arn:aws:iam::123456789012:user/{}", "a".repeat(2019))),
            ),
            (
                "kmsKeyArn",
                json!(format!("arn:aws:kms:us-east-2:123456789012:key/{}", "a".repeat(2008))),
            ),
            ("sourceIdentity", json!("alice")),
            ("pcrs", json!({"0": [1, 2, {"deep": null}]})),
        ] {
            let mut body = good.clone();
            body["requestMetadata"][field] = value;
            body["aFieldOfTheFuture"] = json!({"anything": [null]});
            decode(body.to_string().as_bytes()).unwrap();
        }
    }
    let text = r#"{"a": {"b": [1,  2]}, "kmsOperation": "x", "a": "\u0061"}"#;
    let metadata = RequestMetadata::from_json(text).unwrap();
    let extra: Vec<_> = metadata.extra().collect();
    assert_eq!(
        extra,
        [("a", r#"{"b": [1,  2]}"#), ("a", r#""\u0061""#)],
        "kept as they came"
    );
}

/// Deep is what nests, not what is long or stands in a text.
#[test]
fn depth_is_counted_as_json_counts_it() {
    for (json, depth) in [
        ("{}", 1),
        ("[[],[],[[]]]", 3),
        (r#"{"[[[[[": "{{{{\"[[[["}"#, 1),
        (r#"{"a\\": [[1]]}"#, 3),
        (r#"["]]", [[1]]]"#, 3),
        ("[[[[", 4),
        ("]]]][[", 2),
    ] {
        assert!(
            is_nested_deeper_than(depth - 1, json) && !is_nested_deeper_than(depth, json),
            "{json}"
        );
    }
    let wide = METADATA.replacen(
        '{',
        &format!(r#"{{"tags": [{}{{}}],"#, r#"{"k": ["v"]},"#.repeat(200)),
        1,
    );
    decode_health(format!(r#"{{"requestMetadata":{wide}}}"#).as_bytes()).unwrap();
}

/// Bodies that are no JSON object, or more than one.
#[test]
fn bodies_that_are_not_one_json_object() {
    for (decode, good, ..) in operations() {
        let good = good.to_string();
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let as_array = format!("[{}]", METADATA);
        for bad in [
            &b""[..],
            b" ",
            b"null",
            b"\"text\"",
            b"[]",
            b"{",
            b"{}x",
            b"{\"requestMetadata\"",
            b"\xff\xfe",
            b"{\"requestMetadata\": \"\xff\"}",
            b"\xef\xbb\xbf{}",
            as_array.as_bytes(),
            deep.as_bytes(),
            &good.as_bytes()[..good.len() - 1],
            format!("{good}{good}").as_bytes(),
            format!("{good},").as_bytes(),
            good.replace('"', "'").as_bytes(),
            good.replacen('{', &format!("{{\"requestMetadata\": {deep},"), 1)
                .as_bytes(),
            good.replacen('{', &format!("{{\"unknown\": {deep},"), 1).as_bytes(),
            good.replace("\"kmsRequestId\"", &format!("\"unknown\": {deep}, \"kmsRequestId\""))
                .as_bytes(),
            good.replacen('{', &format!("{{\"requestMetadata\": {METADATA},"), 1)
                .as_bytes(),
            good.replace(r#""kmsRequestId":"r""#, r#""kmsRequestId":"r","kmsRequestId":"r""#)
                .as_bytes(),
        ] {
            fails(decode, bad);
        }
        decode(format!(" \r\n\t{good}\n").as_bytes()).unwrap();
    }
}

/// ENC-5 and its like: only the one value that there is.
#[test]
fn algorithms_have_one_name_each() {
    for (decode, good, ..) in operations() {
        for field in ["encryptionAlgorithm", "ciphertextDataIntegrityValueAlgorithm"] {
            if good.get(field).is_none() {
                continue;
            }
            for wrong in ["", "AES_CBC", "aes_gcm", "SHA_512", "sha_256", "AES_GCM "] {
                let mut body = good.clone();
                body[field] = json!(wrong);
                assert!(fails(decode, body.to_string().as_bytes()).starts_with(field));
            }
        }
    }
}

/// ENC-1: the standard alphabet, padded, and nothing else.
#[test]
fn base64_is_strict() {
    for (decode, good, ..) in operations() {
        for field in [
            "plaintext",
            "ciphertext",
            "additionalAuthenticatedData",
            "initializationVector",
            "authenticationTag",
            "ciphertextMetadata",
        ] {
            if good.get(field).is_none() {
                continue;
            }
            for wrong in [
                "_-_-", "YQ", "YQ=", "YQ===", "=", "====", "Y", "YR==", "YW Fk", "YWFk\n", " YWFk", "YWFk=",
                "YQ==YQ==", "YW\u{0}k", "ÜÜÜÜ", "YWF*",
            ] {
                let mut body = good.clone();
                body[field] = json!(wrong);
                let message = fails(decode, body.to_string().as_bytes());
                assert!(message.starts_with(field), "{field} {wrong:?}: {message}");
            }
        }
    }
}

/// ENC-1: a slash may come escaped, as some JSON writers do.
#[test]
fn escaped_slashes_are_slashes() {
    let body = encrypt_body().to_string().replace("cGxhaW50ZXh0", r"\/\/8=");
    let mut note = None;
    let decoded = EncryptBody::decode(&Verified::unchecked(body.as_bytes()), &mut note);
    let request = decoded.unwrap_or_else(|error| panic!("{}", error.message));
    let request = request
        .into_request(AadFraming::Spec, Limits::default())
        .map_err(|error| error.message)
        .unwrap();
    assert_eq!(request.plaintext(), [0xff, 0xff]);
}

/// DEC-2: IV, tag and metadata of any length but their own are refused here, whatever they hold.
#[test]
fn lengths_are_checked_before_anything_else() {
    use ::base64::{Engine as _, prelude::BASE64_STANDARD};

    for length in (0..70_usize).chain([70_000]) {
        let text = json!(BASE64_STANDARD.encode(vec![7; length]));
        for (field, is_legal) in [
            ("initializationVector", length == 12 || length == 16),
            ("authenticationTag", length == 16),
            ("ciphertextMetadata", length <= 20), // empty is as good as absent
        ] {
            let mut body = decrypt_body();
            body[field] = text.clone();
            let body = body.to_string();
            match is_legal {
                true => decode_decrypt(body.as_bytes()).unwrap(),
                false => drop(fails(decode_decrypt, body.as_bytes())),
            }
        }
    }
}

/// ENC-2, ENC-3, ENC-4, DEC-1: the limit is served, one byte more is not supported.
#[test]
fn sizes_up_to_the_limit_are_served() {
    use ::base64::{Engine as _, prelude::BASE64_STANDARD};

    let limits = Limits::default();
    assert_eq!((limits.plaintext, limits.aad), (4300, 8192));
    for framing in [AadFraming::Spec, AadFraming::Digest] {
        for (text, aad, is_served) in [
            (0, 0, true),
            (4300, 8192, true),
            (4301, 0, false),
            (0, 8193, false),
            (0, 65_535, false),
            (0, 65_536, false),
            (200_000, 200_000, false),
        ] {
            let mut encrypt = encrypt_body();
            encrypt["plaintext"] = json!(BASE64_STANDARD.encode(vec![1; text]));
            encrypt["additionalAuthenticatedData"] = json!(BASE64_STANDARD.encode(vec![2; aad]));
            let mut decrypt = decrypt_body();
            decrypt["ciphertext"] = encrypt["plaintext"].clone();
            decrypt["additionalAuthenticatedData"] = encrypt["additionalAuthenticatedData"].clone();
            let (encrypt, decrypt) = (encrypt.to_string(), decrypt.to_string());
            let encrypt = EncryptBody::decode(&Verified::unchecked(encrypt.as_bytes()), &mut None)
                .and_then(|body| body.into_request(framing, limits));
            let decrypt = DecryptBody::decode(&Verified::unchecked(decrypt.as_bytes()), &mut None)
                .and_then(|body| body.into_request(framing, limits));
            let name = |result: Option<Error>| result.map(|error| error.name);
            let expected = (!is_served).then_some(ErrorName::UnsupportedOperation);
            assert_eq!(name(encrypt.err()), expected, "encrypt {text} {aad}");
            assert_eq!(name(decrypt.err()), expected, "decrypt {text} {aad}");
        }
    }
    // AAD that no framing can express, however generous the limit.
    let mut body = encrypt_body();
    body["additionalAuthenticatedData"] = json!(BASE64_STANDARD.encode(vec![2; 65_536]));
    let body = body.to_string();
    let generous = Limits::default().with_aad(1 << 20);
    let result = EncryptBody::decode(&Verified::unchecked(body.as_bytes()), &mut None)
        .and_then(|body| body.into_request(AadFraming::Spec, generous));
    assert_eq!(
        result.err().map(|error| error.name),
        Some(ErrorName::UnsupportedOperation)
    );
}

/// ENC-12: an error names the place and never the value, which may be plaintext.
#[test]
fn errors_do_not_repeat_the_input() {
    for body in [
        r#"{"requestMetadata": "planted-secret"}"#,
        r#"{"plaintext": planted-secret}"#,
        r#"{"plaintext": "planted-secret"#,
        r#"{"plaintext": "planted\qsecret"}"#,
    ] {
        assert!(!fails(decode_encrypt, body.as_bytes()).contains("planted"));
    }
    let mut body = encrypt_body();
    body["plaintext"] = json!("planted-secret");
    assert_eq!(
        fails(decode_encrypt, body.to_string().as_bytes()),
        "plaintext is not Base64 (standard alphabet, padded, without white space)"
    );
}

/// GKM-1, GKM-2, GKM-3: the answer to GetKeyMetadata.
#[test]
fn key_metadata_is_encoded_as_specified() {
    use KeyUsage::{Decrypt, Derive, Encrypt, Sign, Unwrap, Verify, Wrap};

    let encode = |metadata: KeyMetadata| serde_json::from_slice::<Value>(&metadata.encode()).unwrap();
    assert_eq!(
        encode(KeyMetadata::new(
            KeySpec::Aes256,
            [Decrypt, Encrypt],
            KeyStatus::Enabled
        )),
        json!({"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"})
    );
    assert_eq!(
        encode(KeyMetadata::new(
            KeySpec::Other("RSA_2048".into()),
            [],
            KeyStatus::Disabled
        )),
        json!({"keySpec": "RSA_2048", "keyUsage": [], "keyStatus": "DISABLED"})
    );
    let all = [Wrap, Verify, Unwrap, Sign, Derive, Decrypt, Encrypt, Wrap];
    let usages = encode(KeyMetadata::new(KeySpec::Aes256, all, KeyStatus::Enabled))["keyUsage"].clone();
    assert_eq!(
        usages,
        json!(["ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "DERIVE"])
    );
}

/// What a response of encrypt holds, put into a request to decrypt.
fn decrypt_body_of(encrypted: &Encrypted, aad: &[u8]) -> String {
    use ::base64::{Engine as _, prelude::BASE64_STANDARD};

    let mut body: Value = serde_json::from_slice(&encrypted.encode(Some(&[7; 32]))).unwrap();
    assert_eq!(body["ciphertextDataIntegrityValue"], BASE64_STANDARD.encode([7; 32]));
    body["requestMetadata"] = serde_json::from_str(METADATA).unwrap();
    body["encryptionAlgorithm"] = json!("AES_GCM");
    body["additionalAuthenticatedData"] = json!(BASE64_STANDARD.encode(aad));
    body.to_string()
}

/// ENC-7: what a layer around a backend fixes serves a backend that has no metadata of its own, and no other.
#[test]
fn default_metadata_is_for_a_backend_that_has_none() {
    let metadata = |bytes: &[u8]| CiphertextMetadata::try_from(bytes).unwrap();
    let aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), None).unwrap();
    let mut request = EncryptRequest::new(RequestMetadata::default(), Zeroizing::new(b"plaintext".to_vec()), aad);
    assert_eq!(request.bind_aad(None).metadata(), None);
    request.set_default_metadata(metadata(b"default"));
    let bound = request.bind_aad(None);
    let expected = BoundAad::new(AadFraming::Spec, Some(b"aad"), Some(metadata(b"default"))).unwrap();
    assert_eq!(bound.as_bytes(), expected.as_bytes());
    assert_eq!(
        request.bind_aad(Some(metadata(b"own"))).metadata(),
        Some(&metadata(b"own"))
    );
    assert_eq!(request.bind_aad(None).metadata(), Some(&metadata(b"default")));
}

proptest! {
    /// ENC-1, ENC-7: what encrypt answers is what decrypt understands, byte for byte.
    #[test]
    fn decoding_undoes_encoding(
        ciphertext in prop::collection::vec(any::<u8>(), 0..300),
        iv in prop_oneof![prop::collection::vec(any::<u8>(), 12), prop::collection::vec(any::<u8>(), 16)],
        tag: [u8; 16],
        metadata in prop::option::of(prop::collection::vec(any::<u8>(), 1..=20)),
        aad in prop::collection::vec(any::<u8>(), 0..300),
        digest: bool,
    ) {
        let framing = if digest { AadFraming::Digest } else { AadFraming::Spec };
        let metadata = metadata.map(|bytes| bytes[..].try_into().unwrap());
        let bound = BoundAad::new(framing, Some(&aad), metadata).unwrap();
        let encrypted = Encrypted::new(ciphertext, iv[..].try_into().unwrap(), tag.into(), bound);
        let body = decrypt_body_of(&encrypted, &aad);
        let request = DecryptBody::decode(&Verified::unchecked(body.as_bytes()), &mut None)
            .and_then(|body| body.into_request(framing, Limits::default()))
            .unwrap_or_else(|error| panic!("{}", error.message));
        prop_assert_eq!(request.ciphertext(), encrypted.ciphertext());
        prop_assert_eq!(request.iv(), encrypted.iv());
        prop_assert_eq!(request.tag(), encrypted.tag());
        prop_assert_eq!(request.bound_aad().as_bytes(), encrypted.bound_aad().as_bytes());
        prop_assert_eq!(request.bound_aad().metadata(), encrypted.bound_aad().metadata());
    }

    /// ENC-2, ENC-3: what a client encodes is what a backend gets.
    #[test]
    fn plaintext_and_aad_arrive_as_they_were(
        plaintext in prop::collection::vec(any::<u8>(), 0..300),
        aad in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) {
        use ::base64::{Engine as _, prelude::BASE64_STANDARD};

        let mut body = encrypt_body();
        body["plaintext"] = json!(BASE64_STANDARD.encode(&plaintext));
        match &aad {
            Some(aad) => body["additionalAuthenticatedData"] = json!(BASE64_STANDARD.encode(aad)),
            None => drop(body.as_object_mut().unwrap().remove("additionalAuthenticatedData")),
        }
        for framing in [AadFraming::Spec, AadFraming::Digest] {
            let body = body.to_string();
            let mut request = EncryptBody::decode(&Verified::unchecked(body.as_bytes()), &mut None)
                .and_then(|body| body.into_request(framing, Limits::default()))
                .unwrap_or_else(|error| panic!("{}", error.message));
            prop_assert_eq!(request.plaintext(), &plaintext[..]);
            let expected = BoundAad::new(framing, aad.as_deref(), None).unwrap();
            let bound = request.bind_aad(None);
            prop_assert_eq!(bound.as_bytes(), expected.as_bytes());
            let answer = encode_plaintext(&plaintext);
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            prop_assert_eq!(answer, json!({ "plaintext": BASE64_STANDARD.encode(&plaintext) }));
        }
    }
}
