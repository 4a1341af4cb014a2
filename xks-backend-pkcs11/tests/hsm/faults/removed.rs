//! Tokens that are taken out and put back.

use xks_backend_pkcs11::SlotSelector;
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{KeyTemplate, Profile, Shim, own_process, sys::*};

use super::{BOTH, DEADLINE, KEYS, Scene, make_keys, traffic::Traffic};
use crate::support::{CEILING, PIN};

/// While the token is out, requests fail at once, and with no error about a key. It is found again when it is
/// back, whatever its old sessions answered meanwhile.
#[test]
fn and_back() {
    own_process("faults::removed::and_back", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            for code in [
                CKR_DEVICE_REMOVED,
                CKR_TOKEN_NOT_PRESENT,
                CKR_SESSION_HANDLE_INVALID,
                CKR_DEVICE_ERROR,
            ] {
                let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
                let traffic = scene.traffic(8);
                traffic.wait_for_successes(20);
                shim.remove_tokens(code);
                scene.wait_for_health(HealthStatus::Unavailable);
                traffic.wait_for_failures(50);
                shim.insert_tokens();
                let took = traffic.wait_for_successes(1);
                scene.wait_for_health(HealthStatus::Active);
                traffic.wait_for_everyone();
                let before = traffic.so_far();
                traffic.wait_for_successes(50);
                let tally = traffic.stop();
                let failure = tally.average_failure(BackendErrorKind::Unavailable);
                println!("{dispatch:?}, {code:#x}: failed within {failure:?} each, recovered within {took:?}");
                tally.assert_only(&[BackendErrorKind::Unavailable]);
                assert!(failure < DEADLINE / 2, "{failure:?}");
                assert_eq!(
                    tally.failed(),
                    before.failed(),
                    "failures after the recovery: {tally:?}"
                );
                scene.end();
            }
        }
    });
}

/// One token of a module is taken out: a backend on another token is not affected, since the module is not
/// reinitialized while one of its tokens works.
#[test]
fn one_of_two() {
    own_process("faults::removed::one_of_two", |hsm| {
        make_keys(hsm);
        hsm.token("other", PIN);
        for key in KEYS {
            hsm.key("other", &KeyTemplate::aes256(key));
        }
        let shim = Shim::load();
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
        let other = Scene::again(&shim, Profile::SoftHsm, |config| {
            config.slot(SlotSelector::TokenLabel("other".into()))
        });
        let traffic = [&scene, &other].map(|scene| scene.traffic(4));
        for traffic in &traffic {
            traffic.wait_for_successes(20);
        }
        for _ in 0..2 {
            shim.remove_token("other", CKR_DEVICE_REMOVED);
            other.wait_for_health(HealthStatus::Unavailable);
            traffic[0].wait_for_successes(200);
            assert_eq!(scene.health(), HealthStatus::Active);
            shim.insert_tokens();
            traffic[1].wait_for_successes(50);
            other.wait_for_health(HealthStatus::Active);
        }
        let [tally, others] = traffic.map(Traffic::stop);
        assert_eq!(tally.failed(), 0, "{tally:?}");
        others.assert_only(&[BackendErrorKind::Unavailable]);
        assert_eq!(shim.counters().finalized, 0);
        // The module is finalized after the last one.
        assert!(std::sync::Arc::into_inner(other.backend).unwrap().shutdown(CEILING));
        assert_eq!(shim.counters().finalized, 0);
        scene.end();
        assert_eq!(shim.counters().finalized, 1);
    });
}
