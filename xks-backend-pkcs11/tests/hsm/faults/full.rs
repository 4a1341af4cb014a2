//! More requests than a token can serve, fewer sessions than configured, and overloaded HSMs: KMS is told to
//! retry, and never that something is broken.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{Dispatch, IvSource, OpenError, Phase, Pkcs11Backend, Quirks, ReturnCode};
use xks_core::{
    KeyBackend as _,
    backend::{BackendErrorKind as Kind, HealthStatus},
};
use xks_pkcs11_fixture::{
    Function, Profile, Shim, When, own_process,
    sys::{CKR_DEVICE_ERROR, CKR_KEY_HANDLE_INVALID, CKR_VENDOR_DEFINED},
};

use super::{BOTH, GRACE, KEYS, Scene, make_keys};
use crate::support::{assert_fails, decrypt, encrypt, round_trip, run, vendor_config, wait_until};

const LATENCY: Duration = Duration::from_millis(20);

/// 200 requests at once for four sessions, with a short queue: those that find it full are `Throttled` at
/// once, all others are served.
#[test]
fn the_queue() {
    own_process("faults::full::the_queue", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(dispatch).queue_length(16).deadline(2 * GRACE)
            });
            shim.latency_of_operations(LATENCY);
            let outcomes = rush(&scene);
            let served = count(&outcomes, None);
            let throttled = count(&outcomes, Some(Kind::Throttled));
            println!("{dispatch:?}: {served} served, {throttled} Throttled");
            assert_eq!(served + throttled, outcomes.len(), "{outcomes:?}");
            assert!(served >= 16 && throttled > 0, "{served} served, {throttled} Throttled");
            let slowest = outcomes.iter().filter(|(kind, _)| kind.is_some()).map(|(_, took)| took);
            assert!(*slowest.max().unwrap() < GRACE);
            assert_eq!(scene.status().refused, throttled as u64);
            shim.clear();
            scene.end();
        }
    });
}

/// The same with a long queue and a short deadline: nothing waits for longer, and what could not be begun in
/// time is answered `Timeout`.
#[test]
fn the_time() {
    own_process("faults::full::the_time", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let deadline = Duration::from_millis(100);
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(dispatch).queue_length(100).deadline(deadline)
            });
            shim.latency_of_operations(LATENCY);
            let outcomes = rush(&scene);
            let served = count(&outcomes, None);
            let throttled = count(&outcomes, Some(Kind::Throttled));
            let late = count(&outcomes, Some(Kind::Timeout));
            println!("{dispatch:?}: {served} served, {throttled} Throttled, {late} late");
            assert_eq!(served + throttled + late, outcomes.len(), "{outcomes:?}");
            assert!(served > 0 && throttled > 0 && late > 0, "{outcomes:?}");
            let slowest = outcomes.iter().map(|(_, took)| *took).max().unwrap();
            assert!(slowest < deadline + GRACE, "{slowest:?}");
            assert_eq!(scene.status().timed_out, late as u64);
            shim.clear();
            scene.end();
        }
    });
}

/// A token that opens fewer sessions than configured, without announcing a limit, is used with those:
/// requests wait and are served.
#[test]
fn sessions_that_are_not_told_of() {
    own_process("faults::full::sessions_that_are_not_told_of", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            // One that keeps the login alive, one for tests, two for requests.
            shim.limit_sessions(4);
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
            run(async {
                for _ in 0..50 {
                    encrypt(&*scene.backend, KEYS[0], b"").await.unwrap();
                }
            });
            let traffic = scene.traffic(8);
            traffic.wait_for_successes(200);
            let tally = traffic.stop();
            println!("{dispatch:?}: {} served, {} failed", tally.ok, tally.failed());
            tally.assert_only(&[Kind::Throttled]);
            // Those that find out that there are no more.
            assert!(tally.failed() <= 8, "{tally:?}");
            shim.limit_sessions(0);
            scene.end();
        }
    });
}

