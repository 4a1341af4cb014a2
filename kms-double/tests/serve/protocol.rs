//! The protocol by hand, and what does not get in.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use serde_json::{Value, json};

use crate::{Folder, serve};

const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=ALICE/20261125/us-east-1/kms/aws4_request, \
    SignedHeaders=host, Signature=00\r\n";

/// The status and the body of what is answered.
fn answered(url: &str, method: &str, host: &str, headers: &str, body: &str) -> (u16, Value) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    // In title case, as clients know them from AWS: some read them in that spelling alone.
    let mut names: Vec<_> = head.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    names.sort_unstable();
    let expected = [
        "Connection",
        "Content-Length",
        "Content-Type",
        "Date",
        "X-Amzn-Requestid",
    ];
    assert_eq!(names, expected, "{head}");
    assert!(head.contains("Content-Type: application/x-amz-json-1.1\r\n"), "{head}");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn only_signed_requests_for_known_operations_are_answered() {
    let (_program, url) = serve(&[]);
    let target = |operation: &str| format!("{SIGNED}X-Amz-Target: TrentService.{operation}\r\n");
    let list = target("ListKeys");
    let local = "127.0.0.1";
    assert_eq!(answered(&url, "POST", local, &list, "{}").0, 200);
    for (method, host, headers, body, status, name) in [
        ("GET", local, &*list, "", 404, "UnknownOperationException"),
        ("OPTIONS", local, &list, "", 404, "UnknownOperationException"),
        (
            "POST",
            "attacker.example.com",
            &list,
            "{}",
            403,
            "MissingAuthenticationTokenException",
        ),
        (
            "POST",
            local,
            "X-Amz-Target: TrentService.ListKeys\r\n",
            "{}",
            403,
            "MissingAuthenticationTokenException",
        ),
        ("POST", local, SIGNED, "{}", 404, "UnknownOperationException"),
        ("POST", local, &target("Sign"), "{}", 404, "UnknownOperationException"),
        ("POST", local, &list, "", 400, "SerializationException"),
        ("POST", local, &list, "{\"Limit\": ", 400, "SerializationException"),
        (
            "POST",
            local,
            &list,
            "{\"Limit\": \"a secret\"}",
            400,
            "ValidationException",
        ),
        ("POST", local, &list, "{\"Limit\": 0}", 400, "ValidationException"),
        // What the double does not know it does not skip.
        (
            "POST",
            local,
            &list,
            "{\"Colour\": \"blue\"}",
            400,
            "ValidationException",
        ),
        (
            "POST",
            local,
            &target("Encrypt"),
            "{\"KeyId\": \"k\", \"Plaintext\": \"?\"}",
            400,
            "ValidationException",
        ),
        (
            "POST",
            local,
            &target("DescribeKey"),
            "{\"KeyId\": \"k\"}",
            400,
            "NotFoundException",
        ),
    ] {
        let (answered, body) = answered(&url, method, host, headers, body);
        assert_eq!(
            (answered, body["__type"].as_str()),
            (status, Some(name)),
            "{headers}{body}"
        );
        assert!(!body.to_string().contains("a secret"), "{body}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let long = format!("{{\"Marker\": \"{}\"}}", "m".repeat(2 << 20));
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {local}\r\nContent-Length: {}\r\n{list}\r\n",
        long.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // It may be closed before all of it has gone out.
    let _ = stream.write_all(long.as_bytes());
    let mut start = [0; 12];
    if stream.read_exact(&mut start).is_ok() {
        assert_eq!(&start, b"HTTP/1.1 400");
    }
    assert_eq!(answered(&url, "POST", local, &list, "{}").0, 200, "it goes on serving");
}

/// A field that is `null` is absent, whatever it is: the same comes of both. What has to be there is missing
/// then.
#[test]
fn null_is_absence() {
    let (_program, url) = serve(&[]);
    let called = |operation: &str, body: &Value| {
        let headers = format!("{SIGNED}X-Amz-Target: TrentService.{operation}\r\n");
        answered(&url, "POST", "127.0.0.1", &headers, &body.to_string())
    };
    let name = |(status, body): (u16, Value)| (status, body["__type"].clone());
    let blob = "bm8gYmxvYg==";
    let endpoint = "XksProxyUriEndpoint XksProxyUriPath XksProxyConnectivity XksProxyVpcEndpointServiceName \
        XksProxyVpcEndpointServiceOwner XksProxyAuthenticationCredential";
    let new_key = "CustomKeyStoreId XksKeyId Description KeySpec CustomerMasterKeySpec MultiRegion Policy \
        BypassPolicyLockoutSafetyCheck Tags Origin";
    let both_contexts = "SourceEncryptionContext DestinationEncryptionContext SourceKeyId SourceEncryptionAlgorithm \
        DestinationEncryptionAlgorithm GrantTokens DryRun DryRunModifiers";
    let data_key = "KeySpec NumberOfBytes EncryptionContext GrantTokens DryRun";
    let for_crypto = "EncryptionContext EncryptionAlgorithm GrantTokens DryRun";
    for (operation, required, optional) in [
        ("CreateCustomKeyStore", json!({ "CustomKeyStoreName": "a" }), endpoint),
        (
            "CreateCustomKeyStore",
            json!({ "CustomKeyStoreName": "a" }),
            "CustomKeyStoreType",
        ),
        ("ConnectCustomKeyStore", json!({ "CustomKeyStoreId": "cks-0" }), ""),
        ("UpdateCustomKeyStore", json!({ "CustomKeyStoreId": "cks-0" }), endpoint),
        (
            "UpdateCustomKeyStore",
            json!({ "CustomKeyStoreId": "cks-0" }),
            "NewCustomKeyStoreName",
        ),
        (
            "DescribeCustomKeyStores",
            json!({}),
            "CustomKeyStoreId CustomKeyStoreName Limit Marker",
        ),
        ("CreateKey", json!({ "KeyUsage": "SIGN_VERIFY" }), new_key),
        ("DescribeKey", json!({ "KeyId": "k" }), "GrantTokens"),
        ("ListKeys", json!({}), "Limit Marker ResourceOwners"),
        ("EnableKey", json!({ "KeyId": "k" }), ""),
        ("ScheduleKeyDeletion", json!({ "KeyId": "k" }), "PendingWindowInDays"),
        ("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": "k" }), ""),
        ("UpdateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": "k" }), ""),
        (
            "GetParametersForImport",
            json!({ "KeyId": "k", "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" }),
            "",
        ),
        (
            "ImportKeyMaterial",
            json!({ "KeyId": "k", "ImportToken": blob, "EncryptedKeyMaterial": blob }),
            "ValidTo ExpirationModel ImportType KeyMaterialDescription KeyMaterialId",
        ),
        ("DeleteImportedKeyMaterial", json!({ "KeyId": "k" }), "KeyMaterialId"),
        ("RotateKeyOnDemand", json!({ "KeyId": "k" }), ""),
        (
            "ListKeyRotations",
            json!({ "KeyId": "k" }),
            "IncludeKeyMaterial Limit Marker",
        ),
        ("GetKeyRotationStatus", json!({ "KeyId": "k" }), ""),
        ("EnableKeyRotation", json!({ "KeyId": "k" }), "RotationPeriodInDays"),
        (
            "PutKeyPolicy",
            json!({ "KeyId": "k", "Policy": "{}" }),
            "PolicyName BypassPolicyLockoutSafetyCheck",
        ),
        ("GetKeyPolicy", json!({ "KeyId": "k" }), "PolicyName"),
        ("ListKeyPolicies", json!({ "KeyId": "k" }), "Limit Marker"),
        ("TagResource", json!({ "KeyId": "k", "Tags": [] }), ""),
        ("UntagResource", json!({ "KeyId": "k", "TagKeys": [] }), ""),
        ("ListResourceTags", json!({ "KeyId": "k" }), "Limit Marker"),
        ("UpdateKeyDescription", json!({ "KeyId": "k", "Description": "d" }), ""),
        ("GetKeyLastUsage", json!({ "KeyId": "k" }), ""),
        ("DeleteAlias", json!({ "AliasName": "alias/a" }), ""),
        ("ListAliases", json!({}), "KeyId Limit Marker"),
        ("Encrypt", json!({ "KeyId": "k", "Plaintext": blob }), for_crypto),
        (
            "Decrypt",
            json!({ "CiphertextBlob": blob }),
            "EncryptionContext EncryptionAlgorithm GrantTokens KeyId DryRun DryRunModifiers",
        ),
        (
            "ReEncrypt",
            json!({ "CiphertextBlob": blob, "DestinationKeyId": "k" }),
            both_contexts,
        ),
        (
            "GenerateDataKey",
            json!({ "KeyId": "k", "KeySpec": "AES_256" }),
            &data_key[8..],
        ),
        (
            "GenerateDataKey",
            json!({ "KeyId": "k", "NumberOfBytes": 32 }),
            "KeySpec",
        ),
        (
            "GenerateDataKeyWithoutPlaintext",
            json!({ "KeyId": "k", "KeySpec": "AES_256" }),
            &data_key[8..],
        ),
    ] {
        let expected = called(operation, &required);
        assert_ne!(expected.1["__type"], "SerializationException", "{operation}");
        for field in optional.split_whitespace() {
            let mut with_null = required.clone();
            with_null[field] = Value::Null;
            assert_eq!(called(operation, &with_null), expected, "{operation} {field}");
        }
        for field in required.as_object().unwrap().keys() {
            let (mut with_null, mut without) = (required.clone(), required.clone());
            with_null[field] = Value::Null;
            without.as_object_mut().unwrap().remove(field);
            assert_eq!(
                name(called(operation, &with_null)),
                name(called(operation, &without)),
                "{operation} {field}"
            );
        }
    }
    assert_eq!(
        called("ListKeys", &json!({ "Colour": null })).1["__type"],
        "ValidationException"
    );
}

