//! Sessions for callers that call the module on their own threads.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{
    Load, REST, Refusal, Refused, Slot,
    sync::{Condvar, Mutex, MutexGuard, now},
};

/// The sessions; `P` is a slot for one.
pub(crate) struct Sessions<P> {
    deadline: Duration,
    queue_length: usize,
    /// Whether a session slot is fit for a request.
    prepare: Box<dyn Fn(&mut P) -> bool + Send + Sync>,
    state: Mutex<State<P>>,
    came_back: Condvar,
}

struct State<P> {
    /// The one that was used last is taken first.
    free: Vec<P>,
    /// Not fit for a request, until the time beside it.
    resting: Vec<(P, Instant)>,
    /// The calls that are under way.
    taken: Vec<Call>,
    done: Option<Instant>,
    waiting: usize,
    is_stopped: bool,
    refused: u64,
    timed_out: u64,
}

/// A call that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Call {
    since: Instant,
    /// How long it may take.
    patience: Duration,
}

impl Call {
    fn hangs(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > self.patience
    }
}

impl<P: Slot> Sessions<P> {
    pub(crate) fn new(
        places: impl Iterator<Item = P>,
        prepare: impl Fn(&mut P) -> bool + Send + Sync + 'static,
        queue_length: usize,
        deadline: Duration,
    ) -> Self {
        Self {
            deadline,
            queue_length,
            prepare: Box::new(prepare),
            state: Mutex::new(State {
                free: places.collect(),
                resting: Vec::new(),
                taken: Vec::new(),
                done: None,
                waiting: 0,
                is_stopped: false,
                refused: 0,
                timed_out: 0,
            }),
            came_back: Condvar::new(),
        }
    }

    /// Does work on this thread, within the deadline of requests. When all sessions are taken it waits for
    /// one, unless too many wait already.
    pub(crate) fn run<T>(&self, work: impl FnOnce(&mut P, Instant) -> Result<T, P::Error>) -> Result<T, P::Error> {
        self.run_within(self.deadline, work)
    }

    /// The same, for work that may take so long.
    pub(crate) fn run_within<T>(
        &self,
        patience: Duration,
        work: impl FnOnce(&mut P, Instant) -> Result<T, P::Error>,
    ) -> Result<T, P::Error> {
        let deadline = now() + patience;
        loop {
            let (slot, call) = self.take(deadline, patience)?;
            let mut taken = Taken {
                sessions: self,
                slot: Some(slot),
                call,
                is_fit: true,
            };
            let Some(slot) = &mut taken.slot else {
                return Err(Refusal::Unavailable.because("no session was taken").into());
            };
            taken.is_fit = (self.prepare)(slot);
            if taken.is_fit {
                return work(slot, deadline);
            }
        }
    }

    fn take(&self, deadline: Instant, patience: Duration) -> Result<(P, Call), Refused> {
        let mut state = self.state();
        let mut has_waited = false;
        loop {
            if state.is_stopped {
                return Err(Refusal::Unavailable.because("the backend is shut down"));
            }
            state.wake_rested();
            if let Some(slot) = state.free.pop() {
                let call = Call { since: now(), patience };
                state.taken.push(call);
                return Ok((slot, call));
            }
            if state.taken.is_empty() {
                state.refused += 1;
                return Err(Refusal::Throttled.because("other applications use all sessions that the token allows"));
            }
            if !has_waited && state.waiting >= self.queue_length {
                state.refused += 1;
                return Err(Refusal::Throttled.because("the queue for the token is full"));
            }
            let patience = deadline.saturating_duration_since(now());
            if patience.is_zero() {
                state.timed_out += 1;
                return Err(Refusal::Timeout.because("no session was free within the deadline"));
            }
            has_waited = true;
            state.waiting += 1;
            (state, _) = self
                .came_back
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    pub(crate) fn load(&self) -> Load {
        let (state, now) = (self.state(), now());
        let abandoned = state.taken.iter().filter(|call| call.hangs(now)).count();
        let others = state.free.len() + state.taken.len() - abandoned;
        let mut load = Load {
            sessions: others,
            queued: state.waiting,
            running: state.taken.len(),
            abandoned,
            is_stuck: abandoned > 0 && others == 0,
            refused: state.refused,
            timed_out: state.timed_out,
            done: state.done,
            returned: state.done,
            ..Load::default()
        };
        // What takes longer than a request by right says nothing of others, until it takes longer than that.
        let tells = |call: &&Call| call.patience <= self.deadline || call.hangs(now);
        state
            .taken
            .iter()
            .filter(tells)
            .for_each(|call| load.add_call(call.since));
        load
    }

    /// Gives out no more sessions, closes those that are free, and waits for the others; says how many are
    /// still taken.
    pub(crate) fn stop_within(&self, patience: Duration) -> usize {
        let end = now() + patience;
        let mut state = self.state();
        state.is_stopped = true;
        self.came_back.notify_all();
        loop {
            let mut free = std::mem::take(&mut state.free);
            free.extend(state.resting.drain(..).map(|(slot, _)| slot));
            let patience = end.saturating_duration_since(now());
            if state.taken.is_empty() || patience.is_zero() {
                let taken = state.taken.len();
                drop(state);
                drop(free); // which closes them
                return taken;
            }
            (state, _) = self
                .came_back
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner);
            state.free.extend(free);
        }
    }
}

impl<P> Sessions<P> {
    fn state(&self) -> MutexGuard<'_, State<P>> {
        // Nothing panics while this is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> State<P> {
    /// Those that have rested are tried again, when no other is free.
    fn wake_rested(&mut self) {
        if self.resting.is_empty() {
            return;
        }
        let now = now();
        for (slot, until) in std::mem::take(&mut self.resting) {
            if until <= now {
                self.free.insert(0, slot);
            } else {
                self.resting.push((slot, until));
            }
        }
    }
}

/// A session that comes back, also when the work panics.
struct Taken<'a, P> {
    sessions: &'a Sessions<P>,
    slot: Option<P>,
    call: Call,
    is_fit: bool,
}

