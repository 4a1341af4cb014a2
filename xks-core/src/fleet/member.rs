//! A member of a fleet as the fleet sees it: its backend, its load, its breaker, what it last said about
//! itself; and one request's stay with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

use super::{
    breaker::{Breaker, Change, Millis, Policy, State},
    clock::Clock,
    health::Report,
};
use crate::{
    BackendError, KeyBackend,
    audit::clipped,
    backend::{BackendErrorKind, EkmStatus, Health, HealthStatus},
    text::ErrorChain,
};

pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) backend: Arc<dyn KeyBackend>,
    pub(super) is_standby: bool,
    pub(super) breaker: Breaker,
    pub(super) in_flight: AtomicUsize,
    /// Its last health said that nothing of it is as it should be.
    pub(super) is_degraded: AtomicBool,
    last_health: ArcSwapOption<Health>,
}

impl Member {
    pub(super) fn new(id: Arc<str>, backend: Arc<dyn KeyBackend>, is_standby: bool, policy: Policy) -> Self {
        Self {
            id,
            backend,
            is_standby,
            breaker: Breaker::new(policy),
            in_flight: AtomicUsize::new(0),
            is_degraded: AtomicBool::new(false),
            last_health: ArcSwapOption::empty(),
        }
    }

    /// Takes note of an answer about its health, and tells what the fleet says about it.
    // HLT-1
    pub(super) fn hear(&self, answer: Result<Health, BackendError>, now: Millis) -> Report {
        let (is_answer, change, reason) = match answer {
            Ok(health) => {
                let is_active = |member: &EkmStatus| member.status() == HealthStatus::Active;
                let is_degraded = health.is_usable() && !health.members().iter().any(is_active);
                self.is_degraded.store(is_degraded, Ordering::Relaxed);
                let change = if health.is_usable() {
                    self.breaker.hear_that_it_works(now)
                } else {
                    self.breaker.hear_that_it_fails(now)
                };
                self.last_health.store(Some(Arc::new(health)));
                (true, change, "its health is UNAVAILABLE".into())
            }
            // It is there and full, which is no reason to stop asking it.
            Err(error) if error.kind() == BackendErrorKind::Throttled => (false, Change::None, String::new()),
            Err(error) => {
                let change = self.breaker.hear_that_it_fails(now);
                (false, change, format!("its health: {}", ErrorChain(&error)))
            }
        };
        self.log(change, &reason);
        Report {
            health: self.last_health.load_full(),
            is_answer,
            is_open: matches!(self.breaker.state(), State::Open { .. }),
        }
    }

    /// Tells the operator when a member is taken out and when it comes back.
    fn log(&self, change: Change, reason: &str) {
        let member = &*self.id;
        match change {
            Change::None => {}
            Change::Opened { back_off } => {
                let back_off_ms = u64::try_from(back_off.as_millis()).unwrap_or(u64::MAX);
                let reason = clipped(reason);
                tracing::warn!(
                    target: "xks::fleet",
                    member,
                    back_off_ms,
                    reason,
                    "circuit breaker opened: other members serve instead of this one"
                );
            }
            Change::Closed => tracing::info!(target: "xks::fleet", member, "circuit breaker closed: this member \
                 serves again"),
        }
    }
}

/// One request's stay with a member. However it ends, dropped futures included, the member's load counts
/// down.
pub(super) struct Attempt<'f> {
    pub(super) member: &'f Member,
    is_probe: bool,
    clock: &'f Clock,
    started: Instant,
    /// So long is long enough to blame the member.
    fair: Duration,
    is_settled: bool,
}

impl<'f> Attempt<'f> {
    /// `started` is when this attempt begins.
    pub(super) fn start(
        member: &'f Member,
        is_probe: bool,
        clock: &'f Clock,
        started: Instant,
        fair: Duration,
    ) -> Self {
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            member,
            is_probe,
            clock,
            started,
            fair,
            is_settled: false,
        }
    }

    /// It answered: whatever it said, it works.
    pub(super) fn answered(mut self) {
        self.is_settled = true;
        let change = self.member.breaker.succeed();
        self.member.log(change, "");
    }

    /// It failed.
    pub(super) fn failed(mut self, error: &BackendError) {
        self.fail(|| ErrorChain(error).to_string());
    }

    /// It ended without telling whether the member works.
    pub(super) fn told_nothing(mut self) {
        self.is_settled = true;
        self.release();
    }

    fn release(&self) {
        if self.is_probe {
            self.member.breaker.release_probe();
        }
    }

    fn fail(&mut self, reason: impl FnOnce() -> String) {
        self.is_settled = true;
        let change = self.member.breaker.fail(self.is_probe, self.clock.millis());
        if change != Change::None {
            self.member.log(change, &reason());
        }
    }
}

impl Drop for Attempt<'_> {
    /// An attempt that is dropped tells something only if the member had its fair time.
    fn drop(&mut self) {
        self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.is_settled {
            return;
        }
        if self.clock.since(self.started) >= self.fair {
            self.fail(|| "no response when the request was abandoned".into());
        } else {
            self.release();
        }
    }
}
