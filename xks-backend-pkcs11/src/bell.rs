//! A bell: wakes one thread that waits for it, at once or when it next waits.

use std::{sync::PoisonError, time::Instant};

use crate::sync::{Condvar, Mutex, MutexGuard, now};

#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_rung: bool,
    is_stopped: bool,
}

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Rung,
    Time,
    Stopped,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.state().is_rung = true;
        self.rung.notify_one();
    }

    /// Whether the next wait ends at once.
    pub(crate) fn is_rung(&self) -> bool {
        let state = self.state();
        state.is_rung || state.is_stopped
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// Every wait from now on ends at once.
    pub(crate) fn stop(&self) {
        self.state().is_stopped = true;
        self.rung.notify_all();
    }

    /// Waits for the bell, but no longer than until then.
    pub(crate) fn wait_until(&self, time: Instant) -> Wake {
        let mut state = self.state();
        loop {
            if state.is_stopped {
                return Wake::Stopped;
            }
            if std::mem::take(&mut state.is_rung) {
                return Wake::Rung;
            }
            let patience = time.saturating_duration_since(now());
            if patience.is_zero() {
                return Wake::Time;
            }
            (state, _) = self
                .rung
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two flags are always whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
