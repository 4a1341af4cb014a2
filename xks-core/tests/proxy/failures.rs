//! Backends that fail, lie, hang or panic, and what becomes of the request and its record.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use xks_core::{
    AadFraming, AuditRecord, AuditSink, Authorizer, BackendError, BackendErrorKind, BoundAad, Decision, DecryptRequest,
    EncryptRequest, Encrypted, FleetMember, GetKeyMetadataRequest, Health, HealthStatus, KeyBackend, KeyId,
    KeyMetadata, Request, Subject, Zeroizing, async_trait,
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
    hangs_in: &'static [&'static str],
    panics: bool,
    takes: Duration,
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
        if self.hangs_in.contains(&what) {
            pending::<()>().await;
        }
        tokio::time::sleep(self.takes).await;
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
        self.called(if request.is_trial() { "trial" } else { "decrypt" })
            .await?;
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
    assert_eq!(backend.calls.lock().unwrap().split_off(0), ["encrypt", "trial"]);
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
    let (client, _, audit) = over(Chosen {
        spoil_encrypted: Some(flip),
        ..Chosen::new()
    });
    let answer = client.encrypt("usable", &encrypt_body(b"plaintext", None, true)).await;
    assert_eq!(error_of(&answer), "InternalException");
    assert_eq!(answer.1.get("ciphertext"), None);
    assert!(audit.take()[0].contains("trial decryption: "));

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

/// TRN-8: the answer comes when the time is up, wherever the backend hangs, and the backend's future is gone.
#[tokio::test]
async fn a_slow_backend_is_a_timeout() {
    let encrypted = Client::soft(AadFraming::Spec)
        .encrypt("usable", &encrypt_body(b"x", None, false))
        .await
        .1;
    for (hangs_in, path, body) in [
        (&["health"], "health", metadata_body()),
        (&["key_metadata"], "keys/usable/metadata", metadata_body()),
        (&["encrypt"], "keys/usable/encrypt", encrypt_body(b"x", None, true)),
        (&["trial"], "keys/usable/encrypt", encrypt_body(b"x", None, true)),
        (&["decrypt"], "keys/usable/decrypt", decrypt_body(&encrypted, None)),
    ] {
        let (client, backend, audit) = over(Chosen {
            hangs_in,
            ..Chosen::new()
        });
        let (path, body) = (format!("/tenant/kms/xks/v1/{path}"), body.to_string());
        let headers = client.signer.sign("POST", HOST, &path, &[], body.as_bytes());
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let request = Request::new("POST", &path, body.as_bytes()).headers(headers);
        let timer = tokio::time::sleep(Duration::from_millis(20));
        let response = client.proxy.handle_until(request, timer).await;
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        check_answer(response.status(), response.headers(), &answer);
        assert_eq!(answer["errorName"], "DependencyTimeoutException", "{hangs_in:?}");
        assert_eq!(backend.calls.lock().unwrap().last(), hangs_in.first());
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
    let backend = Arc::new(Chosen { takes, ..Chosen::new() });
    let client = Client::new(proxy(key_store(backend)).audit(Arc::clone(&durations)));
    assert_eq!(client.post("health", &metadata_body()).await.0, 200);
    let durations = durations.0.lock().unwrap().clone();
    assert!(durations.len() == 1 && durations[0] >= takes, "{durations:?}");
}

/// ENC-7: a backend that mixes requests up is found out before KMS gets what nobody can decrypt.
#[tokio::test]
async fn the_aad_of_another_request_is_never_returned() {
    let swap: fn(Encrypted) -> Encrypted = |encrypted| {
        let metadata = encrypted.bound_aad().metadata().copied();
        let aad = BoundAad::new(AadFraming::Spec, Some(b"of another request"), metadata).unwrap();
        Encrypted::new(encrypted.ciphertext().to_vec(), *encrypted.iv(), *encrypted.tag(), aad)
    };
    for with_integrity_value in [false, true] {
        let (client, backend, audit) = over(Chosen {
            spoil_encrypted: Some(swap),
            ..Chosen::new()
        });
        let body = encrypt_body(b"plaintext", Some(b"of this request"), with_integrity_value);
        assert_eq!(error_of(&client.encrypt("usable", &body).await), "InternalException");
        assert!(audit.take()[0].contains("AAD of another request"));
        assert_eq!(*backend.calls.lock().unwrap(), ["encrypt"], "not even tried");
    }
}

/// A bug of others is one failed request and not a dead server.
#[tokio::test]
async fn panics_of_others_are_internal_errors() {
    struct Panics;
    impl Authorizer for Panics {
        fn authorize(&self, _: &Subject<'_>) -> Decision {
            panic!("as the test wants it")
        }
    }
    impl AuditSink for Panics {
        fn record(&self, _: &AuditRecord<'_>) {
            panic!("as the test wants it")
        }
    }
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
    let (client, _, audit) = over(Chosen::new());
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
        hangs_in: &["health", "key_metadata", "encrypt", "decrypt", "trial"],
        ..Chosen::new()
    });
    let body = metadata_body();
    let call = client.post("keys/usable/metadata", &body);
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    let [record] = &audit.take()[..] else {
        panic!("not one record")
    };
    assert!(record.contains("Cancelled") && record.contains("4112f4d6"));
}
