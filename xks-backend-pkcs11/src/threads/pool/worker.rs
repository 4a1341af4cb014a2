//! The threads that do the work, one job after the other.
//!
//! The worker that worked last is woken first, one at a time: its session and memory are warm, and with a
//! fast module, waking all workers in turn costs more than the calls. A thread without a session takes no
//! jobs, so that a token with fewer sessions than configured serves with those it has.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    super::{REST, Slot},
    Shared, State,
    job::{Caller, Waiter, Work},
};
use crate::threads::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
    now, thread,
};

/// One thread, as the others see it.
#[derive(Default)]
pub(super) struct Worker {
    call: Mutex<Call>,
    /// A job has come for it, or its end.
    pub(super) called: Condvar,
    /// Another has come in its place: it is to end.
    is_retired: AtomicBool,
}

#[derive(Default)]
pub(super) struct Call {
    pub(super) running: Option<Running>,
    /// It did not return in time. There may be another thread in its place.
    pub(super) abandoned: Option<Replaced>,
}

/// What a thread is at.
pub(super) struct Running {
    pub(super) since: Instant,
    /// How long it may take.
    pub(super) patience: Duration,
    /// The caller that waits for the answer; none while the thread prepares for a job.
    pub(super) waiter: Option<Arc<dyn Waiter>>,
}

impl Running {
    /// When it has taken too long.
    pub(super) fn hangs_at(&self) -> Instant {
        self.since + self.patience
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    Yes,
    No,
}

/// What became of something that a worker did.
struct Done {
    at: Instant,
    took: Duration,
    /// The caller that has its answer now.
    caller: Option<Caller>,
    /// It took so long that the thread was given up.
    abandoned: Option<Replaced>,
}

impl Done {
    /// Another thread has taken this one's place.
    fn is_replaced(&self) -> bool {
        self.abandoned == Some(Replaced::Yes)
    }
}

impl Worker {
    /// From now on it is at something that may take so long.
    fn begins(&self, patience: Duration, waiter: Option<Arc<dyn Waiter>>) {
        self.call().running = Some(Running {
            since: now(),
            patience,
            waiter,
        });
    }

    /// Does what it has begun.
    fn does(&self, work: impl FnOnce() -> Option<Caller>) -> Done {
        let caller = work();
        let mut call = self.call();
        let since = call.running.take().map(|running| running.since);
        let at = now();
        Done {
            at,
            took: since.map_or(Duration::ZERO, |since| at.saturating_duration_since(since)),
            caller,
            abandoned: call.abandoned.take(),
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::SeqCst)
    }

    pub(super) fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> State<P> {
    /// Notes that a thread's session slot has become fit for a request, or is no more.
    fn note_fit(&mut self, is_fit: bool) {
        self.unfit = if is_fit {
            self.unfit.saturating_sub(1)
        } else {
            self.unfit + 1
        };
    }

    /// Notes a job that is done.
    fn is_through(&mut self, done: Option<Done>) {
        if let Some(Done {
            at,
            took,
            caller,
            abandoned,
        }) = done
        {
            self.pace.note(took);
            self.returned = Some(at);
            if let Some(caller) = caller {
                self.answered.add(caller, at);
            }
            if abandoned.is_none() {
                self.busy -= 1;
                self.done = Some(at);
            }
        }
    }
}

impl<P: Slot> Shared<P> {
    pub(super) fn start_worker(shared: &Arc<Self>, state: &mut State<P>) -> io::Result<()> {
        let worker = Arc::new(Worker::default());
        state.workers.push(Arc::clone(&worker));
        let number = state.workers.len();
        let started = shared.start(
            &number.to_string(),
            Some(Arc::clone(&worker)),
            move |shared| shared.work(&worker),
            state,
        );
        if started.is_err() {
            state.workers.pop();
        }
        started
    }

