//! AWS's request quotas, which all nodes share, so that the queue runs at the quota and not against it.
//!
//! For each account, Region and operation the store has one time from which on the next call may be made. A
//! node that calls moves it by what its calls cost, with a condition on what it has seen: so any number of
//! nodes share the quota, those that have work take it, and no node has to know how many there are. (Shares
//! of a third for each of three nodes would need no store, and leave two thirds unused while one works.)
//! Operations with a large quota take it in blocks of a twentieth of a second, so that the store is asked
//! twenty times a second at most.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use futures_util::lock::Mutex;
use xks_core::timer::Timer;
use xks_lifecycle::{CommandError, commands::Commands};

use crate::aws::Operation;

/// The microseconds in which a quota is used up: one in a hundred more than a second, since a call that is a
/// little late makes the next one come too early for AWS.
const PACE: u64 = 1_010_000;

/// Request quotas of AWS, shared by all nodes on a store.
pub struct Quotas {
    commands: Arc<Commands>,
    timer: Arc<dyn Timer>,
    /// How many times AWS's default quotas there are.
    scale: u32,
    places: Mutex<Places>,
}

/// By account and Region, and operation.
type Places = BTreeMap<(String, Operation), Arc<Mutex<Bucket>>>;

/// What this process knows of one quota.
#[derive(Default)]
struct Bucket {
    /// What is in the store.
    seen: u64,
    /// Calls that are reserved, and from when on.
    left: u32,
    from: u64,
}

impl Quotas {
    /// AWS's default quotas.
    #[must_use]
    pub fn new(commands: Arc<Commands>, timer: Arc<dyn Timer>) -> Self {
        Self {
            commands,
            timer,
            scale: 1,
            places: Mutex::default(),
        }
    }

    /// Sets how many times the default quotas the account has: AWS raises them on request.
    #[must_use]
    pub fn with_scale(self, scale: u32) -> Self {
        let scale = scale.max(1);
        Self { scale, ..self }
    }

    /// Waits until one call of an operation may be made at a place: an account and Region.
    ///
    /// # Cancellation
    /// Dropping the future costs the call that was reserved.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn take(&self, place: &str, operation: Operation) -> Result<(), CommandError> {
        let Some(rate) = operation.quota().map(|quota| quota.saturating_mul(self.scale).max(1)) else {
            return Ok(());
        };
        let key = (place.to_owned(), operation);
        let bucket = Arc::clone(self.places.lock().await.entry(key).or_default());
        let wait = {
            let mut bucket = bucket.lock().await;
            let now = self.now();
            if bucket.left == 0 {
                let count = (rate / 20).max(1);
                let cost = u64::from(count) * PACE / u64::from(rate);
                let id = format!("{place}/{}", operation.name());
                bucket.from = self.commands.reserve_quota(&id, &mut bucket.seen, now, cost).await?;
                bucket.left = count;
            }
            bucket.left -= 1;
            bucket.from.saturating_sub(now)
        };
        if wait > 0
            && let Some(sleep) = self.timer.sleep(Duration::from_micros(wait))
        {
            sleep.await;
        }
        Ok(())
    }

    /// Returns for how long the quota of an operation is taken at a place, as far as this process has seen.
    pub async fn ahead(&self, place: &str, operation: Operation) -> Duration {
        let key = (place.to_owned(), operation);
        let Some(bucket) = self.places.lock().await.get(&key).map(Arc::clone) else {
            return Duration::ZERO;
        };
        let free = bucket.lock().await.seen;
        Duration::from_micros(free.saturating_sub(self.now()))
    }

    /// The time, in microseconds since 1970.
    fn now(&self) -> u64 {
        let since = self.timer.system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas")
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}
