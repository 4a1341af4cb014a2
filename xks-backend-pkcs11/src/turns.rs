//! One call at a time, for a module that has no locks of its own.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

#[derive(Default)]
pub(crate) struct Turns {
    are_taken: AtomicBool,
    turn: Mutex<()>,
}

impl Turns {
    /// Whether calls have to take turns from now on; to be said while there is none.
    pub(crate) fn are_taken(&self, are_taken: bool) {
        self.are_taken.store(are_taken, Ordering::SeqCst);
    }

    /// To be held during a call: waits for the others, if calls take turns.
    pub(crate) fn take(&self) -> Option<MutexGuard<'_, ()>> {
        let are_taken = self.are_taken.load(Ordering::SeqCst);
        are_taken.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
