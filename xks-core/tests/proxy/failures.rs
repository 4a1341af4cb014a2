//! Backends that fail, lie, hang or panic, and the outcome of the request and its record.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use xks_core::{
    Request,
    aad::AadFraming,
    audit::{AuditRecord, AuditSink},
    authorize::{Authorizer, Decision, Subject},
    backend::{BackendErrorKind, HealthStatus},
    dependency::Reply,
    testkit::{FailingBackend, Fault, Faults, Method, When},
};
use xks_test_client::HOST;

use crate::support::{
    Client, Remember, check_answer, decrypt_body, encrypt_body, error_of, key_store, metadata_body, proxy, soft_backend,
};

/// A client of a proxy over software keys, and what goes wrong with them.
fn over_failing() -> (Client, Faults, Remember) {
    let (backend, audit) = (FailingBackend::around(soft_backend()), Remember::default());
    let faults = backend.faults();
    let client = Client::new(proxy(key_store(Arc::new(backend))).audit(audit.clone()));
    (client, faults, audit)
}

/// The same, where one thing always goes wrong.
fn over(method: Method, fault: Fault) -> (Client, Faults, Remember) {
    let (client, faults, audit) = over_failing();
    faults.set(method, fault, When::always());
    (client, faults, audit)
}

/// ENC-10: the verification comes after the encryption, once, and only when the value is asked for.
#[tokio::test]
async fn trial_decryption_happens_when_asked_for() {
    let (client, faults, _) = over_failing();
    client.encrypt("usable", &encrypt_body(b"x", None, false)).await;
    assert_eq!(faults.take_calls(), [Method::Encrypt]);
    client.encrypt("usable", &encrypt_body(b"x", None, true)).await;
    assert_eq!(faults.take_calls(), [Method::Encrypt, Method::Verification]);
}

/// ENC-10: what does not decrypt to the plaintext is not returned.
#[tokio::test]
async fn corrupted_encryptions_are_never_returned() {
    let body = encrypt_body(b"plaintext", None, true);
    for fault in [
        Fault::FlipCiphertext,
        Fault::FlipTag,
        Fault::FlipIv,
        Fault::DropMetadata,
    ] {
        let (client, _, audit) = over(Method::Encrypt, fault);
        let answer = client.encrypt("usable", &body).await;
        assert_eq!(error_of(&answer), "InternalException", "{fault:?}");
        assert_eq!(answer.1.get("ciphertext"), None);
        assert!(audit.take()[0].contains("verification: "));
    }
    for fault in [Fault::FlipPlaintext, Fault::Shorten, Fault::Lengthen] {
        let (client, _, audit) = over(Method::Verification, fault);
        let answer = client.encrypt("usable", &body).await;
        assert_eq!(error_of(&answer), "InternalException", "{fault:?}");
        assert!(audit.take()[0].contains("verification"));
    }
}

/// ENC-6, DEC-5: lengths that a backend gets wrong are not passed on.
#[tokio::test]
async fn wrong_lengths_are_never_returned() {
    for fault in [Fault::Shorten, Fault::Lengthen, Fault::AppendTag] {
        let (client, ..) = over(Method::Encrypt, fault);
        let answer = client.encrypt("usable", &encrypt_body(b"plaintext", None, false)).await;
        assert_eq!(error_of(&answer), "InternalException", "{fault:?}");
    }
    let (client, ..) = over(Method::Decrypt, Fault::Lengthen);
    let (_, encrypted) = client.encrypt("usable", &encrypt_body(b"plaintext", None, false)).await;
    assert_eq!(
        error_of(&client.decrypt("usable", &decrypt_body(&encrypted, None)).await),
        "InternalException"
    );
}

