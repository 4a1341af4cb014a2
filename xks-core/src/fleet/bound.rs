//! A bound on the background work of a fleet: so many a second, and a burst after a quiet time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::breaker::Millis;

/// Kept in one atomic word: the moment at which the whole burst is available again.
#[derive(Debug)]
pub(super) struct Bound {
    whole_at: AtomicU64,
    /// How long it takes until another one is available.
    each: Millis,
    burst: Millis,
}

impl Bound {
    /// `per_second` is at least 1.
    pub(super) const fn new(per_second: u32, burst: u32) -> Self {
        let each = if per_second == 0 {
            1000
        } else {
            1000 / per_second as Millis
        };
        Self {
            whole_at: AtomicU64::new(0),
            each,
            burst: burst as Millis * each,
        }
    }

    /// Takes one, if one is available.
    pub(super) fn take(&self, now: Millis) -> bool {
        let taken = |whole_at: Millis| {
            let next = whole_at.max(now).saturating_add(self.each);
            Some(next).filter(|next| next.saturating_sub(now) <= self.burst)
        };
        self.whole_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    /// Gives back so many that turned out not to count.
    pub(super) fn give_back(&self, count: u64) {
        if count > 0 {
            let given = |whole_at: Millis| Some(whole_at.saturating_sub(self.each.saturating_mul(count)));
            let _ = self.whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, given);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_had_at_once_and_then_so_many_a_second() {
        let bound = Bound::new(4, 3);
        let taken = |now| (0..100).filter(|_| bound.take(now)).count();
        assert_eq!(taken(10_000), 3);
        assert_eq!((taken(10_249), taken(10_250), taken(11_000)), (0, 1, 3));
        assert_eq!(
            (11..111).map(|second| taken(second * 1000)).sum::<usize>(),
            99 * 3,
            "no more than the burst"
        );
        bound.give_back(2);
        assert_eq!(taken(110_000), 2);
        bound.give_back(0);
        assert_eq!(taken(110_000), 0);
    }
}
