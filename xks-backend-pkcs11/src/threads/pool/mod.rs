//! Threads that call the module, each with a session slot, behind a bounded queue. Every caller
//! is answered at the deadline, whatever the module does: the deadline thread, which never calls the module,
//! sees to that.
//!
//! Three kinds of threads share the work. Workers call the module and may hang. The deadline thread never
//! calls it, so that deadlines are kept. The supervisor tests, refreshes and recovers. A job is always within
//! the deadline thread's sight: it moves from the queue to a worker in one step.

mod answered;
mod deadlines;
mod job;
mod pace;
mod worker;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use self::{
    answered::Answered,
    job::{Caller, Job, Waiter, reply},
    pace::Pace,
    worker::Worker,
};
use super::{
    Load, Refusal, Refused, Slot,
    notifier::Notifier,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        now, thread,
    },
};

/// How exactly deadlines are kept when many are close together.
pub(super) const GRAIN: Duration = Duration::from_millis(1);

/// How long a job waits for one of the threads that are at work, if none of them takes any.
pub(super) const STANDSTILL: Duration = Duration::from_millis(5);

/// How long a pool that could not be started waits for the threads that it has.
const UNSTARTED: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a job was not done in time.
const NO_SESSION: &str = "no session was free within the deadline";

/// The threads; `P` is what each of them has for itself.
pub(crate) struct Pool<P: 'static> {
    shared: Arc<Shared<P>>,
}

struct Shared<P: 'static> {
    name: String,
    new_slot: Box<dyn Fn() -> P + Send + Sync>,
    /// Whether a session slot is fit for a request.
    prepare: Box<dyn Fn(&mut P) -> bool + Send + Sync>,
    deadline: Duration,
    queue_length: usize,
    max_abandoned: usize,
    processors: usize,
    state: Mutex<State<P>>,
    /// Whether a caller that leaves has others to wake.
    has_answered: AtomicBool,
    /// The pool is to stop, or a session slot may be fit again.
    rest_ends: Condvar,
    /// A thread has ended.
    thread_ended: Condvar,
    /// Held while threads are joined, so that a caller that needs them gone waits for those that another
    /// joins.
    joining: Mutex<()>,
    /// Stops the deadline thread.
    notifier: Notifier,
}

struct State<P> {
    queue: VecDeque<Job<P>>,
    workers: Vec<Arc<Worker>>,
    /// Threads that wait for a job. The one that worked last is called first: what it needs is still at hand.
    idle: Vec<Arc<Worker>>,
    /// A thread was called and has not come yet. It calls the next, if there is more to do then: by that time
    /// a job may have been done by another that was through with its own.
    is_one_called: bool,
    /// Threads that are at a job, but for those that are abandoned.
    busy: usize,
    pace: Pace,
    answered: Answered,
    /// When a thread last took a job.
    taken: Instant,
    /// When a job was last done in time.
    done: Option<Instant>,
    /// When a job was last done, in time or not.
    returned: Option<Instant>,
    /// When the deadline thread looks next.
    next_look: Instant,
    /// Threads whose session slots are not fit for a request, and which wait before they look again.
    resting: usize,
    /// The same, and those that look again.
    unfit: usize,
    /// Threads that there are, and what each of them is: a worker, or the deadline thread.
    threads: Vec<(thread::JoinHandle<()>, Option<Arc<Worker>>)>,
    /// Those that have come to their end and are not joined yet.
    ended: Vec<thread::JoinHandle<()>>,
    is_stopped: bool,
    refused: u64,
    timed_out: u64,
}

/// The measures of a pool.
pub(crate) struct Size {
    pub(crate) threads: usize,
    pub(crate) queue_length: usize,
    pub(crate) max_abandoned: usize,
    pub(crate) deadline: Duration,
    /// Processors that a module which computes on this machine can have.
    pub(crate) processors: usize,
}

