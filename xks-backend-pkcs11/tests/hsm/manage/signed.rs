//! Digests that are signed on the token, by signatures that another library verifies.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use xks_backend_pkcs11::SigningKey;
use xks_pkcs11_fixture::{Function, When};

use super::*;

const MESSAGE: &[u8] = b"the head of a log";

fn make(backend: &Pkcs11Backend, number: u8, label: &str) -> Result<SigningKey, ManageError> {
    run(backend.create_signing_key(token(number), &id(label), later()))
}

fn sign(backend: &Pkcs11Backend, label: &str) -> Result<[u8; 64], ManageError> {
    let digest = digest(&SHA256, MESSAGE).as_ref().try_into().unwrap();
    run(backend.sign_digest(&id(label), &digest, later()))
}

#[track_caller]
fn assert_verifies(key: &SigningKey, signature: &[u8; 64]) {
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key());
    public.verify(MESSAGE, signature).unwrap();
    assert!(public.verify(b"another", signature).is_err());
}

#[test]
fn heads_of_a_log() {
    own_process("manage::signed::heads_of_a_log", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        let key = make(backend, 1, "audit").unwrap();
        assert_verifies(&key, &sign(backend, "audit").unwrap());
        assert_eq!(make(backend, 1, "audit").unwrap(), key);
        assert_eq!(run(backend.signing_key(&id("audit"), later())).unwrap(), key);
        let other = make(backend, 2, "other").unwrap();
        assert_ne!(other.public_key(), key.public_key());
        assert_verifies(&other, &sign(backend, "other").unwrap());
        assert_refused(make(backend, 1, "another"), ManageErrorKind::TokenTaken);
        for taken in ["audit", "known"] {
            assert_refused(make(backend, 3, taken), ManageErrorKind::LabelTaken);
            assert_refused(create(backend, &for_xks(3, taken)), ManageErrorKind::LabelTaken);
        }
        create(backend, &for_xks(4, "made")).unwrap();
        assert_refused(make(backend, 4, "signs"), ManageErrorKind::TokenTaken);
        assert_refused(create(backend, &for_xks(1, "made-too")), ManageErrorKind::TokenTaken);
        for not_so in ["known", "made"] {
            assert_refused(sign(backend, not_so), ManageErrorKind::KeyUsage);
        }
        assert_refused(sign(backend, "absent"), ManageErrorKind::KeyNotFound);
        // It serves no KMS key, and is not listed as one.
        assert_fails(run(encrypt(backend, "audit", b"")), BackendErrorKind::KeyUsage);
        assert_eq!(count(backend, "audit"), 0);
        scene.end();
    });
}

/// Any call fails, with or without effect: there is one pair in the end.
#[test]
fn a_call_that_fails() {
    own_process("manage::signed::a_call_that_fails", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        let codes = [
            CKR_DEVICE_ERROR,
            CKR_OPERATION_ACTIVE,
            CKR_USER_NOT_LOGGED_IN,
            CKR_VENDOR_DEFINED,
        ];
        for (number, code) in (1..).zip(codes) {
            let label = format!("audit-{number}");
            for function in [Function::C_GenerateKeyPair, Function::C_FindObjectsInit] {
                let before = scene.shim.counters().of(Function::C_GenerateKeyPair);
                scene.shim.lose(function, code, When::once());
                drop(make(backend, number, &label));
                scene.shim.clear();
                let key = make(backend, number, &label).unwrap();
                assert_eq!(make(backend, number, &label).unwrap(), key);
                let made = scene.shim.counters().of(Function::C_GenerateKeyPair) - before;
                assert_eq!(
                    made,
                    u64::from(function == Function::C_GenerateKeyPair),
                    "{function:?}, {code:#x}"
                );
                scene.shim.fail(Function::C_Sign, code, When::once());
                assert_verifies(&key, &sign(backend, &label).unwrap());
                scene.shim.clear();
            }
        }
        scene.end();
    });
}
