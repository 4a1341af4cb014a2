//! Tells those who wait in this process that something has changed.

use std::{
    future::poll_fn,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use super::Revision;

/// A value, and who waits until it is as they want it.
#[derive(Debug, Default)]
pub(crate) struct Notifier<T>(Mutex<State<T>>);

#[derive(Debug, Default)]
struct State<T> {
    value: T,
    waiting: Vec<Waker>,
}

impl Notifier<bool> {
    /// Sets it, unless it is: then there is no one to wake.
    pub(crate) fn set(&self) {
        if !self.read(|is_set| *is_set) {
            self.change(|is_set| *is_set = true);
        }
    }
}

impl<T> Notifier<T> {
    pub(crate) const fn new(value: T) -> Self {
        let waiting = Vec::new();
        Self(Mutex::new(State { value, waiting }))
    }

    /// Changes the value, and lets all who wait look again.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) {
        let waiting = {
            let mut state = self.lock();
            change(&mut state.value);
            mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Reads the value.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.lock().value)
    }

    /// Waits until `look` finds something. It looks at once, and after each change.
    pub(crate) async fn wait<R>(&self, mut look: impl FnMut(&T) -> Option<R>) -> R {
        poll_fn(|context| {
            let mut state = self.lock();
            if let Some(found) = look(&state.value) {
                return Poll::Ready(found);
            }
            // A future that is polled again, or was dropped, leaves no second waker.
            state.waiting.retain(|waker| !waker.will_wake(context.waker()));
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notifier<Revision> {
    /// Announces a revision.
    pub(crate) fn announce(&self, head: Revision) {
        self.change(|known| *known = head.max(*known));
    }

    /// Waits for a later revision than `after`.
    pub(crate) async fn follow(&self, after: Revision) -> Revision {
        self.wait(|head| (*head > after).then_some(*head)).await
    }
}
