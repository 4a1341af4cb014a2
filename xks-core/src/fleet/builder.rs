//! The builder of a fleet, and its errors.

use std::{
    fmt,
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use thiserror::Error;

use super::{
    Fleet,
    bound::Bound,
    breaker::{Policy, millis},
    clock::Clock,
    keys::{Intervals, Keys},
    member::Member,
    set::Set,
};
use crate::{
    KeyBackend,
    timer::{SystemClock, Timer},
};

/// Collects what a [`Fleet`] needs.
#[must_use = "a builder does nothing until `build` is called"]
pub struct FleetBuilder {
    members: Vec<(Arc<str>, Arc<dyn KeyBackend>, bool)>,
    timer: Arc<dyn Timer>,
    attempt: Duration,
    budget: Duration,
    policy: Policy,
    compare_again: Intervals,
}

impl FleetBuilder {
    pub(super) fn new() -> Self {
        Self {
            members: Vec::new(),
            timer: Arc::new(SystemClock),
            attempt: Fleet::DEFAULT_ATTEMPT,
            budget: Fleet::DEFAULT_BUDGET,
            policy: Policy {
                failures: 3,
                first: 1_000,
                longest: 30_000,
            },
            compare_again: Intervals {
                settled: 600_000,
                unsettled: 10_000,
            },
        }
    }

    /// Adds a member. Audit records and the health answer call it `id`: at least one character, none of them
    /// a control character, and not the id of another member.
    pub fn member(self, id: impl Into<Arc<str>>, backend: Arc<dyn KeyBackend>) -> Self {
        self.with(id.into(), backend, false)
    }

    /// Adds a member that gets requests only when every other one's breaker is open, or has failed this very
    /// request: a machine far away, or one that costs for each call.
    pub fn standby_member(self, id: impl Into<Arc<str>>, backend: Arc<dyn KeyBackend>) -> Self {
        self.with(id.into(), backend, true)
    }

    fn with(mut self, id: Arc<str>, backend: Arc<dyn KeyBackend>, is_standby: bool) -> Self {
        self.members.push((id, backend, is_standby));
        self
    }

    /// Sets a timer of the runtime that the fleet is used in, such as `tokio::time::sleep`. It is asked to
    /// wait only for members that do not answer at once.
    ///
    /// Without a timer, a member that hangs keeps a request until its caller drops it: members have to answer
    /// [`Timeout`](crate::backend::BackendErrorKind::Timeout) themselves in time.
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.timer = Arc::new(timer);
        self
    }

    /// Sets how long a member may take before the request goes to the next one; by default
    /// [`Fleet::DEFAULT_ATTEMPT`]. The last one that is left may take the whole rest of the
    /// [`budget`](Self::budget).
    ///
    /// Too short, and a member that is merely slow is taken for a broken one; too long, and there is no time
    /// left for another member. A fleet within this one needs room for its own attempts.
    pub const fn attempt(mut self, attempt: Duration) -> Self {
        self.attempt = attempt;
        self
    }

    /// Sets how long the members may take together for one operation; by default [`Fleet::DEFAULT_BUDGET`].
    /// No member is asked after that. It is also how long all of them may take, at once, to tell their
    /// health.
    pub const fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// Sets how many failures in a row open a member's breaker; by default 3. One may be an accident, and
    /// each of them costs a request the time of an attempt.
    pub const fn failures_to_open(mut self, failures: NonZeroU16) -> Self {
        self.policy.failures = failures.get();
        self
    }

    /// Sets how long a breaker stays open the first time, and at most; by default 1 s and 30 s. It doubles
    /// each time a probe fails, and starts again once an operation succeeds. The first should outlast a
    /// hiccup of the network. The longest is how late a member may be used again after it has come back,
    /// where no health request comes meanwhile. Counted in milliseconds, at least one.
    pub fn back_off(mut self, first: Duration, longest: Duration) -> Self {
        self.policy.first = millis(first).max(1);
        self.policy.longest = millis(longest).max(1);
        self
    }

    /// Sets how long after a [comparison](Fleet::compare) a key is compared again: `settled` if all members
    /// have answered and agree, by default 10 minutes, and `unsettled` if not, by default 10 s. Counted in
    /// milliseconds, at least one.
    pub fn compare_again(mut self, settled: Duration, unsettled: Duration) -> Self {
        self.compare_again = Intervals {
            settled: millis(settled).max(1),
            unsettled: millis(unsettled).max(1),
        };
        self
    }

    /// Builds the fleet.
    ///
    /// # Errors
    /// A [`FleetError`]: something is missing or cannot be.
    pub fn build(self) -> Result<Fleet, FleetError> {
        if self.members.is_empty() {
            return Err(FleetError::NoMember);
        }
        if self.members.len() > Set::MOST_MEMBERS {
            return Err(FleetError::TooManyMembers(self.members.len()));
        }
        if self.attempt.is_zero() || self.budget.is_zero() {
            return Err(FleetError::NoTime);
        }
        let mut members: Vec<Member> = Vec::with_capacity(self.members.len());
        for (id, backend, is_standby) in self.members {
            if id.is_empty() || id.contains(char::is_control) {
                return Err(FleetError::MemberId(id.to_string()));
            }
            if members.iter().any(|member| member.id == id) {
                return Err(FleetError::SameMemberId(id.to_string()));
            }
            members.push(Member::new(id, backend, is_standby, self.policy));
        }
        Ok(Fleet {
            members: members.into(),
            turn: AtomicUsize::new(0),
            clock: Clock::new(self.timer),
            attempt: self.attempt.min(self.budget),
            budget: self.budget,
            keys: Keys::new(self.compare_again),
            second_opinions: Bound::new(Fleet::SECOND_OPINIONS_PER_SECOND, Fleet::SECOND_OPINIONS_PER_SECOND),
            comparisons: Bound::new(Fleet::COMPARISONS_PER_SECOND, 4 * Fleet::COMPARISONS_PER_SECOND),
            is_comparing: AtomicBool::new(false),
        })
    }
}

impl fmt::Debug for FleetBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.members.iter().map(|(id, ..)| id).collect();
        f.debug_struct("FleetBuilder")
            .field("members", &ids)
            .field("attempt", &self.attempt)
            .field("budget", &self.budget)
            .field("breaker", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The error of a fleet that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FleetError {
    /// There is none to ask.
    #[error("a fleet must have at least one member")]
    NoMember,
    /// More than it can tell apart; make them fleets within a fleet.
    #[error("a fleet must have at most 64 members, not {0}: nest fleets")]
    TooManyMembers(usize),
    /// An id that is empty or has a control character.
    #[error("{0:?} is not an id of a member: it needs at least one character, and no control character")]
    MemberId(String),
    /// Two members of the same id.
    #[error("two members have the same id {0:?}")]
    SameMemberId(String),
    /// An attempt or a budget of no time at all.
    #[error("`attempt` and `budget` must be greater than zero")]
    NoTime,
}
