//! When the module is reinitialized for the sake of one token, though others of it work.
//!
//! Some modules tell of a token that is back only after `C_Initialize`: SoftHSM2, for one. The requests of
//! the other tokens wait meanwhile, and are answered a little later. So this is the last resort, and a rare
//! one: not before the token was away for ten recovery intervals, then each time only after twice as long,
//! and once an hour at the most. A token that is back is thus found at the latest after as long again as it
//! was away.

use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How many recovery intervals the first one comes after.
const INTERVALS: u32 = 10;

#[derive(Clone, Debug)]
pub(super) struct Renewal {
    first: Duration,
    wait: Duration,
    /// None while the token works.
    pub(super) due: Option<Instant>,
    last: Option<Instant>,
}

impl Renewal {
    pub(super) fn new(recovery_interval: Duration) -> Self {
        let first = recovery_interval.saturating_mul(INTERVALS).min(LONGEST);
        Self {
            first,
            wait: first,
            due: None,
            last: None,
        }
    }

    /// The token does not work.
    pub(super) fn needed(&mut self, now: Instant) {
        if self.due.is_none() {
            // One that comes and goes disturbs the others no more often than one that stays away.
            if self
                .last
                .is_none_or(|last| now.saturating_duration_since(last) >= LONGEST)
            {
                self.wait = self.first;
            }
            self.due = Some(now + self.wait);
        }
    }

    /// The token works.
    pub(super) fn not_needed(&mut self) {
        self.due = None;
    }

    /// Whether it is time; if it is, then not again for twice as long.
    pub(super) fn take_turn(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| now >= due);
        if is_due {
            self.wait = self.wait.saturating_mul(2).min(LONGEST);
            self.last = Some(now);
            self.due = Some(now + self.wait);
        }
        is_due
    }

    /// How long it is until the next one, at least.
    pub(super) const fn wait(&self) -> Duration {
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the seconds from `from` on have a turn, of a token that stays away.
    fn turns(renewal: &mut Renewal, start: Instant, seconds: std::ops::Range<u64>) -> Vec<u64> {
        seconds
            .filter(|second| renewal.take_turn(start + Duration::from_secs(*second)))
            .collect()
    }

    #[test]
    fn each_comes_after_twice_the_time_and_once_an_hour_at_the_most() {
        let (start, mut renewal) = (Instant::now(), Renewal::new(Duration::from_millis(500)));
        assert_eq!(turns(&mut renewal, start, 0..100), [0; 0], "it works");
        renewal.needed(start);
        assert_eq!(turns(&mut renewal, start, 0..200), [5, 15, 35, 75, 155]);
        let later = turns(&mut renewal, start, 200..40_000);
        let gaps: Vec<_> = later.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            gaps.iter().all(|gap| *gap <= 3600) && gaps.ends_with(&[3600, 3600]),
            "{gaps:?}"
        );
    }

    #[test]
    fn a_token_that_comes_and_goes_has_no_more_turns() {
        let (start, mut renewal) = (Instant::now(), Renewal::new(Duration::from_millis(500)));
        let mut all = Vec::new();
        for second in 0..3600 {
            // It works for a second after each turn.
            renewal.needed(start + Duration::from_secs(second));
            if renewal.take_turn(start + Duration::from_secs(second)) {
                all.push(second);
                renewal.not_needed();
            }
        }
        assert!(all.len() <= 10, "{all:?}");
    }
}
