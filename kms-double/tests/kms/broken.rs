//! Proxies that are broken on purpose: each failure becomes the exception, or the connection error code, that
//! AWS documents.

use std::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kms_double::kms::{ConnectionErrorCode as Code, ExceptionName as Name, Failure, api::*};
use serde_json::{Value, json};

use crate::{
    site::{Proxy, Site, alice, builder, context, credential, name, what},
    support::{Answered, Asked, Broken, KEY},
};

/// Always the same answer.
fn always(status: u16, body: Value) -> Broken {
    Broken::instead(move |_| Some(Answered::new(status, &body)))
}

/// Another value in the answers to one operation. `null` takes it away.
fn with(operation: &'static str, field: &'static str, value: Value) -> Broken {
    Broken::answers(move |asked: &Asked, answered: &mut Answered| {
        if asked.is(operation) {
            let mut body = answered.json();
            match &value {
                Value::Null => drop(body.as_object_mut().unwrap().remove(field)),
                value => body[field] = value.clone(),
            }
            answered.set_json(&body);
        }
    })
}

fn base64(length: usize) -> Value {
    json!(BASE64_STANDARD.encode(vec![7; length]))
}

/// What CreateCustomKeyStore, ConnectCustomKeyStore, CreateKey and Encrypt make of the same broken proxy.
async fn made_of(site: &Site) -> [String; 4] {
    let mut request = site.proxy.key_store("another");
    request.xks_proxy_uri_endpoint = Some(site.proxy.url.replace("127.0.0.1", "localhost"));
    let created = name(site.kms.create_custom_key_store(&alice(), request).await);
    let key = CreateKeyRequest::new(&site.store, "second");
    let key = name(site.kms.create_key(&alice(), key).await);
    let encrypted = name(site.encrypt(b"plain").await);
    site.kms.disconnect_custom_key_store(&alice(), site.id()).await.unwrap();
    site.kms.connect_custom_key_store(&alice(), site.id()).await.unwrap();
    let described = site.described().await;
    assert_eq!(described.connection_state, ConnectionState::Failed);
    let code = described.connection_error_code.unwrap();

    // A connection that failed has to be disconnected first.
    let again = site.kms.connect_custom_key_store(&alice(), site.id()).await;
    assert_eq!(name(again), Name::CustomKeyStoreInvalidState);
    site.proxy.mend();
    site.kms.disconnect_custom_key_store(&alice(), site.id()).await.unwrap();
    site.kms.connect_custom_key_store(&alice(), site.id()).await.unwrap();
    site.encrypt(b"plain").await.unwrap();
    [created, key, encrypted]
        .map(|name| name.to_string())
        .into_iter()
        .chain([code.to_string()])
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

#[tokio::test]
async fn each_error_name_becomes_the_exceptions_that_are_documented() {
    const STATE: &str = "CustomKeyStoreInvalidStateException";
    const RESPONSE: &str = "XksProxyInvalidResponseException";
    const UNREACHABLE: &str = "XksProxyUriUnreachableException";
    const CONFIGURATION: &str = "XksKeyInvalidConfigurationException";
    let site = Site::new().await;
    for (status, error, created, key, code) in [
        (
            400,
            "ValidationException",
            RESPONSE,
            STATE,
            "XKS_PROXY_INVALID_RESPONSE",
        ),
        (
            400,
            "InvalidStateException",
            UNREACHABLE,
            CONFIGURATION,
            "XKS_PROXY_NOT_REACHABLE",
        ),
        (
            400,
            "InvalidKeyUsageException",
            RESPONSE,
            CONFIGURATION,
            "XKS_PROXY_INVALID_RESPONSE",
        ),
        (
            401,
            "AuthenticationFailedException",
            "XksProxyIncorrectAuthenticationCredentialException",
            STATE,
            "INVALID_CREDENTIALS",
        ),
        (403, "AccessDeniedException", RESPONSE, STATE, "XKS_PROXY_ACCESS_DENIED"),
        (
            404,
            "KeyNotFoundException",
            RESPONSE,
            "XksKeyNotFoundException",
            "XKS_PROXY_INVALID_RESPONSE",
        ),
        (
            404,
            "InvalidUriPathException",
            "XksProxyInvalidConfigurationException",
            STATE,
            "XKS_PROXY_INVALID_CONFIGURATION",
        ),
        (
            429,
            "ThrottlingException",
            UNREACHABLE,
            STATE,
            "XKS_PROXY_NOT_REACHABLE",
        ),
        (
            501,
            "UnsupportedOperationException",
            "UnsupportedOperationException",
            STATE,
            "XKS_PROXY_INVALID_RESPONSE",
        ),
        (
            503,
            "DependencyTimeoutException",
            UNREACHABLE,
            STATE,
            "XKS_PROXY_TIMED_OUT",
        ),
        (500, "InternalException", RESPONSE, STATE, "XKS_PROXY_INVALID_RESPONSE"),
        // What is no errorName of the specification, or none at all.
        (
            500,
            "OutOfOrderException",
            RESPONSE,
            STATE,
            "XKS_PROXY_INVALID_RESPONSE",
        ),
        (503, "", RESPONSE, STATE, "XKS_PROXY_INVALID_RESPONSE"),
    ] {
        site.proxy.break_by(always(
            status,
            json!({ "errorName": error, "errorMessage": "for the log alone" }),
        ));
        let exception = site.encrypt(b"plain").await.unwrap_err();
        assert!(!exception.message().contains("for the log alone"), "{error}");
        let is_malformed = exception.failure() == Some(Failure::Malformed);
        assert!(
            is_malformed || exception.detail().unwrap().contains("for the log alone"),
            "{error}"
        );
        let made = made_of(&site).await;
        assert_eq!(made, [created, key, "KMSInvalidStateException", code], "{error}");
    }
}

#[test]
fn no_two_reasons_that_callers_must_tell_apart_have_the_same_text() {
    let of = |failure: Failure| failure.row().message;
    for (index, failure) in Failure::ALL.into_iter().enumerate() {
        assert!(
            of(failure).ends_with('.') && !of(failure).contains("  "),
            "{failure:?}: {:?}",
            of(failure)
        );
        let same = Failure::ALL[..index].iter().find(|other| of(**other) == of(failure));
        // KMS itself has one text for both.
        assert!(
            same.is_none() || failure == Failure::Malformed,
            "{failure:?} and {same:?}"
        );
    }
}

#[tokio::test]
async fn answers_that_break_the_rules_are_not_believed() {
    let site = Site::new().await;
    let inner = 5 + 28; // KMS's own layer around "plain"
    for (field, value, detail) in [
        (
            "ciphertextDataIntegrityValue",
            base64(32),
            "ciphertextDataIntegrityValue",
        ),
        ("ciphertextDataIntegrityValue", Value::Null, "a field is missing"),
        ("ciphertextMetadata", base64(21), "ciphertextMetadata of 21 bytes"),
        ("initializationVector", base64(13), "initializationVector of 13 bytes"),
        ("authenticationTag", base64(12), "authenticationTag of 12 bytes"),
        ("ciphertext", base64(inner + 16), "of another length"),
        ("ciphertext", json!("not Base64"), "has the wrong type"),
        (
            "ciphertext",
            json!(BASE64_STANDARD.encode(vec![255; inner]).replace('/', "_")),
            "has the wrong type",
        ),
        ("authenticationTag", Value::Null, "a field is missing"),
    ] {
        site.proxy.break_by(with("encrypt", field, value));
        let exception = site.encrypt(b"plain").await.unwrap_err();
        assert_eq!(
            (exception.name(), exception.failure()),
            (Name::InvalidState, Some(Failure::Malformed))
        );
        assert!(exception.message().starts_with("AWS KMS cannot interpret the response"));
        assert!(exception.detail().unwrap().contains(detail), "{field}: {exception:?}");
    }
    for body in ["", "[]", "{}", "no JSON at all"] {
        site.proxy
            .break_by(Broken::answers(move |_, answered| answered.body = body.into()));
        assert_eq!(
            what(site.encrypt(b"plain").await),
            (Name::InvalidState, Some(Failure::Malformed)),
            "{body}"
        );
    }
}

/// A proxy that decrypts what it should not, or to what was not encrypted: KMS's own layer sees it.
#[tokio::test]
async fn plaintexts_that_were_never_encrypted_are_seen() {
    let site = Site::new().await;
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    for (length, failure) in [
        (33, Failure::ForeignPlaintext),
        (32, Failure::Malformed),
        (0, Failure::Malformed),
    ] {
        site.proxy.break_by(with("decrypt", "plaintext", base64(length)));
        assert_eq!(
            what(site.decrypt(&blob).await),
            (Name::InvalidState, Some(failure)),
            "{length}"
        );
    }
    // One that puts the right parts in the place of the changed ones, whatever it is asked: as if it
    // authenticated neither metadata nor AAD.
    site.proxy.mend();
    site.proxy.asked();
    site.decrypt(&blob).await.unwrap();
    let (_, right) = site.proxy.asked().pop().unwrap();
    site.proxy.break_by(Broken::requests(move |asked| {
        if asked.is("decrypt") {
            asked.set_json(&right);
        }
    }));
    site.decrypt(&blob).await.unwrap();
    let mut request = DecryptRequest::new(blob.clone());
    request.encryption_context = context("nile");
    let foreign = (Name::InvalidState, Some(Failure::ForeignPlaintext));
    assert_eq!(what(site.kms.decrypt(&alice(), request).await), foreign);
    let metadata = 18; // after version, key id and a length
    let mut changed = blob.to_vec();
    changed[metadata] ^= 1;
    assert_eq!(what(site.decrypt(&changed).await), foreign);
}

#[tokio::test]
async fn external_keys_that_are_not_right_make_no_kms_key() {
    let site = Site::new().await;
    let create = async |id: &str| {
        site.kms
            .create_key(&alice(), CreateKeyRequest::new(&site.store, id))
            .await
    };
    for (field, value, said) in [
        (
            "keySpec",
            json!("AES_128"),
            "The key spec of specified external key is AES_128.",
        ),
        (
            "keyUsage",
            json!(["ENCRYPT", "SIGN"]),
            "The key use of specified external key is ENCRYPT, SIGN.",
        ),
        ("keyUsage", json!([]), "must include ENCRYPT and DECRYPT"),
        (
            "keyStatus",
            json!("DISABLED"),
            "The status of specified external key is DISABLED.",
        ),
    ] {
        site.proxy.break_by(with("metadata", field, value));
        let exception = create("second").await.unwrap_err();
        assert_eq!(exception.name(), Name::XksKeyInvalidConfiguration);
        assert!(exception.message().contains(said), "{exception}");
    }
    for (field, value) in [
        ("keySpec", Value::Null),
        ("keyUsage", json!(vec!["DERIVE"; 11])),
        ("keyStatus", json!("enabled")),
    ] {
        site.proxy.break_by(with("metadata", field, value));
        let malformed = (Name::CustomKeyStoreInvalidState, Some(Failure::Malformed));
        assert_eq!(what(create("second").await), malformed, "{field}");
    }
    site.proxy.mend();
    // Those of the proxy itself, and what is wrong without one.
    assert_eq!(name(create("disabled").await), Name::XksKeyInvalidConfiguration);
    assert_eq!(name(create("encrypt-only").await), Name::XksKeyInvalidConfiguration);
    assert_eq!(name(create("absent").await), Name::XksKeyNotFound);
    assert_eq!(name(create(KEY).await), Name::XksKeyAlreadyInUse);
    for wrong in ["", "a/b", "a b", &"k".repeat(129)] {
        assert_eq!(name(create(wrong).await), Name::Validation, "{wrong}");
    }
    for change in [
        (|key| key.origin = Some("AWS_CLOUDHSM".into())) as fn(&mut CreateKeyRequest),
        |key| key.key_spec = Some("RSA_2048".into()),
        |key| key.key_usage = Some("SIGN_VERIFY".into()),
        |key| key.multi_region = Some(true),
    ] {
        let mut key = CreateKeyRequest::new(&site.store, "second");
        change(&mut key);
        assert_eq!(
            name(site.kms.create_key(&alice(), key).await),
            Name::UnsupportedOperation
        );
    }
    create("second").await.unwrap();
}

#[tokio::test]
async fn health_has_a_form_and_a_meaning() {
    let site = Site::new().await;
    let manager = |status: &str| json!({ "id": "1", "model": "m", "healthStatus": status });
    let cases = [
        ("xksProxyFleetSize", json!(0), Code::InvalidResponse),
        ("xksProxyFleetSize", json!("1"), Code::InvalidResponse),
        ("ekmVendor", Value::Null, Code::InvalidResponse),
        ("ekmFleetDetails", json!([]), Code::InvalidResponse),
        (
            "ekmFleetDetails",
            json!(vec![manager("ACTIVE"); 11]),
            Code::InvalidResponse,
        ),
        ("ekmFleetDetails", json!([manager("WELL")]), Code::InvalidResponse),
        (
            "ekmFleetDetails",
            json!([manager("UNAVAILABLE"), manager("UNAVAILABLE")]),
            Code::NotReachable,
        ),
    ];
    for (field, value, code) in cases {
        site.proxy.break_by(with("health", field, value));
        site.kms.check_health().await.unwrap();
        let described = site.described().await;
        assert_eq!(
            described.connection_state,
            ConnectionState::Connected,
            "as in AWS KMS, it stays connected"
        );
        assert_eq!(health_code(&site), Some(code), "{field}");
        let made = made_of_health(&site).await;
        assert_eq!(made, code, "{field}");
    }
    // Some key manager serves.
    site.proxy.break_by(with(
        "health",
        "ekmFleetDetails",
        json!([manager("UNAVAILABLE"), manager("DEGRADED")]),
    ));
    site.kms.check_health().await.unwrap();
    let check = site.kms.last_health_check(&site.store).unwrap();
    assert_eq!(check.outcome.unwrap().ekm_fleet_details.len(), 2);
    assert_eq!(health_code(&site), None);
}

/// The code of the last health check, where it failed.
fn health_code(site: &Site) -> Option<Code> {
    let check = site.kms.last_health_check(&site.store).unwrap();
    check.outcome.err().map(|(failure, _)| failure.row().connection)
}

/// The code that a new connection fails with; afterwards the key store is connected.
async fn made_of_health(site: &Site) -> Code {
    site.kms.disconnect_custom_key_store(&alice(), site.id()).await.unwrap();
    site.kms.connect_custom_key_store(&alice(), site.id()).await.unwrap();
    let code = site.described().await.connection_error_code.unwrap();
    site.proxy.mend();
    site.kms.disconnect_custom_key_store(&alice(), site.id()).await.unwrap();
    site.kms.connect_custom_key_store(&alice(), site.id()).await.unwrap();
    code
}

#[tokio::test]
async fn health_is_checked_again_and_again() {
    let site = Site::new().await;
    let watch = tokio::spawn({
        let kms = site.kms.clone();
        async move { kms.watch_health(Duration::from_millis(10)).await }
    });
    site.proxy
        .break_by(always(503, json!({ "errorName": "DependencyTimeoutException" })));
    let is_timed_out =
        async || site.kms.last_health_check(&site.store).is_some() && health_code(&site) == Some(Code::TimedOut);
    while !is_timed_out().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    site.proxy.mend();
    while is_timed_out().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    watch.abort();
    let (_, body) = site.proxy.asked().pop().unwrap();
    assert_eq!(body["requestMetadata"]["kmsOperation"], "KmsHealthCheck");
    assert_eq!(body["requestMetadata"].as_object().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_takes_longer_than_kms_waits_is_given_up() {
    let site = Site::new().await;
    let kms = site.again(|builder| builder.timeout(Duration::from_millis(250)));
    // It answers when all is over: on a busy machine one after 300 ms could be seen before the time is up.
    let (is_over, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    site.proxy.break_by(Broken::instead(move |_| {
        let _ = wait.lock().unwrap().recv();
        None
    }));
    let encrypt = EncryptRequest::new(&site.key.key_id, b"plain");
    let exception = kms.encrypt(&alice(), encrypt).await.unwrap_err();
    assert_eq!(
        (exception.name(), exception.failure()),
        (Name::InvalidState, Some(Failure::TimedOut))
    );
    assert!(exception.message().contains("did not respond in time"), "{exception}");
    kms.disconnect_custom_key_store(&alice(), site.id()).await.unwrap();
    kms.connect_custom_key_store(&alice(), site.id()).await.unwrap();
    let described = kms
        .describe_custom_key_stores(&alice(), DescribeCustomKeyStoresRequest::default())
        .await
        .unwrap();
    assert_eq!(
        described.custom_key_stores[0].connection_error_code,
        Some(Code::TimedOut)
    );
    let another = builder().timeout(Duration::from_millis(250)).build().unwrap();
    let created = another
        .create_custom_key_store(&alice(), site.proxy.key_store("slow"))
        .await;
    assert_eq!(what(created), (Name::XksProxyUriUnreachable, Some(Failure::TimedOut)));
    drop(is_over);
}

/// The limit is for all of a call: TCP, TLS and HTTP.
#[tokio::test]
async fn a_proxy_that_takes_a_connection_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let kms = builder().timeout(Duration::from_millis(250)).build().unwrap();
    for scheme in ["http", "https"] {
        let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap());
        let request = CreateCustomKeyStoreRequest::new("silent", endpoint, "/kms/xks/v1", credential());
        let created = kms.create_custom_key_store(&alice(), request).await;
        assert_eq!(
            what(created),
            (Name::XksProxyUriUnreachable, Some(Failure::TimedOut)),
            "{scheme}"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_not_reached() {
    let site = Site::new().await;
    let (request, kms) = (site.proxy.key_store("dead"), site.kms.clone());
    let encrypt = EncryptRequest::new(&site.key.key_id, b"plain");
    let id = site.id();
    let Site {
        proxy, folder: _folder, ..
    } = site;
    drop(proxy);
    let unreachable = Some(Failure::Unreachable);
    assert_eq!(
        what(kms.encrypt(&alice(), encrypt).await),
        (Name::InvalidState, unreachable)
    );
    let mut elsewhere = request;
    elsewhere.xks_proxy_uri_path = Some("/dead/kms/xks/v1".into());
    let created = kms.create_custom_key_store(&alice(), elsewhere).await;
    assert_eq!(what(created), (Name::XksProxyUriUnreachable, unreachable));
    kms.disconnect_custom_key_store(&alice(), id.clone()).await.unwrap();
    kms.connect_custom_key_store(&alice(), id).await.unwrap();
    let described = kms
        .describe_custom_key_stores(&alice(), DescribeCustomKeyStoresRequest::default())
        .await
        .unwrap();
    assert_eq!(
        described.custom_key_stores[0].connection_error_code,
        Some(Code::NotReachable)
    );
}

/// The signature is one: another secret is another KMS.
#[tokio::test]
async fn a_wrong_secret_is_an_incorrect_credential() {
    let proxy = Proxy::start();
    let kms = builder().build().unwrap();
    let mut request = proxy.key_store("wrong");
    let wrong = "NotTheSecretOfThisProxyButOneOfTheSameLength1";
    request.xks_proxy_authentication_credential = Some(ProxyCredential::new(crate::support::ACCESS_KEY_ID, wrong));
    let created = kms.create_custom_key_store(&alice(), request).await;
    let expected = (
        Name::XksProxyIncorrectAuthenticationCredential,
        Some(Failure::AuthenticationFailed),
    );
    assert_eq!(what(created), expected);
    let mut request = proxy.key_store("wrong path");
    request.xks_proxy_uri_path = Some("/not-there/kms/xks/v1".into());
    let created = kms.create_custom_key_store(&alice(), request).await;
    assert_eq!(
        what(created),
        (Name::XksProxyInvalidConfiguration, Some(Failure::InvalidUriPath))
    );
}
