//! The clock of the double: the system's, or one that stands still; moved forward by a test that cannot wait
//! for a year.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The system's clock or a fixed time, and how far a test has moved it forward. Clones share that.
///
/// ```
/// use std::time::Duration;
/// use kms_double::kms::{Clock, Kms};
///
/// # fn doc() -> Result<(), kms_double::kms::BuildError> {
/// let clock = Clock::default();
/// let kms = Kms::builder().clock(clock.clone()).build()?;
/// clock.advance(Duration::from_secs(24 * 60 * 60)); // import tokens have expired now
/// # let _ = kms;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds.
    ahead: Arc<AtomicU64>,
    /// Seconds since 1970; none for the system's clock.
    stopped_at: Option<f64>,
}

impl Clock {
    /// Creates a clock that stands still at a time, in seconds since 1970, and is only
    /// [moved](Self::advance).
    #[must_use]
    pub fn stopped_at(seconds: f64) -> Self {
        Self {
            ahead: Arc::default(),
            stopped_at: Some(seconds),
        }
    }

    /// Moves it forward. What is due by then happens before the next operation.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let _ = self.ahead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ahead| {
            Some(ahead.saturating_add(millis))
        });
    }

    /// Returns its time: seconds since 1970, to the millisecond.
    #[must_use]
    pub fn now(&self) -> f64 {
        let since = self.stopped_at.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.unwrap_or_default().as_secs_f64()
        });
        let ahead = Duration::from_millis(self.ahead.load(Ordering::Relaxed));
        ((since + ahead.as_secs_f64()) * 1000.0).floor() / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_moved_together_and_never_back() {
        let clock = Clock::default();
        let before = clock.now();
        let clone = clock.clone();
        clone.advance(Duration::from_secs(1000));
        assert!(clock.now() >= before + 1000.0 && clock.now() < before + 1000.0 + 3600.0);
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert!(clock.now() > before + 1000.0);
    }

    #[test]
    fn one_that_stands_still_is_only_moved() {
        let clock = Clock::stopped_at(1000.5);
        let clone = clock.clone();
        assert_eq!((clock.now(), clone.now()), (1000.5, 1000.5));
        clone.advance(Duration::from_secs(2));
        assert_eq!((clock.now(), clone.now()), (1002.5, 1002.5));
    }
}
