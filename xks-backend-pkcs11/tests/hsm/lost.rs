//! Failures that a known-answer test with a session key does not see.

use std::fs;

use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{
    Function, KeyTemplate, Shim, When, own_process, softhsm_path,
    sys::{CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED},
};

use crate::support::{PIN, TOKEN, assert_fails, config, encrypt, open, round_trip, run, wait_until};

/// HLT-1: SoftHSM2 goes on to serve the sessions of a token that is gone, and the session keys in them. When
/// the token comes back, so do the answers.
#[test]
fn a_token_that_is_moved_away() {
    own_process("lost::a_token_that_is_moved_away", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("here"));
        let backend = open(config(&softhsm_path()));
        run(round_trip(&backend, "here", b"before")).unwrap();
        let (tokens, away) = (hsm.folder().join("tokens"), hsm.folder().join("away"));
        for _ in 0..2 {
            fs::rename(&tokens, &away).unwrap();
            wait_until("health tells", || {
                assert_fails(run(encrypt(&backend, "here", b"")), BackendErrorKind::Unavailable);
                backend.status().health == HealthStatus::Unavailable
            });
            fs::rename(&away, &tokens).unwrap();
            wait_until("it is back", || run(round_trip(&backend, "here", b"after")).is_ok());
            assert_eq!(backend.status().health, HealthStatus::Active);
        }
    });
}

/// HLT-1: the known-answer test succeeds and no request does. Health is not ACTIVE, and the module is
/// reinitialized, which fixes it.
#[test]
fn requests_fail_and_the_test_does_not() {
    own_process("lost::requests_fail_and_the_test_does_not", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("here"));
        let shim = Shim::load();
        for code in [CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED] {
            let backend = open(config(shim.path()));
            let before = shim.counters().initialized;
            // The test makes no search, and this key is not known yet.
            let key = format!("later-{code}");
            hsm.key(TOKEN, &KeyTemplate::aes256(&key));
            shim.fail(Function::C_FindObjectsInit, code, When::always());
            wait_until("health tells, and the module is reinitialized", || {
                assert_fails(run(encrypt(&backend, &key, b"")), BackendErrorKind::Unavailable);
                let problem = backend.status().problem.unwrap_or_default();
                problem.contains("requests fail") && shim.counters().initialized > before
            });
            shim.clear();
            wait_until("it is back", || run(round_trip(&backend, &key, b"after")).is_ok());
            wait_until("health tells", || backend.status().health == HealthStatus::Active);
            // Every ten seconds at most.
            assert_eq!(shim.counters().initialized, before + 1);
        }
        shim.assert_clean();
    });
}
