//! A job, and who waits for its answer.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use futures_channel::oneshot;

use super::super::{Refusal, Refused, sync::Mutex};

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

pub(super) type Work<P> = Box<dyn FnOnce(&mut P) + Send>;

/// A caller that waits for an answer until a deadline.
pub(super) trait Waiter: Send + Sync {
    fn deadline(&self) -> Instant;
    /// Whether the answer is still of interest.
    fn is_there(&self) -> bool;
    /// Answers that it took too long, unless there is an answer already; says whether there was none.
    fn give_up(&self, waiting_for: &'static str) -> bool;
}

/// The place that an answer goes to, once.
pub(super) struct Reply<T, E> {
    pub(super) deadline: Instant,
    pub(super) to: Mutex<Option<oneshot::Sender<Result<T, E>>>>,
}

impl<T, E> Reply<T, E> {
    pub(super) fn send(&self, answer: Result<T, E>) -> bool {
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner).take();
        to.is_some_and(|to| to.send(answer).is_ok())
    }
}

impl<T: Send, E: From<Refused> + Send> Waiter for Reply<T, E> {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_there(&self) -> bool {
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        to.as_ref().is_some_and(|to| !to.is_canceled())
    }

    fn give_up(&self, waiting_for: &'static str) -> bool {
        self.send(Err(Refusal::Timeout.because(waiting_for).into()))
    }
}
