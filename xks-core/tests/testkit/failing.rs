//! `FailingBackend` does what it is told, seen through a proxy.

use std::{sync::Arc, time::Duration};

use xks_core::{
    BackendErrorKind, Credential, KeyStore, KeyStores, Proxy,
    testkit::{Client, FailingBackend, Fault, Faults, Method, When},
};

use crate::good::Good;

fn credential() -> Credential {
    let secret = "PleaseReplaceThisWithSomeSecretOfLength43To64";
    Credential::new("BETWEEN2TENAND3TENCHARACTERS", secret.to_owned()).unwrap()
}

fn proxy() -> (Proxy, Faults) {
    let backend = FailingBackend::around(Arc::new(Good::new()));
    let faults = backend.faults();
    let key_store = KeyStore::builder("/example".parse().unwrap(), Arc::new(backend))
        .region("eu-central-1")
        .credential(credential())
        .all_keys_of_backend();
    (
        Proxy::new(KeyStores::new([key_store.build().unwrap()]).unwrap()),
        faults,
    )
}

fn client(proxy: &Proxy) -> Client<'_> {
    Client::new(proxy, "/example".parse().unwrap(), credential(), "eu-central-1")
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
    let methods = [Method::KeyMetadata, Method::Encrypt, Method::Decrypt, Method::Health];
    assert_eq!(
        methods.map(|method| faults.calls(method)),
        [1, 1, 3, 1],
        "one decryption is a trial"
    );
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
        (Method::Decrypt, Fault::FlipPlaintext),
        (Method::Decrypt, Fault::Lengthen),
        (Method::Decrypt, Fault::Shorten),
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
