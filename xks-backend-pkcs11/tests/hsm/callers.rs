//! The threads that call the module: all of them are the backend's own, and have ended when it is finalized.
//! OpenCryptoki 3.27 ends the process otherwise.

use std::time::Duration;

use xks_backend_pkcs11::{OpenError, Pin, Pkcs11Backend};
use xks_core::backend::BackendErrorKind;
use xks_pkcs11_fixture::{
    Function, KeyTemplate, Shim, SoftHsm, When, own_process,
    sys::{CKR_DEVICE_ERROR, CKR_GENERAL_ERROR},
};

use crate::support::{CEILING, PIN, TOKEN, assert_fails, config, encrypt, metadata, open, round_trip, run, wait_until};

const KEY: &str = "key";

fn make_key(hsm: &SoftHsm) -> Shim {
    hsm.token(TOKEN, PIN);
    hsm.key(TOKEN, &KeyTemplate::aes256(KEY));
    Shim::load()
}

/// Asserts that the module was finalized so many times, and that no thread that had called it existed then or
/// exists now.
#[track_caller]
fn assert_none_left(shim: &Shim, finalized: u64) {
    let counters = shim.counters();
    assert_eq!(
        (counters.callers_left, counters.callers, counters.finalized),
        (0, 0, finalized),
        "callers at the last C_Finalize, callers now, and how often: {counters:?}"
    );
}

#[test]
fn none_is_left_at_the_end() {
    own_process("callers::none_is_left_at_the_end", |hsm| {
        let shim = make_key(hsm);
        for number in 1..=3 {
            let backend = open(config(shim.path()));
            run(metadata(&backend, KEY)).unwrap();
            run(round_trip(&backend, KEY, b"plaintext")).unwrap();
            shim.wait_until("all threads have called", |counters| counters.callers >= 5);
            if number == 1 {
                assert!(backend.shutdown(CEILING));
            }
            drop(backend);
            assert_none_left(&shim, number);
        }
        shim.assert_clean();
    });
}

/// The module is finalized by the last backend that has it.
#[test]
fn none_is_left_at_the_end_of_the_last_backend() {
    own_process("callers::none_is_left_at_the_end_of_the_last_backend", |hsm| {
        let shim = make_key(hsm);
        let backends = [(); 3].map(|()| open(config(shim.path())));
        for backend in &backends {
            run(round_trip(backend, KEY, b"plaintext")).unwrap();
        }
        std::thread::scope(|scope| {
            for backend in &backends {
                scope.spawn(|| assert!(backend.shutdown(CEILING)));
            }
        });
        assert_none_left(&shim, 1);
        shim.assert_clean();
    });
}

/// The module is initialized again because its device failed: the threads that called it have ended before,
/// and others have come in their places.
#[test]
fn none_is_left_when_the_module_is_initialized_again() {
    own_process("callers::none_is_left_when_the_module_is_initialized_again", |hsm| {
        let shim = make_key(hsm);
        let backend = open(config(shim.path()));
        for number in 1..=4 {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| run(round_trip(&backend, KEY, b"plaintext")).unwrap());
                }
            });
            assert!(shim.counters().callers >= 2, "{:?}", shim.counters());
            shim.sticky(CKR_DEVICE_ERROR);
            wait_until("it is back", || {
                run(round_trip(&backend, KEY, b"")).is_ok() && shim.counters().finalized >= number
            });
            assert_eq!(shim.counters().callers_left, 0, "{:?}", shim.counters());
        }
        let finalized = shim.counters().finalized;
        assert!(backend.shutdown(CEILING));
        assert_none_left(&shim, finalized + 1);
        shim.assert_clean();
    });
}

/// Abandoned threads are waited for, too.
#[test]
fn none_is_left_after_a_hang() {
    own_process("callers::none_is_left_after_a_hang", |hsm| {
        let shim = make_key(hsm);
        let backend = open(config(shim.path()).deadline(Duration::from_millis(300)));
        for number in 1..=3 {
            shim.hang(Function::C_Encrypt, When::once());
            assert_fails(run(encrypt(&backend, KEY, b"")), BackendErrorKind::Timeout);
            wait_until("the call is given up", || backend.status().abandoned == 1);
            if number < 3 {
                shim.release();
                wait_until("the call returns", || backend.status().abandoned == 0);
            }
        }
        assert!(!backend.shutdown(Duration::from_millis(100)), "a call hangs");
        assert_eq!(shim.counters().finalized, 0, "with a call in it");
        shim.release();
        assert!(backend.shutdown(CEILING), "it has returned");
        assert_none_left(&shim, 1);
        shim.assert_clean();
    });
}

/// A call that never returns is not waited for: the module is not finalized.
#[test]
fn a_module_with_a_call_in_it_is_not_finalized() {
    own_process("callers::a_module_with_a_call_in_it_is_not_finalized", |hsm| {
        let shim = make_key(hsm);
        let backend = open(config(shim.path()).health_interval(Duration::from_millis(50)));
        // There is no other caller, so this is the supervisor's.
        shim.hang(Function::C_Decrypt, When::once());
        shim.wait_until("the test hangs", |counters| counters.hung == 1);
        assert!(!backend.shutdown(Duration::from_millis(100)), "a call hangs");
        drop(backend);
        assert_eq!(shim.counters().finalized, 0);
    });
}

#[test]
fn none_is_left_after_a_start_that_fails() {
    own_process("callers::none_is_left_after_a_start_that_fails", |hsm| {
        let shim = make_key(hsm);
        let open = |pin| Pkcs11Backend::open(config(shim.path()).pin(Pin::new(pin)));
        assert!(matches!(open("4321"), Err(OpenError::PinRefused(_))));
        assert_none_left(&shim, 1);
        for function in [
            Function::C_GetTokenInfo,
            Function::C_GenerateRandom,
            Function::C_Encrypt,
        ] {
            shim.reset();
            shim.fail(function, CKR_DEVICE_ERROR, When::always());
            open(PIN).expect_err("it fails");
            shim.clear();
            // Each attempt but the last has the module initialized again.
            let finalized = shim.counters().finalized;
            assert!(finalized > 0);
            assert_none_left(&shim, finalized);
        }
        shim.fail(Function::C_Initialize, CKR_GENERAL_ERROR, When::always());
        open(PIN).expect_err("it fails");
        assert_eq!(shim.counters().callers, 0);
    });
}
