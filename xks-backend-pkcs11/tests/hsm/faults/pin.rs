//! A PIN that the token refuses is never sent again by the process, and one that fails for another reason
//! less and less often: HSMs lock.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{OpenError, Pin, Pkcs11Backend};
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Counters, Function, Profile, Shim, SoftHsm, Violation, When, own_process, sys::*};

use super::{BOTH, KEYS, Scene, make_keys, traffic::Traffic};
use crate::support::{PIN, TOKEN, assert_fails, encrypt, run, vendor_config, wait_until};

/// Long enough for several attempts to recover.
const SEVERAL_INTERVALS: Duration = Duration::from_millis(600);

/// A backend with a wrong PIN is not opened, says why, and has tried once; opened again with the same PIN, it
/// has not tried at all.
#[test]
fn wrong_at_the_start() {
    own_process("faults::pin::wrong_at_the_start", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let opens = [Pkcs11Backend::open, Pkcs11Backend::open_when_ready];
        for (number, profile) in Profile::ALL.into_iter().enumerate() {
            shim.profile(profile);
            for (second, open) in opens.into_iter().enumerate() {
                let pin = profile.pin(&format!("43{number}{second}"));
                for logins in [1, 0, 0] {
                    let config = vendor_config(shim.path(), profile).pin(Pin::new(pin.clone()));
                    let error = open(config).unwrap_err();
                    assert!(matches!(error, OpenError::PinRefused(_)), "{profile:?}: {error:?}");
                    sleep(Duration::from_millis(50));
                    let counters = shim.counters();
                    assert_eq!((counters.logins(), counters.logged_in), (logins, 0));
                    assert_eq!((counters.open_sessions, counters.leaked_sessions), (0, 0));
                    assert_eq!((counters.initialized, counters.finalized), (1, 1));
                    shim.assert_clean();
                    shim.reset();
                }
            }
        }
        // The right PIN works.
        Scene::again(&shim, Profile::SoftHsm, |config| config).end();
    });
}

/// The token no longer accepts the PIN, and logs the user out: only one of all requests and recovery attempts
/// sends the PIN, and every caller learns why.
#[test]
fn refused_after_a_logout() {
    own_process("faults::pin::refused_after_a_logout", |hsm| refused(hsm, Shim::log_out));
}

/// The same, but it closes all sessions.
#[test]
fn refused_after_closing() {
    own_process("faults::pin::refused_after_closing", |hsm| {
        refused(hsm, |shim| {
            let before = shim.counters().logins();
            // A login lasts as long as any session does, and one may be opened before the last old one has
            // gone.
            wait_until("a login", || {
                shim.close_sessions();
                sleep(Duration::from_millis(5));
                shim.counters().logins() > before
            });
        });
    });
}

fn refused(hsm: &SoftHsm, fault: impl Fn(&Shim)) {
    make_keys(hsm);
    let shim = Shim::load();
    let cases = [(CKR_PIN_INCORRECT, PIN, "98765"), (CKR_PIN_LOCKED, "98765", "56789")];
    for (dispatch, (code, pin, next)) in BOTH.into_iter().zip(cases) {
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
            let config = config.recovery_interval(Duration::from_millis(50));
            config.dispatch(dispatch).pin(Pin::new(pin))
        });
        let traffic = scene.traffic(8);
        traffic.wait_for_successes(20);
        // SoftHSM2 itself would take the old PIN until it is reinitialized.
        shim.fail(Function::C_Login, code, When::always());
        let before = shim.counters();
        fault(&shim);
        check_refusal(scene, traffic, &before);

        // Opened again with the same PIN, it is not tried; with another one that is right, everything works.
        shim.clear();
        shim.reset();
        let error = Pkcs11Backend::open(vendor_config(shim.path(), Profile::SoftHsm).pin(Pin::new(pin))).unwrap_err();
        assert!(matches!(error, OpenError::PinRefused(_)), "{error:?}");
        let advice = if code == CKR_PIN_LOCKED {
            "security officer"
        } else {
            "correct it"
        };
        assert!(error.to_string().contains(advice), "{error}");
        assert_eq!(shim.counters().logins(), 0);
        hsm.change_pin(TOKEN, next);
        works(&shim, next);
    }
}

/// The PIN is changed by another process while the backend runs, which is not noticed until the module has to
/// be reinitialized.
#[test]
fn changed() {
    own_process("faults::pin::changed", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
            config.recovery_interval(Duration::from_millis(50))
        });
        let traffic = scene.traffic(8);
        hsm.change_pin(TOKEN, "9876");
        traffic.wait_for_successes(20);
        assert_eq!(traffic.so_far().failed(), 0);
        let before = shim.counters();
        shim.sticky(CKR_DEVICE_ERROR);
        check_refusal(scene, traffic, &before);
        shim.reset();
        works(&shim, "9876");
    });
}

