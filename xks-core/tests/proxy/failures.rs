//! Backends that fail, lie, hang or panic, and what becomes of the request and its record.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use xks_core::{
    AadFraming, BackendError, BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, FleetMember,
    GetKeyMetadataRequest, Health, HealthStatus, KeyBackend, KeyId, KeyMetadata, Request, Zeroizing, async_trait,
};

use crate::support::{
    Client, Remember, check_answer, decrypt_body, encrypt_body, error_of, key_store, metadata_body, proxy,
    signer::HOST, soft_backend,
};

/// What a test wants the backend to do; each part falls back on software keys.
#[derive(Default)]
struct Chosen {
    soft: Option<Arc<xks_backend_soft::SoftBackend>>,
    error: Option<BackendErrorKind>,
    spoil_encrypted: Option<fn(Encrypted) -> Encrypted>,
    spoil_decrypted: Option<fn(&mut Vec<u8>)>,
    health: Option<Health>,
    hangs: bool,
    panics: bool,
    calls: Mutex<Vec<&'static str>>,
}

impl Chosen {
    fn new() -> Self {
        Self {
            soft: Some(soft_backend()),
            ..Self::default()
        }
    }

    fn soft(&self) -> &dyn KeyBackend {
        self.soft.as_deref().unwrap()
    }

    async fn called(&self, what: &'static str) -> Result<(), BackendError> {
        self.calls.lock().unwrap().push(what);
        assert!(!self.panics, "as the test wants it");
        if self.hangs {
            pending::<()>().await;
        }
        self.error
            .map_or(Ok(()), |kind| Err(BackendError::new(kind, "the backend's own words")))
    }
}

#[async_trait]
impl KeyBackend for Chosen {
    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        self.called("key_metadata").await?;
        self.soft().key_metadata(key, request).await
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.called("encrypt").await?;
        let encrypted = self.soft().encrypt(key, request).await?;
        Ok(match self.spoil_encrypted {
            Some(spoil) => spoil(encrypted),
            None => encrypted,
        })
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.called("decrypt").await?;
        let mut plaintext = self.soft().decrypt(key, request).await?;
        if let Some(spoil) = self.spoil_decrypted {
            spoil(&mut plaintext);
        }
        Ok(plaintext)
    }

    async fn health(&self) -> Result<Health, BackendError> {
        self.called("health").await?;
        match &self.health {
            Some(health) => Ok(health.clone()),
            None => self.soft().health().await,
        }
    }
}

fn over(backend: Chosen) -> (Client, Arc<Chosen>, Remember) {
    let (backend, audit) = (Arc::new(backend), Remember::default());
    let client = Client::new(proxy(key_store(Arc::clone(&backend) as _)).audit(audit.clone()));
    (client, backend, audit)
}

/// ENC-10: the trial decryption comes after the encryption, once, and only when the value is asked for.
#[tokio::test]
async fn trial_decryption_happens_when_asked_for() {
    let (client, backend, _) = over(Chosen::new());
    client.encrypt("usable", &encrypt_body(b"x", None, false)).await;
    assert_eq!(backend.calls.lock().unwrap().split_off(0), ["encrypt"]);
    client.encrypt("usable", &encrypt_body(b"x", None, true)).await;
    assert_eq!(backend.calls.lock().unwrap().split_off(0), ["encrypt", "decrypt"]);
}

/// ENC-10: what does not decrypt to the plaintext is not returned.
#[tokio::test]
async fn corrupted_encryptions_are_never_returned() {
    let flip: fn(Encrypted) -> Encrypted = |encrypted| {
        let mut ciphertext = encrypted.ciphertext().to_vec();
        ciphertext[0] ^= 1;
        Encrypted::new(
            ciphertext,
            *encrypted.iv(),
            *encrypted.tag(),
            encrypted.bound_aad().clone(),
        )
    };
    let (client, ..) = over(Chosen {
        spoil_encrypted: Some(flip),
        ..Chosen::new()
    });
    let answer = client.encrypt("usable", &encrypt_body(b"plaintext", None, true)).await;
    assert_eq!(error_of(&answer), "InternalException");
    assert_eq!(answer.1.get("ciphertext"), None);

    for spoil in [
        |text: &mut Vec<u8>| text[0] ^= 1,
        |text: &mut Vec<u8>| text.truncate(3),
        |text: &mut Vec<u8>| text.push(0),
    ] {
        let (client, _, audit) = over(Chosen {
            spoil_decrypted: Some(spoil),
            ..Chosen::new()
        });
        let answer = client.encrypt("usable", &encrypt_body(b"plaintext", None, true)).await;
        assert_eq!(error_of(&answer), "InternalException");
        assert!(audit.take()[0].contains("trial decryption"));
    }
}

