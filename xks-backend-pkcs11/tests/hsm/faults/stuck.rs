//! Calls that do not return during recovery and during shutdown.

use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Function, Profile, Shim, When, own_process, sys::CKR_DEVICE_ERROR, thread_count};

use super::{GRACE, KEYS, Scene, make_keys, timed};
use crate::support::wait_until;

/// So long that few requests are late because a machine is busy.
const DEADLINE: Duration = Duration::from_secs(1);

/// A call of the recovery hangs: requests fail at once, status and health are answered at once, and the token
/// recovers when the call returns.
#[test]
fn on_the_way_back() {
    own_process("faults::stuck::on_the_way_back", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let traffic = scene.traffic(4);
        for (function, is_called_in_storms) in [
            (Function::C_Finalize, true),
            (Function::C_Initialize, true),
            (Function::C_GetSlotList, true),
            (Function::C_OpenSession, false),
            (Function::C_Login, false),
            (Function::C_GenerateKey, false),
        ] {
            traffic.wait_for_successes(20);
            scene.shim.sticky_storm(CKR_DEVICE_ERROR);
            scene.wait_for_health(HealthStatus::Unavailable);
            scene.shim.hang(function, When::once());
            if !is_called_in_storms {
                scene.shim.calm();
            }
            scene.shim.wait_until("the call hangs", |counters| counters.hung == 1);
            scene.shim.calm();
            traffic.wait_for_failures(50);
            let (took, outcome) = timed(&scene.backend, KEYS[0]);
            assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Unavailable);
            assert!(took < GRACE, "{took:?}");
            assert_eq!(scene.health(), HealthStatus::Unavailable);
            assert_eq!(scene.shim.counters().hung, 1, "{function:?} hangs still");
            scene.shim.release();
            let took = traffic.wait_for_successes(1);
            println!("{function:?}: first answer {took:?} after the release");
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

/// A call hangs when the module has to be reinitialized: it is not finalized with that call in it,
/// requests fail at once meanwhile, and the token comes back when the call has returned.
#[test]
fn in_a_storm() {
    own_process("faults::stuck::in_a_storm", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE));
        for number in 0..2 {
            let traffic = scene.traffic(8);
            traffic.wait_for_successes(20);
            scene.shim.hang(Function::C_Encrypt, When::once());
            scene.shim.wait_until("a call hangs", |counters| counters.hung == 1);
            scene.shim.sticky(CKR_DEVICE_ERROR);
            scene.wait_for_health(HealthStatus::Unavailable);
            traffic.wait_for_failures(50);
            wait_until("the call is abandoned", || scene.status().abandoned == 1);
            sleep(Duration::from_millis(700));
            assert_eq!(scene.shim.counters().finalized, number, "with a call in it");
            let problem = scene.status().problem.unwrap();
            println!("{problem}");
            let (took, outcome) = timed(&scene.backend, KEYS[0]);
            assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Unavailable);
            assert!(took < GRACE, "{took:?}");
            scene.shim.release();
            let took = traffic.wait_for_successes(1);
            println!("first answer after the release: {took:?}");
            scene.wait_for_health(HealthStatus::Active);
            let tally = traffic.stop();
            tally.assert_only(&[BackendErrorKind::Unavailable, BackendErrorKind::Timeout]);
            let late = tally.of(BackendErrorKind::Timeout);
            assert!((1..=3 + tally.ok / 20).contains(&late), "{tally:?}");
        }
        scene.end();
    });
}

/// `C_Finalize` or `C_Initialize` hangs during a shutdown: it ends in time, and reports that.
#[test]
fn at_the_shutdown_of_a_module_that_hangs() {
    own_process("faults::stuck::at_the_shutdown_of_a_module_that_hangs", |hsm| {
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
                    sleep(2 * GRACE);
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

/// A call hangs during a shutdown: it ends in time, reports that, and does not finalize the module.
#[test]
fn at_the_shutdown() {
    own_process("faults::stuck::at_the_shutdown", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE));
        let Scene {
            shim, backend, threads, ..
        } = scene;
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
        wait_until("no thread is left", || thread_count() <= threads);
        shim.assert_clean();
    });
}
