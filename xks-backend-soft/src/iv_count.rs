//! The count of random IVs under one key, which NIST SP 800-38D, section 8.3, bounds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How many encryptions with random IVs one key may make: beyond, a repeated IV is likelier than 2^-32, and
/// under a repeated IV neither secrecy nor authenticity is left.
// ENC-6
pub(crate) const MAX_IVS: u64 = 1 << 32;

/// Random IVs under one key: never more than [`MAX_IVS`], however many threads take them.
#[derive(Debug, Default)]
pub(crate) struct IvCount {
    /// At most [`MAX_IVS`]. Nothing else is ordered by it: relaxed is enough.
    used: AtomicU64,
    has_warned: AtomicBool,
}

/// What became of the wish for one more IV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It may be used.
    Granted,
    /// It may be used; half of them or more are spent, which is reported for the first time.
    GrantedWithWarning,
    /// All are spent.
    Refused,
}

impl IvCount {
    /// Asks for one more.
    pub(crate) fn take(&self) -> Take {
        let one_more = |used| (used < MAX_IVS).then_some(used + 1);
        match self.used.fetch_update(Relaxed, Relaxed, one_more) {
            Err(_) => Take::Refused,
            Ok(before) if before + 1 >= MAX_IVS / 2 && !self.has_warned.swap(true, Relaxed) => Take::GrantedWithWarning,
            Ok(_) => Take::Granted,
        }
    }

    /// Counts those that were taken elsewhere: `used` in all, unless it is more already.
    pub(crate) fn raise_to(&self, used: u64) {
        self.used.fetch_max(used.min(MAX_IVS), Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used_up_to(used: u64) -> IvCount {
        let count = IvCount::default();
        count.raise_to(used);
        count
    }

    /// ENC-6: the last IV is granted, the one after it and all others are refused, and nothing wraps.
    #[test]
    fn the_bound_is_exact() {
        let count = used_up_to(MAX_IVS - 2);
        assert_eq!(count.take(), Take::GrantedWithWarning);
        assert_eq!(count.take(), Take::Granted);
        for _ in 0..10 {
            assert_eq!(count.take(), Take::Refused);
            assert_eq!(count.used(), 4_294_967_296);
        }
        let count = used_up_to(u64::MAX);
        assert_eq!((count.take(), count.used()), (Take::Refused, MAX_IVS));
    }

    #[test]
    fn half_is_told_once() {
        let count = used_up_to(MAX_IVS / 2 - 2);
        let takes: Vec<_> = (0..4).map(|_| count.take()).collect();
        assert_eq!(
            takes,
            [Take::Granted, Take::GrantedWithWarning, Take::Granted, Take::Granted]
        );
    }

    #[test]
    fn a_count_is_never_lowered() {
        let count = used_up_to(100);
        count.raise_to(7);
        assert_eq!(count.used(), 100);
    }

    /// ENC-6: exact under concurrency too.
    #[test]
    fn threads_cannot_exceed_the_bound() {
        let count = used_up_to(MAX_IVS - 1000);
        let takes: Vec<Take> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..500).map(|_| count.take()).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let number_of = |wanted| takes.iter().filter(|take| **take == wanted).count();
        assert_eq!(number_of(Take::GrantedWithWarning), 1);
        assert_eq!(number_of(Take::Granted), 999);
        assert_eq!(number_of(Take::Refused), 3000);
        assert_eq!(count.used(), MAX_IVS);
    }
}
