//! Moments on a lease clock.

use std::time::Duration;

/// A moment on one process's [lease clock](xks_core::timer::Timer::lease_clock). Those of different processes
/// cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// Later than any clock shows.
    pub(super) const NEVER: Self = Self(Duration::MAX);

    /// What the clock shows.
    #[must_use]
    pub const fn new(shown: Duration) -> Self {
        Self(shown)
    }

    /// Returns what the clock showed.
    #[must_use]
    pub const fn shown(self) -> Duration {
        self.0
    }

    /// Returns the moment so much later.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// Returns how long it is until `later`; zero if that is past.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}