impl<P> Drop for Taken<'_, P> {
    fn drop(&mut self) {
        let mut state = self.sessions.state();
        if let Some(index) = state.taken.iter().position(|call| *call == self.call) {
            state.taken.swap_remove(index);
        }
        match self.slot.take() {
            Some(slot) if !self.is_fit => state.resting.push((slot, now() + REST)),
            slot => {
                state.done = Some(now());
                state.free.extend(slot);
            }
        }
        let (is_awaited, is_stopped) = (state.waiting > 0, state.is_stopped);
        drop(state);
        if is_stopped {
            // Several may wait for the end.
            self.sessions.came_back.notify_all();
        } else if is_awaited {
            self.sessions.came_back.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    fn sessions(number: usize, queue_length: usize, fit: fn(&mut usize) -> bool) -> Sessions<usize> {
        Sessions::new(0..number, fit, queue_length, Duration::from_millis(200))
    }

    fn kind<T>(outcome: Result<T, Refused>) -> Refusal {
        outcome.map(|_| ()).unwrap_err().refusal
    }

    #[test]
    fn those_who_wait_are_served_and_no_more_than_may_do() {
        let sessions = sessions(1, 1, |_| true);
        let (sessions, served) = (&sessions, AtomicUsize::new(0));
        thread::scope(|scope| {
            let outer = sessions.run(|_, _| {
                scope.spawn(|| sessions.run(|_, _| Ok(served.fetch_add(1, Ordering::SeqCst))).unwrap());
                while sessions.load().queued == 0 {
                    thread::yield_now();
                }
                assert_eq!(kind(sessions.run(|_, _| Ok(()))), Refusal::Throttled);
                Ok(())
            });
            outer.unwrap();
        });
        assert_eq!(served.into_inner(), 1);
        let load = sessions.load();
        assert_eq!((load.sessions, load.running, load.queued, load.refused), (1, 0, 0, 1));
    }

    #[test]
    fn who_waits_too_long_is_told_so() {
        let sessions = sessions(1, 1, |_| true);
        let inner = sessions.run(|_, _| Ok(kind(sessions.run(|_, _| Ok(())))));
        assert_eq!(inner.unwrap(), Refusal::Timeout);
        assert_eq!(sessions.load().timed_out, 1);
    }

    #[test]
    fn a_session_comes_back_from_a_panic() {
        let sessions = sessions(1, 0, |_| true);
        let work = || sessions.run(|_, _| -> Result<(), Refused> { panic!("on purpose") });
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
        assert_eq!(sessions.run(|slot, _| Ok(*slot)).unwrap(), 0);
        assert_eq!(sessions.stop_within(Duration::ZERO), 0);
        assert_eq!(kind(sessions.run(|_, _| Ok(()))), Refusal::Unavailable);
    }

    #[test]
    fn places_that_are_not_fit_rest_and_others_serve() {
        let some = sessions(3, 0, |slot| *slot == 0);
        for _ in 0..5 {
            assert_eq!(some.run(|slot, _| Ok(*slot)).unwrap(), 0);
        }
        let none = sessions(3, 0, |_| false);
        assert_eq!(kind(none.run(|_, _| Ok(()))), Refusal::Throttled);
        assert_eq!(none.stop_within(Duration::ZERO), 0);
    }
}
