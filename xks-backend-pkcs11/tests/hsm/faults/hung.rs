//! Calls that do not return: their requests are answered at the deadline, and others go on (TRN-8).

use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{KeyName, Pkcs11Backend};
use xks_core::{BackendError, BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Function, Profile, Shim, When, own_process, sys::CKR_DEVICE_ERROR, thread_count};

use super::{KEYS, Scene, make_keys};
use crate::support::{id, metadata, round_trip, run, wait_until};

const DEADLINE: Duration = Duration::from_millis(200);
/// What a busy machine may add to it.
const GRACE: Duration = Duration::from_secs(2);

/// One hung call of each function that a request may be in: that request is answered `Timeout` at its deadline, all others
/// go on meanwhile, health is DEGRADED; and when the call returns, everything is as it was.
#[test]
fn one_call() {
    own_process("faults::hung::one_call", |hsm| {
        let aliases = |config: xks_backend_pkcs11::Config| {
            FUNCTIONS
                .into_iter()
                .fold(config.deadline(DEADLINE), |config, function| {
                    config.key(id(function.name()), KeyName::Label("second".into()))
                })
        };
        let scene = Scene::new(hsm, aliases);
        let threads = thread_count();
        for function in FUNCTIONS {
            scene.shim.hang(function, When::once());
            if function == Function::C_OpenSession {
                scene.shim.close_sessions();
            }
            // Nobody has asked for this name before, so that it is searched for.
            let (took, error) = timed(&scene.backend, function.name());
            println!("{function:?}: {took:?}, {error:?}");
            assert_eq!(error.unwrap_err().kind(), BackendErrorKind::Timeout, "{function:?}");
            assert!((DEADLINE..DEADLINE + GRACE).contains(&took), "{function:?}: {took:?}");
            assert_eq!(scene.shim.counters().hung, 1);
            wait_until("the call is written off", || scene.status().written_off == 1);
            scene.wait_for_health(HealthStatus::Degraded);

            let traffic = scene.traffic(6);
            traffic.wait_for_successes(200);
            let tally = traffic.stop();
            assert_eq!(tally.failed(), 0, "{function:?}: {tally:?}");
            assert_eq!(scene.shim.counters().hung, 1, "it hangs still");
            scene.shim.release();
            wait_until("the call returns", || scene.status().written_off == 0);
            scene.wait_for_health(HealthStatus::Active);
            wait_until("as many threads as before", || thread_count() == threads);
        }
        scene.end();
    });
}

/// A search that hangs keeps nobody else from the same key for longer than its own deadline.
#[test]
fn a_search() {
    own_process("faults::hung::a_search", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE));
        for (key, function) in KEYS.into_iter().zip([
            Function::C_FindObjectsInit,
            Function::C_FindObjects,
            Function::C_GetAttributeValue,
        ]) {
            scene.shim.hang(function, When::once());
            let (_, outcome) = timed(&scene.backend, key);
            assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Timeout);
            let (took, outcome) = timed(&scene.backend, key);
            println!("{function:?}: {took:?}, {outcome:?}");
            outcome.unwrap_or_else(|error| panic!("{function:?} hangs for another request: {error:?}"));
            run(metadata(&*scene.backend, key)).unwrap();
            scene.shim.release();
            wait_until("the call returns", || scene.status().written_off == 0);
        }
        scene.end();
    });
}

/// Several calls hang under load, on all sessions but one: each fails one request and no more.
#[test]
fn several_calls() {
    own_process("faults::hung::several_calls", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE));
        let traffic = scene.traffic(8);
        traffic.wait_for_successes(50);
        for function in [Function::C_Encrypt, Function::C_Decrypt, Function::C_DecryptInit] {
            scene.shim.hang(function, When::once());
        }
        wait_until("three calls are written off", || scene.status().written_off == 3);
        traffic.wait_for_successes(200);
        scene.wait_for_health(HealthStatus::Degraded);
        scene.shim.release();
        wait_until("the calls return", || scene.status().written_off == 0);
        traffic.wait_for_successes(50);
        let tally = traffic.stop();
        tally.assert_only(&[BackendErrorKind::Timeout]);
        assert_eq!(tally.of(BackendErrorKind::Timeout), 3, "{tally:?}");
        assert!(tally.slowest < DEADLINE + GRACE, "{tally:?}");
        assert_eq!(scene.status().timed_out, 3);
        scene.end();
    });
}

