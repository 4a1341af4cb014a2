//! Health follows the results of requests, for each kind of request (HLT-1).

use std::time::{Duration, Instant};

use xks_backend_pkcs11::Dispatch;
use xks_core::{
    KeyBackend, Zeroizing,
    aad::AadFraming,
    api::RequestMetadata,
    backend::{BackendErrorKind as Kind, EncryptRequest, Encrypted, HealthStatus},
};
use xks_pkcs11_fixture::{
    Function, Functions, Profile, Shim, When, own_process,
    sys::{CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED, CKR_SESSION_CLOSED, CKR_SESSION_COUNT},
};

use super::{BOTH, KEYS, Scene, make_keys};
use crate::support::{aad, assert_fails, copy, decrypt, encrypt, id, run, wait_until};

const DEADLINE: Duration = Duration::from_millis(200);
/// The longest interval between two known-answer tests.
const INTERVAL: Duration = Duration::from_secs(30);

impl Scene {
    /// A backend with a short deadline, tested often; only the deadline makes its health worse.
    fn in_time(shim: &Shim, dispatch: Dispatch) -> Self {
        Self::again(shim, Profile::SoftHsm, |config| {
            config
                .dispatch(dispatch)
                .deadline(DEADLINE)
                .latency_bound(Duration::from_secs(10))
                .health_interval(Duration::from_millis(200))
        })
    }

    #[track_caller]
    fn wait_for(&self, health: HealthStatus, about: &str) {
        let is_so = || {
            let status = self.status();
            status.health == health && status.problem.unwrap_or_default().contains(about)
        };
        wait_until(&format!("{health}, {about}"), is_so);
        assert_eq!(self.health(), health);
    }
}

/// An encryption with integrity value; it may be late.
async fn encrypt_verified(backend: &dyn KeyBackend) {
    let aad = aad(AadFraming::Spec, None);
    let mut request = EncryptRequest::new(RequestMetadata::default(), Zeroizing::new(b"plaintext".to_vec()), aad);
    let outcome = backend.encrypt_verified(&id(KEYS[0]), &mut request).await;
    assert!(outcome.is_ok() || outcome.is_err_and(|error| error.kind() == Kind::Timeout));
}

/// HLT-1: a kind of operation that takes longer than the deadline is reported as not served, without any
/// request; when it is fast again, health is as before.
#[test]
fn a_slow_token() {
    own_process("faults::honest::a_slow_token", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::in_time(&shim, dispatch);
            shim.latency_of_operations(DEADLINE * 2);
            scene.wait_for(HealthStatus::Unavailable, "decryption takes");
            shim.clear();
            scene.wait_for(HealthStatus::Active, "");
            // Each of the two fits, and both together do not.
            shim.latency_of_operations(DEADLINE * 11 / 20);
            scene.wait_for(HealthStatus::Degraded, "encryption with integrity value takes");
            let problem = scene.status().problem.unwrap();
            assert!(!problem.contains("; "), "the others are served: {problem}");
            shim.clear();
            scene.wait_for(HealthStatus::Active, "");
            shim.latency(Function::C_Encrypt, DEADLINE * 2);
            scene.wait_for(HealthStatus::Degraded, "encryption takes");
            let problem = scene.status().problem.unwrap();
            assert!(!problem.contains("decryption takes"), "it is served: {problem}");
            shim.clear();
            scene.end();
        }
    });
}

/// HLT-1: the token has no sessions for requests, so none is served: health says so, with requests and
/// without.
#[test]
fn no_session_to_be_had() {
    own_process("faults::honest::no_session_to_be_had", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            // The keep-alive session, the health session, and one that shows for a moment whether there are
            // more.
            shim.fail(Function::C_OpenSession, CKR_SESSION_COUNT, When::always().after(4));
            let scene = Scene::in_time(&shim, dispatch);
            for _ in 0..3 {
                let refused = run(encrypt(&*scene.backend, KEYS[0], b"")).unwrap_err();
                // Before the threads have found that out, it waits for one of them.
                assert!(matches!(refused.kind(), Kind::Throttled | Kind::Timeout), "{refused:?}");
            }
            scene.wait_for(HealthStatus::Unavailable, "no session");
            shim.clear();
            wait_until("a request is served", || {
                run(encrypt(&*scene.backend, KEYS[0], b"")).is_ok()
            });
            scene.wait_for(HealthStatus::Active, "");
            scene.end();
        }
    });
}

