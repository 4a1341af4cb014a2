//! What must hold on every module and with every vendor's quirks. The keys are there already: `known`, whose value the
//! test knows, `encrypts` and `decrypts`, which may do only that.

use std::collections::HashSet;

use aes_gcm::{
    Aes256Gcm, AesGcm, KeyInit,
    aead::{Aead, Payload},
    aes::Aes256,
};
use sha2::{Digest as _, Sha256};
use xks_backend_pkcs11::{AppendedIv, IvSource, Pkcs11Backend, Quirks};
use xks_core::{
    AadFraming, BackendErrorKind, BoundAad, Encrypted, HealthStatus, Iv, KeyBackend as _, KeySpec, KeyUsage,
};

use crate::support::{aad, assert_fails, decrypt, encrypt, encrypt_with, metadata, round_trip, run};

/// The value of the key `known`.
pub(crate) const VALUE: [u8; 32] = *b"what every test of this may know";

/// All that must hold; the backend is shut down at the end.
pub(crate) fn check(backend: Pkcs11Backend, quirks: Quirks) {
    run(async {
        what_is_said_of_keys(&backend).await;
        all_sizes(&backend).await;
        software_agrees(&backend).await;
        nothing_may_change(&backend).await;
        ivs_are_new(&backend, quirks).await;
        is_healthy(&backend).await;
    });
    assert!(
        backend.shutdown(std::time::Duration::from_secs(10)),
        "calls did not return"
    );
    drop(backend);
}

async fn what_is_said_of_keys(backend: &Pkcs11Backend) {
    let known = metadata(backend, "known").await.unwrap();
    assert_eq!(known.spec(), &KeySpec::Aes256);
    assert!(
        known.usages().starts_with(&[KeyUsage::Encrypt, KeyUsage::Decrypt]),
        "{known:?}"
    );
    let encrypts = metadata(backend, "encrypts").await.unwrap();
    assert!(!encrypts.usages().contains(&KeyUsage::Decrypt), "{encrypts:?}");
    assert_fails(metadata(backend, "absent").await, BackendErrorKind::KeyNotFound);
    assert_fails(encrypt(backend, "absent", b"").await, BackendErrorKind::KeyNotFound);
    assert_fails(encrypt(backend, "decrypts", b"").await, BackendErrorKind::KeyUsage);
    let encrypted = encrypt(backend, "encrypts", b"").await.unwrap();
    assert_fails(
        decrypt(backend, "encrypts", &encrypted).await,
        BackendErrorKind::KeyUsage,
    );
}

/// ENC-2, ENC-3, DEC-1: what the specification demands, in both framings.
async fn all_sizes(backend: &Pkcs11Backend) {
    let limits = backend.limits();
    let (text, bytes) = (vec![b'p'; limits.plaintext], vec![b'a'; limits.aad]);
    for framing in [AadFraming::Spec, AadFraming::Digest] {
        for plaintext in [0, 1, 16, 32, 4096, limits.plaintext] {
            for aad_length in [None, Some(0), Some(1), Some(300), Some(limits.aad)] {
                let bound = aad(framing, aad_length.map(|length| &bytes[..length]));
                let encrypted = encrypt_with(backend, "known", &text[..plaintext], bound).await;
                let encrypted = encrypted.unwrap_or_else(|error| panic!("{plaintext} {aad_length:?}: {error:?}"));
                assert_eq!(encrypted.ciphertext().len(), plaintext);
                assert_eq!(decrypt(backend, "known", &encrypted).await.unwrap(), &text[..plaintext]);
            }
        }
    }
}

/// It is AES-256-GCM, over the bytes that the specification and the sample proxy say: software decrypts what the token
/// encrypts, and the other way around.
async fn software_agrees(backend: &Pkcs11Backend) {
    let (data, text) = (b"project=nile", b"attack at dawn");
    // ENC-7, and the layout of the sample proxy, made by hand.
    let spec = [&[0, 12][..], data, &[0]].concat();
    let digest = [&[0, 12][..], &Sha256::digest(data), &[0]].concat();
    for (framing, by_hand) in [(AadFraming::Spec, spec), (AadFraming::Digest, digest)] {
        let bound = aad(framing, Some(data));
        let encrypted = encrypt_with(backend, "known", text, bound.clone()).await.unwrap();
        let both = [encrypted.ciphertext(), encrypted.tag().as_bytes()].concat();
        let payload = Payload {
            msg: &both,
            aad: &by_hand,
        };
        assert_eq!(open_by_software(encrypted.iv(), payload), text);

        for iv in [&[7; 12][..], &[7; 16]] {
            let iv = Iv::try_from(iv).unwrap();
            let sealed = seal_by_software(
                &iv,
                Payload {
                    msg: text,
                    aad: &by_hand,
                },
            );
            let (ciphertext, tag) = sealed.split_at(text.len());
            let encrypted = Encrypted::new(ciphertext.to_vec(), iv, tag.try_into().unwrap(), bound.clone());
            match decrypt(backend, "known", &encrypted).await {
                Ok(plaintext) => assert_eq!(plaintext, text),
                // craton takes IVs of 12 bytes only.
                Err(error) => {
                    assert_eq!(iv.as_bytes().len(), 16, "{error:?}");
                    assert_eq!(error.kind(), BackendErrorKind::InvalidCiphertext, "{error:?}");
                    assert_eq!(backend.health().await.unwrap().vendor(), "Craton HSM Project");
                }
            }
        }
    }
}

