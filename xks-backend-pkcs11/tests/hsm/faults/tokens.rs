//! Tokens that are not listed, that return, and that others replace.

use std::{fs, path::PathBuf, time::Duration};

use xks_backend_pkcs11::{Config, OpenError, Pkcs11Backend, SlotSelector};
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{
    Counters, Function, KeyTemplate, Profile, Shim, SoftHsm, TokenField, When, own_process, sys::*,
};

use super::{BOTH, KEYS, Scene, make_keys, traffic::Traffic};
use crate::support::{PIN, TOKEN, assert_fails, encrypt, open, round_trip, run, vendor_config, wait_until};

const OTHER: &str = "other";

/// A second token with the same keys.
fn make_other(hsm: &SoftHsm) {
    hsm.token(OTHER, PIN);
    for key in KEYS {
        hsm.key(OTHER, &KeyTemplate::aes256(key));
    }
}

fn on_other(config: Config) -> Config {
    config.slot(SlotSelector::TokenLabel(OTHER.into()))
}

/// SoftHSM2 says nothing of a token for a moment while another process writes to it. As long as its sessions
/// work, no request fails because of that, and nothing is opened again.
#[test]
fn one_that_is_not_to_be_seen_for_a_moment() {
    own_process("faults::tokens::one_that_is_not_to_be_seen_for_a_moment", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (dispatch, code) in BOTH.into_iter().zip([CKR_GENERAL_ERROR, CKR_TOKEN_NOT_PRESENT]) {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(dispatch).health_interval(Duration::from_millis(20))
            });
            let traffic = scene.traffic(6);
            traffic.wait_for_successes(20);
            let before = shim.counters();
            // More tests would confirm that it is gone.
            let few = 6;
            shim.fail(Function::C_GetTokenInfo, code, When::times(few));
            shim.empty_slot_list(When::times(few));
            let looks = |counters: &Counters| counters.of(Function::C_GetTokenInfo);
            shim.wait_until("the looks", |now| looks(now) > looks(&before) + few);
            // The test itself fails too, once, and then the token is not listed.
            shim.clear();
            let before = shim.counters();
            shim.empty_slot_list(When::times(few));
            shim.fail(Function::C_GenerateRandom, CKR_DEVICE_ERROR, When::once());
            shim.fail(Function::C_GetSessionInfo, CKR_DEVICE_ERROR, When::once());
            let listed = |counters: &Counters| counters.of(Function::C_GetSlotList);
            shim.wait_until("the lists", |now| listed(now) >= listed(&before) + 4);
            traffic.wait_for_successes(50);
            let tally = traffic.stop();
            assert_eq!(tally.failed(), 0, "{tally:?}");
            assert_eq!(shim.counters().initialized, before.initialized);
            shim.clear();
            scene.end();
        }
    });
}

/// HLT-1: a token that stays away counts as absent, although its sessions still work.
#[test]
fn one_that_is_not_to_be_seen_any_more() {
    own_process("faults::tokens::one_that_is_not_to_be_seen_any_more", |hsm| {
        let scene = Scene::new(hsm, |config| config.health_interval(Duration::from_millis(20)));
        scene
            .shim
            .fail(Function::C_GetTokenInfo, CKR_TOKEN_NOT_PRESENT, When::always());
        scene.wait_for_health(HealthStatus::Unavailable);
        scene.shim.clear();
        scene.end();
    });
}

/// A token that says nothing of itself any more, as SoftHSM2's may until it is initialized again, cannot say
/// that a key is absent. It is not taken for gone because of a look or two, and known keys are served on.
#[test]
fn one_that_cannot_tell_that_a_key_is_absent() {
    own_process("faults::tokens::one_that_cannot_tell_that_a_key_is_absent", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
            run(round_trip(&*scene.backend, KEYS[0], b"")).unwrap();
            let initialized = shim.counters().initialized;
            let absent = || run(encrypt(&*scene.backend, "absent", b""));
            // The supervisor's looks meet with some of these; the request may be answered after them.
            shim.fail(Function::C_GetTokenInfo, CKR_GENERAL_ERROR, When::times(3));
            assert!(absent().is_err());
            shim.wait_until("the looks", |counters| counters.injected >= 3);
            shim.clear();
            assert_fails(absent(), BackendErrorKind::KeyNotFound);
            run(round_trip(&*scene.backend, KEYS[0], b"")).unwrap();
            assert_eq!(shim.counters().initialized, initialized);
            shim.fail(Function::C_GetTokenInfo, CKR_GENERAL_ERROR, When::always());
            wait_until("it is initialized again", || absent_again(&scene, initialized));
            shim.clear();
            wait_until("it is back", || run(round_trip(&*scene.backend, KEYS[0], b"")).is_ok());
            assert_fails(absent(), BackendErrorKind::KeyNotFound);
            scene.end();
            shim.reset();
        }
    });
}

/// A request for a key that is not known, of which the token does not say that it is absent; whether the
/// module has been initialized since.
fn absent_again(scene: &Scene, initialized: u64) -> bool {
    let outcome = run(encrypt(&*scene.backend, "another", b""));
    assert_fails(outcome, BackendErrorKind::Unavailable);
    scene.shim.counters().initialized > initialized
}

