//! The fault campaign: failures of a module, of a token, and by other components, during traffic. In each: no
//! lost or wrong answer, no crash, no session or thread left behind.
#![allow(
    clippy::print_stdout,
    reason = "how long and how often, for the reader of a failed run"
)]

mod bits;
mod closed;
mod codes;
mod fleet;
mod full;
mod honest;
mod hung;
mod ivs;
mod keys;
mod lacking;
mod life;
mod pin;
mod reinitialized;
mod removed;
mod shared;
mod storms;
mod stuck;
mod suspects;
mod sweep;
mod tokens;
mod traffic;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{Config, Dispatch, Pkcs11Backend, Status};
use xks_core::{BackendError, KeyBackend as _, backend::HealthStatus};
use xks_pkcs11_fixture::{Function, Functions, KeyTemplate, Profile, Shim, SoftHsm, thread_count};

use self::traffic::Traffic;
use crate::{
    checks::VALUE,
    support::{CEILING, PIN, TOKEN, open, round_trip, run, vendor_config, wait_until},
};

/// So long that no request is late because a machine is busy; tests of the deadline have one of their own.
const DEADLINE: Duration = Duration::from_secs(5);
/// What a busy machine may add to a deadline: less than the minute for which a call hangs, and more than
/// anything else takes.
const GRACE: Duration = Duration::from_secs(30);
/// How many sessions serve requests.
const SESSIONS: u64 = 4;
/// The keys of the traffic.
pub(crate) const KEYS: [&str; 3] = ["known", "second", "third"];
pub(crate) const BOTH: [Dispatch; 2] = [Dispatch::Inline, Dispatch::Threads];

/// A backend on a shim, and the process's state before it.
pub(crate) struct Scene {
    pub(crate) shim: Shim,
    pub(crate) backend: Arc<Pkcs11Backend>,
    threads: usize,
    violations_are_checked: bool,
}

impl Scene {
    /// On SoftHSM2 as it is.
    pub(crate) fn new(hsm: &SoftHsm, change: impl FnOnce(Config) -> Config) -> Self {
        make_keys(hsm);
        Self::again(&Shim::load(), Profile::SoftHsm, change)
    }

    /// On the token that is there already.
    pub(crate) fn again(shim: &Shim, profile: Profile, change: impl FnOnce(Config) -> Config) -> Self {
        shim.profile(profile);
        let threads = thread_count();
        Self {
            backend: Arc::new(open(change(vendor_config(shim.path(), profile).deadline(DEADLINE)))),
            shim: shim.clone(),
            threads,
            violations_are_checked: true,
        }
    }

    /// For tests in which the module itself breaks rules.
    pub(crate) fn without_rules(mut self) -> Self {
        self.violations_are_checked = false;
        self
    }

    pub(crate) fn traffic(&self, tasks: usize) -> Traffic {
        Traffic::start(&self.backend, &KEYS, tasks)
    }

    pub(crate) fn status(&self) -> Status {
        self.backend.status()
    }

    /// HLT-1: the answer to KMS, which never takes long.
    pub(crate) fn health(&self) -> HealthStatus {
        let start = Instant::now();
        let health = run(self.backend.health()).unwrap();
        assert!(start.elapsed() < GRACE, "health took {:?}", start.elapsed());
        health.members()[0].status()
    }

    /// Shuts down a backend beside another that goes on.
    #[track_caller]
    pub(crate) fn end_beside(self) {
        self.wait_for_health(HealthStatus::Active);
        let backend = Arc::into_inner(self.backend).expect("the backend has another owner");
        assert!(backend.shutdown(CEILING), "calls did not return");
    }

    /// Waits until health is as it should be, and KMS learns so.
    #[track_caller]
    pub(crate) fn wait_for_health(&self, status: HealthStatus) {
        wait_until(&format!("health {status}"), || {
            self.status().health == status && self.health() == status
        });
    }

    /// Waits until all sessions are open, which is a little after the start.
    #[track_caller]
    pub(crate) fn wait_for_sessions(&self) {
        self.shim
            .wait_until("all sessions", |counters| counters.open_sessions >= SESSIONS + 2);
    }

    /// Everything works, and nothing was left behind: no calls, no sessions, no threads.
    #[track_caller]
    pub(crate) fn end(self) {
        self.wait_for_health(HealthStatus::Active);
        let enough = SESSIONS + 2;
        self.shim.wait_until("no sessions beyond those in use", |counters| {
            counters.open_sessions <= enough
        });
        self.end_as_it_is();
    }

    /// The same, in whatever health.
    #[track_caller]
    pub(crate) fn end_as_it_is(self) {
        let status = self.status();
        assert_eq!((status.abandoned, status.queued), (0, 0), "{status:?}");
        wait_until("nothing runs", || self.status().running == 0);
        let leaked = self.shim.counters().leaked_sessions;
        let backend = Arc::into_inner(self.backend).expect("no other reference to the backend");
        assert!(backend.shutdown(CEILING), "calls did not return");
        let counters = self.shim.counters();
        assert_eq!(counters.open_sessions, 0, "sessions were left open");
        assert_eq!(
            counters.leaked_sessions, leaked,
            "sessions were open when the module was finalized"
        );
        assert_eq!(counters.in_flight, 0);
        wait_until("no thread is left", || thread_count() <= self.threads);
        if self.violations_are_checked {
            self.shim.assert_clean();
        }
    }
}

/// Waits until nothing has been called for so long: the supervisor is through with what it was notified of.
fn wait_for_silence(shim: &Shim, quiet: Duration) {
    let mut before = shim.counters();
    wait_until("silence", || {
        std::thread::sleep(quiet);
        let now = shim.counters();
        std::mem::replace(&mut before, now.clone()) == now
    });
}

/// The token and the keys of the traffic.
pub(crate) fn make_keys(hsm: &SoftHsm) {
    hsm.token(TOKEN, PIN);
    hsm.key(TOKEN, &KeyTemplate::aes256(KEYS[0]).value(VALUE));
    for key in &KEYS[1..] {
        hsm.key(TOKEN, &KeyTemplate::aes256(key));
    }
}

/// The functions that the backend calls, but those that end something.
pub(crate) fn beginnings() -> Functions {
    Function::C_Initialize
        | Function::C_GetSlotList
        | Function::C_GetTokenInfo
        | Function::C_GetMechanismInfo
        | Function::C_OpenSession
        | Function::C_GetSessionInfo
        | Function::C_Login
        | Function::C_GenerateKey
        | Function::C_GenerateRandom
        | Functions::CRYPT
}

/// How long an encryption with a decryption takes, and how it ends.
pub(crate) fn timed(backend: &Pkcs11Backend, key: &str) -> (Duration, Result<(), BackendError>) {
    let start = Instant::now();
    let outcome = run(round_trip(backend, key, b"plaintext"));
    (start.elapsed(), outcome)
}
