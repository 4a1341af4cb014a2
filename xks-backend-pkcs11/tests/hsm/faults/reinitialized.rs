//! Modules that are reinitialized, again and again, and with failures on the way.

use std::{cell::Cell, time::Duration};

use xks_backend_pkcs11::Dispatch;
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Function, Profile, Shim, When, own_process, sys::*};

use super::{Scene, beginnings, codes::STORMS, make_keys};

/// Even the end and the new start of the module fail at first: they are tried again.
#[test]
fn with_failures_of_its_end() {
    own_process("faults::reinitialized::with_failures_of_its_end", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (function, code) in [
            (Function::C_Finalize, CKR_DEVICE_ERROR),
            (Function::C_Finalize, CKR_GENERAL_ERROR),
            (Function::C_Initialize, CKR_DEVICE_ERROR),
            (Function::C_Initialize, CKR_FUNCTION_FAILED),
        ] {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
            let traffic = scene.traffic(4);
            traffic.wait_for_successes(20);
            shim.fail(function, code, When::times(3));
            shim.sticky(CKR_DEVICE_REMOVED);
            traffic.wait_for_failures(1);
            let took = traffic.wait_for_successes(1);
            println!("{function:?} -> {code:#x}: recovered within {took:?}");
            scene.wait_for_health(HealthStatus::Active);
            traffic.stop().assert_only(&[BackendErrorKind::Unavailable]);
            let before = shim.counters();
            scene.end();
            assert_eq!(shim.counters().finalized, before.finalized + 1, "it is ours still");
        }
    });
}

/// Each of the calls by which the token is brought back fails once: it is brought back all the same.
#[test]
fn on_the_way_back() {
    own_process("faults::reinitialized::on_the_way_back", |hsm| {
        let scene = Scene::new(hsm, |config| config.recovery_interval(Duration::from_millis(10)));
        let traffic = scene.traffic(4);
        for number in 0..40 {
            let before = scene.shim.counters().initialized;
            scene.shim.sticky(CKR_DEVICE_ERROR);
            scene
                .shim
                .wait_until("another generation", |counters| counters.initialized > before);
            let code = STORMS[number as usize % STORMS.len()].0;
            scene.shim.fail(beginnings(), code, When::once().after(number));
            traffic.wait_for_successes(5);
            scene.shim.clear();
        }
        scene.wait_for_health(HealthStatus::Active);
        traffic.wait_for_successes(50);
        traffic.stop().assert_only(&[BackendErrorKind::Unavailable]);
        scene.end();
    });
}

/// Sessions that cannot be closed just when the module is reinitialized do not keep it from that: no
/// two threads wait for each other.
#[test]
fn with_sessions_that_cannot_be_closed() {
    own_process("faults::reinitialized::with_sessions_that_cannot_be_closed", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        scene.shim.latency(Function::C_CloseSession, Duration::from_millis(30));
        let traffic = scene.traffic(8);
        let mut waits = 0;
        for _ in 0..8 {
            traffic.wait_for_successes(30);
            let before = scene.shim.counters().initialized;
            scene
                .shim
                .fail(Function::C_CloseSession, CKR_DEVICE_ERROR, When::always());
            scene.shim.sticky(CKR_DEVICE_ERROR);
            let has_waited = Cell::new(false);
            scene.shim.wait_until("another generation", |counters| {
                let problem = scene.status().problem.unwrap_or_default();
                has_waited.set(has_waited.get() || problem.contains("do not return"));
                counters.initialized > before
            });
            waits += u32::from(has_waited.get());
            scene.shim.clear();
            scene.shim.latency(Function::C_CloseSession, Duration::from_millis(30));
        }
        println!("without effect: {waits} of 8");
        assert!(waits <= 2, "more than a busy machine explains: {waits} of 8");
        traffic.wait_for_everyone();
        traffic.stop().assert_only(&[BackendErrorKind::Unavailable]);
        scene.end();
    });
}

/// The module is reinitialized again and again, under eight threads of traffic: it is never finalized with
/// a call in it, and no session of an older generation is used or closed, even where its handle is given out
/// again.
#[test]
fn again_and_again() {
    own_process("faults::reinitialized::again_and_again", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        generations(&shim, Dispatch::Threads);
        generations(&shim, Dispatch::Inline);
    });
}

/// The same, where the handles of sessions begin at 1 in each generation.
#[test]
fn again_and_again_with_the_same_handles() {
    own_process("faults::reinitialized::again_and_again_with_the_same_handles", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        shim.reuse_handles();
        generations(&shim, Dispatch::Threads);
        generations(&shim, Dispatch::Inline);
    });
}

fn generations(shim: &Shim, dispatch: Dispatch) {
    let scene = Scene::again(shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
    let traffic = scene.traffic(8);
    let before = shim.counters().finalized;
    for generation in 1..=8 {
        traffic.wait_for_successes(30);
        shim.sticky(CKR_DEVICE_ERROR);
        shim.wait_until("another generation", |counters| {
            counters.finalized >= before + generation
        });
        traffic.wait_for_successes(1);
    }
    traffic.wait_for_successes(100);
    let tally = traffic.stop();
    println!(
        "{dispatch:?}: {} right, {} failed, slowest {:?}",
        tally.ok,
        tally.failed(),
        tally.slowest
    );
    tally.assert_only(&[BackendErrorKind::Unavailable]);
    shim.assert_clean();
    scene.end();
}
