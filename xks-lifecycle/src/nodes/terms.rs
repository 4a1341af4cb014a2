//! The times of leases.

use std::time::Duration;

/// How long leases last, and for how long their end is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    lease: Duration,
    drift_ppm: u32,
    margin: Duration,
}

impl Terms {
    /// By how much two clocks may run apart: 1 %. Quartz has a hundredth of that, and the system may correct
    /// a clock by a twentieth.
    const DRIFT_PPM: u32 = 10_000;
    /// For readings of clocks, and for the instants between the last check of a lease and the answer.
    const MARGIN: Duration = Duration::from_millis(250);

    /// The terms of nodes whose leases last so long.
    #[must_use]
    pub const fn new(lease: Duration) -> Self {
        Self {
            lease,
            drift_ppm: Self::DRIFT_PPM,
            margin: Self::MARGIN,
        }
    }

    /// Sets by how many millionths two clocks may run apart, in place of 1 %.
    #[must_use]
    pub const fn with_drift_ppm(self, drift_ppm: u32) -> Self {
        Self { drift_ppm, ..self }
    }

    /// Sets for how much longer the end of a lease is waited for, in place of 250 ms.
    #[must_use]
    pub const fn with_margin(self, margin: Duration) -> Self {
        Self { margin, ..self }
    }

    /// Returns how long a node trusts its lease.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns after what time a lease is renewed: three renewals may fail before it ends.
    #[must_use]
    pub const fn renewal(&self) -> Duration {
        Duration::from_nanos((self.lease.as_nanos() / 4) as u64) // 580 years are enough
    }

    /// Returns how long a node waits when the store has failed, before it asks again.
    #[must_use]
    pub const fn retry(&self) -> Duration {
        Duration::from_nanos((self.lease.as_nanos() / 16) as u64)
    }

    /// Returns for how long the row of a node with this lease must stay as it is until that node is dead.
    /// Nodes may have leases of different lengths, while a setting changes.
    #[must_use]
    pub const fn wait(&self, lease: Duration) -> Duration {
        let drift = lease.as_nanos() * self.drift_ppm as u128 / 1_000_000;
        lease
            .saturating_add(Duration::from_nanos(drift as u64))
            .saturating_add(self.margin)
    }
}
