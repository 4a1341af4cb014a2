//! Modules that several backends use, or another component of the process.

use std::{sync::Arc, time::Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use xks_backend_pkcs11::Dispatch;
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Profile, Shim, own_process, sys::CKR_DEVICE_ERROR};

use super::{BOTH, KEYS, Scene, make_keys, traffic::Traffic};
use crate::support::{CEILING, round_trip, run, wait_until};

/// Of two backends on one token, one is dropped under load: the other one's requests do not notice, for the
/// login and the module stay.
#[test]
fn one_of_two() {
    own_process("faults::shared::one_of_two", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
        let traffic = scene.traffic(4);
        for number in 0..6 {
            let other = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(BOTH[number % 2]));
            let others = other.traffic(4);
            others.wait_for_successes(20);
            traffic.wait_for_successes(20);
            assert_eq!(others.stop().failed(), 0);
            assert!(Arc::into_inner(other.backend).unwrap().shutdown(CEILING));
            traffic.wait_for_successes(50);
        }
        let tally = traffic.stop();
        assert_eq!(tally.failed(), 0, "{tally:?}");
        assert_eq!(shim.counters().finalized, 0);
        scene.end();
        assert_eq!(shim.counters().finalized, 1);
    });
}

/// Two backends on one module fail together, and both come back, each with what is its own: the module is
/// reinitialized for both at once.
#[test]
fn two_that_fail() {
    own_process("faults::shared::two_that_fail", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let scenes = [Dispatch::Threads, Dispatch::Inline]
            .map(|dispatch| Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch)));
        let traffic = scenes.each_ref().map(|scene| scene.traffic(4));
        for _ in 0..4 {
            for traffic in &traffic {
                traffic.wait_for_successes(20);
            }
            let before = shim.counters().initialized;
            shim.sticky(CKR_DEVICE_ERROR);
            shim.wait_until("another generation", |counters| counters.initialized > before);
            let took = traffic.each_ref().map(|traffic| traffic.wait_for_successes(1));
            println!("recovered within {took:?}");
        }
        for traffic in &traffic {
            traffic.wait_for_successes(50);
        }
        let [first, second] = traffic.map(Traffic::stop);
        first.assert_only(&[BackendErrorKind::Unavailable]);
        second.assert_only(&[BackendErrorKind::Unavailable]);
        let [first, second] = scenes;
        assert!(Arc::into_inner(first.backend).unwrap().shutdown(CEILING));
        second.end();
    });
}

/// A module that another component of the process has initialized is used, and left to that one.
#[test]
fn in_the_module_of_another() {
    own_process("faults::shared::in_the_module_of_another", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let other = Pkcs11::new(shim.path()).unwrap();
        let initialize = || CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        other.initialize(initialize()).unwrap();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
            let traffic = scene.traffic(4);
            traffic.wait_for_successes(50);
            shim.close_sessions();
            traffic.wait_for_successes(50);
            assert_eq!(traffic.stop().failed(), 0);
            // What ends by itself ends without a new start, too.
            let traffic = scene.traffic(4);
            shim.storm(CKR_DEVICE_ERROR);
            scene.wait_for_health(HealthStatus::Unavailable);
            shim.calm();
            traffic.wait_for_successes(50);
            traffic.stop().assert_only(&[BackendErrorKind::Unavailable]);
            scene.end();
        }
        let counters = shim.counters();
        assert_eq!((counters.initialized, counters.finalized), (1, 0));
        assert!(other.get_slots_with_token().is_ok(), "it goes on");

        // It finalizes the module, which is the backend's from then on.
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
        let traffic = scene.traffic(4);
        traffic.wait_for_successes(20);
        let tally = traffic.stop();
        assert_eq!(tally.failed(), 0, "{tally:?}");
        other.finalize().unwrap();
        let start = Instant::now();
        wait_until("the module is taken over", || {
            run(round_trip(&*scene.backend, KEYS[0], b"")).is_ok()
        });
        println!("taken over after {:?}", start.elapsed());
        scene.wait_for_health(HealthStatus::Active);
        let scene = scene.without_rules(); // a session does not tell whether its initialization has ended
        scene.end();
        assert_eq!(shim.counters().finalized, 2);
    });
}