/// A decryption is served, and health says so.
fn decryption_comes_back(scene: Scene, encrypted: &Encrypted) {
    wait_until("a request is served", || {
        run(decrypt(&*scene.backend, KEYS[0], &copy(encrypted))).is_ok()
    });
    scene.wait_for(HealthStatus::Active, "");
    scene.end();
}

/// HLT-1: the known-answer test succeeds, but all requests of one kind are late: this kind counts as not
/// served until one is in time.
#[test]
fn requests_that_are_late() {
    own_process("faults::honest::requests_that_are_late", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let scene = Scene::in_time(&shim, Dispatch::Threads);
        let backend = &*scene.backend;
        let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        // The test needs no search.
        shim.latency(Function::C_FindObjectsInit, DEADLINE * 3);
        let mut others = 0..;
        wait_until("decryption is shown as late", || {
            let other = format!("another-{}", others.next().unwrap());
            assert_fails(run(decrypt(backend, &other, &copy(&encrypted))), Kind::Timeout);
            assert_ne!(scene.status().health, HealthStatus::Unavailable, "encryption is served");
            scene
                .status()
                .problem
                .is_some_and(|problem| problem.contains("no decryption succeeds"))
        });
        shim.clear();
        decryption_comes_back(scene, &encrypted);
    });
}

/// HLT-1: an operation fails, with any code: the token is tested at once, not when the next test is due.
/// Requests that do not need the operation are still served.
#[test]
fn an_operation_that_fails() {
    own_process("faults::honest::an_operation_that_fails", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let codes = [CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED, CKR_SESSION_CLOSED, 0x40];
        for (number, code) in codes.into_iter().enumerate() {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(BOTH[number % 2]).health_interval(INTERVAL)
            });
            let backend = &*scene.backend;
            let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
            // Whether one is bad would take an encryption to find out.
            let changed = encrypted.ciphertext().iter().map(|byte| byte ^ 1).collect();
            let bad = Encrypted::new(
                changed,
                *encrypted.iv(),
                *encrypted.tag(),
                encrypted.bound_aad().clone(),
            );
            let decrypt_bad = || assert!(run(decrypt(backend, KEYS[0], &bad)).is_err());
            let decrypt = || run(decrypt(backend, KEYS[0], &encrypted));
            decrypt().unwrap();
            shim.fail(Function::C_EncryptInit, code, When::always());
            let start = Instant::now();
            wait_until("health says so", || {
                assert!(run(encrypt(backend, KEYS[1], b"")).is_err());
                decrypt().unwrap();
                decrypt_bad();
                let status = scene.status();
                assert_ne!(status.health, HealthStatus::Unavailable, "{status:?}");
                status
                    .problem
                    .is_some_and(|problem| problem.contains("the known-answer test fails"))
            });
            assert!(start.elapsed() < INTERVAL / 2, "not before the next test is due");
            for _ in 0..20 {
                assert!(run(encrypt(backend, KEYS[1], b"")).is_err());
                decrypt().unwrap();
                decrypt_bad();
            }
            // It may be the module's state.
            let initialized = shim.counters().initialized;
            wait_until("a new initialization", || {
                let _ = decrypt();
                shim.counters().initialized > initialized
            });
            wait_until("decryption is served", || decrypt().is_ok());
            scene.wait_for_health(HealthStatus::Degraded);
            shim.clear();
            run(encrypt(backend, KEYS[1], b"")).unwrap();
            scene.wait_for(HealthStatus::Active, "");
            // Of requests that need what fails, none is served.
            shim.fail(Function::C_EncryptInit | Function::C_DecryptInit, code, When::always());
            wait_until("health says so", || {
                let _ = (run(encrypt(backend, KEYS[1], b"")), decrypt());
                scene.status().health == HealthStatus::Unavailable
            });
            shim.clear();
            scene.wait_for(HealthStatus::Active, "");
            run(encrypt(backend, KEYS[1], b"")).unwrap();
            decrypt().unwrap();
            scene.end();
        }
    });
}

