//! `FailingBackend` has the faults that are set, seen through a proxy.

use std::{sync::Arc, time::Duration};

use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    Credential, KeyBackend, KeyStore, KeyStores, Proxy,
    backend::{BackendErrorKind, HealthStatus, KeyStatus},
    testkit::{Client, FailingBackend, Fault, Faults, Method, When},
};

use crate::good::Good;

fn credential() -> Credential {
    let secret = "PleaseReplaceThisWithSomeSecretOfLength43To64";
    Credential::new("BETWEEN2TENAND3TENCHARACTERS", secret.to_owned()).unwrap()
}

fn proxy() -> (Proxy, Faults) {
    proxy_over(Arc::new(Good::new()))
}

fn proxy_over(backend: Arc<dyn KeyBackend>) -> (Proxy, Faults) {
    let backend = FailingBackend::around(backend);
    let faults = backend.faults();
    let key_store = KeyStore::builder("/example".parse().unwrap(), Arc::new(backend))
        .region("eu-central-1".parse().unwrap())
        .credential(credential())
        .all_keys_of_backend();
    (
        Proxy::new(KeyStores::new([key_store.build().unwrap()]).unwrap()),
        faults,
    )
}

fn client(proxy: &Proxy) -> Client<'_> {
    Client::new(
        proxy,
        "/example".parse().unwrap(),
        credential(),
        "eu-central-1".parse().unwrap(),
    )
}

#[tokio::test]
async fn without_faults_it_does_as_the_other() {
    let (proxy, faults) = proxy();
    let client = client(&proxy);
    assert_eq!(client.health().await.status, 200);
    assert_eq!(client.metadata("usable").await.json["keyStatus"], "ENABLED");
    let encrypted = client.encrypt("usable", b"plaintext", Some(b"aad")).await;
    let decrypted = client.decrypt("usable", &encrypted.json, Some(b"aad")).await;
    assert_eq!(decrypted.bytes("plaintext").unwrap(), b"plaintext");
    let other = client.decrypt("usable", &encrypted.json, None).await;
    assert_eq!(other.error_name(), Some("InvalidCiphertextException"));
    assert_eq!(Method::ALL.map(|method| faults.calls(method)), [1, 1, 2, 1, 1]);
    let order = [
        Method::Health,
        Method::KeyMetadata,
        Method::Encrypt,
        Method::Verification,
        Method::Decrypt,
        Method::Decrypt,
    ];
    assert_eq!(faults.take_calls(), order);
    assert_eq!(faults.take_calls(), []);
}

#[tokio::test]
async fn calls_fail_when_they_are_told_to() {
    let (proxy, faults) = proxy();
    let client = client(&proxy);
    let mut statuses = Vec::new();
    faults.set(
        Method::KeyMetadata,
        Fault::Error(BackendErrorKind::Throttled),
        When::next(2),
    );
    for _ in 0..3 {
        statuses.push(client.metadata("usable").await.status);
    }
    assert_eq!(statuses.split_off(0), [429, 429, 200]);
    faults.set(
        Method::KeyMetadata,
        Fault::Error(BackendErrorKind::Unavailable),
        When::every(3),
    );
    for _ in 0..6 {
        statuses.push(client.metadata("usable").await.status);
    }
    assert_eq!(statuses.split_off(0), [200, 200, 500, 200, 200, 500]);
    faults.set(Method::KeyMetadata, Fault::Panic, When::always());
    assert_eq!(client.metadata("usable").await.status, 500);
    faults.clear();
    assert_eq!(client.metadata("usable").await.status, 200);
}

/// ENC-10: whatever a backend gets wrong, the pipeline returns nothing of it.
#[tokio::test]
async fn spoiled_answers_are_not_returned() {
    let (proxy, faults) = proxy();
    let client = client(&proxy);
    for (method, fault) in [
        (Method::Encrypt, Fault::FlipCiphertext),
        (Method::Encrypt, Fault::FlipTag),
        (Method::Encrypt, Fault::FlipIv),
        (Method::Encrypt, Fault::Lengthen),
        (Method::Encrypt, Fault::Shorten),
        (Method::Encrypt, Fault::OtherAad),
        (Method::Encrypt, Fault::AppendTag),
        (Method::Verification, Fault::FlipPlaintext),
        (Method::Verification, Fault::Lengthen),
        (Method::Verification, Fault::Shorten),
    ] {
        faults.set(method, fault, When::next(1));
        let answer = client.encrypt("usable", b"plaintext", None).await;
        assert_eq!(answer.error_name(), Some("InternalException"), "{fault:?}");
        assert_eq!(
            client.encrypt("usable", b"plaintext", None).await.status,
            200,
            "after {fault:?}"
        );
        faults.clear();
    }
}

/// TRN-8: what takes too long is given up.
#[tokio::test]
async fn delays_and_hangs_take_time() {
    let (proxy, faults) = proxy();
    let client = client(&proxy);
    faults.set(Method::Health, Fault::Delay(Duration::from_millis(30)), When::always());
    let start = std::time::Instant::now();
    assert_eq!(client.health().await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(30));
    faults.set(Method::Health, Fault::Hang, When::always());
    let health = tokio::time::timeout(Duration::from_millis(100), client.health());
    assert!(health.await.is_err());
    assert_eq!(faults.calls(Method::Health), 2);
}

/// GKM-1, GKM-3, HLT-1: a false report of keys and key managers reaches KMS unchanged.
#[tokio::test]
async fn lies_about_keys_and_health_are_passed_on() {
    let (proxy, faults) = proxy();
    let client = client(&proxy);
    faults.set(Method::KeyMetadata, Fault::Status(KeyStatus::Disabled), When::next(1));
    faults.set(Method::KeyMetadata, Fault::OtherSpec, When::next(1));
    let metadata = client.metadata("usable").await.json;
    assert_eq!(
        (&metadata["keyStatus"], &metadata["keySpec"]),
        (&"DISABLED".into(), &"RSA_2048".into())
    );
    let metadata = client.metadata("usable").await.json;
    assert_eq!(
        (&metadata["keyStatus"], &metadata["keySpec"]),
        (&"ENABLED".into(), &"AES_256".into())
    );
    for (status, expected) in [
        (HealthStatus::Degraded, 200),
        (HealthStatus::Unavailable, 500),
        (HealthStatus::Active, 200),
    ] {
        faults.set(Method::Health, Fault::Health(status), When::next(1));
        let health = client.health().await;
        assert_eq!(health.status, expected);
        if expected == 200 {
            assert_eq!(health.json["ekmFleetDetails"][0]["healthStatus"], status.as_str());
        }
    }
}

/// ENC-10: metadata that a backend authenticated and does not return would make its ciphertext unreadable.
#[tokio::test]
async fn metadata_that_is_lost_is_noticed() {
    let key = SoftKey::generate().unwrap();
    let soft = SoftBackend::new().with_key("usable".parse().unwrap(), key);
    let (proxy, faults) = proxy_over(Arc::new(soft));
    let client = client(&proxy);
    faults.set(Method::Encrypt, Fault::DropMetadata, When::next(1));
    let answer = client.encrypt("usable", b"plaintext", None).await;
    assert_eq!(answer.error_name(), Some("InternalException"));
    let answer = client.encrypt("usable", b"plaintext", None).await;
    assert_eq!(answer.bytes("ciphertextMetadata").unwrap(), b"key_version=1");
}
