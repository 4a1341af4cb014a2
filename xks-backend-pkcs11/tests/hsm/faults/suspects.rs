//! Decryptions that fail with a code that does not tell whether the ciphertext or the device is at fault.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::Dispatch;
use xks_core::backend::{BackendErrorKind as Kind, Encrypted};
use xks_pkcs11_fixture::{Counters, Function, Only, SoftHsm, When, own_process, sys::*};

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
    scene.wait_for_health(xks_core::backend::HealthStatus::Active);
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

/// One invalid ciphertext, sent repeatedly, is called invalid each time, and causes no calls beside its own
/// once it is confirmed.
#[test]
fn of_one_ciphertext_without_end() {
    own_process("faults::suspects::of_one_ciphertext_without_end", |hsm| {
        const MANY: u64 = 6000;
        let scene = inline(hsm);
        let (backend, shim) = (&*scene.backend, &scene.shim);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let good = runtime.block_on(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        let bad = changed(&good);
        let before = calls(&shim.counters());
        for _ in 0..MANY {
            let outcome = runtime.block_on(decrypt(backend, KEYS[0], &bad));
            assert_fails(outcome, Kind::InvalidCiphertext);
        }
        let more = calls(&shim.counters()) - before - 2 * MANY;
        assert!(more < 200, "{more} calls beside those of the requests");
        assert_eq!(
            runtime.block_on(decrypt(backend, KEYS[0], &good)).unwrap(),
            b"plaintext"
        );
        scene.end();
    });
}

/// Invalid ciphertexts, each another one, cause at most ten thousand calls in a second beside their own, and
/// as many at first. One after the other, each is called invalid; when they come faster than calls are left,
/// some stay suspects.
#[test]
fn of_many_ciphertexts_without_end() {
    own_process("faults::suspects::of_many_ciphertexts_without_end", |hsm| {
        let scene = Scene::new(hsm, |config| config.health_interval(Duration::from_secs(30)));
        let (backend, shim) = (&*scene.backend, &scene.shim);
        let good = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        let kinds = |range: Range<u64>| {
            let kind = |n| {
                run(decrypt(backend, KEYS[0], &changed_at(&good, n)))
                    .unwrap_err()
                    .kind()
            };
            range.map(kind).collect::<Vec<_>>()
        };
        let (before, start) = (calls(&shim.counters()), Instant::now());
        let one_by_one = kinds(0..400);
        assert!(
            one_by_one.iter().all(|kind| *kind == Kind::InvalidCiphertext),
            "{one_by_one:?}"
        );
        let together: Vec<_> = std::thread::scope(|scope| {
            let tasks: Vec<_> = (1..17)
                .map(|n| scope.spawn(move || kinds(n * 1000..n * 1000 + 300)))
                .collect();
            tasks.into_iter().flat_map(|task| task.join().unwrap()).collect()
        });
        let (took, more) = (start.elapsed(), calls(&shim.counters()) - before - 2 * (400 + 16 * 300));
        let count = |wanted| together.iter().filter(|kind| **kind == wanted).count();
        let (invalid, throttled) = (count(Kind::InvalidCiphertext), count(Kind::Throttled));
        println!("{more} calls, {invalid} invalid, {throttled} throttled, within {took:?}");
        assert_eq!(invalid + throttled, together.len(), "{together:?}");
        assert!(throttled > 0);
        // And a new session now and then, and the tests of the token.
        let most = 10_000.0 + 10_000.0 * took.as_secs_f64() + 500.0;
        assert!((more as f64) < most, "{more} calls within {took:?}");
        // A good one is still served, and told from bad ones.
        assert_eq!(run(decrypt(backend, KEYS[0], &good)).unwrap(), b"plaintext");
        scene.end();
    });
}

/// Good ciphertexts on a flaky device are never called invalid, also when no calls are left to find out,
/// because of others that are bad.
#[test]
fn of_a_flaky_device_among_bad_ciphertexts() {
    own_process("faults::suspects::of_a_flaky_device_among_bad_ciphertexts", |hsm| {
        let scene = inline(hsm);
        let (backend, shim) = (&*scene.backend, &scene.shim);
        let good = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        let flood = |count: u64| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for n in 0..count {
                runtime
                    .block_on(decrypt(backend, KEYS[0], &changed_at(&good, n)))
                    .unwrap_err();
            }
        };
        // Nothing is left when the device begins to fail.
        flood(500);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| flood(2000));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (mut right, mut failed) = (0, 0);
            while !flood.is_finished() {
                // Each time it begins to fail a short time after all was well.
                shim.fail(Function::C_Decrypt, CKR_GENERAL_ERROR, When::percent(20));
                for _ in 0..20 {
                    match runtime.block_on(decrypt(backend, KEYS[0], &good)) {
                        Ok(_) => right += 1,
                        Err(error) => {
                            let is_retried =
                                matches!(error.kind(), Kind::Unavailable | Kind::Timeout | Kind::Throttled);
                            assert!(is_retried, "{error:?}");
                            failed += 1;
                        }
                    }
                }
                shim.clear();
            }
            println!("{right} right, {failed} failed");
            assert!(right > 100 && failed > 10);
        });
        scene.wait_for_health(xks_core::backend::HealthStatus::Active);
        scene.end();
    });
}

/// A ciphertext that a slow module leaves no time for is not called invalid at once, but when enough requests
/// for it have failed.
#[test]
fn on_a_slow_module() {
    own_process("faults::suspects::on_a_slow_module", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(Duration::from_millis(1000)));
        let (backend, shim) = (&*scene.backend, &scene.shim);
        let good = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        shim.latency_of_operations(Duration::from_millis(150));
        let mut kinds = Vec::new();
        while kinds.last() != Some(&Kind::InvalidCiphertext) {
            kinds.push(run(decrypt(backend, KEYS[0], &changed(&good))).unwrap_err().kind());
            assert!(kinds.len() < 30, "{kinds:?}");
        }
        assert!(kinds.len() > 2, "{kinds:?}");
        let (_, before) = kinds.split_last().unwrap();
        let is_retried = |kind: &Kind| matches!(kind, Kind::Unavailable | Kind::Timeout);
        assert!(before.iter().all(is_retried), "{kinds:?}");
        shim.clear();
        assert_eq!(run(decrypt(backend, KEYS[0], &good)).unwrap(), b"plaintext");
        scene.end();
    });
}

/// One session, and tests of the token seldom enough to be no part of what is counted.
fn inline(hsm: &SoftHsm) -> Scene {
    Scene::new(hsm, |config| {
        config
            .health_interval(Duration::from_secs(30))
            .dispatch(Dispatch::Inline)
    })
}

fn calls(counters: &Counters) -> u64 {
    counters.calls.values().sum()
}

fn changed(encrypted: &Encrypted) -> Encrypted {
    changed_at(encrypted, 0)
}

/// Another ciphertext for each number.
fn changed_at(encrypted: &Encrypted, number: u64) -> Encrypted {
    let mut tag = encrypted.tag().as_bytes().to_vec();
    for (byte, change) in tag.iter_mut().zip((number + 1).to_le_bytes()) {
        *byte ^= change;
    }
    Encrypted::new(
        encrypted.ciphertext().to_vec(),
        *encrypted.iv(),
        tag.as_slice().try_into().unwrap(),
        encrypted.bound_aad().clone(),
    )
}
