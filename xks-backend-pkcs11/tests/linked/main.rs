//! The whole backend on a module that is linked into the program: its threads, its sessions and its end. It
//! runs in memory checkers, too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::{
    ffi::{c_ulong, c_void},
    future::Future,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use xks_backend_pkcs11::{
    Config, Dispatch, GetFunctionList, KeyLookup, LinkedModule, LoadError, OpenError, Pin, Pkcs11Backend,
};
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted},
};
use xks_pkcs11_fixture::fake::{self, honest};

/// Memory checkers are slow.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(unsafe_code, reason = "a linked module vouches for its functions")]
fn linked(name: &str, get_function_list: GetFunctionList) -> LinkedModule {
    // SAFETY: the functions of these tests do as the standard says, and stay as long as the process.
    unsafe { LinkedModule::new(name, get_function_list) }
}

fn config() -> Config {
    Config::linked(linked("fake", fake::get_function_list))
        .pin(Pin::new(honest::PIN))
        .sessions(3)
        .deadline(PATIENCE)
        .latency_bound(PATIENCE)
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

/// Many threads use several backends of one module. Each backend ends by its shutdown; none calls the module
/// before or after its time, or finalizes it during a call.
#[test]
fn backends_share_a_module_and_leave_it_in_order() {
    let rounds = if cfg!(miri) { 2 } else { 20 };
    for round in 0..2 {
        let by_label = Pkcs11Backend::open(config()).unwrap();
        let by_id = Pkcs11Backend::open(config().dispatch(Dispatch::Inline).key_lookup(KeyLookup::Id)).unwrap();
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

/// A module is the same under any name.
#[test]
fn errors_name_the_linked_module() {
    extern "C" fn no_list(_list: *mut *mut c_void) -> c_ulong {
        0
    }
    let error = Pkcs11Backend::open(Config::linked(linked("acme", no_list))).unwrap_err();
    assert!(error.to_string().contains(" acme "), "{error}");
    assert!(matches!(
        error,
        OpenError::Load { path, source: LoadError::NoFunctionList, .. } if path == Path::new("acme")
    ));
    let first = Pkcs11Backend::open(config()).unwrap();
    let other = Config::linked(linked("other", fake::get_function_list)).module_parameters("x");
    let error = Pkcs11Backend::open(other).unwrap_err();
    assert!(matches!(error, OpenError::Parameters { path, .. } if path == Path::new("other")));
    assert!(first.shutdown(PATIENCE));
}
