//! A job, who does it, and who waits for its answer.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::super::{
    Refusal, Refused,
    sync::{Mutex, MutexGuard},
};

/// A request for a thread, and who waits for it.
pub(super) struct Job<P> {
    /// When it came.
    pub(super) came: Instant,
    /// How long it may take, from its arrival to its answer; and how long in the module.
    pub(super) patience: Duration,
    pub(super) waiter: Arc<dyn Waiter>,
    pub(super) work: Work<P>,
}

impl<P> Job<P> {
    pub(super) fn deadline(&self) -> Instant {
        self.came + self.patience
    }
}

/// Does the job and leaves its answer; returns whom to wake for it.
pub(super) type Work<P> = Box<dyn FnOnce(&mut P) -> Option<Caller> + Send>;

/// A caller that has its answer, and has to be woken.
pub(super) struct Caller {
    waker: Waker,
    waiter: Arc<dyn Waiter>,
}

impl Caller {
    pub(super) fn wake(self) {
        self.waker.wake();
    }

    /// Whether it has taken its answer or lost interest.
    pub(super) fn has_left(&self) -> bool {
        self.waiter.has_left()
    }
}

/// A caller that waits for an answer until a deadline.
pub(super) trait Waiter: Send + Sync {
    fn deadline(&self) -> Instant;
    /// Whether the answer is still of interest.
    fn is_there(&self) -> bool;
    /// Whether the caller will take no answer any more.
    fn has_left(&self) -> bool;
    /// Answers that it took too long, unless there is an answer already; says whether there was none.
    fn give_up(&self, waiting_for: &'static str) -> bool;
}

/// The place of an answer, which is given once.
struct Reply<T, E> {
    deadline: Instant,
    state: Mutex<State<T, E>>,
}

enum State<T, E> {
    /// The caller waits, and is woken by this if it has asked already.
    Awaited(Option<Waker>),
    Answered(Result<T, E>),
    /// The caller has its answer, or has gone.
    Over,
}

/// A place for an answer: the worker's side of it, the deadline thread's and the caller's.
pub(super) fn reply<T, E>(deadline: Instant) -> (Promise<T, E>, Arc<dyn Waiter>, Answer<T, E>)
where
    T: Send + 'static,
    E: From<Refused> + Send + 'static,
{
    let reply = Arc::new(Reply {
        deadline,
        state: Mutex::new(State::Awaited(None)),
    });
    let waiter = Arc::clone(&reply);
    (Promise(Some(Arc::clone(&reply))), waiter, Answer(reply))
}

impl<T, E> Reply<T, E> {
    /// Leaves the answer, if the caller waits for one. Returns whether it does, and how it is woken.
    fn give(&self, answer: Result<T, E>) -> (bool, Option<Waker>) {
        let mut state = self.state();
        match &mut *state {
            State::Awaited(caller) => {
                let caller = caller.take();
                *state = State::Answered(answer);
                (true, caller)
            }
            State::Answered(_) | State::Over => (false, None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        // It is whole, whatever panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send, E: From<Refused> + Send> Waiter for Reply<T, E> {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_there(&self) -> bool {
        matches!(*self.state(), State::Awaited(_))
    }

    fn has_left(&self) -> bool {
        matches!(*self.state(), State::Over)
    }

    fn give_up(&self, waiting_for: &'static str) -> bool {
        let (is_given, caller) = self.give(Err(Refusal::Timeout.because(waiting_for).into()));
        caller.into_iter().for_each(Waker::wake);
        is_given
    }
}

/// The worker's side. The caller of one that is dropped learns that its thread has ended.
pub(super) struct Promise<T, E: From<Refused>>(Option<Arc<Reply<T, E>>>);

impl<T: Send + 'static, E: From<Refused> + Send + 'static> Promise<T, E> {
    /// Leaves the answer; returns whom to wake for it.
    pub(super) fn keep(mut self, answer: Result<T, E>) -> Option<Caller> {
        let waiter = self.0.take()?;
        let (_, waker) = waiter.give(answer);
        waker.map(|waker| Caller { waker, waiter })
    }
}

impl<T, E: From<Refused>> Drop for Promise<T, E> {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            let ended = Refusal::Unavailable.because("the thread of the request has ended");
            let (_, caller) = reply.give(Err(ended.into()));
            caller.into_iter().for_each(Waker::wake);
        }
    }
}

/// The caller's side.
pub(super) struct Answer<T, E>(Arc<Reply<T, E>>);

impl<T, E> Future for Answer<T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state();
        match std::mem::replace(&mut *state, State::Over) {
            State::Answered(answer) => Poll::Ready(answer),
            State::Awaited(caller) => {
                let same = caller.filter(|caller| caller.will_wake(context.waker()));
                let caller = same.unwrap_or_else(|| context.waker().clone());
                *state = State::Awaited(Some(caller));
                Poll::Pending
            }
            State::Over => Poll::Pending, // it was asked again after its answer
        }
    }
}

impl<T, E> Drop for Answer<T, E> {
    fn drop(&mut self) {
        // What was there is dropped after the lock.
        let _rest = std::mem::replace(&mut *self.0.state(), State::Over);
    }
}