impl<P: Slot> Pool<P> {
    /// Starts the threads.
    pub(crate) fn start(
        name: &str,
        new_slot: impl Fn() -> P + Send + Sync + 'static,
        prepare: impl Fn(&mut P) -> bool + Send + Sync + 'static,
        size: &Size,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            new_slot: Box::new(new_slot),
            prepare: Box::new(prepare),
            deadline: size.deadline,
            queue_length: size.queue_length,
            max_abandoned: size.max_abandoned,
            processors: size.processors,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                workers: Vec::new(),
                idle: Vec::new(),
                is_one_called: false,
                busy: 0,
                pace: Pace::default(),
                answered: Answered::default(),
                taken: now(),
                done: None,
                returned: None,
                next_look: now(),
                resting: 0,
                unfit: 0,
                threads: Vec::new(),
                ended: Vec::new(),
                is_stopped: false,
                refused: 0,
                timed_out: 0,
            }),
            has_answered: AtomicBool::new(false),
            rest_ends: Condvar::new(),
            thread_ended: Condvar::new(),
            joining: Mutex::new(()),
            notifier: Notifier::default(),
        });
        let pool = Self { shared };
        let started = (0..size.threads)
            .try_for_each(|_| Shared::start_worker(&pool.shared, &mut pool.shared.state()))
            .and_then(|()| {
                let state = &mut pool.shared.state();
                pool.shared.start("clock", None, Shared::keep_deadlines, state)
            });
        if started.is_err() {
            pool.stop_within(UNSTARTED);
            pool.join();
        }
        started.map(|()| pool)
    }

    /// Has work done on one of the threads, within the deadline of requests. It is refused as `Throttled`
    /// when the queue is full, `Unavailable` when no thread is left or the pool is stopped, and `Timeout`
    /// when the deadline comes first.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut P, Instant) -> Result<T, P::Error> + Send + 'static,
    ) -> Result<T, P::Error> {
        self.run_within(self.shared.deadline, work).await
    }

    /// The same, for work that may take so long.
    pub(crate) async fn run_within<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce(&mut P, Instant) -> Result<T, P::Error> + Send + 'static,
    ) -> Result<T, P::Error> {
        let came = now();
        let deadline = came + patience;
        let (promise, waiter, answer) = reply(deadline);
        let _leaving = Leaving(&self.shared);
        self.shared.enqueue(Job {
            came,
            patience,
            waiter,
            work: Box::new(move |slot| promise.keep(work(slot, deadline))),
        })?;
        answer.await
    }

    pub(crate) fn load(&self) -> Load {
        let (state, now) = (self.shared.state(), now());
        let mut load = Load {
            queued: state.queue.len(),
            is_stuck: state.is_stuck(),
            refused: state.refused,
            timed_out: state.timed_out,
            done: state.done,
            returned: state.returned,
            ..Load::default()
        };
        for worker in &state.workers {
            let call = worker.call();
            if let Some(running) = &call.running {
                load.running += usize::from(running.waiter.is_some());
                // What takes longer than a request by right says nothing of others, until it takes longer
                // than that.
                if running.patience <= self.shared.deadline || running.hangs_at() <= now {
                    load.add_call(running.since);
                }
            }
            load.abandoned += usize::from(call.abandoned.is_some());
        }
        load.sessions = state.workers.len().saturating_sub(state.unfit + load.abandoned);
        load
    }

    /// What has threads take the places of those that are there, and waits until these have ended, but no
    /// longer than until then: those that are at a job do it first.
    pub(crate) fn renewal(&self) -> impl Fn(Instant) + Send + Sync + use<P> {
        let shared = Arc::downgrade(&self.shared);
        move |end| {
            if let Some(shared) = shared.upgrade() {
                shared.renew(end);
            }
        }
    }

    /// Takes no more jobs, refuses those that wait, and waits for the threads to end; says how many have not
    /// by then.
    pub(crate) fn stop_within(&self, patience: Duration) -> usize {
        self.stop();
        let end = now() + patience;
        let mut state = self.shared.state();
        while !state.threads.is_empty() {
            let patience = end.saturating_duration_since(now());
            if patience.is_zero() {
                break;
            }
            (state, _) = self
                .shared
                .thread_ended
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.threads.len()
    }

    /// Waits until the threads that have come to their end are gone, and with them what the module keeps for
    /// each.
    pub(crate) fn join(&self) {
        self.shared.join_ended();
    }

    fn stop(&self) {
        let (queue, idle) = {
            let mut state = self.shared.state();
            state.is_stopped = true;
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.idle))
        };
        self.shared.wake_answered();
        idle.iter().for_each(|worker| worker.called.notify_one());
        self.shared.rest_ends.notify_all();
        self.shared.notifier.stop();
        drop(queue); // waiting callers see that the thread of their request has ended
    }
}

