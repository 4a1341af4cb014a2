//! Opening and shutdown of backends, during traffic and failures.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::Pkcs11Backend;
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{
    Function, Profile, Shim, When, own_process,
    sys::{CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_ERROR, CKR_TOKEN_NOT_PRESENT},
    thread_count,
};

use super::{BOTH, GRACE, KEYS, Scene, beginnings, make_keys};
use crate::support::{CEILING, assert_fails, config, encrypt, round_trip, run, vendor_config, wait_until};

/// A failure of a token.
type Fault = fn(&Shim);

/// Backends are opened and dropped: nothing is left of any of them.
#[test]
fn again_and_again() {
    own_process("faults::life::again_and_again", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for number in 0..20 {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(BOTH[number % 2]));
            run(round_trip(&*scene.backend, KEYS[0], b"plaintext")).unwrap();
            scene.end();
        }
        let counters = shim.counters();
        assert_eq!((counters.initialized, counters.finalized), (20, 20));
    });
}

/// Clients go away in the middle of their requests, and the backend is dropped: what is in the module comes
/// to its end first.
#[test]
fn dropped_under_load() {
    own_process("faults::life::dropped_under_load", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let threads = thread_count();
        for round in 0..10 {
            shim.latency_of_operations(Duration::from_millis(round));
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
            let traffic = scene.traffic(16);
            traffic.wait_for_successes(10);
            traffic.abandon();
            let backend = Arc::into_inner(scene.backend).unwrap();
            drop(backend);
            let counters = shim.counters();
            assert_eq!((counters.open_sessions, counters.leaked_sessions), (0, 0));
            assert_eq!((counters.in_flight, counters.finalized), (0, round + 1));
        }
        wait_until("no thread is left", || thread_count() <= threads);
        shim.assert_clean();
    });
}

/// A backend is shut down under load: what is in the module is answered, what comes after is refused at once,
/// and no request is left without an answer.
#[test]
fn shut_down_under_load() {
    own_process("faults::life::shut_down_under_load", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let threads = thread_count();
            shim.latency_of_operations(Duration::from_millis(3));
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
            let traffic = scene.traffic(16);
            traffic.wait_for_successes(20);
            assert!(scene.backend.shutdown(CEILING));
            let counters = shim.counters();
            assert_eq!((counters.open_sessions, counters.in_flight), (0, 0));
            assert_eq!(counters.initialized, counters.finalized);
            traffic.wait_for_failures(50);
            let tally = traffic.stop();
            tally.assert_only(&[BackendErrorKind::Unavailable]);
            assert_eq!(shim.counters().calls, counters.calls, "something was called after it");
            assert!(scene.backend.shutdown(Duration::ZERO), "once more");
            drop(scene);
            wait_until("no thread is left", || thread_count() <= threads);
        }
        shim.assert_clean();
    });
}

/// A backend is shut down while its token does not work: that takes no longer than otherwise.
#[test]
fn dropped_in_a_storm() {
    own_process("faults::life::dropped_in_a_storm", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let threads = thread_count();
        for (dispatch, recovery) in BOTH.into_iter().zip([10, 10_000]) {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config
                    .dispatch(dispatch)
                    .recovery_interval(Duration::from_millis(recovery))
            });
            let traffic = scene.traffic(4);
            traffic.wait_for_successes(20);
            shim.storm(CKR_DEVICE_ERROR);
            scene.wait_for_health(HealthStatus::Unavailable);
            traffic.wait_for_failures(20);
            traffic.abandon();
            let start = Instant::now();
            let backend = Arc::into_inner(scene.backend).unwrap();
            assert!(backend.shutdown(CEILING));
            println!("shut down within {:?}", start.elapsed());
            assert!(start.elapsed() < GRACE);
            let counters = shim.counters();
            assert_eq!(counters.initialized, counters.finalized);
            wait_until("no thread is left", || thread_count() <= threads);
            shim.clear();
        }
        Scene::again(&shim, Profile::SoftHsm, |config| config).end();
    });
}

/// Whatever fails while a backend is opened, it is opened all the same, or nothing is left of the attempt.
#[test]
fn opened_while_faulty() {
    own_process("faults::life::opened_while_faulty", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let threads = thread_count();
        let (mut opened, mut failed) = (0, 0);
        for code in [CKR_DEVICE_ERROR, CKR_CRYPTOKI_NOT_INITIALIZED] {
            for number in 0.. {
                let before = shim.counters();
                // All but those that end something.
                shim.fail(beginnings(), code, When::once().after(number));
                match Pkcs11Backend::open(vendor_config(shim.path(), Profile::SoftHsm)) {
                    Ok(backend) => {
                        opened += 1;
                        run(round_trip(&backend, KEYS[0], b"")).unwrap();
                        assert!(backend.shutdown(CEILING));
                    }
                    Err(error) => {
                        failed += 1;
                        assert!(!error.to_string().is_empty());
                    }
                }
                let was_struck = shim.counters().injected > before.injected;
                shim.clear();
                let counters = shim.counters();
                assert_eq!(counters.open_sessions, 0, "call {number}, {code:#x}");
                assert_eq!(counters.initialized, counters.finalized, "call {number}, {code:#x}");
                // A module that says it is not initialized has no sessions that could be closed.
                let leaked = counters.leaked_sessions - before.leaked_sessions;
                assert!(
                    leaked == 0 || code == CKR_CRYPTOKI_NOT_INITIALIZED,
                    "call {number}: {leaked}"
                );
                if !was_struck {
                    break;
                }
            }
        }
        println!("{opened} opened, {failed} failed");
        assert!(failed > 20);
        wait_until("no thread is left", || thread_count() <= threads);
        shim.assert_clean();
    });
}

/// A token that does not work at the start is waited for, whatever its failure: requests are answered
/// `Unavailable` until it works.
#[test]
fn opened_before_the_token_is_ready() {
    own_process("faults::life::opened_before_the_token_is_ready", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let begin: [(&str, Fault); 4] = [
            ("a storm", |shim| shim.storm(CKR_DEVICE_ERROR)),
            ("a sticky storm", |shim| shim.sticky_storm(CKR_TOKEN_NOT_PRESENT)),
            ("no slots", |shim| shim.empty_slot_list(When::always())),
            ("no start", |shim| {
                shim.fail(Function::C_Initialize, CKR_DEVICE_ERROR, When::always());
            }),
        ];
        for (what, begin) in begin {
            let threads = thread_count();
            begin(&shim);
            let error = Pkcs11Backend::open(config(shim.path())).unwrap_err();
            println!("{what}: {error}");
            let backend = Pkcs11Backend::open_when_ready(config(shim.path()));
            let backend = backend.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!(backend.status().health, HealthStatus::Unavailable, "{what}");
            assert_fails(run(encrypt(&backend, KEYS[0], b"")), BackendErrorKind::Unavailable);
            std::thread::sleep(Duration::from_millis(250));
            assert_fails(run(encrypt(&backend, KEYS[0], b"")), BackendErrorKind::Unavailable);
            shim.calm();
            shim.clear();
            let start = Instant::now();
            wait_until(what, || run(round_trip(&backend, KEYS[0], b"")).is_ok());
            println!("{what}: ready after {:?}", start.elapsed());
            assert_eq!(backend.status().health, HealthStatus::Active, "{what}");
            assert!(backend.shutdown(CEILING));
            assert_eq!(shim.counters().open_sessions, 0, "{what}");
            wait_until("no thread is left", || thread_count() <= threads);
        }
        shim.assert_clean();
    });
}
