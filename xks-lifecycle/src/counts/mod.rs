//! Counts of random IVs, since under one key only so many encryptions may be made with them; and of what else
//! versions are used for.
//!
//! Encryptions are reserved in the store, in blocks, before they are made. A request takes one from its
//! version's block: one atomic operation, without a lock, and without waiting. When half of a block is used,
//! [`Counts::low`] returns, and [`Counts::refill`] reserves the next one in the background. A process that
//! ends loses what it has not used of a block: that is counted as used, so no encryption is made uncounted.
//!
//! ```text
//! request ──▶ Count::take ──▶ granted
//!                │ half of the block is used          │ nothing is left
//!                ▼                                    ▼
//!     low() ──▶ refill() ──▶ Store::swap ◀── the request itself reserves, and waits for that
//! ```
//!
//! A request that finds nothing, as the first one after a start does, reserves a small block itself, and
//! those beside it wait for that. So nothing fails when `refill` is not called; some requests take longer. If
//! the store does not answer, they are refused.
//!
//! A version with three quarters of its encryptions reserved is due for rotation:
//! [`Commands::versions_near_limit`](crate::commands::Commands::versions_near_limit) names it. With all of
//! them it encrypts no more.
//!
//! # Usage
//! The same numbers say how much a version was used. They stay in the process until
//! [`Commands::flush_usage`](crate::commands::Commands::flush_usage) adds them to the store. The threads that
//! serve a hot version have shares of its block and counters of their own, each on its own cache lines.
//!
//! # Stores that go back
//! A process never counts from less than it knows, whatever is put in the store's place while it runs. What a
//! process that has ended knew is only in the store. A restored [backup](crate::backup) spends the counts of
//! all versions. After an older copy of the database file was put in its place, rotate the keys that were
//! used since that copy was made.

mod count;
mod stripes;
mod usage;

use std::{collections::VecDeque, fmt, sync::Arc};

pub(crate) use self::count::{Count, Take};
pub use self::usage::Usage;
use crate::{
    KeyVersionId,
    repository::advance,
    store::{Notifier, Store, StoreError},
};

/// How many encryptions with random IVs of 96 bits one key may make (NIST SP 800-38D, section 8.3).
pub(crate) const MAX_ENCRYPTIONS: u64 = 1 << 32;
/// From how many on a version is due for rotation.
pub(crate) const NEAR_LIMIT: u64 = MAX_ENCRYPTIONS / 4 * 3;

/// A version and its count.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) version: KeyVersionId,
    pub(crate) count: Arc<Count>,
}

/// Reserves the encryptions of all versions that one process serves.
///
/// ```
/// use std::time::Duration;
/// use xks_lifecycle::Counts;
///
/// /// To be run in the background, for as long as keys are served.
/// async fn keep_filled(counts: &Counts, sleep: impl AsyncFn(Duration)) {
///     loop {
///         counts.low().await;
///         if let Err(error) = counts.refill().await {
///             eprintln!("no encryptions can be reserved: {error}");
///             sleep(Duration::from_secs(1)).await;
///         }
///     }
/// }
/// ```
pub struct Counts {
    store: Arc<dyn Store>,
    /// Versions whose blocks run low, each once.
    low: Notifier<VecDeque<Counted>>,
}

impl Counts {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let low = Notifier::default();
        Self { store, low }
    }

    /// Notes that a version's block runs low: of each block, one request does so.
    pub(crate) fn note_low(&self, counted: Counted) {
        self.low.change(|low| low.push_back(counted));
    }

    /// Waits until the block of a version runs low.
    pub async fn low(&self) {
        self.low.wait(|low| (!low.is_empty()).then_some(())).await;
    }

    /// Reserves the next block of each version whose block runs low. May be dropped at any time.
    ///
    /// # Errors
    /// Those of the store. What was not reserved is low still: call this again after a while.
    pub async fn refill(&self) -> Result<(), StoreError> {
        while let Some(counted) = self.low.read(|low| low.front().cloned()) {
            {
                let _turn = self.turn(&counted.count).await;
                self.reserve(&counted, true).await?;
            }
            let is_it = |first: &Counted| Arc::ptr_eq(&first.count, &counted.count);
            self.low.change(|low| {
                if low.front().is_some_and(is_it) {
                    low.pop_front();
                }
            });
        }
        Ok(())
    }

    /// Reserves a block of a version that has nothing left, or waits until somebody else has.
    pub(crate) async fn fill(&self, counted: &Counted) -> Result<(), StoreError> {
        let _turn = self.turn(&counted.count).await;
        if counted.count.has_left() {
            return Ok(());
        }
        self.reserve(counted, false).await
    }

    /// Waits until no other task reserves encryptions of a version.
    async fn turn<'c>(&'c self, count: &'c Count) -> Turn<'c> {
        self.low.wait(|_| count.begin().then_some(())).await;
        Turn { counts: self, count }
    }

    async fn reserve(&self, Counted { version, count }: &Counted, is_ahead: bool) -> Result<(), StoreError> {
        let wanted = count.wanted(is_ahead);
        if wanted == 0 {
            return Ok(());
        }
        let next = |start: u64| Some(start.saturating_add(wanted).min(MAX_ENCRYPTIONS)).filter(|end| *end > start);
        match advance(&*self.store, version, count.reserved(), next).await? {
            None => count.know(MAX_ENCRYPTIONS),
            Some(reserved) => {
                kill_point!(Reserved);
                count.know(reserved.end);
                count.put(reserved.end - reserved.start, is_ahead);
            }
        }
        Ok(())
    }
}

/// Held while encryptions of a version are reserved.
struct Turn<'c> {
    counts: &'c Counts,
    count: &'c Count,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.count.end();
        self.counts.low.change(|_| ()); // the next one begins
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}