/// DEC-4, ENC-11, HLT-4: each kind of failure under its name; the backend's words stay in the log.
#[tokio::test]
async fn backend_failures_reach_kms_by_name_only() {
    use BackendErrorKind as Kind;

    for (kind, of_a_key, of_health) in [
        (Kind::KeyNotFound, "KeyNotFoundException", "InternalException"),
        (Kind::KeyDisabled, "InvalidStateException", "InvalidStateException"),
        (Kind::KeyUsage, "InvalidKeyUsageException", "InternalException"),
        (Kind::AccessDenied, "AccessDeniedException", "InternalException"),
        (
            Kind::Unsupported,
            "UnsupportedOperationException",
            "UnsupportedOperationException",
        ),
        (Kind::Throttled, "ThrottlingException", "ThrottlingException"),
        (
            Kind::Timeout,
            "DependencyTimeoutException",
            "DependencyTimeoutException",
        ),
        (Kind::Unavailable, "InternalException", "InternalException"),
        (Kind::Other, "InternalException", "InternalException"),
    ] {
        let (client, faults, audit) = over_failing();
        Method::ALL
            .iter()
            .for_each(|method| faults.set(*method, Fault::Error(kind), When::always()));
        let encrypted = Client::soft(AadFraming::Spec)
            .encrypt("usable", &encrypt_body(b"x", None, false))
            .await
            .1;
        for answer in [
            client.post("keys/usable/metadata", &metadata_body()).await,
            client.encrypt("usable", &encrypt_body(b"x", None, true)).await,
            client.decrypt("usable", &decrypt_body(&encrypted, None)).await,
        ] {
            assert_eq!(error_of(&answer), of_a_key);
            assert!(!answer.1.to_string().contains("as the test wants it"));
        }
        assert_eq!(error_of(&client.post("health", &metadata_body()).await), of_health);
        let records = audit.take();
        assert_eq!(records.len(), 4);
        assert!(records.iter().all(|record| record.contains("as the test wants it")));
    }
}

/// HLT-1: 200 says that an operation right now would work.
#[tokio::test]
async fn health_is_an_error_when_nothing_works() {
    for (status, expected) in [
        (HealthStatus::Active, 200),
        (HealthStatus::Degraded, 200),
        (HealthStatus::Unavailable, 500),
    ] {
        let (client, ..) = over(Method::Health, Fault::Health(status));
        assert_eq!(client.post("health", &metadata_body()).await.0, expected);
    }
    let (status, health) = Client::soft(AadFraming::Spec).post("health", &metadata_body()).await;
    assert_eq!(status, 200);
    assert_eq!(health["xksProxyFleetSize"], 1);
    assert_eq!(health["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");
}

/// TRN-8: the answer comes when the time is up, wherever the backend hangs, and the backend's future is gone.
#[tokio::test]
async fn a_slow_backend_is_a_timeout() {
    let encrypted = Client::soft(AadFraming::Spec)
        .encrypt("usable", &encrypt_body(b"x", None, false))
        .await
        .1;
    for (hangs_in, path, body) in [
        (Method::Health, "health", metadata_body()),
        (Method::KeyMetadata, "keys/usable/metadata", metadata_body()),
        (Method::Encrypt, "keys/usable/encrypt", encrypt_body(b"x", None, true)),
        (
            Method::Verification,
            "keys/usable/encrypt",
            encrypt_body(b"x", None, true),
        ),
        (Method::Decrypt, "keys/usable/decrypt", decrypt_body(&encrypted, None)),
    ] {
        let (client, faults, audit) = over(hangs_in, Fault::Hang);
        let (path, body) = (format!("/tenant/kms/xks/v1/{path}"), body.to_string());
        let headers = client.signer.sign("POST", HOST, &path, &[], body.as_bytes());
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let request = Request::new("POST", &path, body.as_bytes()).headers(headers);
        let timer = tokio::time::sleep(Duration::from_millis(20));
        let response = client.proxy.handle_until(request, timer).await;
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        check_answer(response.status(), response.headers(), &answer);
        assert_eq!(answer["errorName"], "DependencyTimeoutException", "{hangs_in:?}");
        assert_eq!(faults.take_calls().last(), Some(&hangs_in));
        assert_eq!(audit.take().len(), 1);
    }
}

/// LOG-1: the time that is recorded is the time that it took.
#[tokio::test]
async fn the_time_taken_is_recorded() {
    struct Durations(Mutex<Vec<Duration>>);
    impl AuditSink for Durations {
        fn record(&self, record: &AuditRecord<'_>) {
            self.0.lock().unwrap().push(record.duration);
        }
    }
    let durations = Arc::new(Durations(Mutex::default()));
    let takes = Duration::from_millis(30);
    let backend = FailingBackend::around(soft_backend());
    backend
        .faults()
        .set(Method::Health, Fault::Delay(takes), When::always());
    let client = Client::new(proxy(key_store(Arc::new(backend))).audit(Arc::clone(&durations)));
    assert_eq!(client.post("health", &metadata_body()).await.0, 200);
    let durations = durations.0.lock().unwrap().clone();
    assert!(durations.len() == 1 && durations[0] >= takes, "{durations:?}");
}

/// ENC-7: a backend that mixes requests up is found out before KMS gets a ciphertext that no key decrypts.
#[tokio::test]
async fn the_aad_of_another_request_is_never_returned() {
    for with_integrity_value in [false, true] {
        let (client, faults, audit) = over(Method::Encrypt, Fault::OtherAad);
        let body = encrypt_body(b"plaintext", Some(b"of this request"), with_integrity_value);
        assert_eq!(error_of(&client.encrypt("usable", &body).await), "InternalException");
        assert!(audit.take()[0].contains("AAD of another request"));
        assert_eq!(faults.take_calls(), [Method::Encrypt], "not even tried");
    }
}

/// A bug of others is one failed request and not a dead server.
#[tokio::test]
async fn panics_of_others_are_internal_errors() {
    struct Panics;
    impl Authorizer for Panics {
        fn authorize<'a>(&'a self, _: &'a Subject<'a>) -> Reply<'a, Decision> {
            panic!("as the test wants it")
        }
    }
    impl AuditSink for Panics {
        fn record(&self, _: &AuditRecord<'_>) {
            panic!("as the test wants it")
        }
    }
    let (client, faults, audit) = over_failing();
    Method::ALL
        .iter()
        .for_each(|method| faults.set(*method, Fault::Panic, When::always()));
    for path in ["health", "keys/usable/metadata"] {
        assert_eq!(
            error_of(&client.post(path, &metadata_body()).await),
            "InternalException"
        );
    }
    let records = audit.take();
    assert!(records.len() == 2 && records.iter().all(|record| record.contains("panicked")));

    let client = Client::new(proxy(key_store(soft_backend()).authorizer(Panics)));
    let answer = client.post("keys/usable/metadata", &metadata_body()).await;
    assert_eq!(error_of(&answer), "InternalException");

    let client = Client::new(proxy(key_store(soft_backend())).audit(Panics));
    assert_eq!(client.post("keys/usable/metadata", &metadata_body()).await.0, 200);
}

