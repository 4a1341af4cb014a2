//! The count of a version: how many of its reserved encryptions are left in this process, and how much it was
//! used.

use std::sync::{
    OnceLock,
    atomic::{
        AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::{
    MAX_ENCRYPTIONS, Usage,
    stripes::{Stripe, Stripes},
};
use crate::Timestamp;

/// The first block of a version in a process, as a power of two. A process that ends loses what it has not
/// used of a block: of a key that is seldom used, no more than this.
const FIRST: u8 = 10;
/// The largest block, as a power of two: with it, a key that encrypts 100 000 times a second asks the store
/// three times in that.
const LARGEST: u8 = 16;
/// From how many uses on between two looks at its usage a version is hot: its threads get stripes.
const HOT: u64 = 1 << 16;

/// A version's block of encryptions, and what was done with it. Views of different revisions share it.
///
/// Nothing else is ordered by its numbers: relaxed is enough.
#[derive(Debug)]
pub(crate) struct Count {
    /// What is reserved and not used. Below zero for a moment while requests find nothing.
    left: AtomicI64,
    /// How many encryptions the version has made at most, in all processes, as far as this one knows.
    reserved: AtomicU64,
    /// What was reserved for this process, less the encryptions that were taken as usage: with what is left,
    /// it says how many were made since.
    unread: AtomicI64,
    /// Decryptions that were not taken as usage yet.
    decryptions: AtomicU64,
    /// For each thread a share of its own, if the version is hot.
    stripes: OnceLock<Box<Stripes>>,
    /// In seconds since 1970.
    last_used: AtomicU32,
    /// The size of the block, as a power of two.
    size: AtomicU8,
    /// Whether it was reported that the block runs low.
    is_low: AtomicBool,
    /// Whether somebody is reserving the next block.
    is_busy: AtomicBool,
}

/// What became of the wish for one more encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It may be made.
    Granted,
    /// It may be made, and it is time to reserve the next block, which was not reported yet.
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
            unread: AtomicI64::new(0),
            decryptions: AtomicU64::new(0),
            stripes: OnceLock::new(),
            last_used: AtomicU32::new(0),
            size: AtomicU8::new(FIRST),
            is_low: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
        }
    }

    /// Takes one encryption.
    pub(crate) fn take(&self, now: Timestamp) -> Take {
        self.touch(now);
        if let Some(stripes) = self.stripes.get() {
            let stripe = stripes.of_this_thread();
            if stripe.take() {
                return Take::Granted;
            }
            if let Some(left) = self.take_shared(Stripes::SHARE) {
                stripe.put(Stripes::SHARE - 1);
                return self.granted(left);
            }
        }
        match self.take_shared(1) {
            Some(left) => self.granted(left),
            None if self.is_spent() => Take::Spent,
            None => Take::Empty,
        }
    }

    /// Takes so many of the block, if they are there. Returns how many were.
    fn take_shared(&self, count: i64) -> Option<i64> {
        let left = self.left.fetch_sub(count, Relaxed);
        if left >= count {
            return Some(left);
        }
        self.left.fetch_add(count, Relaxed);
        None
    }

    fn granted(&self, left: i64) -> Take {
        let half = 1 << (self.size.load(Relaxed) - 1);
        if left > half || self.is_low.load(Relaxed) || self.is_spent() || self.is_low.swap(true, Relaxed) {
            return Take::Granted;
        }
        Take::GrantedAndLow
    }

    /// Notes a decryption.
    pub(crate) fn note_decryption(&self, now: Timestamp) {
        self.touch(now);
        let stripe = self.stripes.get().map(|stripes| stripes.of_this_thread());
        let decryptions = stripe.map_or(&self.decryptions, |stripe| &stripe.decryptions);
        decryptions.fetch_add(1, Relaxed);
    }

    /// Writes at most once a second.
    fn touch(&self, now: Timestamp) {
        let now = u32::try_from(now.seconds()).unwrap_or(u32::MAX);
        if self.last_used.load(Relaxed) < now {
            self.last_used.fetch_max(now, Relaxed);
        }
    }

    fn stripes(&self) -> impl Iterator<Item = &Stripe> {
        self.stripes.get().into_iter().flat_map(|stripes| stripes.all())
    }

    /// How many encryptions were made since usage was last taken. While others use the version, it may be
    /// some more; the next time it is so many less.
    fn unread_encryptions(&self) -> i64 {
        let shares: i64 = self.stripes().map(|stripe| stripe.left.load(Relaxed)).sum();
        let left = self.left.load(Relaxed) + shares;
        (self.unread.load(Relaxed) - left).max(0)
    }

    fn all_decryptions(&self) -> impl Iterator<Item = &AtomicU64> {
        let striped = self.stripes().map(|stripe| &stripe.decryptions);
        striped.chain([&self.decryptions])
    }

    /// Returns whether anything was done since the last call of [`take_usage`](Self::take_usage).
    pub(crate) fn is_used(&self) -> bool {
        self.unread_encryptions() > 0 || self.all_decryptions().any(|number| number.load(Relaxed) > 0)
    }

    /// Returns what was done since the last call.
    pub(crate) fn take_usage(&self) -> Usage {
        let encryptions = self.unread_encryptions();
        self.unread.fetch_sub(encryptions, Relaxed);
        let usage = Usage {
            encryptions: encryptions.cast_unsigned(),
            decryptions: self.all_decryptions().map(|number| number.swap(0, Relaxed)).sum(),
            last_used: self.last_used(),
        };
        if usage.uses() >= HOT {
            self.stripes.get_or_init(Box::default);
        }
        usage
    }

    /// Takes back what was not kept elsewhere.
    pub(crate) fn return_usage(&self, usage: &Usage) {
        self.unread.fetch_add(usage.encryptions.cast_signed(), Relaxed);
        self.decryptions.fetch_add(usage.decryptions, Relaxed);
    }

    fn last_used(&self) -> Option<Timestamp> {
        let seconds = self.last_used.load(Relaxed);
        Timestamp::from_seconds("last_used", seconds.into())
            .ok()
            .filter(|_| seconds > 0)
    }

    /// Returns whether nothing is left of all that the version may make.
    pub(crate) fn is_used_up(&self) -> bool {
        self.is_spent() && !self.has_left()
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
    fn is_spent(&self) -> bool {
        self.reserved() >= MAX_ENCRYPTIONS
    }

    /// Takes in that so many are reserved, in this process or in others.
    pub(crate) fn know(&self, reserved: u64) {
        self.reserved.fetch_max(reserved, Relaxed);
    }

    fn doubled(&self) -> u8 {
        self.size.load(Relaxed).saturating_add(1).min(LARGEST)
    }

    /// How many to reserve now: to a full block. A block that was used up while no request waited is doubled.
    pub(super) fn wanted(&self, is_ahead: bool) -> u64 {
        let size = if is_ahead { self.doubled() } else { FIRST };
        let left = self.left.load(Relaxed).max(0).cast_unsigned();
        (1_u64 << size).saturating_sub(left)
    }

    /// Takes in encryptions that were reserved for this process.
    pub(super) fn put(&self, count: u64, is_ahead: bool) {
        let count = count.cast_signed(); // at most a block
        self.left.fetch_add(count, Relaxed);
        self.unread.fetch_add(count, Relaxed);
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

    fn take(count: &Count) -> Take {
        count.take(Timestamp::MIN)
    }

    fn is_granted(count: &Count) -> bool {
        matches!(take(count), Take::Granted | Take::GrantedAndLow)
    }

    #[test]
    fn each_block_is_reported_low_once() {
        let count = filled(1 << FIRST);
        let takes: Vec<_> = (0..1 << FIRST).map(|_| take(&count)).collect();
        let low = takes.iter().position(|take| *take == Take::GrantedAndLow);
        assert_eq!(low, Some(1 << (FIRST - 1)));
        let granted = takes.iter().filter(|take| **take == Take::Granted).count();
        assert_eq!(granted, (1 << FIRST) - 1);
        // Nothing was done about it: it is not reported again until it was refilled.
        count.put(3, false);
        assert_eq!((take(&count), count.has_left()), (Take::Granted, true));
        count.put(3, true);
        assert_eq!((take(&count), take(&count)), (Take::GrantedAndLow, Take::Granted));
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
        assert_eq!((take(&count), take(&count)), (Take::GrantedAndLow, Take::Empty));
        count.know(MAX_ENCRYPTIONS - 1);
        count.know(7);
        assert_eq!((count.reserved(), take(&count)), (MAX_ENCRYPTIONS - 1, Take::Empty));
        count.know(MAX_ENCRYPTIONS);
        assert_eq!(take(&count), Take::Spent);
        // The last of them are not reported low: there is no next block.
        let count = filled(2);
        count.know(MAX_ENCRYPTIONS);
        assert_eq!((take(&count), take(&count)), (Take::Granted, Take::Granted));
    }

    #[test]
    fn threads_take_what_is_there() {
        let count = filled(1000);
        let granted: usize = std::thread::scope(|scope| {
            let one = || (0..500).filter(|_| is_granted(&count)).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((granted, count.has_left()), (1000, false));
        count.put(1, false);
        assert_eq!((take(&count), take(&count)), (Take::Granted, Take::Empty));
    }

    /// A version whose usage was so much that its threads have stripes.
    fn hot(count: u64) -> Count {
        let hot = filled(HOT + count);
        assert!((0..HOT).all(|_| is_granted(&hot)));
        assert!(hot.stripes.get().is_none());
        assert_eq!(hot.take_usage().encryptions, HOT);
        assert!(hot.stripes.get().is_some());
        hot
    }

    /// The threads of a hot version meet once for each share, and not at all when they decrypt.
    #[test]
    fn a_hot_version_has_shares_for_its_threads() {
        let share = Stripes::SHARE;
        let count = hot(3 * share.cast_unsigned() + 5);
        let shared = || (count.left.load(Relaxed), count.decryptions.load(Relaxed));
        for left in [2 * share + 5, share + 5, 5] {
            for _ in 0..share {
                assert!(is_granted(&count));
                count.note_decryption(Timestamp::MIN);
                assert_eq!(shared(), (left, 0));
            }
        }
        // Less than a share is taken one by one.
        for left in (0..5).rev() {
            assert_eq!((take(&count), shared()), (Take::Granted, (left, 0)));
        }
        assert_eq!(take(&count), Take::Empty);
        let usage = count.take_usage();
        let used = 3 * share.cast_unsigned();
        assert_eq!((usage.encryptions, usage.decryptions), (used + 5, used));
        assert!(!count.is_used());
    }

    #[test]
    fn threads_of_a_hot_version_take_no_more_than_there_is_and_all_is_noted() {
        const THERE: u64 = 10_000;
        let count = hot(THERE);
        let granted: u64 = std::thread::scope(|scope| {
            let one = || {
                let granted = (0..THERE).filter(|_| {
                    count.note_decryption(Timestamp::MIN);
                    is_granted(&count)
                });
                granted.count() as u64
            };
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // What stays in the shares is less than one for each stripe.
        let shares = 8 * Stripes::SHARE.cast_unsigned();
        assert!(granted <= THERE && granted > THERE - shares, "{granted}");
        let usage = count.take_usage();
        assert_eq!((usage.encryptions, usage.decryptions), (granted, 6 * THERE));
    }

    #[test]
    fn usage_that_is_returned_is_taken_again() {
        let count = filled(100);
        let now = Timestamp::from_seconds("now", 5).unwrap();
        for _ in 0..3 {
            count.take(now);
            count.note_decryption(now);
        }
        count.note_decryption(Timestamp::MIN);
        let usage = count.take_usage();
        assert_eq!((usage.encryptions, usage.decryptions), (3, 4));
        assert_eq!(usage.last_used, Some(now), "the clock went back");
        assert!(!count.is_used());
        count.put(50, true);
        assert!(!count.is_used());
        count.return_usage(&usage);
        count.take(now);
        assert_eq!(count.take_usage().encryptions, 4);
        assert_eq!(count.take_usage().uses(), 0);
    }
}