fn open_by_software(iv: &Iv, payload: Payload<'_, '_>) -> Vec<u8> {
    let iv = iv.as_bytes();
    match iv.len() {
        12 => Aes256Gcm::new(&VALUE.into())
            .decrypt(iv.try_into().unwrap(), payload)
            .unwrap(),
        _ => Long::new(&VALUE.into())
            .decrypt(iv.try_into().unwrap(), payload)
            .unwrap(),
    }
}

fn seal_by_software(iv: &Iv, payload: Payload<'_, '_>) -> Vec<u8> {
    let iv = iv.as_bytes();
    match iv.len() {
        12 => Aes256Gcm::new(&VALUE.into())
            .encrypt(iv.try_into().unwrap(), payload)
            .unwrap(),
        _ => Long::new(&VALUE.into())
            .encrypt(iv.try_into().unwrap(), payload)
            .unwrap(),
    }
}

/// AES-256-GCM with IVs of 16 bytes.
type Long = AesGcm<Aes256, aes_gcm::aead::consts::U16>;

/// DEC-3: whatever is changed, the answer is that the ciphertext is invalid, and the next one decrypts.
async fn nothing_may_change(backend: &Pkcs11Backend) {
    let bound = aad(AadFraming::Spec, Some(b"data"));
    let good = encrypt_with(backend, "known", b"plaintext", bound.clone())
        .await
        .unwrap();
    let flip = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[0] ^= 1;
        bytes
    };
    let rebuilt = |ciphertext: Vec<u8>, iv: Iv, tag: &[u8], aad: &BoundAad| {
        Encrypted::new(ciphertext, iv, tag.try_into().unwrap(), aad.clone())
    };
    let (ciphertext, iv, tag) = (good.ciphertext(), *good.iv(), good.tag().as_bytes());
    let other_iv = Iv::try_from(&*flip(iv.as_bytes())).unwrap();
    for broken in [
        rebuilt(flip(ciphertext), iv, tag, &bound),
        rebuilt(ciphertext[1..].to_vec(), iv, tag, &bound),
        rebuilt(Vec::new(), iv, tag, &bound),
        rebuilt(ciphertext.to_vec(), other_iv, tag, &bound),
        rebuilt(ciphertext.to_vec(), iv, &flip(tag), &bound),
        rebuilt(ciphertext.to_vec(), iv, tag, &aad(AadFraming::Spec, Some(b"Data"))),
        rebuilt(ciphertext.to_vec(), iv, tag, &aad(AadFraming::Digest, Some(b"data"))),
        rebuilt(ciphertext.to_vec(), iv, tag, &aad(AadFraming::Spec, None)),
    ] {
        assert_fails(
            decrypt(backend, "known", &broken).await,
            BackendErrorKind::InvalidCiphertext,
        );
        round_trip(backend, "known", b"plaintext").await.unwrap();
    }
    assert_eq!(decrypt(backend, "known", &good).await.unwrap(), b"plaintext");
}

/// ENC-6.
async fn ivs_are_new(backend: &Pkcs11Backend, quirks: Quirks) {
    let length = match quirks.iv_source() {
        IvSource::Appended(AppendedIv::Bytes16) => 16,
        _ => 12,
    };
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let encrypted = encrypt(backend, "known", b"the same").await.unwrap();
        assert_eq!(encrypted.iv().as_bytes().len(), length);
        assert!(encrypted.iv().as_bytes().iter().any(|byte| *byte != 0));
        assert!(seen.insert(*encrypted.iv()), "an IV came twice");
    }
}

/// HLT-1.
async fn is_healthy(backend: &Pkcs11Backend) {
    let health = backend.health().await.unwrap();
    let [member] = health.members() else {
        panic!("{health:?}")
    };
    assert_eq!(member.status(), HealthStatus::Active, "{:?}", backend.status());
    assert!(member.model().contains("firmware"), "{member:?}");
    assert!(!health.vendor().is_empty());
}
