//! The way of a request through the proxy, with software keys and with backends that fail in chosen ways.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use xks_core::{
    AadFraming, Authorizer, BackendError, BackendErrorKind, BoundAad, Credential, Decision, DecryptRequest,
    EncryptRequest, Encrypted, FleetMember, GetKeyMetadataRequest, Health, HealthStatus, KeyBackend, KeyId,
    KeyMetadata, KeySpec, KeyStatus, KeyStores, KeyUsage, Limits, Request, Rule, Rules, Subject, Zeroizing,
    async_trait,
};

mod support;

use support::{
    Client, Remember, base64, check_answer, decrypt_body, encrypt_body, error_of, from_base64, key_store,
    metadata_body, now, proxy,
    signer::{HOST, Signer},
    soft_backend,
};

/// ENC-2, ENC-3, DEC-1: from nothing at all to the largest that must be served, in both framings.
#[tokio::test]
async fn what_was_encrypted_is_decrypted() {
    for framing in [AadFraming::Spec, AadFraming::Digest] {
        let client = Client::soft(framing);
        for (text, aad) in [
            (0, None),
            (0, Some(0)),
            (1, Some(1)),
            (32, Some(200)),
            (4300, Some(8192)),
        ] {
            let plaintext: Vec<u8> = (0..text).map(|n: u32| n.to_le_bytes()[0]).collect();
            let aad = aad.map(|length| vec![0xa5; length]);
            for with_integrity_value in [false, true] {
                let body = encrypt_body(&plaintext, aad.as_deref(), with_integrity_value);
                let (status, encrypted) = client.encrypt("usable", &body).await;
                assert_eq!(status, 200, "{encrypted}");
                assert_eq!(from_base64(&encrypted["ciphertext"]).len(), plaintext.len());
                let (status, decrypted) = client
                    .decrypt("usable", &decrypt_body(&encrypted, aad.as_deref()))
                    .await;
                assert_eq!(status, 200, "{decrypted}");
                assert_eq!(decrypted, json!({ "plaintext": base64(&plaintext) }));
            }
        }
    }
}

/// ENC-6, ENC-7: the fields of the answer and their lengths.
#[tokio::test]
async fn the_answer_of_encrypt_has_the_specified_fields() {
    let client = Client::soft(AadFraming::Spec);
    let (_, plain) = client
        .encrypt("usable", &encrypt_body(b"0123456789", None, false))
        .await;
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = [
        "authenticationTag",
        "ciphertext",
        "ciphertextMetadata",
        "initializationVector",
    ];
    assert_eq!(fields(&plain), expected);
    let length = |field: &str| from_base64(&plain[field]).len();
    assert_eq!(
        (
            length("ciphertext"),
            length("initializationVector"),
            length("authenticationTag")
        ),
        (10, 12, 16)
    );
    assert!((1..=20).contains(&length("ciphertextMetadata")));
    let (_, again) = client
        .encrypt("usable", &encrypt_body(b"0123456789", None, false))
        .await;
    assert_ne!(plain["initializationVector"], again["initializationVector"]);
}

/// ENC-9: present exactly when it is asked for, and over the decoded parts in their order.
#[tokio::test]
async fn the_integrity_value_covers_all_parts() {
    for framing in [AadFraming::Spec, AadFraming::Digest] {
        let client = Client::soft(framing);
        for aad in [None, Some(&b""[..]), Some(b"project=nile")] {
            let (_, without) = client.encrypt("usable", &encrypt_body(b"text", aad, false)).await;
            assert_eq!(without.get("ciphertextDataIntegrityValue"), None);
            let (_, with) = client.encrypt("usable", &encrypt_body(b"text", aad, true)).await;
            let mut hash = Sha256::new();
            hash.update(aad.unwrap_or_default());
            for part in [
                "ciphertextMetadata",
                "initializationVector",
                "ciphertext",
                "authenticationTag",
            ] {
                hash.update(from_base64(&with[part]));
            }
            assert_eq!(with["ciphertextDataIntegrityValue"], base64(&hash.finalize()));
        }
    }
}

