//! The lease as requests see it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use xks_core::timer::Timer;

use super::{Moment, Trust};
use crate::store::Notifier;

/// How far the system's time may run ahead of the lease clock after a renewal, in milliseconds. When a
/// virtual machine is resumed its clocks go on where they were, and then the system's time is set.
const AHEAD_MS: i64 = 250;

/// Whether this process may serve. A check loads two words and reads two clocks.
pub struct Lease {
    timer: Arc<dyn Timer>,
    /// The lower 16 bits of the join, and 48 bits of milliseconds of the lease clock at which trust ends;
    /// zero while there is none.
    trust: AtomicU64,
    /// By how many milliseconds the system's time was ahead of the lease clock before the last renewal.
    ahead_ms: AtomicI64,
    /// What the lease clock showed, in milliseconds, before that renewal was sent; zero before the first.
    renewed_ms: AtomicU64,
    /// Whether a request has found that the system's time has jumped ahead since.
    has_jumped: Notifier<bool>,
}

/// Says under which join a request has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass(u64);

/// What the clocks showed before a renewal was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) now: Moment,
    ahead_ms: i64,
}

impl Lease {
    /// Where the join begins in the word.
    const JOIN: u32 = 48;
    /// The end of what never ends.
    const NEVER: u64 = (1 << Self::JOIN) - 1;

    pub(super) const fn new(timer: Arc<dyn Timer>) -> Self {
        Self {
            timer,
            trust: AtomicU64::new(0),
            ahead_ms: AtomicI64::new(0),
            renewed_ms: AtomicU64::new(0),
            has_jumped: Notifier::new(false),
        }
    }

    /// Checks the lease when a request starts, before anything is read for it. None: nothing may be answered.
    #[must_use]
    pub fn enter(&self) -> Option<Pass> {
        let trust = self.trust.load(Ordering::Acquire);
        let clocks = self.clocks()?;
        let end_ms = u128::from(trust & Self::NEVER);
        let has_jumped = clocks.ahead_ms - self.ahead_ms.load(Ordering::Relaxed) > AHEAD_MS;
        let has_time = clocks.now.shown().as_millis() < end_ms;
        if has_jumped && has_time && end_ms != u128::from(Self::NEVER) {
            self.has_jumped.set();
            return None;
        }
        has_time.then_some(Pass(trust >> Self::JOIN))
    }

    /// Waits until a request has found that the system's time has jumped ahead, since that was asked last.
    pub(super) async fn jumped(&self) {
        self.has_jumped.wait(|has_jumped| has_jumped.then_some(())).await;
        self.has_jumped.change(|has_jumped| *has_jumped = false);
    }

    /// Checks the lease again before the answer leaves: whether it is trusted, and was without a break.
    #[must_use]
    pub fn holds(&self, pass: Pass) -> bool {
        self.enter() == Some(pass)
    }

