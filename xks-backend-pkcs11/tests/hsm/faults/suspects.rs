//! Decryptions that fail with a code that does not tell whether it was the ciphertext or the device.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::Dispatch;
use xks_core::{BackendErrorKind as Kind, Encrypted};
use xks_pkcs11_fixture::{Counters, Function, Only, When, own_process, sys::*};

use super::{KEYS, Scene};
use crate::support::{assert_fails, decrypt, encrypt, run};

/// So many injected failures at each rate: an answer that is wrong once in a thousand is seen.
const FAILURES: u64 = 1500;

/// A device that fails at random fails requests in a way that KMS retries: a good ciphertext is never called
/// invalid, at whatever rate it fails, and though a wrong tag has the same code.
#[test]
fn of_a_flaky_device() {
    own_process("faults::suspects::of_a_flaky_device", |hsm| {
        let scene = Scene::new(hsm, |config| config.dispatch(Dispatch::Inline));
        for percent in [5, 20, 50, 80] {
            good_ones_survive(&scene, Function::C_Decrypt, When::percent(percent));
        }
        good_ones_survive(&scene, Function::C_DecryptInit, When::percent(20));
        good_ones_survive(&scene, Function::C_Decrypt, When::percent(20).only(Only::OneSession));
        good_ones_survive(&scene, Function::C_Decrypt, When::percent(20).only(Only::OneKey));
        good_ones_survive(&scene, Function::C_Decrypt, When::always().only(Only::OneKey));
        scene.end();
    });
}

fn good_ones_survive(scene: &Scene, function: Function, when: When) {
    let (backend, shim) = (&*scene.backend, &scene.shim);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let encrypted: Vec<_> = KEYS
        .iter()
        .map(|key| run(encrypt(backend, key, b"plaintext")).unwrap())
        .collect();
    let before = shim.counters().injected;
    shim.fail(function, CKR_GENERAL_ERROR, when);
    let (mut right, mut failed) = (0, 0);
    let end = Instant::now() + Duration::from_secs(20);
    while shim.counters().injected < before + FAILURES && right < 30_000 && Instant::now() < end {
        for (key, encrypted) in KEYS.iter().zip(&encrypted) {
            match runtime.block_on(decrypt(backend, key, encrypted)) {
                Ok(plaintext) => {
                    assert_eq!(plaintext, b"plaintext");
                    right += 1;
                }
                Err(error) => {
                    assert!(
                        matches!(error.kind(), Kind::Unavailable | Kind::Timeout),
                        "{when:?}: {error:?}"
                    );
                    failed += 1;
                }
            }
        }
    }
    println!("{function:?} {when}: {right} right, {failed} failed");
    // A session that fails is replaced.
    let least = if when.only == Only::OneSession { 1 } else { 30 };
    assert!(shim.counters().injected >= before + least, "the device has failed");
    shim.clear();
    scene.wait_for_health(xks_core::HealthStatus::Active);
}

/// Whatever code a module has for a wrong tag, a changed ciphertext is invalid at once, and no reason to test
/// the token or to initialize the module again.
#[test]
fn with_any_code() {
    own_process("faults::suspects::with_any_code", |hsm| {
        let scene = Scene::new(hsm, |config| config.health_interval(Duration::from_secs(30)));
        let (backend, shim) = (&*scene.backend, &scene.shim);
        let good = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        let codes = [
            CKR_GENERAL_ERROR,
            CKR_FUNCTION_FAILED,
            CKR_DEVICE_ERROR,
            CKR_DEVICE_MEMORY,
            CKR_TOKEN_NOT_PRESENT,
            CKR_ARGUMENTS_BAD,
            CKR_SIGNATURE_INVALID,
            CKR_VENDOR_DEFINED + 1,
            0x0bad,
        ];
        for code in codes {
            shim.bad_tag(code);
            // For as many calls as it takes to learn another code.
            sleep(Duration::from_secs(1));
            for _ in 0..12 {
                let outcome = run(decrypt(backend, KEYS[0], &changed(&good)));
                assert_fails(outcome, Kind::InvalidCiphertext);
            }
            assert_eq!(run(decrypt(backend, KEYS[0], &good)).unwrap(), b"plaintext");
        }
        assert_eq!(shim.counters().finalized, 0);
        shim.clear();
        scene.end();
    });
}

/// Bad ciphertexts without end are all called invalid, and cause no more calls beside their own than a
/// thousand in a second.
#[test]
fn without_end() {
    own_process("faults::suspects::without_end", |hsm| {
        const MANY: u64 = 6000;
        let scene = Scene::new(hsm, |config| {
            config
                .health_interval(Duration::from_secs(30))
                .dispatch(Dispatch::Inline)
        });
        let (backend, shim) = (&*scene.backend, &scene.shim);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let good = runtime.block_on(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        let bad = changed(&good);
        let (before, start) = (calls(&shim.counters()), Instant::now());
        for _ in 0..MANY {
            assert_fails(
                runtime.block_on(decrypt(backend, KEYS[0], &bad)),
                Kind::InvalidCiphertext,
            );
        }
        let (took, more) = (start.elapsed(), calls(&shim.counters()) - before - 2 * MANY);
        println!("{more} calls beside those of {MANY} bad ciphertexts, within {took:?}");
        // What there is at first, what comes with time, and a new session now and then.
        let most = 1000.0 + 1000.0 * took.as_secs_f64() + 100.0;
        assert!((more as f64) < most, "{more} calls within {took:?}");
        runtime.block_on(decrypt(backend, KEYS[0], &good)).unwrap();
        scene.end();
    });
}

fn calls(counters: &Counters) -> u64 {
    counters.calls.values().sum()
}

fn changed(encrypted: &Encrypted) -> Encrypted {
    let mut tag = encrypted.tag().as_bytes().to_vec();
    tag[0] ^= 1;
    Encrypted::new(
        encrypted.ciphertext().to_vec(),
        *encrypted.iv(),
        tag.as_slice().try_into().unwrap(),
        encrypted.bound_aad().clone(),
    )
}