/// DEC-3: any bit of ciphertext, IV, tag, AAD or metadata, changed, and bytes moved from one to another.
#[tokio::test]
async fn any_change_makes_the_ciphertext_invalid() {
    for framing in [AadFraming::Spec, AadFraming::Digest] {
        let client = Client::soft(framing);
        let (_, encrypted) = client
            .encrypt("usable", &encrypt_body(b"plaintext", Some(b"aad"), false))
            .await;
        let good = decrypt_body(&encrypted, Some(b"aad"));
        for field in [
            "ciphertext",
            "initializationVector",
            "authenticationTag",
            "ciphertextMetadata",
            "additionalAuthenticatedData",
        ] {
            for at in 0..from_base64(&good[field]).len() * 8 {
                let mut bytes = from_base64(&good[field]);
                bytes[at / 8] ^= 1 << (at % 8);
                let mut bad = good.clone();
                bad[field] = base64(&bytes);
                let answer = client.decrypt("usable", &bad).await;
                assert_eq!(error_of(&answer), "InvalidCiphertextException", "{field} bit {at}");
            }
        }
        for field in ["ciphertextMetadata", "additionalAuthenticatedData"] {
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().remove(field);
            assert_eq!(
                error_of(&client.decrypt("usable", &bad).await),
                "InvalidCiphertextException",
                "no {field}"
            );
        }
        let mut longer = good.clone();
        longer["ciphertext"] = base64(&[from_base64(&good["ciphertext"]), vec![0]].concat());
        assert_eq!(
            error_of(&client.decrypt("usable", &longer).await),
            "InvalidCiphertextException"
        );
        assert_eq!(
            error_of(&client.decrypt("other", &good).await),
            "InvalidCiphertextException"
        );
    }
}

/// ENC-11, DEC-4, GKM-4: what each kind of key may do.
#[tokio::test]
async fn keys_do_what_they_may() {
    let client = Client::soft(AadFraming::Spec);
    let (_, encrypted) = client.encrypt("usable", &encrypt_body(b"x", None, false)).await;
    let decrypt = decrypt_body(&encrypted, None);
    for (key, encrypts, encrypts_with_cdiv, decrypts) in [
        ("usable", "none", "none", "none"),
        (
            "encrypt-only",
            "none",
            "InvalidKeyUsageException",
            "InvalidKeyUsageException",
        ),
        (
            "decrypt-only",
            "InvalidKeyUsageException",
            "InvalidKeyUsageException",
            "InvalidCiphertextException",
        ),
        (
            "neither",
            "InvalidKeyUsageException",
            "InvalidKeyUsageException",
            "InvalidKeyUsageException",
        ),
        (
            "disabled",
            "InvalidStateException",
            "InvalidStateException",
            "InvalidStateException",
        ),
        (
            "ghost",
            "KeyNotFoundException",
            "KeyNotFoundException",
            "KeyNotFoundException",
        ),
        (
            "of-nobody",
            "KeyNotFoundException",
            "KeyNotFoundException",
            "KeyNotFoundException",
        ),
        (
            "unheard-of",
            "KeyNotFoundException",
            "KeyNotFoundException",
            "KeyNotFoundException",
        ),
    ] {
        assert_eq!(
            error_of(&client.encrypt(key, &encrypt_body(b"x", None, false)).await),
            encrypts,
            "{key}"
        );
        assert_eq!(
            error_of(&client.encrypt(key, &encrypt_body(b"x", None, true)).await),
            encrypts_with_cdiv,
            "{key}"
        );
        assert_eq!(error_of(&client.decrypt(key, &decrypt).await), decrypts, "{key}");
    }
}

