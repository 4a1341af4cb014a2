//! Calls that do not return: their requests are answered at the deadline, and others go on (TRN-8).

use std::time::{Duration, Instant};

use xks_backend_pkcs11::KeyName;
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Function, KeyTemplate, When, own_process, thread_count};

use super::{GRACE, KEYS, Scene, timed, wait_for_silence};
use crate::support::{TOKEN, id, metadata, run, wait_until};

/// So long that few requests are late because a machine is busy.
const DEADLINE: Duration = Duration::from_secs(1);

/// One hung call of each function that a request may be in: that request is answered `Timeout` at its
/// deadline, all others go on meanwhile, health is DEGRADED; and when the call returns, everything is as it
/// was.
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
        scene.wait_for_sessions();
        let threads = thread_count();
        for function in FUNCTIONS {
            if function == Function::C_OpenSession {
                scene.shim.close_sessions();
            } else {
                // The supervisor's calls after the previous round: the hang is meant for a request.
                wait_for_silence(&scene.shim, Duration::from_millis(300));
            }
            scene.shim.hang(function, When::once());
            // No request has asked for this name before, so that it is searched for.
            let (took, error) = timed(&scene.backend, function.name());
            println!("{function:?}: {took:?}, {error:?}");
            assert_eq!(error.unwrap_err().kind(), BackendErrorKind::Timeout, "{function:?}");
            assert!((DEADLINE..DEADLINE + GRACE).contains(&took), "{function:?}: {took:?}");
            assert_eq!(scene.shim.counters().hung, 1);
            wait_until("the call is abandoned", || scene.status().abandoned == 1);
            scene.wait_for_health(HealthStatus::Degraded);

            let traffic = scene.traffic(6);
            traffic.wait_for_successes(200);
            let tally = traffic.stop();
            assert!(
                tally.failed() <= tally.ok / 20,
                "{function:?}: more than a busy machine explains: {tally:?}"
            );
            tally.assert_only(&[BackendErrorKind::Timeout]);
            assert_eq!(scene.shim.counters().hung, 1, "it hangs still");
            scene.shim.release();
            wait_until("the call returns", || scene.status().abandoned == 0);
            scene.wait_for_health(HealthStatus::Active);
            wait_until("as many threads as before", || thread_count() == threads);
        }
        scene.end();
    });
}

/// A search that hangs keeps no other request from the same key for longer than its own deadline.
#[test]
fn a_search() {
    own_process("faults::hung::a_search", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE));
        for function in [
            Function::C_FindObjectsInit,
            Function::C_FindObjects,
            Function::C_GetAttributeValue,
        ] {
            // One that is not known yet.
            let key = &format!("later-{function:?}");
            hsm.key(TOKEN, &KeyTemplate::aes256(key));
            scene.shim.hang(function, When::once());
            let (_, outcome) = timed(&scene.backend, key);
            assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Timeout);
            wait_until("another request finds the key", || timed(&scene.backend, key).1.is_ok());
            run(metadata(&*scene.backend, key)).unwrap();
            scene.shim.release();
            wait_until("the call returns", || {
                let status = scene.status();
                (status.running, status.abandoned) == (0, 0)
            });
        }
        scene.end();
    });
}

/// As many searches hang as there may be at once: others are made nevertheless, and keys that are known need
/// none.
#[test]
fn all_searches() {
    own_process("faults::hung::all_searches", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE));
        let traffic = scene.traffic(2);
        traffic.wait_for_successes(20);
        for key in ["later-1", "later-2", "later-3"] {
            hsm.key(TOKEN, &KeyTemplate::aes256(key));
        }
        scene.shim.hang(Function::C_FindObjects, When::times(2));
        for key in ["later-1", "later-2"] {
            assert_eq!(
                timed(&scene.backend, key).1.unwrap_err().kind(),
                BackendErrorKind::Timeout
            );
        }
        for key in ["later-3", "later-1", "later-2"] {
            let (took, outcome) = timed(&scene.backend, key);
            println!("{key}: {took:?}");
            outcome.unwrap();
        }
        assert_eq!(scene.shim.counters().hung, 2, "they hang still");
        let tally = traffic.stop();
        assert!(
            tally.failed() <= 2 + tally.ok / 20,
            "more than a busy machine explains: {tally:?}"
        );
        scene.shim.release();
        wait_until("the calls return", || scene.status().abandoned == 0);
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
        wait_until("three calls are abandoned", || scene.status().abandoned == 3);
        traffic.wait_for_successes(200);
        scene.wait_for_health(HealthStatus::Degraded);
        scene.shim.release();
        wait_until("the calls return", || scene.status().abandoned == 0);
        traffic.wait_for_successes(50);
        let tally = traffic.stop();
        tally.assert_only(&[BackendErrorKind::Timeout]);
        let late = tally.of(BackendErrorKind::Timeout);
        assert!(
            (3..=3 + tally.ok / 20).contains(&late),
            "more than three and what a busy machine explains: {tally:?}"
        );
        assert!(tally.slowest < DEADLINE + GRACE, "{tally:?}");
        assert_eq!(scene.status().timed_out, late);
        scene.end();
    });
}