impl<P> State<P> {
    /// Answers one whose time was over before its job was taken up.
    fn give_up_in_queue(&mut self, waiter: &dyn Waiter) {
        self.timed_out += u64::from(waiter.give_up(NO_SESSION));
    }

    /// Threads that have nothing else to do.
    fn about_to_serve(&self) -> usize {
        self.idle.len() + usize::from(self.is_one_called)
    }

    /// Whom to wake, if there is a job for one, none is on its way, and no more than `processors` are at
    /// quick calls: those come for it, unless they stand still.
    fn call(&mut self, now: Instant, processors: usize) -> Option<Arc<Worker>> {
        let first = self.queue.front()?;
        let stands_still = self.taken.max(first.came) + STANDSTILL <= now;
        if self.is_one_called || self.pace.is_quick() && self.busy >= processors && !stands_still {
            return None;
        }
        let worker = self.idle.pop();
        self.is_one_called = worker.is_some();
        worker
    }

    /// Until when a job that was held back waits, or a caller that is to be woken, and may have to be seen
    /// to.
    fn held_back_until(&self) -> Option<Instant> {
        let is_held_back = !self.is_one_called && !self.idle.is_empty();
        let first = self.queue.front().filter(|_| is_held_back);
        let job = first.map(|first| self.taken.max(first.came) + STANDSTILL);
        job.into_iter().chain(self.answered.overdue_at()).min()
    }

    /// Has the deadline thread look as early as something may have to be seen to; says whether that is
    /// earlier than it would, and it has to hear of it.
    fn has_look_earlier(&mut self) -> bool {
        let due = self.held_back_until().filter(|due| *due < self.next_look);
        if let Some(due) = due {
            self.next_look = due;
        }
        due.is_some()
    }

    /// Whether every thread hangs, and none is left to take its place.
    fn is_stuck(&self) -> bool {
        let is_lost = |worker: &Arc<Worker>| worker.call().abandoned.is_some();
        !self.workers.is_empty() && self.workers.iter().all(is_lost)
    }
}

impl<P: Slot> Shared<P> {
    fn enqueue(&self, job: Job<P>) -> Result<(), Refused> {
        let refuse = |refusal: Refusal, detail| Err(refusal.because(detail));
        let mut state = self.state();
        if state.is_stopped {
            return refuse(Refusal::Unavailable, "the backend is shut down");
        }
        // The queue may be as long as it likes for those who are about to be served.
        if state.queue.len() >= self.queue_length.saturating_add(state.about_to_serve()) {
            state.refused += 1;
            return refuse(Refusal::Throttled, "the queue for the token is full");
        }
        let hangs = |worker: &&Arc<Worker>| worker.call().abandoned.is_some();
        if state.resting > 0 && state.resting + state.workers.iter().filter(hangs).count() >= state.workers.len() {
            state.refused += 1;
            return refuse(
                Refusal::Throttled,
                "other applications use all sessions that the token allows",
            );
        }
        // Looked at only when something waits: no thread takes jobs then, or all are busy.
        if state.about_to_serve() == 0 && state.is_stuck() {
            return refuse(
                Refusal::Unavailable,
                "every call into the PKCS#11 module hangs: no more calls are made until one returns",
            );
        }
        let (came, deadline) = (job.came, job.deadline());
        state.queue.push_back(job);
        // The deadline thread looks in time for all that have as long as requests.
        let is_early = deadline < state.next_look;
        if is_early {
            state.next_look = deadline;
        }
        self.call(state, came);
        if is_early {
            self.notifier.notify();
        }
        Ok(())
    }

