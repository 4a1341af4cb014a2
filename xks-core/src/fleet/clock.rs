//! The time of a fleet.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::breaker::{Millis, millis};
use crate::timer::{Sleep, Timer};

pub(super) struct Clock {
    timer: Arc<dyn Timer>,
    /// When the fleet was built.
    built: Instant,
}

impl Clock {
    pub(super) fn new(timer: Arc<dyn Timer>) -> Self {
        let built = timer.now();
        Self { timer, built }
    }

    pub(super) fn now(&self) -> Instant {
        self.timer.now()
    }

    pub(super) fn since(&self, start: Instant) -> Duration {
        self.now().saturating_duration_since(start)
    }

    /// A moment as breakers count it.
    pub(super) fn millis_at(&self, moment: Instant) -> Millis {
        millis(moment.saturating_duration_since(self.built))
    }

    /// This moment as breakers count it.
    pub(super) fn millis(&self) -> Millis {
        self.millis_at(self.now())
    }

    pub(super) fn sleep(&self, duration: Duration) -> Option<Sleep> {
        self.timer.sleep(duration)
    }
}
