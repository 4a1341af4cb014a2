//! The four operations on good requests: ciphertexts decrypt, and each key does what it may.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata,
        KeySpec, KeyStatus, KeyUsage, Limits,
    },
};

use crate::support::{
    Client, base64, decrypt_body, encrypt_body, error_of, from_base64, key_store, metadata_body, proxy, soft_backend,
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
    // Their order is not specified.
    let fields = |value: &Value| {
        let mut fields: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        fields.sort_unstable();
        fields
    };
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

/// ENC-7: what is sealed, tried and opened is bound to the same bytes, in both framings.
#[tokio::test]
async fn framings_bind_the_same_bytes_each_time() {
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