/// ENC-6, DEC-5: lengths that a backend gets wrong are not passed on.
#[tokio::test]
async fn wrong_lengths_are_never_returned() {
    for spoil in [
        |e: Encrypted| Encrypted::new(e.ciphertext()[1..].to_vec(), *e.iv(), *e.tag(), e.bound_aad().clone()),
        |e: Encrypted| {
            let with_tag = [e.ciphertext(), &e.tag().as_bytes()[..]].concat();
            Encrypted::new(with_tag, *e.iv(), *e.tag(), e.bound_aad().clone())
        },
    ] {
        let (client, ..) = over(Chosen {
            spoil_encrypted: Some(spoil),
            ..Chosen::new()
        });
        let answer = client.encrypt("usable", &encrypt_body(b"plaintext", None, false)).await;
        assert_eq!(error_of(&answer), "InternalException");
    }
    let (client, ..) = over(Chosen {
        spoil_decrypted: Some(|text| text.push(0)),
        ..Chosen::new()
    });
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
        let (client, _, audit) = over(Chosen {
            error: Some(kind),
            ..Chosen::new()
        });
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
            assert!(!answer.1.to_string().contains("own words"));
        }
        assert_eq!(error_of(&client.post("health", &metadata_body()).await), of_health);
        let records = audit.take();
        assert_eq!(records.len(), 4);
        assert!(records.iter().all(|record| record.contains("the backend's own words")));
    }
}

/// HLT-1: 200 says that an operation right now would work.
#[tokio::test]
async fn health_is_an_error_when_nothing_works() {
    let member = |status| FleetMember::new("hsm", "model", status);
    for (status, expected) in [
        (HealthStatus::Active, 200),
        (HealthStatus::Degraded, 200),
        (HealthStatus::Unavailable, 500),
    ] {
        let (client, ..) = over(Chosen {
            health: Some(Health::new("v", member(status))),
            ..Chosen::new()
        });
        assert_eq!(client.post("health", &metadata_body()).await.0, expected);
    }
    let (status, health) = Client::soft(AadFraming::Spec).post("health", &metadata_body()).await;
    assert_eq!(status, 200);
    assert_eq!(health["xksProxyFleetSize"], 1);
    assert_eq!(health["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");
}

/// TRN-8: the answer comes when the time is up, and the backend's future is gone.
#[tokio::test]
async fn a_slow_backend_is_a_timeout() {
    let (client, backend, audit) = over(Chosen {
        hangs: true,
        ..Chosen::new()
    });
    for (path, body) in [
        ("health", metadata_body()),
        ("keys/usable/metadata", metadata_body()),
        ("keys/usable/encrypt", encrypt_body(b"x", None, true)),
    ] {
        let (path, body) = (format!("/tenant/kms/xks/v1/{path}"), body.to_string());
        let headers = client.signer.sign("POST", HOST, &path, &[], body.as_bytes());
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let request = Request::new("POST", &path, body.as_bytes()).headers(headers);
        let response = client.proxy.handle_until(request, std::future::ready(())).await;
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        check_answer(response.status(), response.headers(), &answer);
        assert_eq!(answer["errorName"], "DependencyTimeoutException");
    }
    assert_eq!(backend.calls.lock().unwrap().len(), 3);
    assert_eq!(audit.take().len(), 3);
}

/// A vendor's bug is one failed request and not a dead server.
#[tokio::test]
async fn a_panicking_backend_is_an_internal_error() {
    let (client, _, audit) = over(Chosen {
        panics: true,
        ..Chosen::new()
    });
    for path in ["health", "keys/usable/metadata"] {
        assert_eq!(
            error_of(&client.post(path, &metadata_body()).await),
            "InternalException"
        );
    }
    assert!(audit.take().iter().all(|record| record.contains("panicked")));
}

/// LOG-1, MD-4: one record for each request, whatever became of it, with all that KMS said.
#[tokio::test]
async fn every_request_has_exactly_one_record() {
    let (client, _, audit) = over(Chosen::new());
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
        "no Authorization",
        "requestMetadata is missing",
        "KeyNotFound",
    ]) {
        assert!(
            record.contains(part) || part == "no key store" && record.contains("InvalidUriPath"),
            "{part}: {record}"
        );
    }

    // A client that goes away.
    let (client, _, audit) = over(Chosen {
        hangs: true,
        ..Chosen::new()
    });
    let body = metadata_body();
    let call = client.post("keys/usable/metadata", &body);
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(20), call)
            .await
            .is_err()
    );
    let [record] = &audit.take()[..] else {
        panic!("not one record")
    };
    assert!(record.contains("Cancelled") && record.contains("4112f4d6"));
}