/// A token that says how many sessions it allows is not asked for more, whatever happens.
#[test]
fn sessions_that_are_told_of() {
    own_process("faults::full::sessions_that_are_told_of", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (dispatch, limit) in [(Dispatch::Inline, 5), (Dispatch::Threads, 5), (Dispatch::Threads, 4)] {
            shim.limit_sessions_and_tell(limit);
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(dispatch));
            let traffic = scene.traffic(8);
            for fault in [Shim::log_out, Shim::close_sessions, Shim::log_out] {
                traffic.wait_for_successes(50);
                traffic.wait_for_everyone();
                fault(&shim);
            }
            traffic.wait_for_successes(50);
            let tally = traffic.stop();
            assert_eq!(tally.failed(), 0, "{dispatch:?}: {tally:?}");
            let counters = shim.counters();
            assert!(counters.highest_sessions <= limit, "{counters:?}");
            assert_eq!(counters.finalized, 0);
            shim.limit_sessions(0);
            scene.end();
            shim.reset();
        }
    });
}

/// All sessions of the token are in use when another component logs the user out: the backend recovers
/// without reinitializing the module.
#[test]
fn a_logout_at_the_limit() {
    own_process("faults::full::a_logout_at_the_limit", |hsm| {
        let scene = Scene::new(hsm, |config| config.health_interval(Duration::from_millis(100)));
        let traffic = scene.traffic(8);
        traffic.wait_for_successes(100);
        scene.wait_for_sessions();
        let open = scene.shim.counters().open_sessions;
        scene.shim.limit_sessions(open);
        for _ in 0..3 {
            let before = scene.shim.counters().logins();
            scene.shim.log_out();
            wait_until("another login", || scene.shim.counters().logins() > before);
            traffic.wait_for_successes(50);
        }
        let tally = traffic.stop();
        assert_eq!(scene.shim.counters().finalized, 0, "{tally:?}");
        tally.assert_only(&[Kind::Throttled]);
        scene.shim.limit_sessions(0);
        scene.end();
    });
}

/// An overloaded HSM is not a broken one: its codes for that, which mean something else elsewhere, are
/// answered `Throttled`, its sessions are kept, and its health is the same.
#[test]
fn the_hsm_itself() {
    own_process("faults::full::the_hsm_itself", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::CloudHsm, |config| {
                config.dispatch(dispatch).health_interval(Duration::from_millis(50))
            });
            let traffic = scene.traffic(8);
            traffic.wait_for_successes(50);
            shim.throttle(When::times(20).after(20));
            traffic.wait_for_successes(100);
            shim.throttle(When::always());
            traffic.wait_for_failures(200);
            assert_eq!(scene.health(), HealthStatus::Active);
            shim.clear();
            traffic.wait_for_successes(50);
            let tally = traffic.stop();
            println!("{dispatch:?}: {} served, {} failed", tally.ok, tally.failed());
            tally.assert_only(&[Kind::Throttled]);
            assert_eq!(shim.counters().finalized, 0);
            scene.end();
            shim.reset();
        }
    });
}

/// A key's handle turns out to be void when there is no time left to look for the key again: that says
/// nothing of the key.
#[test]
fn no_time_for_another_search() {
    own_process("faults::full::no_time_for_another_search", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(dispatch).deadline(Duration::from_millis(500))
            });
            run(encrypt(&*scene.backend, KEYS[0], b"")).unwrap();
            shim.latency(Function::C_EncryptInit, Duration::from_millis(550));
            let mut late = 0;
            while late < 5 {
                shim.fail(Function::C_EncryptInit, CKR_KEY_HANDLE_INVALID, When::once());
                // If it succeeds, a test of the token's has met with the fault.
                if let Err(error) = run(encrypt(&*scene.backend, KEYS[0], b"")) {
                    assert_eq!(error.kind(), Kind::Timeout, "{error}");
                    late += 1;
                }
            }
            shim.clear();
            run(encrypt(&*scene.backend, KEYS[0], b"")).unwrap();
            scene.end();
        }
    });
}