/// Everything hangs: what is in the module and in the queue is answered at the deadline, what comes later is answered
/// `Unavailable` at once, health is UNAVAILABLE and told at once. As soon as calls return, requests are served.
#[test]
fn all_calls() {
    own_process("faults::hung::all_calls", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE).max_written_off(2));
        let traffic = scene.traffic(16);
        traffic.wait_for_successes(50);
        scene
            .shim
            .hang(Function::C_Encrypt | Function::C_Decrypt, When::always());
        traffic.wait_for_failures(16);
        scene.wait_for_health(HealthStatus::Unavailable);
        assert_eq!(scene.status().written_off, 6, "four threads, and two in their places");
        let (took, outcome) = timed(&scene.backend, KEYS[0]);
        assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Unavailable);
        println!("Unavailable after {took:?}");
        assert!(took < DEADLINE, "{took:?}");
        traffic.wait_for_failures(100);
        let before = traffic.so_far();
        before.assert_only(&[BackendErrorKind::Timeout, BackendErrorKind::Unavailable]);
        // Those before the four threads are written off, and those before the two in their places are.
        assert!(before.of(BackendErrorKind::Timeout) <= 2 * 16, "{before:?}");
        assert!(
            before.average_failure(BackendErrorKind::Unavailable) < DEADLINE,
            "{before:?}"
        );

        scene.shim.release();
        let took = traffic.wait_for_successes(1);
        println!("first answer after the release: {took:?}");
        assert!(took < Duration::from_secs(3));
        wait_until("all calls return", || scene.status().written_off == 0);
        let before = traffic.so_far();
        traffic.wait_for_successes(100);
        let tally = traffic.stop();
        assert_eq!(tally.failed(), before.failed(), "failures after the release: {tally:?}");
        scene.end();
    });
}

/// A test of the token hangs: requests are served, and status and health are told at once.
#[test]
fn the_test_call() {
    own_process("faults::hung::the_test_call", |hsm| {
        let scene = Scene::new(hsm, |config| config.health_interval(Duration::from_millis(50)));
        // Nobody else is there, so this is the attendant's.
        scene.shim.hang(Function::C_Decrypt, When::once());
        scene.shim.wait_until("the test hangs", |counters| counters.hung == 1);
        let traffic = scene.traffic(8);
        traffic.wait_for_successes(200);
        let (start, status) = (Instant::now(), scene.status());
        assert_eq!(status.health, HealthStatus::Active, "as at the last test: {status:?}");
        assert_eq!(scene.health(), HealthStatus::Active);
        assert!(start.elapsed() < GRACE);
        scene.shim.release();
        scene.shim.wait_until("the test goes on", |counters| counters.hung == 0);
        let tally = traffic.stop();
        assert_eq!(tally.failed(), 0, "{tally:?}");
        scene.end();
    });
}

/// A call by which the token is brought back hangs: requests fail at once, status and health are told at once, and when the
/// call returns the token comes back.
#[test]
fn on_the_way_back() {
    own_process("faults::hung::on_the_way_back", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let traffic = scene.traffic(4);
        for function in [
            Function::C_Finalize,
            Function::C_Initialize,
            Function::C_GetSlotList,
            Function::C_OpenSession,
            Function::C_Login,
            Function::C_GenerateKey,
        ] {
            traffic.wait_for_successes(20);
            scene.shim.hang(function, When::once());
            scene.shim.sticky(CKR_DEVICE_ERROR);
            scene.shim.wait_until("the call hangs", |counters| counters.hung == 1);
            traffic.wait_for_failures(50);
            let (took, outcome) = timed(&scene.backend, KEYS[0]);
            assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Unavailable);
            assert!(took < DEADLINE, "{took:?}");
            assert_eq!(scene.health(), HealthStatus::Unavailable);
            assert_eq!(scene.shim.counters().hung, 1);
            scene.shim.release();
            traffic.wait_for_successes(1);
            scene.wait_for_health(HealthStatus::Active);
        }
        let tally = traffic.stop();
        tally.assert_only(&[BackendErrorKind::Unavailable]);
        let failure = tally.average_failure(BackendErrorKind::Unavailable);
        println!("{} failed within {failure:?} each", tally.failed());
        assert!(failure < DEADLINE, "{failure:?}");
        scene.end();
    });
}

