//! What wakes the loop that works on jobs, when one is started in this process.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
};

use futures_util::task::AtomicWaker;

/// Remembers one call until it is taken. One at a time may wait.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    is_called: AtomicBool,
    waker: AtomicWaker,
}

impl Notifier {
    pub(super) fn call(&self) {
        self.is_called.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Returns whether there was a call since the last time.
    pub(super) fn take(&self) -> bool {
        self.is_called.swap(false, Ordering::Acquire)
    }

    /// Waits for a call, and leaves it to be taken.
    pub(super) async fn called(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker()); // before it is looked at: a call in between wakes
            match self.is_called.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}