/// GKM-1, GKM-2, GKM-3, GKM-4: usage and status as they are.
#[tokio::test]
async fn key_metadata_tells_usage_and_status() {
    let client = Client::soft(AadFraming::Spec);
    for (key, usage, status) in [
        ("usable", json!(["ENCRYPT", "DECRYPT"]), "ENABLED"),
        ("encrypt-only", json!(["ENCRYPT"]), "ENABLED"),
        ("decrypt-only", json!(["DECRYPT"]), "ENABLED"),
        ("neither", json!([]), "ENABLED"),
        ("disabled", json!(["ENCRYPT", "DECRYPT"]), "DISABLED"),
    ] {
        let answer = client.post(&format!("keys/{key}/metadata"), &metadata_body()).await;
        assert_eq!(
            answer,
            (
                200,
                json!({ "keySpec": "AES_256", "keyUsage": usage, "keyStatus": status })
            )
        );
    }
    for key in ["ghost", "of-nobody", "USABLE"] {
        let answer = client.post(&format!("keys/{key}/metadata"), &metadata_body()).await;
        assert_eq!(error_of(&answer), "KeyNotFoundException");
    }
}

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
        Ok(self.spoil_encrypted.map_or_else(
            || encrypted_again(&encrypted),
            |spoil| spoil(encrypted_again(&encrypted)),
        ))
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