    /// The life of a worker's thread.
    fn work(&self, worker: &Arc<Worker>) {
        // The one in whose place this has come may have ended since.
        self.join_ended();
        let mut slot = (self.new_slot)();
        let mut done = None;
        let mut was_fit = true;
        while !worker.is_retired() {
            if !was_fit || !slot.is_ready() {
                let mut is_fit = true;
                self.is_through(done.take());
                worker.begins(self.deadline, None);
                let prepared = worker.does(|| {
                    is_fit = (self.prepare)(&mut slot);
                    None
                });
                if prepared.is_replaced() {
                    break;
                }
                if is_fit != was_fit {
                    self.state().note_fit(is_fit);
                    was_fit = is_fit;
                }
                if !is_fit {
                    self.rest();
                    if self.state().is_stopped {
                        break;
                    }
                    continue;
                }
            }
            let Some(work) = self.next_job(worker, done.take()) else {
                break;
            };
            // The answer of a job that panics is that its thread has ended; the thread itself goes on.
            let mut has_panicked = false;
            let outcome = worker.does(|| {
                catch_unwind(AssertUnwindSafe(|| work(&mut slot))).unwrap_or_else(|_| {
                    has_panicked = true;
                    None
                })
            });
            let is_replaced = outcome.is_replaced();
            done = Some(outcome);
            if has_panicked {
                tracing::error!("a request's call of the PKCS#11 module panicked");
                slot = (self.new_slot)();
            }
            if is_replaced {
                break;
            }
        }
        self.is_through(done);
        if !was_fit {
            self.state().note_fit(true);
        }
        drop(slot);
        self.state().workers.retain(|other| !Arc::ptr_eq(other, worker));
    }

    /// Notes a job that is done, before anything else is begun.
    fn is_through(&self, done: Option<Done>) {
        if done.is_some() {
            self.state().is_through(done);
            self.wake_answered();
        }
    }

    /// The next job that a caller waits for; none when there are to be no more. It leaves the queue and
    /// becomes the worker's in one step, so that the deadline thread always sees it.
    fn next_job(&self, worker: &Arc<Worker>, done: Option<Done>) -> Option<Work<P>> {
        let last = done.as_ref().map_or(Duration::ZERO, |done| done.took);
        let mut state = self.state();
        state.is_through(done);
        let is_overloaded = state.pace.is_quick() && state.queue.len() > self.queue_length / 2;
        if is_overloaded {
            // The threads that bring requests, and refuse those that are too many, have to get on.
            drop(state);
            thread::yield_now();
            state = self.state();
        }
        loop {
            if worker.is_retired() {
                // It may be the one that was called.
                self.call(state, now());
                self.wake_answered();
                return None;
            }
            if state.answered.are_to_go(!state.queue.is_empty(), last, now) {
                // It comes for the jobs that they bring: no other needs to.
                state.busy += 1;
                if is_overloaded {
                    // What one caller wakes stands behind requests that have not begun; what comes from here
                    // does not.
                    drop(state);
                    self.wake_answered();
                } else {
                    self.call_answered(state);
                }
                state = self.state();
                state.busy -= 1;
                continue;
            }
            while let Some(job) = state.queue.pop_front() {
                let now = now();
                if job.deadline() <= now {
                    state.give_up_in_queue(&*job.waiter);
                } else if job.waiter.is_there() {
                    worker.begins(job.patience, Some(job.waiter));
                    state.busy += 1;
                    state.taken = now;
                    self.call(state, now);
                    return Some(job.work);
                }
            }
            if state.answered.are_to_go(false, last, now) {
                continue; // nothing was left to do
            }
            if state.is_stopped {
                return None;
            }
            let is_me = |other: &Arc<Worker>| Arc::ptr_eq(other, worker);
            state.idle.push(Arc::clone(worker));
            while state.idle.iter().any(is_me) {
                state = worker.called.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.is_one_called = false;
        }
    }

    /// Has others take the places of the workers, and waits until these have ended, but no longer than until
    /// `end`.
    pub(super) fn renew(self: &Arc<Self>, end: Instant) {
        let mut state = self.state();
        if state.is_stopped {
            return;
        }
        let retired = state.workers.clone();
        for worker in &retired {
            let has_successor = worker.call().abandoned == Some(Replaced::Yes);
            if !has_successor && let Err(error) = Self::start_worker(self, &mut state) {
                tracing::error!(token = self.name, cause = %error, "cannot start a worker thread for the PKCS#11 \
                     module");
                break;
            }
            worker.is_retired.store(true, Ordering::SeqCst);
        }
        state.idle.retain(|worker| !worker.is_retired());
        retired.iter().for_each(|worker| worker.called.notify_one());
        self.rest_ends.notify_all();
        let is_retired =
            |(_, worker): &(_, Option<Arc<Worker>>)| worker.as_ref().is_some_and(|worker| worker.is_retired());
        while state.threads.iter().any(is_retired) {
            let patience = end.saturating_duration_since(now());
            if patience.is_zero() {
                break;
            }
            (state, _) = self
                .thread_ended
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.join_ended();
    }

    /// Leaves the jobs to others for a while.
    fn rest(&self) {
        let mut state = self.state();
        if state.is_stopped {
            return;
        }
        state.resting += 1;
        (state, _) = self
            .rest_ends
            .wait_timeout(state, REST)
            .unwrap_or_else(PoisonError::into_inner);
        state.resting -= 1;
    }
}
