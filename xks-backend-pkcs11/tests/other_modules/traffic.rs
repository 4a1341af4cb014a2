//! Many requests at once, some of which are bad.

use std::thread;

use cryptoki::{
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
};
use xks_backend_pkcs11::{Dispatch, IvSource, Pkcs11Backend, Quirks};
use xks_core::backend::{BackendErrorKind, Encrypted};

use crate::{
    module::Module,
    operator::Operator,
    support::{assert_fails, decrypt, encrypt, open, run},
    token::{Token, on_a_thread, with_token},
};

const TASKS: usize = 4;
const ROUND_TRIPS: usize = 300;

/// craton remembers the IVs of a key and encrypts nothing under one of them again: whatever the backend does,
/// an IV that it uses is a new one (ENC-6).
#[test]
#[ignore = "needs scripts/modules"]
fn craton_sees_no_iv_twice() {
    with_token(Module::Craton, "traffic::craton_sees_no_iv_twice", |token| {
        at_once(token);
        // It would have seen one.
        let operator = Operator::log_in(token);
        let key = operator.key("known");
        let again = || {
            let mut iv = [7; 12];
            let parameters = GcmParams::new(&mut iv, b"", 128.into()).unwrap();
            operator.session.encrypt(&Mechanism::AesGcm(parameters), key, b"")
        };
        again().unwrap();
        let refused = again().unwrap_err();
        assert!(
            matches!(refused, Error::Pkcs11(RvError::MechanismParamInvalid, _)),
            "{refused:?}"
        );
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn kryoptic() {
    with_token(Module::Kryoptic, "traffic::kryoptic", at_once);
}

#[test]
#[ignore = "needs scripts/modules"]
fn softoken() {
    with_token(Module::Softoken, "traffic::softoken", at_once);
}

/// Every request gets its own answer, and a bad one fails no other.
fn at_once(token: &Token) {
    for (dispatch, source) in [
        (Dispatch::Inline, IvSource::TokenRandom),
        (Dispatch::Threads, IvSource::TokenRandom),
        (Dispatch::Threads, IvSource::SystemRandom),
    ] {
        on_a_thread(|| {
            let quirks = Quirks::STANDARD.with_iv_source(source);
            let config = token.config().dispatch(dispatch).quirks(quirks);
            let backend = open(config.sessions(TASKS - 1));
            thread::scope(|scope| {
                for task in 0..TASKS {
                    let backend = &backend;
                    scope.spawn(move || run(round_trips(backend, task)));
                }
            });
            let status = backend.status();
            assert_eq!((status.timed_out, status.refused, status.abandoned), (0, 0, 0));
        });
    }
}

async fn round_trips(backend: &Pkcs11Backend, task: usize) {
    for number in 0..ROUND_TRIPS {
        let plaintext = format!("number {number} of task {task}").repeat(number % 5);
        let good = encrypt(backend, "known", plaintext.as_bytes()).await.unwrap();
        if number % 7 == 0 {
            let bad = Encrypted::new(
                good.ciphertext().to_vec(),
                *good.iv(),
                [0; 16].into(),
                good.bound_aad().clone(),
            );
            assert_fails(
                decrypt(backend, "known", &bad).await,
                BackendErrorKind::InvalidCiphertext,
            );
            assert_fails(decrypt(backend, "encrypts", &good).await, BackendErrorKind::KeyUsage);
        }
        assert_eq!(decrypt(backend, "known", &good).await.unwrap(), plaintext.as_bytes());
    }
}
