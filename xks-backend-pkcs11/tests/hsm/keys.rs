//! Which key an external key id names, and what the backend reports of it.

use std::time::Duration;

use xks_backend_pkcs11::{Dispatch, KeyLookup, KeyName};
use xks_core::backend::{BackendErrorKind, Encrypted, KeySpec, KeyStatus, KeyUsage};
use xks_pkcs11_fixture::{
    Function, KeyKind, KeyTemplate, Permission, Shim, own_process, softhsm_path, sys::CKR_DEVICE_ERROR,
};

use crate::support::{PIN, TOKEN, assert_fails, config, encrypt, id, metadata, open, round_trip, run, wait_until};

/// GKM-1, GKM-2, GKM-3: what a key is and may do is read from its attributes.
#[test]
fn metadata_comes_from_the_attributes() {
    own_process("keys::metadata_comes_from_the_attributes", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("usable"));
        hsm.key(TOKEN, &KeyTemplate::aes256("encrypts").may_not(Permission::Decrypt));
        hsm.key(TOKEN, &KeyTemplate::aes256("decrypts").may_not(Permission::Encrypt));
        hsm.key(
            TOKEN,
            &KeyTemplate::aes256("more")
                .may(Permission::Wrap)
                .may(Permission::Unwrap)
                .may(Permission::Sign),
        );
        hsm.key(TOKEN, &KeyTemplate::aes256("short").kind(KeyKind::Aes(16)));
        hsm.key(TOKEN, &KeyTemplate::aes256("generic").kind(KeyKind::GenericSecret(32)));
        let backend = open(config(&softhsm_path()));
        run(async {
            use KeyUsage::{Decrypt, Encrypt, Sign, Unwrap, Wrap};
            let usable = metadata(&backend, "usable").await.unwrap();
            assert_eq!(usable.spec(), &KeySpec::Aes256);
            assert_eq!(usable.usages(), [Encrypt, Decrypt]);
            assert_eq!(usable.status(), KeyStatus::Enabled);
            assert_eq!(metadata(&backend, "encrypts").await.unwrap().usages(), [Encrypt]);
            assert_eq!(metadata(&backend, "decrypts").await.unwrap().usages(), [Decrypt]);
            let more = metadata(&backend, "more").await.unwrap();
            assert_eq!(more.usages(), [Encrypt, Decrypt, Sign, Wrap, Unwrap]);
            round_trip(&backend, "more", b"plaintext").await.unwrap();

            // ENC-11, DEC-4: a key that may not is distinguished from one that is not there, and so is one of
            // another kind.
            assert_fails(encrypt(&backend, "decrypts", b"").await, BackendErrorKind::KeyUsage);
            let encrypted = encrypt(&backend, "encrypts", b"").await.unwrap();
            assert_fails(
                crate::support::decrypt(&backend, "encrypts", &encrypted).await,
                BackendErrorKind::KeyUsage,
            );
            for (key, spec) in [("short", "AES_128"), ("generic", "GENERIC_SECRET_256")] {
                assert_eq!(metadata(&backend, key).await.unwrap().spec().as_str(), spec);
                let text = assert_fails(encrypt(&backend, key, b"").await, BackendErrorKind::KeyUsage);
                assert!(text.contains(spec), "{text}");
            }
            assert_fails(metadata(&backend, "absent").await, BackendErrorKind::KeyNotFound);
            assert_fails(encrypt(&backend, "absent", b"").await, BackendErrorKind::KeyNotFound);
        });
    });
}

/// DEC-3: a key may not encrypt any more, which the backend does not know yet. A changed ciphertext is
/// invalid all the same, and the token is not taken for broken.
#[test]
fn a_changed_ciphertext_is_invalid_when_its_key_may_only_decrypt_now() {
    let test = "keys::a_changed_ciphertext_is_invalid_when_its_key_may_only_decrypt_now";
    own_process(test, |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("changing"));
        for dispatch in [Dispatch::Inline, Dispatch::Threads] {
            hsm.permit(TOKEN, "changing", Permission::Encrypt, true);
            let backend = open(config(&softhsm_path()).dispatch(dispatch));
            let encrypted = run(encrypt(&backend, "changing", b"plaintext")).unwrap();
            hsm.permit(TOKEN, "changing", Permission::Encrypt, false);
            let mut changed = encrypted.ciphertext().to_vec();
            changed[0] ^= 1;
            let (iv, tag) = (*encrypted.iv(), *encrypted.tag());
            let changed = Encrypted::new(changed, iv, tag, encrypted.bound_aad().clone());
            let outcome = run(crate::support::decrypt(&backend, "changing", &changed));
            assert_fails(outcome, BackendErrorKind::InvalidCiphertext);
            assert_eq!(backend.status().problem, None);
        }
    });
}

