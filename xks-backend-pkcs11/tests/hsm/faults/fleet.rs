//! Two HSMs with the same keys as a fleet, one of which is killed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{Config, Pkcs11Backend};
use xks_core::{
    KeyBackend as _,
    backend::{BackendErrorKind, HealthStatus},
    fleet::{BreakerState, Fleet},
};
use xks_pkcs11_fixture::{
    Counters, Function, Functions, KeyTemplate, Profile, Shim, SoftHsm, When, own_process, shim_path,
    sys::{CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED},
    thread_count,
};

use super::{KEYS, traffic::Traffic};
use crate::{
    checks::VALUE,
    support::{CEILING, PIN, open, run, vendor_config, wait_until},
};

/// The time of an attempt with each member. KMS waits for 250 ms, of which each would have 80; but no busy
/// machine should make a request fail here.
const DEADLINE: Duration = Duration::from_millis(2500);
const ATTEMPT: Duration = Duration::from_secs(2);

/// One HSM dies under load: all its calls fail, for good, with a timer of the fleet's and with only the
/// deadlines of the members. No request fails, also not those that are in it at the moment; health says so;
/// and when it is replaced it gets requests again.
#[test]
fn one_fails() {
    own_process("faults::fleet::one_fails", |hsm| {
        killed(hsm, |shim| shim.sticky_storm(CKR_DEVICE_ERROR), Shim::calm);
    });
}

/// One HSM dies under load: all its calls hang, for good. No request fails, for there is time for the other
/// one.
#[test]
fn one_hangs() {
    own_process("faults::fleet::one_hangs", |hsm| {
        killed(hsm, |shim| shim.hang(but_ends(), When::always()), Shim::release);
    });
}

/// One HSM's token is taken out under load: no request fails.
#[test]
fn one_is_taken_out() {
    own_process("faults::fleet::one_is_taken_out", |hsm| {
        killed(hsm, |shim| shim.remove_tokens(CKR_DEVICE_REMOVED), Shim::insert_tokens);
    });
}

/// Both HSMs die: requests fail at once, and are served as soon as one is back.
#[test]
fn both_fail() {
    own_process("faults::fleet::both_fail", |hsm| {
        let pair = Pair::new(hsm, true);
        let traffic = pair.traffic();
        traffic.wait_for_successes(50);
        for shim in &pair.shims {
            shim.sticky_storm(CKR_DEVICE_ERROR);
        }
        traffic.wait_for_failures(50);
        pair.shims[1].calm();
        let took = traffic.wait_for_successes(1);
        println!("served again after {took:?}");
        let before = traffic.so_far();
        traffic.wait_for_successes(100);
        pair.shims[0].calm();
        wait_until("both work", || pair.both_work());
        let tally = traffic.stop();
        println!("{} served, {} failed", tally.ok, tally.failed());
        tally.assert_only(&[BackendErrorKind::Unavailable]);
        let failure = tally.average_failure(BackendErrorKind::Unavailable);
        assert!(failure < ATTEMPT, "{failure:?}");
        assert!(before.failed() > 0);
        pair.end();
    });
}

fn killed(hsm: &SoftHsm, kill: impl Fn(&Shim), revive: impl Fn(&Shim)) {
    for with_timer in [true, false] {
        let pair = Pair::new(hsm, with_timer);
        let traffic = pair.traffic();
        traffic.wait_for_successes(100);
        let before = pair.served();
        assert!(before.iter().all(|served| *served > 0), "both serve: {before:?}");

        kill(&pair.shims[0]);
        traffic.wait_for_successes(300);
        // What KMS asks for now and then.
        let health = run(pair.fleet.health()).unwrap();
        assert!(health.is_usable());
        let start = Instant::now();
        wait_until("health says so", || {
            let health = run(pair.fleet.health()).unwrap();
            health.members()[0].status() == HealthStatus::Unavailable
                && health.members()[1].status() == HealthStatus::Active
        });
        println!("said after {:?}: {:?}", start.elapsed(), pair.backends[0].status());
        traffic.wait_for_successes(100);

        revive(&pair.shims[0]);
        let start = Instant::now();
        wait_until("it is back", || pair.both_work());
        let before = pair.served();
        wait_until("it gets requests", || pair.served()[0] > before[0] + 20);
        println!("back after {:?}", start.elapsed());
        let tally = traffic.stop();
        println!("{} served, slowest {:?}, timer: {with_timer}", tally.ok, tally.slowest);
        assert_eq!(tally.failed(), 0, "{tally:?}");
        pair.end();
    }
}

/// All calls but those that a backend that is being dropped needs.
fn but_ends() -> Functions {
    Function::C_OpenSession | Function::C_GetSessionInfo | Functions::FIND | Functions::CRYPT | Function::C_GetTokenInfo
}

/// Two modules, each with a token of its own on which there are the same keys, and a fleet of both.
struct Pair {
    shims: [Shim; 2],
    backends: [Arc<Pkcs11Backend>; 2],
    fleet: Arc<Fleet>,
    threads: usize,
}

impl Pair {
    fn new(hsm: &SoftHsm, with_timer: bool) -> Self {
        let number = usize::from(with_timer);
        let tokens = [format!("one-{number}"), format!("two-{number}")];
        for token in &tokens {
            hsm.token(token, PIN);
            for key in KEYS {
                hsm.key(token, &KeyTemplate::aes256(key).value(VALUE));
            }
        }
        let shims = [Shim::copy(), Shim::copy()];
        assert!(shims.iter().all(|shim| shim.path() != shim_path()));
        let threads = thread_count();
        let backend = |shim: &Shim, token: &String| {
            let config: Config = vendor_config(shim.path(), Profile::SoftHsm)
                .slot(xks_backend_pkcs11::SlotSelector::TokenLabel(token.clone()))
                .deadline(DEADLINE)
                .id(token);
            Arc::new(open(config))
        };
        let backends = [backend(&shims[0], &tokens[0]), backend(&shims[1], &tokens[1])];
        let fleet = Fleet::builder()
            .member("one", Arc::clone(&backends[0]) as _)
            .member("two", Arc::clone(&backends[1]) as _)
            .back_off(Duration::from_millis(200), Duration::from_secs(1))
            .attempt(ATTEMPT)
            .budget(Duration::from_secs(25));
        let fleet = if with_timer {
            fleet.timer(tokio::time::sleep)
        } else {
            fleet
        };
        Self {
            shims,
            backends,
            fleet: Arc::new(fleet.build().unwrap()),
            threads,
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic::start(&self.fleet, &KEYS, 8)
    }

    /// How many operations each has begun.
    fn served(&self) -> [u64; 2] {
        let began = |counters: &Counters| counters.of(Function::C_EncryptInit) + counters.of(Function::C_DecryptInit);
        self.shims.each_ref().map(|shim| began(&shim.counters()))
    }

    fn both_work(&self) -> bool {
        let health = run(self.fleet.health()).unwrap();
        let are_active = health
            .members()
            .iter()
            .all(|member| member.status() == HealthStatus::Active);
        are_active
            && self
                .fleet
                .members()
                .all(|member| member.breaker == BreakerState::Closed)
    }

    fn end(self) {
        drop(self.fleet);
        for (backend, shim) in self.backends.into_iter().zip(&self.shims) {
            let backend = Arc::into_inner(backend).unwrap();
            assert!(backend.shutdown(CEILING));
            assert_eq!(shim.counters().open_sessions, 0);
            shim.assert_clean();
        }
        wait_until("no thread is left", || thread_count() <= self.threads);
    }
}