fn encrypted_again(encrypted: &Encrypted) -> Encrypted {
    let (ciphertext, aad) = (encrypted.ciphertext().to_vec(), encrypted.bound_aad().clone());
    Encrypted::new(ciphertext, *encrypted.iv(), *encrypted.tag(), aad)
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

struct AskedTimes(AtomicUsize, Decision);

impl Authorizer for AskedTimes {
    fn authorize(&self, _: &Subject<'_>) -> Decision {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.clone()
    }
}

/// HLT-2: health is authenticated and never asked about; everything else is.
#[tokio::test]
async fn health_is_never_put_under_authorization() {
    let asked = Arc::new(AskedTimes(AtomicUsize::new(0), Decision::deny("nobody")));
    let client = Client::new(proxy(key_store(soft_backend()).authorizer(Arc::clone(&asked))));
    assert_eq!(client.post("health", &metadata_body()).await.0, 200);
    assert_eq!(asked.0.load(Ordering::Relaxed), 0);
    assert_eq!(
        client
            .send_unsigned("POST", "/tenant/kms/xks/v1/health", &[], b"{}")
            .await
            .0,
        401
    );
    for path in ["keys/usable/metadata", "keys/disabled/metadata"] {
        assert_eq!(
            error_of(&client.post(path, &metadata_body()).await),
            "AccessDeniedException"
        );
    }
    assert_eq!(
        error_of(&client.encrypt("usable", &encrypt_body(b"x", None, false)).await),
        "AccessDeniedException"
    );
    assert_eq!(asked.0.load(Ordering::Relaxed), 3);
    assert_eq!(
        error_of(&client.encrypt("unheard-of", &encrypt_body(b"x", None, false)).await),
        "KeyNotFoundException"
    );
    assert_eq!(
        asked.0.load(Ordering::Relaxed),
        3,
        "a key that is not there is nobody's"
    );
}

/// AUZ-1, MD-5: rules decide, a denial names its rule in the log and nowhere else, unknown fields reach who decides.
#[tokio::test]
async fn rules_decide_and_denials_name_their_rule() {
    let rules = Rules::new([
        Rule::allow("alice may").principal("*:user/Alice"),
        Rule::deny("other is locked").key("other"),
    ]);
    let audit = Remember::default();
    let client = Client::new(proxy(key_store(soft_backend()).authorizer(rules)).audit(audit.clone()));
    assert_eq!(client.encrypt("usable", &encrypt_body(b"x", None, false)).await.0, 200);
    assert!(audit.take()[0].contains("alice may"));
    let denied = client.encrypt("other", &encrypt_body(b"x", None, false)).await;
    assert_eq!(error_of(&denied), "AccessDeniedException");
    assert!(!denied.1.to_string().contains("locked"));
    assert!(audit.take()[0].contains("other is locked"));

    struct WantsPcr;
    impl Authorizer for WantsPcr {
        fn authorize(&self, subject: &Subject<'_>) -> Decision {
            let attested = subject
                .request_metadata
                .extra()
                .any(|(name, value)| name == "pcr0" && value == "\"00ff\"");
            if attested {
                Decision::allow_by("attested")
            } else {
                Decision::deny("not attested")
            }
        }
    }
    let client = Client::new(proxy(key_store(soft_backend()).authorizer(WantsPcr)).audit(audit.clone()));
    let mut body = metadata_body();
    assert_eq!(client.post("keys/usable/metadata", &body).await.0, 403);
    body["requestMetadata"]["pcr0"] = json!("00ff");
    assert_eq!(client.post("keys/usable/metadata", &body).await.0, 200);
    assert!(audit.take()[1].contains("pcr0"));
}

/// ENC-4: the smaller of the limits of key store and backend holds, and it is looked at after authorization.
#[tokio::test]
async fn the_smaller_limit_holds() {
    let client = Client::new(proxy(
        key_store(soft_backend()).limits(Limits::default().with_plaintext(10).with_aad(5)),
    ));
    assert_eq!(
        client
            .encrypt("usable", &encrypt_body(&[0; 10], Some(&[0; 5]), true))
            .await
            .0,
        200
    );
    for body in [
        encrypt_body(&[0; 11], None, false),
        encrypt_body(b"", Some(&[0; 6]), false),
    ] {
        assert_eq!(
            error_of(&client.encrypt("usable", &body).await),
            "UnsupportedOperationException"
        );
        assert_eq!(
            error_of(&client.encrypt("unheard-of", &body).await),
            "KeyNotFoundException"
        );
    }
    let generous = Client::new(proxy(
        key_store(soft_backend()).limits(Limits::default().with_plaintext(1 << 20)),
    ));
    let answer = generous.encrypt("usable", &encrypt_body(&[0; 4301], None, false)).await;
    assert_eq!(
        error_of(&answer),
        "UnsupportedOperationException",
        "the backend's own limit"
    );
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
    std::panic::set_hook(Box::new(|_| {}));
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
    let _ = std::panic::take_hook();
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

/// SIG-7: a second credential is added, the client switches over, the first is removed; nothing restarts.
#[tokio::test]
async fn credentials_rotate_without_a_restart() {
    let backend = soft_backend();
    let second = || Credential::new("B".repeat(20), "b".repeat(43)).unwrap();
    let mut client = Client::new(proxy(key_store(Arc::clone(&backend) as _)));
    let old = client.signer.clone();
    let new = Signer {
        access_key_id: "B".repeat(20),
        secret_access_key: "b".repeat(43),
        ..old.clone()
    };
    let works = async |client: &mut Client, signer: &Signer| {
        client.signer = signer.clone();
        client.post("health", &metadata_body()).await.0 == 200
    };
    assert!(works(&mut client, &old).await && !works(&mut client, &new).await);
    let both = key_store(Arc::clone(&backend) as _)
        .credential(second())
        .build()
        .unwrap();
    client.proxy.key_stores().replace([both]).unwrap();
    assert!(works(&mut client, &old).await && works(&mut client, &new).await);
    let only_new = xks_core::KeyStore::builder("/tenant".parse().unwrap(), backend)
        .region("us-east-1")
        .credential(second())
        .all_keys_of_backend()
        .build()
        .unwrap();
    client.proxy.key_stores().replace([only_new]).unwrap();
    assert!(!works(&mut client, &old).await && works(&mut client, &new).await);
}

/// URI-4, SIG-6: a credential is valid under its own prefix only, and a key belongs to its own key store.
#[tokio::test]
async fn tenants_are_apart() {
    let tenant = |prefix: &str, letter: char, key: &str| {
        xks_core::KeyStore::builder(prefix.parse().unwrap(), soft_backend())
            .region("us-east-1")
            .credential(Credential::new(letter.to_string().repeat(20), letter.to_string().repeat(43)).unwrap())
            .keys([support::id(key)])
            .build()
            .unwrap()
    };
    let stores = KeyStores::new([
        tenant("/a", 'A', "usable"),
        tenant("/b", 'B', "other"),
        tenant("", 'C', "usable"),
    ]);
    let mut client = Client::new(xks_core::Proxy::builder(stores.unwrap()).clock(now));
    let body = metadata_body().to_string();
    for (letter, path, expected) in [
        ('A', "/a/kms/xks/v1/keys/usable/metadata", "none"),
        ('B', "/b/kms/xks/v1/keys/other/metadata", "none"),
        ('C', "/kms/xks/v1/keys/usable/metadata", "none"),
        ('A', "/a/kms/xks/v1/keys/other/metadata", "KeyNotFoundException"),
        (
            'A',
            "/b/kms/xks/v1/keys/other/metadata",
            "AuthenticationFailedException",
        ),
        (
            'B',
            "/a/kms/xks/v1/keys/usable/metadata",
            "AuthenticationFailedException",
        ),
        ('A', "/kms/xks/v1/keys/usable/metadata", "AuthenticationFailedException"),
        ('A', "/c/kms/xks/v1/keys/usable/metadata", "InvalidUriPathException"),
        ('A', "/a/a/kms/xks/v1/keys/usable/metadata", "InvalidUriPathException"),
    ] {
        client.signer.access_key_id = letter.to_string().repeat(20);
        client.signer.secret_access_key = letter.to_string().repeat(43);
        assert_eq!(
            error_of(&client.send("POST", path, body.as_bytes()).await),
            expected,
            "{letter} {path}"
        );
    }
}

/// ENC-7: a ciphertext made by hand in the sample proxy's layout decrypts under `Digest`, and under it alone.
#[tokio::test]
async fn digest_framing_reads_the_sample_proxys_ciphertexts() {
    struct Frames(Arc<Mutex<Vec<Vec<u8>>>>);
    #[async_trait]
    impl KeyBackend for Frames {
        async fn key_metadata(&self, _: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
            Ok(KeyMetadata::new(
                KeySpec::Aes256,
                [KeyUsage::Decrypt],
                KeyStatus::Enabled,
            ))
        }
        async fn encrypt(&self, _: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
            let aad: BoundAad = request.bind_aad(Some(b"md"[..].try_into().unwrap()));
            self.0.lock().unwrap().push(aad.as_bytes().to_vec());
            Ok(Encrypted::new(
                request.plaintext().to_vec(),
                [1; 12].into(),
                [2; 16].into(),
                aad,
            ))
        }
        async fn decrypt(&self, _: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
            self.0.lock().unwrap().push(request.bound_aad().as_bytes().to_vec());
            Ok(Zeroizing::new(request.ciphertext().to_vec()))
        }
        async fn health(&self) -> Result<Health, BackendError> {
            Err(BackendErrorKind::Unavailable.into())
        }
    }
    let digest = Sha256::digest(b"aad");
    for (framing, aad, expected) in [
        (AadFraming::Spec, Some(&b"aad"[..]), b"\x00\x03aad\x02md".to_vec()),
        (AadFraming::Spec, None, b"\x00\x00\x02md".to_vec()),
        (
            AadFraming::Digest,
            Some(b"aad"),
            [&[0, 3][..], &digest, b"\x02md"].concat(),
        ),
        (AadFraming::Digest, None, b"\x00\x00\x02md".to_vec()),
        (
            AadFraming::Digest,
            Some(b""),
            [&[0, 0][..], &Sha256::digest(b""), b"\x02md"].concat(),
        ),
    ] {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let backend = Arc::new(Frames(Arc::clone(&frames)));
        let client = Client::new(proxy(key_store(backend).aad_framing(framing)));
        let (status, encrypted) = client.encrypt("usable", &encrypt_body(b"x", aad, true)).await;
        assert_eq!(status, 200);
        assert_eq!(client.decrypt("usable", &decrypt_body(&encrypted, aad)).await.0, 200);
        assert_eq!(
            *frames.lock().unwrap(),
            vec![expected; 3],
            "sealed, tried and opened under the same bytes"
        );
    }
}
