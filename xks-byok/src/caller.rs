//! Calls of AWS KMS: each waits for its quota, and is counted.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;
use xks_lifecycle::CommandError;

use crate::{
    aws::{AwsError, Kms, Operation},
    quota::Quotas,
};

/// Why a call was not answered as expected, or not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// AWS refused it, or did not answer.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The quota could not be reserved: the store failed.
    #[error(transparent)]
    Store(#[from] CommandError),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls AWS KMS in one account and Region.
pub struct Caller {
    kms: Arc<dyn Kms>,
    quotas: Arc<Quotas>,
    /// Account and Region, as the quotas call them.
    place: String,
    calls: Mutex<BTreeMap<Operation, u64>>,
    /// Calls whose quota was waited for, and which were not made yet.
    reserved: Mutex<BTreeMap<Operation, u64>>,
}

impl Caller {
    /// Calls over a client. `place` is the account and Region that it belongs to.
    pub fn new(kms: Arc<dyn Kms>, quotas: Arc<Quotas>, place: impl Into<String>) -> Self {
        Self {
            kms,
            quotas,
            place: place.into(),
            calls: Mutex::default(),
            reserved: Mutex::default(),
        }
    }

    /// Returns the client.
    #[must_use]
    pub fn kms(&self) -> &dyn Kms {
        &*self.kms
    }

    /// Waits for the quota of the next call of an operation, which is then made without a wait: for what must
    /// be written right before a call.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn reserve(&self, operation: Operation) -> Result<(), CallError> {
        self.quotas.take(&self.place, operation).await?;
        *lock(&self.reserved).entry(operation).or_default() += 1;
        Ok(())
    }

    /// Returns for how long the quota of an operation is taken, as far as this process has seen.
    pub async fn ahead(&self, operation: Operation) -> Duration {
        self.quotas.ahead(&self.place, operation).await
    }

    /// Uses what was reserved for an operation, if anything was.
    fn use_reserved(&self, operation: Operation) -> bool {
        let mut reserved = lock(&self.reserved);
        let Some(left) = reserved.get_mut(&operation).filter(|left| **left > 0) else {
            return false;
        };
        *left -= 1;
        true
    }

    /// Makes a call when its quota allows it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<T, F: Future<Output = Result<T, AwsError>>>(
        &self,
        operation: Operation,
        call: impl FnOnce() -> F,
    ) -> Result<T, CallError> {
        if !self.use_reserved(operation) {
            self.quotas.take(&self.place, operation).await?;
        }
        *lock(&self.calls).entry(operation).or_default() += 1;
        if operation.is_read() {
            return Ok(call().await?);
        }
        kill_point!(Calling);
        let answer = call().await;
        kill_point!(Called);
        Ok(answer?)
    }

    /// Returns how many calls were made, by operation, and begins to count again.
    #[must_use]
    pub fn take_calls(&self) -> BTreeMap<Operation, u64> {
        std::mem::take(&mut *lock(&self.calls))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