/// A call hangs when the module has to be initialized anew: it is not finalized with that call in it, requests fail at once
/// meanwhile, and the token comes back when the call has returned.
#[test]
fn in_a_storm() {
    own_process("faults::hung::in_a_storm", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE));
        for number in 0..2 {
            let traffic = scene.traffic(8);
            traffic.wait_for_successes(20);
            scene.shim.hang(Function::C_Encrypt, When::once());
            scene.shim.wait_until("a call hangs", |counters| counters.hung == 1);
            scene.shim.sticky(CKR_DEVICE_ERROR);
            scene.wait_for_health(HealthStatus::Unavailable);
            traffic.wait_for_failures(50);
            sleep(Duration::from_millis(700));
            assert_eq!(scene.shim.counters().finalized, number, "with a call in it");
            let problem = scene.status().problem.unwrap();
            println!("{problem}");
            let (took, outcome) = timed(&scene.backend, KEYS[0]);
            assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Unavailable);
            assert!(took < DEADLINE, "{took:?}");
            scene.shim.release();
            let took = traffic.wait_for_successes(1);
            println!("first answer after the release: {took:?}");
            assert!(took < Duration::from_secs(3));
            scene.wait_for_health(HealthStatus::Active);
            let tally = traffic.stop();
            tally.assert_only(&[BackendErrorKind::Unavailable, BackendErrorKind::Timeout]);
            assert_eq!(tally.of(BackendErrorKind::Timeout), 1, "{tally:?}");
        }
        scene.end();
    });
}

/// The module itself hangs, in its end or in its new start, while the backend is shut down: that takes no longer than it
/// may, and says so.
#[test]
fn at_the_shutdown_of_a_module_that_hangs() {
    own_process("faults::hung::at_the_shutdown_of_a_module_that_hangs", |hsm| {
        make_keys(hsm);
        let threads = thread_count();
        for function in [Function::C_Finalize, Function::C_Initialize] {
            let shim = Shim::copy();
            let Scene { backend, .. } = Scene::again(&shim, Profile::SoftHsm, |config| config);
            shim.sticky(CKR_DEVICE_ERROR);
            shim.hang(function, When::once());
            let is_hung = || timed(&backend, KEYS[0]).1.is_err() && shim.counters().hung == 1;
            wait_until("the module hangs", is_hung);
            let start = Instant::now();
            let release = {
                let shim = shim.clone();
                // So that a backend that waits for the module fails this test and not the machine.
                std::thread::spawn(move || {
                    sleep(Duration::from_secs(8));
                    shim.release();
                })
            };
            let backend = Arc::into_inner(backend).unwrap();
            assert!(!backend.shutdown(Duration::from_millis(100)), "a call hangs");
            println!("{function:?}: shut down within {:?}", start.elapsed());
            assert!(
                start.elapsed() < Duration::from_millis(100) + GRACE,
                "{:?}",
                start.elapsed()
            );
            shim.release();
            drop(release);
        }
        wait_until("no thread is left but those of the test", || {
            thread_count() <= threads + 2
        });
    });
}

/// A call hangs while the backend is shut down: that takes no longer than it may, says so, and leaves the module alone.
#[test]
fn at_the_shutdown() {
    own_process("faults::hung::at_the_shutdown", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE));
        let Scene { shim, backend, .. } = scene;
        let threads = thread_count();
        shim.hang(Function::C_Encrypt, When::once());
        assert_eq!(
            timed(&backend, KEYS[0]).1.unwrap_err().kind(),
            BackendErrorKind::Timeout
        );
        let start = Instant::now();
        let backend = Arc::into_inner(backend).unwrap();
        assert!(!backend.shutdown(Duration::from_millis(100)), "a call hangs");
        println!("shut down within {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_millis(100) + GRACE);
        let counters = shim.counters();
        assert_eq!((counters.finalized, counters.hung), (0, 1));
        shim.release();
        let counters = shim.wait_until("the call returns, and its session is closed", |counters| {
            counters.open_sessions == 0
        });
        assert_eq!(counters.finalized, 0);
        wait_until("no thread is left", || thread_count() < threads - 5);
        shim.assert_clean();
        sleep(Duration::from_millis(10));
    });
}

const FUNCTIONS: [Function; 9] = [
    Function::C_OpenSession,
    Function::C_FindObjectsInit,
    Function::C_FindObjects,
    Function::C_FindObjectsFinal,
    Function::C_GetAttributeValue,
    Function::C_EncryptInit,
    Function::C_Encrypt,
    Function::C_DecryptInit,
    Function::C_Decrypt,
];

fn timed(backend: &Pkcs11Backend, key: &str) -> (Duration, Result<(), BackendError>) {
    let start = Instant::now();
    let outcome = run(round_trip(backend, key, b"plaintext"));
    (start.elapsed(), outcome)
}
