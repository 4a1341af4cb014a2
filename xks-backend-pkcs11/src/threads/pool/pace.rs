//! How quick the module's calls are, and so how many of them are worth making at once.
//!
//! A module that answers in microseconds computes on this machine's processors. More calls than there are
//! processors would only stand in one another's way, and in that of the threads that bring the requests:
//! those could then refuse no request in time. An HSM answers in milliseconds, however many ask, and is asked
//! by all.

use std::time::Duration;

/// Below this a call is none of an HSM.
const QUICK: Duration = Duration::from_micros(200);

/// Of so many calls the quickest tells: the others may have waited for a processor.
const CALLS: u32 = if cfg!(model = "shuttle") { 2 } else { 64 };

/// What is known of the last calls.
#[derive(Debug, Default)]
pub(super) struct Pace {
    calls: u32,
    quickest: Option<Duration>,
    is_quick: bool,
}

impl Pace {
    pub(super) fn note(&mut self, took: Duration) {
        let quickest = self.quickest.map_or(took, |quickest| quickest.min(took));
        self.quickest = Some(quickest);
        self.calls += 1;
        if self.calls >= CALLS {
            *self = Self {
                is_quick: quickest < QUICK,
                ..Self::default()
            };
        }
    }

    pub(super) const fn is_quick(&self) -> bool {
        self.is_quick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_of_many_calls_tells() {
        let mut pace = Pace::default();
        let mut note = |calls, took| {
            (0..calls).for_each(|_| pace.note(took));
            pace.is_quick()
        };
        let (quick, slow) = (Duration::from_micros(20), Duration::from_millis(2));
        assert!(!note(CALLS - 1, quick), "not known yet");
        assert!(note(1, quick));
        assert!(note(CALLS - 1, slow), "they may have waited for a processor");
        assert!(!note(1, slow), "none was quick");
        assert!(!note(CALLS - 1, slow));
        assert!(note(1, quick), "one was");
    }
}
