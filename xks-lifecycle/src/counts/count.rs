//! The count of a version: how many of its reserved encryptions are left in this process.

use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::MAX_ENCRYPTIONS;

/// The first block of a version in a process, as a power of two. A process that ends loses what it has not
/// used of a block: of a key that is seldom used, no more than this.
const FIRST: u8 = 10;
/// The largest block, as a power of two: with it, a key that encrypts 100 000 times a second asks the store
/// three times in that.
const LARGEST: u8 = 16;

/// A version's block of encryptions. Views of different revisions share it.
///
/// Nothing else is ordered by its numbers: relaxed is enough.
#[derive(Debug)]
pub(crate) struct Count {
    /// What is reserved and not used. Below zero for a moment while requests find nothing.
    left: AtomicI64,
    /// How many encryptions the version has made at most, in all processes, as far as this one knows.
    reserved: AtomicU64,
    /// The size of the block, as a power of two.
    size: AtomicU8,
    /// Whether somebody was told that the block runs low.
    is_low: AtomicBool,
    /// Whether somebody is reserving the next block.
    is_busy: AtomicBool,
}

/// What became of the wish for one more encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It may be made.
    Granted,
    /// It may be made, and it is time to reserve the next block, which nobody was told yet.
    GrantedAndLow,
    /// Nothing is left of the block.
    Empty,
    /// All that a version may make are spent.
    Spent,
}

impl Count {
    /// The count of a version that has made so many encryptions before it came under management.
    pub(crate) const fn new(earlier: u64) -> Self {
        Self {
            left: AtomicI64::new(0),
            reserved: AtomicU64::new(earlier),
            size: AtomicU8::new(FIRST),
            is_low: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
        }
    }

    /// Takes one encryption.
    pub(crate) fn take(&self) -> Take {
        let left = self.left.fetch_sub(1, Relaxed);
        if left <= 0 {
            self.left.fetch_add(1, Relaxed);
            return if self.is_spent() { Take::Spent } else { Take::Empty };
        }
        let half = 1 << (self.size.load(Relaxed) - 1);
        if left > half || self.is_low.load(Relaxed) || self.is_spent() || self.is_low.swap(true, Relaxed) {
            return Take::Granted;
        }
        Take::GrantedAndLow
    }

    /// Returns whether anything is left of the block.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Relaxed) > 0
    }

    /// Returns how many encryptions the version has made at most, as far as this process knows.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Relaxed)
    }

    /// Returns whether all encryptions that a version may make are reserved, in this process or in others.
    pub(crate) fn is_spent(&self) -> bool {
        self.reserved() >= MAX_ENCRYPTIONS
    }

    /// Takes in that so many are reserved, in this process or in others.
    pub(crate) fn know(&self, reserved: u64) {
        self.reserved.fetch_max(reserved, Relaxed);
    }

    fn doubled(&self) -> u8 {
        self.size.load(Relaxed).saturating_add(1).min(LARGEST)
    }

    /// How many to reserve now: to a full block. A block that was used while nobody waited for it is doubled.
    pub(super) fn wanted(&self, is_ahead: bool) -> u64 {
        let size = if is_ahead { self.doubled() } else { FIRST };
        let left = self.left.load(Relaxed).max(0).cast_unsigned();
        (1_u64 << size).saturating_sub(left)
    }

    /// Takes in encryptions that were reserved for this process.
    pub(super) fn put(&self, count: u64, is_ahead: bool) {
        self.left.fetch_add(count.cast_signed(), Relaxed); // at most a block
        if is_ahead {
            self.size.store(self.doubled(), Relaxed);
            self.is_low.store(false, Relaxed);
        }
    }

    /// Begins to reserve, unless somebody does.
    pub(super) fn begin(&self) -> bool {
        !self.is_busy.swap(true, Acquire)
    }

    pub(super) fn end(&self) {
        self.is_busy.store(false, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64) -> Count {
        let filled = Count::new(0);
        filled.put(count, false);
        filled
    }

    #[test]
    fn each_block_is_told_low_once() {
        let count = filled(1 << FIRST);
        let takes: Vec<_> = (0..1 << FIRST).map(|_| count.take()).collect();
        let low = takes.iter().position(|take| *take == Take::GrantedAndLow);
        assert_eq!(low, Some(1 << (FIRST - 1)));
        let granted = takes.iter().filter(|take| **take == Take::Granted).count();
        assert_eq!(granted, (1 << FIRST) - 1);
        // Nobody has done anything about it: it is not told again, but when it was refilled.
        count.put(3, false);
        assert_eq!((count.take(), count.has_left()), (Take::Granted, true));
        count.put(3, true);
        assert_eq!((count.take(), count.take()), (Take::GrantedAndLow, Take::Granted));
    }

    #[test]
    fn blocks_double_in_the_background_and_stay_small_for_who_waits() {
        let count = Count::new(0);
        assert_eq!(count.wanted(false), 1 << FIRST);
        for size in FIRST + 1..=LARGEST + 2 {
            assert_eq!(count.wanted(true), 1 << size.min(LARGEST));
            count.put(0, true);
        }
        assert_eq!(count.wanted(false), 1 << FIRST);
        count.put(100, true);
        assert_eq!(count.wanted(true), (1 << LARGEST) - 100, "to a full block");
    }

    #[test]
    fn what_is_empty_is_not_spent() {
        let count = filled(1);
        assert_eq!((count.take(), count.take()), (Take::GrantedAndLow, Take::Empty));
        count.know(MAX_ENCRYPTIONS - 1);
        count.know(7);
        assert_eq!((count.reserved(), count.take()), (MAX_ENCRYPTIONS - 1, Take::Empty));
        count.know(MAX_ENCRYPTIONS);
        assert_eq!(count.take(), Take::Spent);
        // The last of them are not told low: there is no next block.
        let count = filled(2);
        count.know(MAX_ENCRYPTIONS);
        assert_eq!((count.take(), count.take()), (Take::Granted, Take::Granted));
    }

    #[test]
    fn threads_take_what_is_there() {
        let count = filled(1000);
        let granted: usize = std::thread::scope(|scope| {
            let is_granted = |_: &usize| matches!(count.take(), Take::Granted | Take::GrantedAndLow);
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || (0..500).filter(is_granted).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((granted, count.has_left()), (1000, false));
        count.put(1, false);
        assert_eq!((count.take(), count.take()), (Take::Granted, Take::Empty));
    }
}