/// MD-4: a body that is refused has its kmsRequestId in the record, wherever its fault is.
#[tokio::test]
async fn refused_bodies_can_be_found_by_their_id() {
    let (client, _, audit) = over_failing();
    let (mut no_base64, mut no_arn) = (encrypt_body(b"x", None, false), encrypt_body(b"x", None, false));
    no_base64["plaintext"] = "*".into();
    no_arn["requestMetadata"].as_object_mut().unwrap().remove("kmsKeyArn");
    for body in [no_base64, no_arn] {
        assert_eq!(error_of(&client.encrypt("usable", &body).await), "ValidationException");
        assert!(audit.take()[0].contains("4112f4d6-db54-4af4-ae30-c55a22a8dfae"));
    }
}

/// LOG-1, MD-4: one record for each request, whatever became of it, with all that KMS said.
#[tokio::test]
async fn every_request_has_exactly_one_record() {
    let (client, _, audit) = over_failing();
    client.encrypt("usable", &encrypt_body(b"x", None, true)).await;
    let [record] = &audit.take()[..] else {
        panic!("not one record")
    };
    for part in [
        "Encrypt",
        "/tenant",
        "usable",
        "BETWEEN2TENAND3TENCHARACTERS",
        "us-east-1",
        "user/Alice",
        "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        "1234abcd-12ab",
        "ebs",
        "Success",
        "duration",
    ] {
        assert!(record.contains(part), "{part} is not in {record}");
    }
    client.send("GET", "/tenant/kms/xks/v1/health", b"").await;
    client.send("POST", "/nowhere", b"").await;
    client
        .send_unsigned("POST", "/tenant/kms/xks/v1/health", &[], b"")
        .await;
    client.post("health", &json!({})).await;
    client.post("keys/ghost/metadata", &metadata_body()).await;
    let records = audit.take();
    assert_eq!(records.len(), 5);
    for (record, part) in records.iter().zip([
        "405",
        "no key store",
        "Authorization header is missing",
        "requestMetadata is missing",
        "KeyNotFound",
    ]) {
        assert!(
            record.contains(part) || part == "no key store" && record.contains("InvalidUriPath"),
            "{part}: {record}"
        );
    }

    // A client that goes away.
    let (client, _, audit) = over(Method::KeyMetadata, Fault::Hang);
    let body = metadata_body();
    let call = client.post("keys/usable/metadata", &body);
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    let [record] = &audit.take()[..] else {
        panic!("not one record")
    };
    assert!(record.contains("Cancelled") && record.contains("4112f4d6"));
}