/// HLT-1: the known-answer test succeeds, but no request of one kind does: health says so until one succeeds.
#[test]
fn requests_that_fail() {
    own_process("faults::honest::requests_that_fail", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let scene = Scene::in_time(&shim, Dispatch::Threads);
        let backend = &*scene.backend;
        let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        // The test needs no search, and neither do keys that are known.
        shim.fail(Function::C_FindObjectsInit, CKR_DEVICE_ERROR, When::always());
        let mut others = 0..;
        wait_until("decryption is shown as failing", || {
            run(encrypt(backend, KEYS[0], b"")).unwrap();
            let other = format!("another-{}", others.next().unwrap());
            assert_fails(run(decrypt(backend, &other, &copy(&encrypted))), Kind::Unavailable);
            let status = scene.status();
            assert_ne!(status.health, HealthStatus::Unavailable, "encryption is served");
            status
                .problem
                .is_some_and(|problem| problem.contains("no decryption succeeds"))
        });
        shim.clear();
        decryption_comes_back(scene, &encrypted);
    });
}

/// HLT-1: an overloaded HSM is not a broken one; when it rejects all requests for seconds, it counts as not
/// serving.
#[test]
fn requests_that_are_refused() {
    own_process("faults::honest::requests_that_are_refused", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let scene = Scene::again(&shim, Profile::CloudHsm, |config| {
            config.health_interval(Duration::from_millis(200))
        });
        shim.throttle(When::always());
        let refuse = || assert_fails(run(encrypt(&*scene.backend, KEYS[0], b"")), Kind::Throttled);
        for _ in 0..20 {
            refuse();
        }
        let start = Instant::now();
        wait_until("that no request is served", || {
            refuse();
            let status = scene.status();
            assert!(status.health != HealthStatus::Degraded, "{status:?}");
            status.health == HealthStatus::Unavailable
        });
        assert!(start.elapsed() > Duration::from_secs(1), "not after a moment");
        assert!(scene.status().problem.unwrap().contains("throttled"));
        shim.clear();
        run(encrypt(&*scene.backend, KEYS[0], b"")).unwrap();
        scene.wait_for(HealthStatus::Active, "");
        scene.end();
    });
}

/// No call returns from the module: the status says for how long, until one returns. A slow module does not
/// count.
#[test]
fn nothing_returns() {
    own_process("faults::honest::nothing_returns", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::in_time(&shim, dispatch);
            shim.latency_of_operations(DEADLINE * 4);
            for _ in 0..3 {
                run(encrypt_verified(&*scene.backend));
                assert!(
                    scene.status().stuck.is_none_or(|time| time < DEADLINE * 6),
                    "{:?}",
                    scene.status()
                );
            }
            shim.clear();
            scene.wait_for(HealthStatus::Active, "");
            let long = Duration::from_secs(2);
            let is_stuck = || scene.status().stuck.is_some_and(|time| time >= long);
            // The test alone, without any request.
            shim.hang(Functions::CRYPT, When::always());
            wait_until("nothing returns", is_stuck);
            scene.wait_for(HealthStatus::Unavailable, "hang");
            shim.release();
            scene.wait_for(HealthStatus::Active, "");
            assert_eq!(scene.status().stuck, None);
            scene.end();
        }
    });
}

/// The same where a call hangs and all others fail: only a reinitialization would help, and the hung call
/// prevents it.
#[test]
fn one_does_not_return_and_all_fail() {
    own_process("faults::honest::one_does_not_return_and_all_fail", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let scene = Scene::in_time(&shim, Dispatch::Threads);
        shim.hang(Function::C_Encrypt, When::once());
        let _ = run(encrypt(&*scene.backend, KEYS[0], b""));
        shim.sticky(CKR_DEVICE_ERROR);
        wait_until("it is stuck", || {
            scene.status().stuck.is_some_and(|time| time >= Duration::from_secs(1))
        });
        shim.release();
        scene.wait_for(HealthStatus::Active, "");
        wait_until("all have returned", || scene.status().stuck.is_none());
        scene.end();
    });
}
