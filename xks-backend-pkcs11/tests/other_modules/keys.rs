//! Keys that others delete and make while a backend uses them.

use std::time::{Duration, Instant};

use xks_backend_pkcs11::{Dispatch, KeyLookup, KeyName};
use xks_core::{KeyBackend, backend::BackendErrorKind};

use crate::{
    module::Module,
    operator::Operator,
    support::{assert_fails, decrypt, encrypt, id, metadata, open, round_trip, run},
    token::{Token, on_a_thread, with_token},
};

#[test]
#[ignore = "needs scripts/modules"]
fn craton() {
    with_token(Module::Craton, "keys::craton", |token| {
        in_this_process(token);
        by_id(token);
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn kryoptic() {
    with_token(Module::Kryoptic, "keys::kryoptic", |token| {
        in_this_process(token);
        by_id(token);
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn softoken() {
    with_token(Module::Softoken, "keys::softoken", |token| {
        in_this_process(token);
        by_id(token);
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn kryoptic_changed_by_another_process() {
    with_token(
        Module::Kryoptic,
        "keys::kryoptic_changed_by_another_process",
        in_another_process,
    );
}

#[test]
#[ignore = "needs scripts/modules"]
fn softoken_changed_by_another_process() {
    with_token(
        Module::Softoken,
        "keys::softoken_changed_by_another_process",
        in_another_process,
    );
}

/// By another session of this process.
fn in_this_process(token: &Token) {
    for (dispatch, encrypts_first) in [(Dispatch::Inline, true), (Dispatch::Threads, false)] {
        on_a_thread(|| {
            let backend = open(token.config().dispatch(dispatch));
            let operator = Operator::log_in(token);
            keys_come_and_go(
                &backend,
                encrypts_first,
                &|label| operator.delete(label),
                &|label, byte| operator.import(label, [byte; 32]),
            );
            operator.session.close().unwrap();
        });
    }
}

fn in_another_process(token: &Token) {
    for (dispatch, encrypts_first) in [(Dispatch::Inline, true), (Dispatch::Threads, false)] {
        let backend = open(token.config().dispatch(dispatch));
        keys_come_and_go(
            &backend,
            encrypts_first,
            &|label| token.elsewhere(&format!("delete {label}")),
            &|label, byte| token.elsewhere(&format!("import {label} {byte}")),
        );
    }
}

/// ENC-11, DEC-4: a key that has gone is not there any more, at once; and another that has come in its place
/// is another key. So it is whether the next request encrypts or decrypts.
fn keys_come_and_go(backend: &dyn KeyBackend, encrypts_first: bool, delete: &dyn Fn(&str), import: &dyn Fn(&str, u8)) {
    run(async {
        let old = encrypt(backend, "known", b"plaintext").await.unwrap();
        delete("known");
        import("other", 1); // which must not be taken for it, whatever its handle
        if encrypts_first {
            assert_fails(encrypt(backend, "known", b"").await, BackendErrorKind::KeyNotFound);
        }
        assert_fails(decrypt(backend, "known", &old).await, BackendErrorKind::KeyNotFound);
        assert_fails(metadata(backend, "known").await, BackendErrorKind::KeyNotFound);

        import("known", 2);
        comes(backend, "known").await;
        assert_fails(
            decrypt(backend, "known", &old).await,
            BackendErrorKind::InvalidCiphertext,
        );

        let old = encrypt(backend, "known", b"plaintext").await.unwrap();
        delete("known");
        import("known", 3);
        if encrypts_first {
            round_trip(backend, "known", b"plaintext").await.unwrap();
        }
        assert_fails(
            decrypt(backend, "known", &old).await,
            BackendErrorKind::InvalidCiphertext,
        );
        round_trip(backend, "known", b"plaintext").await.unwrap();
        round_trip(backend, "other", b"plaintext").await.unwrap();
        delete("other");
    });
}

/// Waits for a key that was absent: that is remembered for a second.
async fn comes(backend: &dyn KeyBackend, key: &str) {
    let start = Instant::now();
    while let outcome @ Err(_) = round_trip(backend, key, b"plaintext").await {
        assert_fails(outcome, BackendErrorKind::KeyNotFound);
        assert!(start.elapsed() < Duration::from_secs(10), "the key did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// By `CKA_ID`, and by a name that the configuration gives it.
fn by_id(token: &Token) {
    let backend = open(
        token
            .config()
            .key_lookup(KeyLookup::Id)
            .key(id("alias"), KeyName::Label("known".into())),
    );
    run(async {
        for key in ["6b6e6f776e", "alias"] {
            round_trip(&backend, key, b"plaintext").await.unwrap();
        }
        assert_fails(encrypt(&backend, "known", b"").await, BackendErrorKind::KeyNotFound);
        assert_fails(encrypt(&backend, "00", b"").await, BackendErrorKind::KeyNotFound);
    });
}