    /// Wakes the thread that is to come for the first job; the deadline thread sees to what is held back, and
    /// hears of it if it would look too late.
    fn call(&self, mut state: MutexGuard<'_, State<P>>, now: Instant) {
        let called = state.call(now, self.processors);
        let is_due = state.has_look_earlier();
        drop(state);
        if let Some(worker) = called {
            worker.called.notify_one();
        }
        if is_due {
            self.notifier.notify();
        }
    }

    /// Wakes one of those who have their answers, which wakes the others.
    fn call_answered(&self, mut state: MutexGuard<'_, State<P>>) {
        let note = |has_answered| self.has_answered.store(has_answered, Ordering::SeqCst);
        let caller = state.answered.call(note);
        let is_due = state.has_look_earlier();
        drop(state);
        if let Some(caller) = caller {
            caller.wake();
        }
        if is_due {
            self.notifier.notify();
        }
    }

    /// Wakes all of them.
    fn wake_answered(&self) {
        let mut state = self.state();
        self.has_answered.store(false, Ordering::SeqCst);
        let callers = state.answered.take();
        drop(state);
        callers.into_iter().for_each(Caller::wake);
    }

    fn start(
        self: &Arc<Self>,
        name: &str,
        worker: Option<Arc<Worker>>,
        run: impl FnOnce(&Arc<Self>) + Send + 'static,
        state: &mut State<P>,
    ) -> io::Result<()> {
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name(format!("xks-hsm-{name}"));
        let started = thread.spawn(move || {
            let _ends = ThreadEnds(&shared);
            run(&shared);
        });
        started.map(|thread| state.threads.push((thread, worker)))
    }

    fn join_ended(&self) {
        let _joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = std::mem::take(&mut self.state().ended);
        for thread in ended {
            if thread.join().is_err() {
                tracing::error!(token = self.name, "a worker thread of the PKCS#11 module panicked");
            }
        }
    }
}

impl<P> Shared<P> {
    fn state(&self) -> MutexGuard<'_, State<P>> {
        // Nothing panics while this is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller: as it leaves, with an answer or without, it wakes the others that have theirs.
struct Leaving<'a, P: Slot>(&'a Shared<P>);

impl<P: Slot> Drop for Leaving<'_, P> {
    fn drop(&mut self) {
        if self.0.has_answered.load(Ordering::SeqCst) {
            self.0.wake_answered();
        }
    }
}

/// Counts a thread out, however it ends.
struct ThreadEnds<'a, P: 'static>(&'a Shared<P>);

impl<P> Drop for ThreadEnds<'_, P> {
    fn drop(&mut self) {
        let this = thread::current().id();
        let mut guard = self.0.state();
        let state = &mut *guard;
        let ended = state.threads.extract_if(.., |(thread, _)| thread.thread().id() == this);
        state.ended.extend(ended.map(|(thread, _)| thread));
        drop(guard);
        self.0.thread_ended.notify_all();
    }
}

#[cfg(test)]
impl Pool<usize> {
    /// Starts a pool of numbered slots: 0 for the first thread, 1 for the next, also for one that replaces
    /// another.
    pub(super) fn numbered(size: &Size, prepare: impl Fn(&mut usize) -> bool + Send + Sync + 'static) -> Arc<Self> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let new_slot = move || next.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self::start("test", new_slot, prepare, size).unwrap())
    }
}

#[cfg(test)]
#[cfg(not(any(model = "loom", model = "shuttle")))] // which have no tokio
mod tests;
