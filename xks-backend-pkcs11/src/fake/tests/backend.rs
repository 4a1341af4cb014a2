//! The whole backend on a module that answers as the standard says: its threads, its sessions and its end.

use std::{future::Future, sync::Arc, thread, time::Duration};

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted},
};

use super::{super::honest, *};
use crate::{
    backend::Pkcs11Backend,
    config::{Config, Dispatch, KeyLookup},
    error::OpenError,
    pin::Pin,
};

/// Memory checkers are slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config::new("fake")
        .pin(Pin::new(std::str::from_utf8(honest::PIN).unwrap()))
        .sessions(3)
        .deadline(PATIENCE)
        .latency_bound(PATIENCE)
}

fn open(config: Config) -> Result<Pkcs11Backend, OpenError> {
    Pkcs11Backend::start(|_| list::cryptoki(), config, |_| false)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn encrypt(backend: &dyn KeyBackend, key: &KeyId, plaintext: &[u8]) -> Result<Encrypted, BackendError> {
    let aad = BoundAad::new(AadFraming::Spec, Some(b"the aad"), None).unwrap();
    let plaintext = Zeroizing::new(plaintext.to_vec());
    run(backend.encrypt(
        key,
        &mut EncryptRequest::new(RequestMetadata::default(), plaintext, aad),
    ))
}

fn round_trip(backend: &dyn KeyBackend, key: &KeyId, plaintext: &[u8]) {
    let encrypted = encrypt(backend, key, plaintext).unwrap();
    let (ciphertext, iv, mut tag) = (encrypted.ciphertext().to_vec(), *encrypted.iv(), *encrypted.tag());
    let aad = encrypted.bound_aad().clone();
    let request = DecryptRequest::new(RequestMetadata::default(), encrypted);
    assert_eq!(*run(backend.decrypt(key, &request)).unwrap(), plaintext);
    let mut wrong = *tag.as_bytes();
    wrong[0] ^= 1;
    tag = wrong.as_slice().try_into().unwrap();
    let altered = Encrypted::new(ciphertext, iv, tag, aad);
    let outcome = run(backend.decrypt(key, &DecryptRequest::new(RequestMetadata::default(), altered)));
    assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::InvalidCiphertext);
}

/// Several backends over one module, by many threads at once; each has ended when its time comes, and none of
/// them has called the module before or after, or ended it with a call inside.
#[test]
fn backends_share_a_module_and_leave_it_in_order() {
    let rounds = if cfg!(miri) { 2 } else { 20 };
    for round in 0..2 {
        let by_label = open(config()).unwrap();
        let by_id = open(config().dispatch(Dispatch::Inline).key_lookup(KeyLookup::Id)).unwrap();
        let requests = [(by_label, "key"), (by_id, "ab01")].map(|(backend, key)| {
            let (backend, key) = (Arc::new(backend), key.parse::<KeyId>().unwrap());
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (backend, key) = (Arc::clone(&backend), key.clone());
                    thread::spawn(move || {
                        for length in 0..rounds {
                            round_trip(&*backend, &key, &vec![7; length]);
                        }
                    })
                })
                .collect();
            (backend, threads)
        });
        for (backend, threads) in requests {
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let absent = encrypt(&*backend, &"00".parse().unwrap(), b"").unwrap_err();
            assert_eq!(absent.kind(), BackendErrorKind::KeyNotFound);
            assert!(backend.shutdown(PATIENCE));
            let refused = encrypt(&*backend, &"00".parse().unwrap(), b"").unwrap_err();
            assert_eq!(refused.kind(), BackendErrorKind::Unavailable);
        }
        assert_eq!(honest::violations(), 0, "round {round}");
    }
}
