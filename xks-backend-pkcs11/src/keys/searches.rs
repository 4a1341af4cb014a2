//! The searches that are under way: how many, for how long, and which are left to the supervisor.
//!
//! At most two searches run at a time, more where they are quick, and one for each key. A search that takes
//! more than half of a request's deadline is left to the supervisor: the request that asked for it fails with
//! `Timeout`, and the next one finds the result.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use xks_core::KeyId;

/// How many keys are searched for at once. On SoftHSM2 with a thousand keys a search takes as long as a
/// thousand encryptions, and many at once would take the machine.
const MOST_SEARCHES: usize = 2;
/// The same, where they take little of a request's time. Where handles are good in one session, each makes
/// its own.
const MOST_QUICK_SEARCHES: usize = 16;
/// Of how many searches it is known how long they took.
const MOST_NOTED: usize = 3;
/// How many keys wait for the supervisor to search for them.
const MOST_LEFT: usize = 256;

pub(super) struct Searches {
    deadline: Duration,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// When each began.
    under_way: Vec<Instant>,
    /// Left to the supervisor.
    left: VecDeque<KeyId>,
    /// How long the last ones took.
    took: VecDeque<Duration>,
}

impl State {
    /// How long a search takes: the shortest of the last ones, for one that hung says nothing of the others.
    fn takes(&self) -> Duration {
        self.took.iter().min().copied().unwrap_or_default()
    }

    /// How many may be under way at once: as many as take a quarter of a request's time one after the other.
    fn most(&self, deadline: Duration) -> usize {
        let fit = (deadline / 4).as_nanos().checked_div(self.takes().as_nanos());
        let fit = fit.and_then(|fit| usize::try_from(fit).ok());
        fit.unwrap_or_default().clamp(MOST_SEARCHES, MOST_QUICK_SEARCHES)
    }
}

impl Searches {
    pub(super) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            state: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    /// How long a search may take before others no longer wait for it: a request that comes when the first
    /// request's time is over has half of its own left for one; and where they take long, a multiple of what
    /// they take.
    pub(super) fn patience(&self) -> Duration {
        let takes = self.state().takes();
        (self.deadline.saturating_mul(3) / 2).max(takes.saturating_mul(8))
    }

    /// Whether a search may take more of a request's time than there is. On SoftHSM2 with ten thousand keys
    /// it does.
    pub(super) fn are_slow(&self) -> bool {
        self.state().takes() > self.deadline / 2
    }

    pub(super) fn note(&self, took: Duration) {
        let mut state = self.state();
        if state.took.len() >= MOST_NOTED {
            state.took.pop_front();
        }
        state.took.push_back(took);
    }

    /// Waits until fewer than the most searches that may be are under way; none if that takes too long.
    pub(super) fn turn(&self, deadline: Instant) -> Option<Turn<'_>> {
        let patience = self.patience();
        let mut state = self.state();
        loop {
            let now = Instant::now();
            // Those that hang are not waited for.
            let is_waited_for = |began: &&Instant| now.duration_since(**began) < patience;
            if state.under_way.iter().filter(is_waited_for).count() < state.most(self.deadline) {
                state.under_way.push(now);
                return Some(Turn {
                    searches: self,
                    began: now,
                });
            }
            if now >= deadline {
                return None;
            }
            (state, _) = self
                .ended
                .wait_timeout(state, deadline - now)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Leaves a search to the supervisor; false if too many are.
    pub(super) fn leave(&self, id: &KeyId) -> bool {
        let mut state = self.state();
        let has_room = state.left.len() < MOST_LEFT;
        if has_room && !state.left.contains(id) {
            state.left.push_back(id.clone());
        }
        has_room
    }

    /// The next search that is left to the supervisor.
    pub(super) fn next_left(&self) -> Option<KeyId> {
        self.state().left.pop_front()
    }

    pub(super) fn are_left(&self) -> bool {
        !self.state().left.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves behind is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A search that is under way.
pub(super) struct Turn<'a> {
    searches: &'a Searches,
    began: Instant,
}

impl Turn<'_> {
    /// How long it has taken, now that it has ended.
    pub(super) fn took(&self) -> Duration {
        let took = self.began.elapsed();
        self.searches.note(took);
        took
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.searches.state();
        if let Some(index) = state.under_way.iter().position(|began| *began == self.began) {
            state.under_way.swap_remove(index);
        }
        drop(state);
        self.searches.ended.notify_all();
    }
}