#[test]
fn a_name_of_two_keys_is_refused() {
    own_process("keys::a_name_of_two_keys_is_refused", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("twin").id(b"1"));
        hsm.key(TOKEN, &KeyTemplate::aes256("twin").id(b"2"));
        let backend = open(config(&softhsm_path()));
        run(async {
            let text = assert_fails(encrypt(&backend, "twin", b"").await, BackendErrorKind::Other);
            assert!(text.contains("more than one key with CKA_LABEL \"twin\""), "{text}");
            assert_fails(metadata(&backend, "twin").await, BackendErrorKind::Other);
        });
        drop(backend);

        // By CKA_ID each of them has a name of its own; others have names that no external key id can be.
        hsm.key(TOKEN, &KeyTemplate::aes256("a label with blanks").id(b"\x03\xff"));
        let backend = open(
            config(&softhsm_path())
                .key_lookup(KeyLookup::Id)
                .dispatch(Dispatch::Inline)
                .key(id("alias"), KeyName::Label("a label with blanks".into())),
        );
        run(async {
            for key in ["31", "32", "03ff", "alias"] {
                round_trip(&backend, key, key.as_bytes()).await.unwrap();
            }
            assert_fails(encrypt(&backend, "33", b"").await, BackendErrorKind::KeyNotFound);
            assert_fails(encrypt(&backend, "twin", b"").await, BackendErrorKind::KeyNotFound);
            assert_fails(encrypt(&backend, "3", b"").await, BackendErrorKind::KeyNotFound);
            // One key has one id.
            assert_fails(encrypt(&backend, "03FF", b"").await, BackendErrorKind::KeyNotFound);
        });
    });
}

/// A token's keys are known before the first request for them, and again when the token was lost and found:
/// with many of them, a search for each would keep the token busy for a long time.
#[test]
fn many_keys_are_known_beforehand() {
    own_process("keys::many_keys_are_known_beforehand", |hsm| {
        hsm.token(TOKEN, PIN);
        for number in 0..20 {
            hsm.key(TOKEN, &KeyTemplate::aes256(&format!("key-{number}")));
        }
        hsm.key(TOKEN, &KeyTemplate::aes256("twin").id(b"1"));
        hsm.key(TOKEN, &KeyTemplate::aes256("twin").id(b"2"));
        let shim = Shim::load();
        let backend = open(config(shim.path()));
        for _ in 0..2 {
            let before = shim.counters().of(Function::C_FindObjectsInit);
            run(async {
                for number in 0..20 {
                    let key = format!("key-{number}");
                    round_trip(&backend, &key, key.as_bytes()).await.unwrap();
                    assert_eq!(metadata(&backend, &key).await.unwrap().spec(), &KeySpec::Aes256);
                }
            });
            assert_eq!(
                shim.counters().of(Function::C_FindObjectsInit),
                before,
                "nothing was searched for"
            );
            // Where a name is not clear, a search makes it so.
            assert_fails(run(encrypt(&backend, "twin", b"")), BackendErrorKind::Other);
            let generation = shim.counters().initialized;
            shim.sticky(CKR_DEVICE_ERROR);
            wait_until("it is back", || {
                run(round_trip(&backend, "key-0", b"")).is_ok() && shim.counters().initialized > generation
            });
        }
        drop(backend);
        shim.assert_clean();
    });
}

/// A search takes longer than a request has time, as on a token of ten thousand keys: every key is served at
/// its first use, a new one and an absent one are known when they are asked for again, and no thread is given
/// up for them.
#[test]
fn searches_that_take_longer_than_a_request_has_time() {
    own_process("keys::searches_that_take_longer_than_a_request_has_time", |hsm| {
        hsm.token(TOKEN, PIN);
        let names: Vec<_> = (0..20).map(|number| format!("key-{number}")).collect();
        let templates: Vec<_> = names.iter().map(|name| KeyTemplate::aes256(name)).collect();
        hsm.many_keys(TOKEN, &templates);
        let shim = Shim::load();
        shim.latency(Function::C_FindObjectsInit, Duration::from_millis(1500));
        let backend = open(config(shim.path()).deadline(Duration::from_millis(750)));
        for name in &names {
            run(round_trip(&backend, name, b"at its first use")).unwrap();
        }
        hsm.key(TOKEN, &KeyTemplate::aes256("new"));
        assert_fails(run(encrypt(&backend, "new", b"")), BackendErrorKind::Timeout);
        wait_until("the new key", || run(round_trip(&backend, "new", b"")).is_ok());
        assert_fails(run(encrypt(&backend, "absent", b"")), BackendErrorKind::Timeout);
        let mut last = None;
        wait_until("its absence", || {
            last = run(encrypt(&backend, "absent", b"")).err().map(|error| error.kind());
            last == Some(BackendErrorKind::KeyNotFound)
        });
        assert_fails(run(encrypt(&backend, "absent", b"")), BackendErrorKind::KeyNotFound);
        assert_eq!(backend.status().abandoned, 0);
        drop(backend);
        shim.assert_clean();
    });
}