/// Everything hangs, and requests are rare: health does not wait until all sessions are lost. While other
/// requests are served, the token stays DEGRADED.
#[test]
fn all_calls_of_few() {
    own_process("faults::hung::all_calls_of_few", |hsm| {
        let scene = Scene::new(hsm, |config| {
            config.deadline(DEADLINE).health_interval(Duration::from_millis(100))
        });
        // No request is under way, so this is the supervisor's.
        scene.shim.hang(Function::C_Decrypt, When::once());
        scene.shim.wait_until("the test hangs", |counters| counters.hung == 1);
        let traffic = scene.traffic(2);
        scene.shim.hang(Function::C_Decrypt, When::once());
        wait_until("a call is abandoned", || scene.status().abandoned > 0);
        let start = Instant::now();
        while start.elapsed() < DEADLINE + Duration::from_secs(2) {
            assert_eq!(scene.health(), HealthStatus::Degraded);
            std::thread::sleep(Duration::from_millis(20));
        }
        traffic.stop();
        scene.shim.release();
        scene.wait_for_health(HealthStatus::Active);

        scene
            .shim
            .hang(Function::C_Encrypt | Function::C_Decrypt, When::always());
        let (_, outcome) = timed(&scene.backend, KEYS[0]);
        assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Timeout);
        scene.wait_for_health(HealthStatus::Unavailable);
        assert_eq!(scene.status().abandoned, 1, "others are left");
        scene.shim.release();
        scene.wait_for_health(HealthStatus::Active);
        scene.end();
    });
}

/// Everything hangs: what is in the module and in the queue is answered at the deadline, what comes later is
/// answered `Unavailable` at once, health is UNAVAILABLE and told at once. As soon as calls return, requests
/// are served.
#[test]
fn all_calls() {
    own_process("faults::hung::all_calls", |hsm| {
        let scene = Scene::new(hsm, |config| config.deadline(DEADLINE).max_abandoned(2));
        let traffic = scene.traffic(16);
        for (functions, closes_sessions) in [
            (Function::C_Encrypt | Function::C_Decrypt, false),
            (Function::C_OpenSession.into(), true),
        ] {
            traffic.wait_for_successes(50);
            scene.wait_for_sessions();
            scene.shim.hang(functions, When::always());
            if closes_sessions {
                scene.shim.close_sessions();
            }
            traffic.wait_for_failures(16);
            scene.wait_for_health(HealthStatus::Unavailable);
            assert_eq!(scene.status().abandoned, 6, "four threads, and two in their places");
            let (took, outcome) = timed(&scene.backend, KEYS[0]);
            assert_eq!(outcome.unwrap_err().kind(), BackendErrorKind::Unavailable);
            println!("Unavailable after {took:?}");
            assert!(took < GRACE, "{took:?}");
            traffic.wait_for_everyone();
            let before = traffic.so_far();
            traffic.wait_for_failures(100);
            let tally = traffic.so_far();
            tally.assert_only(&[BackendErrorKind::Timeout, BackendErrorKind::Unavailable]);
            // What came before all threads were abandoned was late, and nothing after that is.
            let late = BackendErrorKind::Timeout;
            assert_eq!(tally.of(late), before.of(late), "{tally:?}");
            let failure = tally.average_failure(BackendErrorKind::Unavailable);
            assert!(failure < DEADLINE, "{tally:?}");

            scene.shim.release();
            let took = traffic.wait_for_successes(1);
            println!("first answer after the release: {took:?}");
            wait_until("all calls return", || scene.status().abandoned == 0);
            wait_until("a while without failures", || {
                let before = traffic.so_far();
                traffic.wait_for_successes(100);
                traffic.so_far().failed() == before.failed()
            });
        }
        traffic.stop();
        scene.end();
    });
}

/// A test of the token hangs: requests are served, and status and health are answered at once.
#[test]
fn the_test_call() {
    own_process("faults::hung::the_test_call", |hsm| {
        let scene = Scene::new(hsm, |config| config.health_interval(Duration::from_millis(50)));
        // No request is under way, so this is the supervisor's.
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

const FUNCTIONS: [Function; 9] = [
    // First, for after another login no key is known.
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