/// A token of two is away, and is back once the module is reinitialized: that is done in the end. The
/// other token's requests wait for it, and none of them fails.
#[test]
fn one_of_two_that_is_back_unseen() {
    own_process("faults::tokens::one_of_two_that_is_back_unseen", |hsm| {
        make_keys(hsm);
        make_other(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
            let other = Scene::again(&shim, Profile::SoftHsm, on_other);
            let traffic = [&scene, &other].map(|scene| scene.traffic(4));
            for traffic in &traffic {
                traffic.wait_for_successes(20);
            }
            let before = shim.counters().initialized;
            shim.remove_token(OTHER, CKR_DEVICE_REMOVED);
            other.wait_for_health(HealthStatus::Unavailable);
            shim.insert_tokens_unseen();
            traffic[1].wait_for_successes(50);
            traffic[0].wait_for_successes(50);
            other.wait_for_health(HealthStatus::Active);
            let [tally, others] = traffic.map(Traffic::stop);
            assert_eq!(tally.failed(), 0, "{tally:?}");
            others.assert_only(&[BackendErrorKind::Unavailable]);
            assert!(shim.counters().initialized > before);
            // Once only.
            assert!(shim.counters().initialized <= before + 3, "{:?}", shim.counters());
            other.end_beside();
            scene.end();
        }
    });
}

/// The same with a token of SoftHSM2's that is moved away and back, and one that is made while the other is
/// served.
#[test]
fn one_of_two_that_is_moved_away() {
    own_process("faults::tokens::one_of_two_that_is_moved_away", |hsm| {
        make_keys(hsm);
        let folders = || -> Vec<PathBuf> {
            let folders = fs::read_dir(hsm.folder().join("tokens")).unwrap();
            folders.map(|folder| folder.unwrap().path()).collect()
        };
        let first = folders();
        let shim = Shim::load();
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
        let traffic = scene.traffic(4);
        traffic.wait_for_successes(20);
        make_other(hsm);
        let other = Scene::again(&shim, Profile::SoftHsm, on_other);
        let there = folders().into_iter().find(|folder| !first.contains(folder)).unwrap();
        let away = hsm.folder().join("away");
        fs::rename(&there, &away).unwrap();
        wait_until("health tells", || {
            assert!(run(encrypt(&*other.backend, KEYS[0], b"")).is_err());
            other.status().health == HealthStatus::Unavailable
        });
        fs::rename(&away, &there).unwrap();
        wait_until("it is back", || run(round_trip(&*other.backend, KEYS[0], b"")).is_ok());
        traffic.wait_for_successes(20);
        let tally = traffic.stop();
        assert_eq!(tally.failed(), 0, "{tally:?}");
        other.end_beside();
        scene.end();
    });
}

/// Another token with the label of the one that was served need not have its keys: it is refused, and sees no
/// PIN. The one before is taken again when it is back.
#[test]
fn another_with_the_same_label() {
    own_process("faults::tokens::another_with_the_same_label", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (dispatch, closed) in BOTH.into_iter().zip([true, false]) {
            for field in [TokenField::Serial, TokenField::Model, TokenField::Manufacturer] {
                shim.reset();
                let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                    config.dispatch(dispatch).health_interval(Duration::from_millis(20))
                });
                run(round_trip(&*scene.backend, KEYS[0], b"")).unwrap();
                shim.tell(field, "another");
                if closed {
                    shim.close_sessions();
                    // None of those that are opened now is one of the other token's.
                    assert_fails(
                        run(encrypt(&*scene.backend, KEYS[0], b"")),
                        BackendErrorKind::Unavailable,
                    );
                }
                wait_until("the problem", || {
                    let problem = scene.status().problem.unwrap_or_default();
                    problem.contains("is not the one used before") && problem.contains("\"another\"")
                });
                let text = assert_fails(
                    run(encrypt(&*scene.backend, KEYS[0], b"")),
                    BackendErrorKind::Unavailable,
                );
                assert!(text.contains("token_serial") && text.contains("restart"), "{text}");
                assert_eq!(shim.counters().logins(), 1, "the PIN was sent to another token");
                // Neither does one that is opened beside it, as at a reload.
                let config = || vendor_config(shim.path(), Profile::SoftHsm);
                let error = Pkcs11Backend::open(config()).unwrap_err();
                assert!(matches!(error, OpenError::AnotherToken { .. }), "{error:?}");
                assert_eq!(shim.counters().logins(), 1, "the PIN was sent to another token");
                // Unless the configuration allows it.
                drop(open(config().token_may_change(true)));
                if field == TokenField::Serial {
                    drop(open(config().slot(SlotSelector::Serial("another".into()))));
                }
                shim.clear();
                wait_until("it is back", || run(round_trip(&*scene.backend, KEYS[0], b"")).is_ok());
                scene.end();
            }
        }
    });
}

/// A second token of the label: the one that is served stays, also when it has to be found again.
#[test]
fn a_second_one_of_the_label() {
    own_process("faults::tokens::a_second_one_of_the_label", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let before = scene.shim.counters().initialized;
        hsm.token(TOKEN, "4321");
        scene.shim.sticky(CKR_DEVICE_ERROR);
        wait_until("it is back", || {
            run(round_trip(&*scene.backend, KEYS[0], b"")).is_ok() && scene.shim.counters().initialized > before
        });
        scene.end();
    });
}