/// Requests fail and say why, for good, and there was one login that was refused.
fn check_refusal(scene: Scene, traffic: Traffic, before: &Counters) {
    traffic.wait_for_failures(50);
    scene.wait_for_health(HealthStatus::Unavailable);
    sleep(SEVERAL_INTERVALS);
    let counters = scene.shim.counters();
    assert_eq!(counters.logins() - before.logins(), 1);
    assert_eq!(counters.logged_in, before.logged_in);
    assert_eq!(scene.shim.violated(Violation::LoginAfterRefusal), 0);
    let text = assert_fails(
        run(encrypt(&*scene.backend, KEYS[0], b"")),
        BackendErrorKind::Unavailable,
    );
    assert!(text.contains("rejected the PIN"), "{text}");
    let problem = scene.status().problem.unwrap();
    assert!(problem.contains("rejected the PIN"), "{problem}");
    traffic.stop().assert_only(&[BackendErrorKind::Unavailable]);
    scene.end_as_it_is();
}

fn works(shim: &Shim, pin: &str) {
    let scene = Scene::again(shim, Profile::SoftHsm, |config| config.pin(Pin::new(pin)));
    let traffic = scene.traffic(4);
    traffic.wait_for_successes(20);
    assert_eq!(traffic.stop().failed(), 0);
    scene.end();
}

/// A token that is gone when its PIN is changed is found again, and tried once.
#[test]
fn changed_while_the_token_was_out() {
    own_process("faults::pin::changed_while_the_token_was_out", |hsm| {
        let scene = Scene::new(hsm, |config| config.recovery_interval(Duration::from_millis(50)));
        scene.shim.remove_tokens(CKR_TOKEN_NOT_PRESENT);
        let refused = || run(encrypt(&*scene.backend, KEYS[0], b"")).is_err();
        wait_until("the removal is noticed", || {
            refused()
                && scene
                    .status()
                    .problem
                    .is_some_and(|problem| problem.contains("no token"))
        });
        let before = scene.shim.counters();
        hsm.change_pin(TOKEN, "9876");
        sleep(Duration::from_millis(200));
        assert_eq!(
            scene.shim.counters().logins(),
            before.logins(),
            "no login without a token"
        );
        scene.shim.insert_tokens();
        wait_until("the refusal", || {
            scene.status().problem.is_some_and(|problem| problem.contains("PIN"))
        });
        sleep(SEVERAL_INTERVALS);
        assert_eq!(scene.shim.counters().logins() - before.logins(), 1);
        scene.end_as_it_is();
    });
}

/// A login that fails with a code that does not tell of the PIN is tried less and less often while the token
/// is down, and an attempt to open it again waits as well. When it succeeds, all is as before.
#[test]
fn not_told_of() {
    own_process("faults::pin::not_told_of", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for code in [CKR_FUNCTION_FAILED, CKR_VENDOR_DEFINED + 1] {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.recovery_interval(Duration::from_millis(10))
            });
            let backend = &*scene.backend;
            shim.fail(Function::C_Login, code, When::always());
            let before = shim.counters().logins();
            let logins = || shim.counters().logins() - before;
            let start = Instant::now();
            shim.log_out();
            wait_until("the token is down", || {
                let _fails = run(encrypt(backend, KEYS[0], b""));
                scene.status().health == HealthStatus::Unavailable
            });
            wait_until("five attempts", || {
                let text = assert_fails(run(encrypt(backend, KEYS[0], b"")), BackendErrorKind::Unavailable);
                assert!(text.contains("the login failed"), "{text}");
                sleep(Duration::from_millis(5));
                logins() >= 5
            });
            let problem = scene.status().problem.unwrap();
            assert!(
                problem.contains("times in a row") && problem.contains("the PIN is not locked"),
                "{problem}"
            );
            let again = Pkcs11Backend::open(vendor_config(shim.path(), Profile::SoftHsm)).unwrap_err();
            assert!(
                matches!(again, OpenError::LoginPostponed { attempts: 5.., .. }),
                "{again:?}"
            );
            // The first two at once, then after half a second, a second, two seconds: no clock is too slow
            // for that.
            let least = Duration::from_millis(500) * ((1 << (logins() - 2)) - 1);
            assert!(start.elapsed() >= least, "{} within {:?}", logins(), start.elapsed());
            shim.clear();
            scene.wait_for_health(HealthStatus::Active);
            run(encrypt(backend, KEYS[0], b"")).unwrap();
            scene.end();
        }
    });
}