/// 200 encryptions at once: how each failed, if it did, and how long it took. A token of two sessions works,
/// whether it announces the limit or not, and recovers; one of a single session reports what is wrong.
#[test]
fn a_token_of_few_sessions() {
    own_process("faults::full::a_token_of_few_sessions", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for limit in [Shim::limit_sessions, Shim::limit_sessions_and_tell] {
            limit(&shim, 1);
            let error = Pkcs11Backend::open(vendor_config(shim.path(), Profile::SoftHsm)).unwrap_err();
            assert!(matches!(error, OpenError::FewSessions), "{error:?}");
            limit(&shim, 2);
            for dispatch in BOTH {
                let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                    let config = config.dispatch(dispatch).health_interval(Duration::from_millis(50));
                    config.recovery_interval(Duration::from_millis(50))
                });
                // Until the threads that get no session have found that out, some are throttled.
                let serves = || {
                    for key in KEYS {
                        wait_until("a request is served", || {
                            let outcome = run(round_trip(&*scene.backend, key, b"plaintext"));
                            outcome
                                .map_err(|error| assert_ne!(error.kind(), Kind::KeyNotFound))
                                .is_ok()
                        });
                    }
                };
                serves();
                shim.log_out();
                wait_until("requests are served after a logout", || {
                    run(round_trip(&*scene.backend, KEYS[0], b"plaintext")).is_ok()
                });
                shim.sticky(CKR_DEVICE_ERROR);
                wait_until("requests are served after a failure", || {
                    run(round_trip(&*scene.backend, KEYS[0], b"plaintext")).is_ok()
                });
                scene.wait_for_health(HealthStatus::Active);
                serves();
                scene.end();
            }
            shim.clear();
        }
    });
}

fn rush(scene: &Scene) -> Vec<(Option<Kind>, Duration)> {
    // Enough threads for those that wait on them.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(200)
        .build()
        .unwrap();
    let requests: Vec<_> = (0..200)
        .map(|number| {
            let backend = Arc::clone(&scene.backend);
            runtime.spawn(async move {
                let start = Instant::now();
                let outcome = encrypt(&*backend, KEYS[number % KEYS.len()], b"plaintext").await;
                (outcome.err().map(|error| error.kind()), start.elapsed())
            })
        })
        .collect();
    requests
        .into_iter()
        .map(|request| runtime.block_on(request).unwrap())
        .collect()
}

fn count(outcomes: &[(Option<Kind>, Duration)], wanted: Option<Kind>) -> usize {
    outcomes.iter().filter(|(kind, _)| *kind == wanted).count()
}

/// Quirks of an unknown vendor say what its own codes mean, and their names.
#[test]
fn codes_of_a_vendors_own() {
    const BUSY: ReturnCode = ReturnCode::new(CKR_VENDOR_DEFINED + 0x101);
    const BAD_TAG: ReturnCode = ReturnCode::new(CKR_VENDOR_DEFINED + 0x102);
    const ACME: Quirks = Quirks::new("acme", "Acme")
        .with_iv_source(IvSource::SystemRandom)
        .with_throttled(&[(Phase::EncryptInit, BUSY), (Phase::DecryptInit, BUSY)])
        .with_invalid_ciphertext(BAD_TAG)
        .with_code_names(&[(BUSY, "ACME_BUSY"), (BAD_TAG, "ACME_BAD_TAG")]);
    own_process("faults::full::codes_of_a_vendors_own", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.quirks(ACME));
        let backend = &*scene.backend;
        let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        shim.fail(Function::C_EncryptInit, BUSY.number(), When::once());
        let text = assert_fails(run(encrypt(backend, KEYS[0], b"")), Kind::Throttled);
        assert!(text.contains("ACME_BUSY"), "{text}");
        // Elsewhere it has another meaning, and is tried again.
        shim.fail(Function::C_Encrypt, BUSY.number(), When::once());
        run(encrypt(backend, KEYS[0], b"")).unwrap();
        let before = shim.counters().of(Function::C_Decrypt);
        shim.fail(Function::C_Decrypt, BAD_TAG.number(), When::once());
        assert_fails(run(decrypt(backend, KEYS[0], &encrypted)), Kind::InvalidCiphertext);
        assert_eq!(
            shim.counters().of(Function::C_Decrypt),
            before + 1,
            "no other attempt is needed"
        );
        assert_eq!(run(backend.health()).unwrap().vendor(), "Acme");
        scene.end();
    });
}
