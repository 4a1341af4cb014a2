//! Devices that fail for a while, and modules that fail until they are reinitialized.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Function, Functions, Profile, Shim, SoftHsm, When, own_process, sys::*};

use super::{BOTH, DEADLINE, KEYS, Scene, codes::STORMS, make_keys};
use crate::support::{decrypt, encrypt, run};

/// All calls fail until the storm is over.
#[test]
fn that_end() {
    own_process("faults::storms::that_end", |hsm| weather(hsm, Shim::storm, true, false));
}

/// All calls fail until the storm is over and the module was reinitialized.
#[test]
fn that_end_with_a_new_start() {
    own_process("faults::storms::that_end_with_a_new_start", |hsm| {
        weather(hsm, Shim::sticky_storm, true, true);
    });
}

/// All calls fail until the module was reinitialized: no operator has to do anything.
#[test]
fn that_a_new_start_ends() {
    own_process("faults::storms::that_a_new_start_ends", |hsm| {
        weather(hsm, Shim::sticky, false, true);
    });
}

/// During a storm requests fail at once, so that another HSM may serve them, and with no error about a key or
/// a ciphertext. After it the first answer and all others are right.
fn weather(hsm: &SoftHsm, begin: impl Fn(&Shim, CK_RV), must_calm: bool, must_reinitialize: bool) {
    make_keys(hsm);
    let shim = Shim::load();
    for (number, (code, name)) in STORMS.into_iter().enumerate() {
        let dispatch = BOTH[number % 2];
        // The intervals of every day.
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
            config.dispatch(dispatch).recovery_interval(Duration::from_millis(500))
        });
        let traffic = scene.traffic(8);
        traffic.wait_for_successes(20);
        let initialized = shim.counters().initialized;
        begin(&shim, code);
        if must_calm {
            scene.wait_for_health(HealthStatus::Unavailable);
            traffic.wait_for_failures(50);
            sleep(Duration::from_millis(40 * number as u64));
            shim.calm();
        } else {
            shim.wait_until("a new start", |counters| counters.initialized > initialized);
        }
        let took = traffic.wait_for_successes(1);
        scene.wait_for_health(HealthStatus::Active);
        traffic.wait_for_everyone();
        let before = traffic.so_far();
        traffic.wait_for_successes(100);
        let tally = traffic.stop();
        let failure = tally.average_failure(BackendErrorKind::Unavailable);
        println!(
            "{name}: {} failed within {failure:?} each, recovered within {took:?}",
            tally.failed()
        );
        tally.assert_only(&[BackendErrorKind::Unavailable]);
        assert!(failure < DEADLINE / 2, "{name}: {failure:?}");
        assert_eq!(tally.failed(), before.failed(), "{name}: failures after the recovery");
        let is_reinitialized = shim.counters().finalized >= 1;
        assert!(is_reinitialized || !must_reinitialize, "{name}: not reinitialized");
        scene.end();
        shim.reset();
    }
}

/// After the module was reinitialized, its slots come one by one: the token is looked for again and again.
#[test]
fn with_no_slots_at_first() {
    own_process("faults::storms::with_no_slots_at_first", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let traffic = scene.traffic(8);
        traffic.wait_for_successes(20);
        scene.shim.empty_slot_list(When::times(8));
        scene.shim.sticky(CKR_DEVICE_REMOVED);
        traffic.wait_for_failures(1);
        let took = traffic.wait_for_successes(1);
        println!("recovered within {took:?}");
        scene.wait_for_health(HealthStatus::Active);
        let tally = traffic.stop();
        tally.assert_only(&[BackendErrorKind::Unavailable]);
        assert!(tally.failures[0].count > 0);
        scene.end();
    });
}

/// Storms that come and go faster than any test: no ciphertext is called invalid because of them.
#[test]
fn that_are_short() {
    own_process("faults::storms::that_are_short", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (dispatch, code) in BOTH.into_iter().zip([CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED]) {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config
                    .dispatch(dispatch)
                    .health_interval(Duration::from_millis(100))
                    .recovery_interval(Duration::from_millis(20))
            });
            let traffic = scene.traffic(8);
            traffic.wait_for_successes(20);
            for micros in 0..300 {
                shim.storm(code);
                sleep(Duration::from_micros(micros * 3));
                shim.calm();
                sleep(Duration::from_millis(1));
            }
            traffic.wait_for_successes(50);
            let tally = traffic.stop();
            println!("{dispatch:?}: {} right, {} failed", tally.ok, tally.failed());
            tally.assert_only(&[BackendErrorKind::Unavailable]);
            scene.end();
        }
    });
}

