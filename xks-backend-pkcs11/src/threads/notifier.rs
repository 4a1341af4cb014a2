//! A notifier wakes the one thread that waits for it, at once or when it next waits.

use std::{sync::PoisonError, time::Instant};

use super::sync::{Condvar, Mutex, MutexGuard, now};

#[derive(Debug, Default)]
pub(crate) struct Notifier {
    state: Mutex<State>,
    notified: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_notified: bool,
    is_stopped: bool,
}

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Notified,
    Time,
    Stopped,
}

impl Notifier {
    pub(crate) fn notify(&self) {
        self.state().is_notified = true;
        self.notified.notify_one();
    }

    /// Whether the next wait ends at once.
    pub(crate) fn is_notified(&self) -> bool {
        let state = self.state();
        state.is_notified || state.is_stopped
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// Every wait from now on ends at once.
    pub(crate) fn stop(&self) {
        self.state().is_stopped = true;
        self.notified.notify_all();
    }

    /// Waits for a notification, but no longer than until `time`.
    pub(crate) fn wait_until(&self, time: Instant) -> Wake {
        let mut state = self.state();
        loop {
            if state.is_stopped {
                return Wake::Stopped;
            }
            if std::mem::take(&mut state.is_notified) {
                return Wake::Notified;
            }
            let patience = time.saturating_duration_since(now());
            if patience.is_zero() {
                return Wake::Time;
            }
            (state, _) = self
                .notified
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two flags are always whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