    /// Returns how long ago the last renewal was sent that was trusted, also when trust has ended; none
    /// before the first.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let renewed_ms = self.renewed_ms.load(Ordering::Relaxed);
        let now = self.clocks()?.now.shown();
        (renewed_ms > 0).then(|| now.saturating_sub(Duration::from_millis(renewed_ms)))
    }

    /// Reads the clocks; none if there is no lease clock.
    pub(super) fn clocks(&self) -> Option<Clocks> {
        let shown = self.timer.lease_clock()?;
        let system = self.timer.system_time().duration_since(SystemTime::UNIX_EPOCH);
        let ahead_ms = millis(system.unwrap_or_default()) - millis(shown);
        let now = Moment::new(shown);
        Some(Clocks { now, ahead_ms })
    }

    /// Puts in force what the node trusts; `sent` is what the clocks showed before its last renewal was sent.
    pub(super) fn set(&self, trust: Option<Trust>, sent: Clocks) {
        let word = trust.map_or(0, |trust| {
            let end_ms = match trust.end {
                Moment::NEVER => Self::NEVER,
                end => end.shown().as_millis() as u64 & Self::NEVER,
            };
            u64::from(trust.join) << Self::JOIN | end_ms
        });
        self.ahead_ms.store(sent.ahead_ms, Ordering::Relaxed);
        if trust.is_some() {
            self.renewed_ms
                .store(sent.now.shown().as_millis() as u64, Ordering::Relaxed);
        }
        self.trust.store(word, Ordering::Release);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("is_trusted", &self.enter().is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What the lease clock and the system's clock show, in milliseconds.
    struct Shown(Mutex<(u64, u64)>);

    impl Timer for Shown {
        fn lease_clock(&self) -> Option<Duration> {
            Some(Duration::from_millis(self.0.lock().unwrap().0))
        }

        fn system_time(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.lock().unwrap().1)
        }
    }

    fn trust(join: u32, end_ms: u64) -> Option<Trust> {
        let end = Moment::new(Duration::from_millis(end_ms));
        Some(Trust { join, end })
    }

    #[test]
    fn a_lease_ends_on_its_clock_and_a_request_belongs_to_one_join() {
        let shown = Arc::new(Shown(Mutex::new((1_000, 5_000))));
        let lease = Lease::new(Arc::clone(&shown) as _);
        let set = |lease_ms, system_ms| *shown.0.lock().unwrap() = (lease_ms, system_ms);
        assert_eq!((lease.enter(), lease.age()), (None, None));
        let sent = lease.clocks().unwrap();
        lease.set(trust(1, 2_000), sent);
        let pass = lease.enter().unwrap();
        assert_eq!(lease.age(), Some(Duration::ZERO));
        set(1_999, 5_999);
        assert!(lease.holds(pass));
        assert_eq!(lease.age(), Some(Duration::from_millis(999)));
        set(2_000, 6_000);
        assert_eq!(lease.age(), Some(Duration::from_secs(1)), "it has ended");
        assert!(!lease.holds(pass) && lease.enter().is_none());
        lease.set(trust(1, 3_000), sent);
        assert!(lease.holds(pass), "it was renewed");
        lease.set(trust(2, 3_000), sent);
        assert!(!lease.holds(pass) && lease.enter().is_some(), "it has joined again");
        let end = Moment::NEVER;
        lease.set(Some(Trust { join: 2, end }), lease.clocks().unwrap());
        set(9_000, 13_000);
        assert!(lease.enter().is_some(), "it serves on");
        assert_eq!(lease.age(), Some(Duration::from_secs(7)));
        lease.set(None, lease.clocks().unwrap());
        assert_eq!(lease.enter(), None);
        assert_eq!(lease.age(), Some(Duration::from_secs(7)), "nothing was renewed");
    }

    /// A virtual machine was stopped, or the time was set.
    #[test]
    fn a_lease_ends_when_the_systems_time_jumps_ahead() {
        let shown = Arc::new(Shown(Mutex::new((1_000, 5_000))));
        let lease = Lease::new(Arc::clone(&shown) as _);
        lease.set(trust(1, 9_000), lease.clocks().unwrap());
        let set = |lease_ms, system_ms| *shown.0.lock().unwrap() = (lease_ms, system_ms);
        set(2_000, 6_250);
        assert!(lease.enter().is_some());
        set(2_000, 6_251);
        assert_eq!(lease.enter(), None);
        set(2_000, 1);
        assert!(lease.enter().is_some(), "it was set back");
        set(2_000, 60_000);
        lease.set(trust(1, 9_500), lease.clocks().unwrap());
        assert!(lease.enter().is_some(), "it was renewed");
    }

    /// The renewal that follows costs no lapse until the next one that would come by itself.
    #[test]
    fn a_request_that_finds_a_jump_lets_the_lease_be_renewed() {
        let shown = Arc::new(Shown(Mutex::new((1_000, 5_000))));
        let lease = Lease::new(Arc::clone(&shown) as _);
        lease.set(trust(1, 9_000), lease.clocks().unwrap());
        let mut jumped = Box::pin(lease.jumped());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(jumped.as_mut().poll(&mut context).is_pending());
        assert!(lease.enter().is_some());
        assert!(jumped.as_mut().poll(&mut context).is_pending());
        *shown.0.lock().unwrap() = (1_000, 6_000);
        assert_eq!(lease.enter(), None);
        assert!(jumped.as_mut().poll(&mut context).is_ready());
        // A lease that has ended is not renewed by a request.
        *shown.0.lock().unwrap() = (9_000, 90_000);
        assert_eq!(lease.enter(), None);
        let mut jumped = Box::pin(lease.jumped());
        assert!(jumped.as_mut().poll(&mut context).is_pending());
    }

    #[test]
    fn what_never_ends_outlives_each_clock() {
        let shown = Arc::new(Shown(Mutex::new((1_000, 5_000))));
        let lease = Lease::new(Arc::clone(&shown) as _);
        let end = Moment::NEVER;
        lease.set(Some(Trust { join: 3, end }), lease.clocks().unwrap());
        let pass = lease.enter().unwrap();
        *shown.0.lock().unwrap() = (1 << 40, 1 << 44);
        assert!(lease.holds(pass));
        lease.set(None, lease.clocks().unwrap());
        assert!(!lease.holds(pass));
    }
}