/// A good ciphertext is struck twelve times in a row, and no known-answer test in between. On a device that
/// has shown no failure before it would be called invalid; here another request has, so that it is tried
/// until it decrypts.
#[test]
fn that_strike_one_and_the_same() {
    own_process("faults::storms::that_strike_one_and_the_same", |hsm| {
        let scene = Scene::new(hsm, |config| {
            config.sessions(2).health_interval(Duration::from_secs(30))
        });
        let (backend, shim) = (&*scene.backend, &scene.shim);
        let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        shim.fail(Function::C_Decrypt, CKR_GENERAL_ERROR, When::times(2));
        shim.hang(Function::C_EncryptInit, When::once());
        let outcome = std::thread::scope(|scope| {
            let request = scope.spawn(|| run(decrypt(backend, KEYS[0], &encrypted)));
            shim.wait_until("the first known-answer test", |counters| counters.hung == 1);
            shim.fail(Function::C_DecryptInit, CKR_DEVICE_ERROR, When::once());
            run(decrypt(backend, KEYS[0], &encrypted)).unwrap();
            // A known answer, a changed one; then the decryption and a known answer in turn.
            for after in (2..22).step_by(2) {
                shim.fail(Function::C_Decrypt, CKR_GENERAL_ERROR, When::once().after(after));
            }
            shim.release();
            request.join().unwrap()
        });
        assert_eq!(outcome.unwrap(), b"plaintext");
        assert_eq!(shim.counters().injected, 13, "all that was to strike");
        scene.end();
    });
}

/// Requests fail while the known-answer test succeeds: the module is reinitialized, but not repeatedly, and
/// when the failure has passed requests are soon served.
#[test]
fn that_spare_the_test() {
    own_process("faults::storms::that_spare_the_test", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let interval = Duration::from_millis(300);
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(dispatch).health_interval(interval)
            });
            let traffic = scene.traffic(8);
            traffic.wait_for_successes(20);
            let start = Instant::now();
            // No request looks for the test key, and all look for the others after a new login.
            shim.fail(Functions::FIND, CKR_DEVICE_ERROR, When::always());
            shim.log_out();
            scene.wait_for_health(HealthStatus::Unavailable);
            shim.wait_until("a new start", |counters| counters.finalized > 0);
            sleep(Duration::from_secs(1));
            let starts = u128::from(shim.counters().finalized);
            let most = 2 + start.elapsed().as_millis() / interval.as_millis();
            println!("{dispatch:?}: {starts} new starts within {:?}", start.elapsed());
            assert!(starts <= most, "{starts} new starts within {:?}", start.elapsed());
            shim.clear();
            let took = traffic.wait_for_successes(1);
            println!("{dispatch:?}: recovered within {took:?}");
            scene.wait_for_health(HealthStatus::Active);
            traffic.wait_for_everyone();
            traffic.stop().assert_only(&[BackendErrorKind::Unavailable]);
            scene.end();
            shim.reset();
        }
    });
}

/// A single `CKR_DEVICE_ERROR` in any call fails no request and causes no reinitialization; nor do a few, if
/// the token passes its test.
#[test]
fn of_a_single_cloud() {
    own_process("faults::storms::of_a_single_cloud", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
            let traffic = scene.traffic(8);
            for code in [
                CKR_DEVICE_ERROR,
                CKR_DEVICE_REMOVED,
                CKR_GENERAL_ERROR,
                CKR_FUNCTION_FAILED,
            ] {
                for function in [
                    Function::C_EncryptInit,
                    Function::C_Encrypt,
                    Function::C_DecryptInit,
                    Function::C_Decrypt,
                    Function::C_GenerateRandom,
                ] {
                    let before = shim.counters().injected;
                    shim.fail(function, code, When::once());
                    shim.wait_until("the failure", |counters| counters.injected > before);
                    traffic.wait_for_everyone();
                }
            }
            assert_eq!(traffic.so_far().failed(), 0, "{:?}", traffic.so_far());
            let before = shim.counters().injected;
            shim.fail(Functions::CRYPT, CKR_DEVICE_ERROR, When::times(4));
            shim.wait_until("the failures", |counters| counters.injected >= before + 4);
            traffic.wait_for_successes(50);
            let tally = traffic.stop();
            tally.assert_only(&[BackendErrorKind::Unavailable]);
            assert!(tally.failed() <= 2, "each request tries twice: {tally:?}");
            assert_eq!(shim.counters().finalized, 0);
            assert_eq!(scene.status().health, HealthStatus::Active, "{:?}", scene.status());
            scene.end();
            shim.reset();
        }
    });
}