/// Over TLS as well, for clients that speak nothing else: by curl, which looks at the certificate.
#[test]
fn the_api_is_served_over_tls() {
    let folder = Folder::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let pem = certificate.self_signed(&key).unwrap().pem();
    let (certificate, key) = (
        folder.write("tls.pem", &pem),
        folder.write("tls-key.pem", &key.serialize_pem()),
    );
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let (_program, url) = serve(&["--certificate", certificate, "--key", key]);
    let port = url.strip_prefix("https://127.0.0.1:").unwrap();
    let curl = |host: &str, options: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", certificate]);
        curl.args([
            "--header",
            SIGNED.trim_end(),
            "--header",
            "X-Amz-Target: TrentService.ListKeys",
        ]);
        curl.args(["--data", "{}", "--write-out", "%{http_version} %{http_code}"])
            .args(options);
        let output = curl.arg(format!("https://{host}:{port}/")).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let listed = "{\"Keys\":[],\"Truncated\":false}";
    for options in [&["--tlsv1.3"][..], &["--tls-max", "1.2"], &["--http2"]] {
        assert_eq!(
            curl("localhost", options),
            (0, format!("{listed}1.1 200")),
            "{options:?}"
        );
    }
    let (code, _) = curl("127.0.0.1", &[]);
    assert_eq!(code, 60, "the certificate is of another name");
    // Without TLS there is no answer, and the next one is served all the same.
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(curl("localhost", &[]).0, 0);

    for (arguments, expected) in [
        (&["--certificate", certificate][..], "--key"),
        (
            &["--certificate", certificate, "--key", "not-there.pem"],
            "not-there.pem",
        ),
        (&["--certificate", key, "--key", key], "the file has no certificate"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-double"));
        let output = command.arg("serve").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn others_than_this_machines_users_are_refused_unless_told_otherwise() {
    let serve = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-double"));
        command.arg("serve").args(more).output().unwrap()
    };
    let output = serve(&["--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("0.0.0.0:0 is not loopback"));
    let (_program, url) = crate::serve(&["--listen", "0.0.0.0:0", "--allow-remote-callers"]);
    let list = format!("{SIGNED}X-Amz-Target: TrentService.ListKeys\r\n");
    let url = url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(answered(&url, "POST", "kms.example.com", &list, "{}").0, 200);

    let output = serve(&["--proxy-ca-file", "not-there.pem"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not-there.pem"));
    let output = serve(&["--proxy-client-key", "key.pem"]);
    assert_eq!(output.status.code(), Some(2));
}
