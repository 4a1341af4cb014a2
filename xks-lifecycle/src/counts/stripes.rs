//! Shares of a hot version's block, so that threads which serve it do not wait for one another's caches.

use std::{
    array,
    sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// How many threads have a stripe of their own; more of them share.
const STRIPES: usize = 8;

/// What a thread has of a version. No other variable is on its cache lines, of which some processors fetch
/// two at once.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Stripe {
    /// What is left of the thread's share.
    pub(super) left: AtomicI64,
    /// Decryptions that were not taken as usage yet.
    pub(super) decryptions: AtomicU64,
}

impl Stripe {
    /// Takes one encryption of the share.
    pub(super) fn take(&self) -> bool {
        let is_there = self.left.fetch_sub(1, Relaxed) > 0;
        if !is_there {
            self.left.fetch_add(1, Relaxed);
        }
        is_there
    }

    pub(super) fn put(&self, count: i64) {
        self.left.fetch_add(count, Relaxed);
    }
}

/// The stripes of a hot version.
#[derive(Debug)]
pub(super) struct Stripes([Stripe; STRIPES]);

impl Default for Stripes {
    fn default() -> Self {
        Self(array::from_fn(|_| Stripe::default()))
    }
}

impl Stripes {
    /// How many encryptions a thread takes of the block at once.
    pub(super) const SHARE: i64 = 256;

    pub(super) fn all(&self) -> &[Stripe] {
        &self.0
    }

    pub(super) fn of_this_thread(&self) -> &Stripe {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Relaxed) % STRIPES;
        }
        let [first, ..] = &self.0;
        // A thread that is ending has no number any more.
        let number = NUMBER.try_with(|number| *number).unwrap_or_default();
        self.0.get(number).unwrap_or(first)
    }
}
