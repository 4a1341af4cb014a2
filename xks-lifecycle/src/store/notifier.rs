//! Tells those who follow a store of a new revision, in this process.

use std::{
    future::poll_fn,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use super::Revision;

/// The latest revision, and who waits for a later one.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    head: Revision,
    waiting: Vec<Waker>,
}

impl Notifier {
    /// Announces a revision.
    pub(crate) fn announce(&self, head: Revision) {
        let waiting = {
            let mut state = self.lock();
            state.head = state.head.max(head);
            mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits for a later revision than `after`.
    pub(crate) async fn follow(&self, after: Revision) -> Revision {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.head > after {
                return Poll::Ready(state.head);
            }
            // A future that is polled again, or was dropped, leaves no second waker.
            state.waiting.retain(|waker| !waker.will_wake(context.waker()));
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
