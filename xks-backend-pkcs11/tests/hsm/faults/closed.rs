//! Sessions that another component closes, and users that it logs out.

use std::{thread::sleep, time::Duration};

use xks_core::backend::BackendErrorKind;
use xks_pkcs11_fixture::{Counters, Function, Profile, Shim, own_process};

use super::{BOTH, Scene, make_keys};

/// Every session is closed under load, the keep-alive session among them, and with them the login ends: each
/// request opens another session, logs in and searches again if need be, and none fails.
#[test]
fn all_sessions() {
    own_process("faults::closed::all_sessions", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for profile in [Profile::SoftHsm, Profile::Nss, Profile::CloudHsm] {
            for dispatch in BOTH {
                let scene = Scene::again(&shim, profile, |config| config.dispatch(dispatch));
                let traffic = scene.traffic(8);
                for _ in 0..3 {
                    traffic.wait_for_successes(50);
                    // Of those that are used none is left that was closed before.
                    traffic.wait_for_everyone();
                    shim.close_sessions();
                }
                traffic.wait_for_everyone();
                let tally = traffic.stop();
                assert_eq!(tally.failed(), 0, "{profile:?}, {dispatch:?}: {tally:?}");
                assert_eq!(shim.counters().finalized, 0, "the module needed no new start");
                scene.end();
                shim.reset();
            }
        }
    });
}

/// The oldest session, which is the keep-alive session, and then the next oldest are closed: no request
/// fails.
#[test]
fn the_oldest_sessions() {
    own_process("faults::closed::the_oldest_sessions", |hsm| {
        let scene = Scene::new(hsm, |config| config.health_interval(Duration::from_millis(100)));
        let traffic = scene.traffic(8);
        for number in [1, 1, 2, 3] {
            traffic.wait_for_successes(30);
            traffic.wait_for_everyone();
            let looks = |counters: &Counters| counters.of(Function::C_GetTokenInfo);
            let before = looks(&scene.shim.counters());
            scene.shim.close_oldest_sessions(number);
            scene
                .shim
                .wait_until("another look at the token", |now| looks(now) >= before + 3);
        }
        traffic.wait_for_successes(30);
        let tally = traffic.stop();
        assert_eq!(tally.failed(), 0, "{tally:?}");
        scene.end();
    });
}

/// Sessions are closed repeatedly, faster than requests end: some requests fail with an error that KMS
/// retries, and none with another. Afterwards all succeed.
#[test]
fn again_and_again() {
    own_process("faults::closed::again_and_again", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
            let traffic = scene.traffic(8);
            for _ in 0..100 {
                shim.close_sessions();
                sleep(Duration::from_millis(4));
            }
            traffic.wait_for_successes(50);
            // None is left that has met more than one closing.
            traffic.wait_for_everyone();
            let before = traffic.so_far();
            println!("{dispatch:?}: {before:?}");
            before.assert_only(&[BackendErrorKind::Unavailable, BackendErrorKind::Timeout]);
            traffic.wait_for_successes(200);
            assert_eq!(
                traffic.stop().failed(),
                before.failed(),
                "failures after the last closing"
            );
            scene.end();
        }
    });
}

/// Another component logs the user out, and all key handles become invalid: requests log in and search again
/// if needed, and none fails.
#[test]
fn logged_out() {
    own_process("faults::closed::logged_out", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for profile in [
            Profile::SoftHsm,
            Profile::Nshield,
            Profile::Luna,
            Profile::CloudHsm,
            Profile::Nss,
        ] {
            for dispatch in BOTH {
                let scene = Scene::again(&shim, profile, |config| config.dispatch(dispatch));
                let traffic = scene.traffic(8);
                for _ in 0..3 {
                    traffic.wait_for_successes(30);
                    traffic.wait_for_everyone();
                    shim.log_out();
                }
                traffic.wait_for_everyone();
                let tally = traffic.stop();
                assert_eq!(tally.failed(), 0, "{profile:?}, {dispatch:?}: {tally:?}");
                assert_eq!(shim.counters().finalized, 0, "the module needed no new start");
                scene.end();
                shim.reset();
            }
        }
    });
}
