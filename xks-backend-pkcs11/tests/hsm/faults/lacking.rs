//! Modules that lack a function that requests can do without.

use std::time::{Duration, Instant};

use xks_backend_pkcs11::{Pin, Pkcs11Backend};
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Counters, Function, KeyTemplate, Only, Profile, Shim, When, own_process, sys::*};

use super::{KEYS, Scene, make_keys};
use crate::support::{TOKEN, assert_fails, encrypt, round_trip, run, vendor_config, wait_until};

/// Where each call of a function fails with this code, keys are found and used, and health is the same.
fn is_served_without(function: Function, code: CK_RV, finalized: u64) {
    let shim = Shim::load();
    shim.fail(function, code, When::always());
    let before = shim.counters().injected;
    let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
    for key in KEYS {
        run(round_trip(&*scene.backend, key, b"plaintext")).unwrap();
    }
    assert_fails(
        run(encrypt(&*scene.backend, "absent", b"")),
        BackendErrorKind::KeyNotFound,
    );
    scene.wait_for_health(HealthStatus::Active);
    assert!(shim.counters().injected > before, "it is called, and fails");
    assert!(shim.counters().finalized <= finalized);
    scene.end();
    shim.clear();
    shim.reset();
}

/// A session whose search cannot be ended cannot be used for anything else: searches get sessions of their
/// own, from the start and when it begins while requests are served.
#[test]
fn an_end_of_searches() {
    own_process("faults::lacking::an_end_of_searches", |hsm| {
        make_keys(hsm);
        // A copy, so that nothing is known of the other module later.
        let other = Shim::copy();
        let scene = Scene::again(&other, Profile::SoftHsm, |config| {
            config.key_refresh(Duration::from_millis(100))
        });
        let backend = &*scene.backend;
        run(round_trip(backend, KEYS[0], b"plaintext")).unwrap();
        other.fail(Function::C_FindObjectsFinal, CKR_DEVICE_ERROR, When::always());
        other.wait_until("searches", |counters| counters.injected > 2);
        let end = Instant::now() + Duration::from_secs(2);
        wait_until("requests are served", || {
            run(round_trip(backend, KEYS[1], b"plaintext")).is_ok()
        });
        while Instant::now() < end {
            for key in KEYS {
                run(round_trip(backend, key, b"plaintext")).unwrap();
            }
        }
        scene.wait_for_health(HealthStatus::Active);
        scene.end();
        for code in [CKR_FUNCTION_FAILED, CKR_FUNCTION_NOT_SUPPORTED] {
            is_served_without(Function::C_FindObjectsFinal, code, 1);
        }
    });
}

/// Where the state of a session cannot be read, `C_Login` tells who is logged in; a missing PIN is still
/// reported.
#[test]
fn states_of_sessions() {
    own_process("faults::lacking::states_of_sessions", |hsm| {
        make_keys(hsm);
        is_served_without(Function::C_GetSessionInfo, CKR_FUNCTION_NOT_SUPPORTED, 0);
        let shim = Shim::load();
        shim.fail(Function::C_GetSessionInfo, CKR_FUNCTION_NOT_SUPPORTED, When::always());
        let without = vendor_config(shim.path(), Profile::SoftHsm);
        let error = Pkcs11Backend::open(without.pin(Pin::new("4321"))).unwrap_err();
        assert!(error.to_string().contains("rejected the PIN"), "{error}");
    });
}

/// ENC-6: IVs are made from the system's random bytes where the token gives none.
#[test]
fn random_bytes() {
    own_process("faults::lacking::random_bytes", |hsm| {
        make_keys(hsm);
        for code in [CKR_FUNCTION_NOT_SUPPORTED, CKR_RANDOM_NO_RNG] {
            is_served_without(Function::C_GenerateRandom, code, 0);
        }
        let shim = Shim::load();
        shim.fail(Function::C_GenerateRandom, CKR_RANDOM_NO_RNG, When::always());
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
        let iv = || *run(encrypt(&*scene.backend, KEYS[0], b"")).unwrap().iv();
        let ivs: std::collections::HashSet<_> = (0..100).map(|_| iv().as_bytes().to_vec()).collect();
        assert_eq!(ivs.len(), 100);
        scene.end();
    });
}

/// HLT-1: a module that no longer finds keys, or no longer tells what they are, serves no request for a key
/// that is not known. Health says so, whatever the test of the token says; keys that are known are served on.
#[test]
fn what_keys_are() {
    own_process("faults::lacking::what_keys_are", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for function in [Function::C_GetAttributeValue, Function::C_FindObjectsInit] {
            for code in [CKR_FUNCTION_NOT_SUPPORTED, CKR_ATTRIBUTE_TYPE_INVALID] {
                // From the start.
                shim.fail(function, code, When::always());
                let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
                let refused = || assert_fails(run(encrypt(&*scene.backend, KEYS[0], b"")), BackendErrorKind::Other);
                let text = refused();
                assert!(text.contains(function.name()), "{text}");
                refused();
                refused();
                scene.wait_for_health(HealthStatus::Unavailable);
                // Others may be asked now.
                let text = assert_fails(
                    run(encrypt(&*scene.backend, KEYS[0], b"")),
                    BackendErrorKind::Unavailable,
                );
                assert!(text.contains(function.name()), "{text}");
                shim.clear();
                scene.wait_for_health(HealthStatus::Active);
                run(round_trip(&*scene.backend, KEYS[0], b"")).unwrap();
                scene.end();
            }
        }
    });
}

/// HLT-1: a key that the token rejects for the key's own reasons does not count against other keys.
#[test]
fn a_key_of_two() {
    own_process("faults::lacking::a_key_of_two", |hsm| {
        make_keys(hsm);
        hsm.key(TOKEN, &KeyTemplate::aes256("twice"));
        hsm.key(TOKEN, &KeyTemplate::aes256("twice"));
        let shim = Shim::load();
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
            config.health_interval(Duration::from_millis(20))
        });
        let before = shim.counters();
        for _ in 0..5 {
            assert_fails(run(encrypt(&*scene.backend, "twice", b"")), BackendErrorKind::Other);
        }
        let tests = |counters: &Counters| counters.of(Function::C_GetTokenInfo);
        shim.wait_until("tests", |now| tests(now) >= tests(&before) + 3);
        assert_eq!(scene.health(), HealthStatus::Active);
        assert_eq!(shim.counters().initialized, before.initialized);
        run(round_trip(&*scene.backend, KEYS[0], b"")).unwrap();
        scene.end();
    });
}

/// A session that never learns of the login is replaced.
#[test]
fn the_login_in_old_sessions() {
    own_process("faults::lacking::the_login_in_old_sessions", |hsm| {
        let scene = Scene::new(hsm, |config| config.sessions(1));
        let (backend, shim) = (&*scene.backend, &scene.shim);
        run(round_trip(backend, KEYS[0], b"plaintext")).unwrap();
        for function in [Function::C_EncryptInit, Function::C_Encrypt, Function::C_DecryptInit] {
            let before = shim.counters().injected;
            // It takes no login either.
            let functions = function | Function::C_Login;
            shim.fail(functions, CKR_USER_NOT_LOGGED_IN, When::always().only(Only::OneSession));
            for _ in 0..10 {
                run(round_trip(backend, KEYS[0], b"plaintext")).unwrap();
            }
            assert!(shim.counters().injected > before, "the session was used");
            shim.clear();
        }
        scene.end();
    });
}
