//! Who runs what is due: one scheduler at a time, by a claim in the store.
//!
//! The claim is there while a scheduler runs something, and is renewed as it goes on. One that stays as it is
//! for [`LEASE_SECONDS`], by the clock of another scheduler that has seen it, was left by a process that has
//! ended, and is taken over.
//!
//! It saves work, and keeps nothing safe: of two that rotate one key at once, since a clock was set or a key
//! manager was slow, one ends the rotation that the other has begun, or gets the error that the key was
//! changed.

use crate::{
    RandomError, Timestamp, generate_key_id,
    store::{Claim, ClaimKind, Store, StoreError, Swap},
};

/// For how many seconds a claim counts that is not renewed.
pub(super) const LEASE_SECONDS: u64 = 60;
/// After how many seconds its holder renews it.
const RENEWAL_SECONDS: u64 = LEASE_SECONDS / 3;

/// One that would hold the claim.
pub(super) struct Claimant {
    owner: Box<str>,
    /// The claim of another, and when it was seen first as it is.
    seen: Option<(Claim, Timestamp)>,
}

/// The claim, held.
pub(super) struct Held {
    claim: Claim,
    renewed: Timestamp,
}

impl Claimant {
    pub(super) fn new() -> Result<Self, RandomError> {
        let owner = generate_key_id()?.as_str().into();
        Ok(Self { owner, seen: None })
    }

    /// From when on another's claim counts no more, if there was one.
    pub(super) fn blocked_until(&self) -> Option<Timestamp> {
        let (_, since) = self.seen.as_ref()?;
        Some(since.plus_seconds(LEASE_SECONDS))
    }

    /// Takes the claim, unless another holds it.
    pub(super) async fn take(&mut self, store: &dyn Store, now: Timestamp) -> Result<Option<Held>, StoreError> {
        if let Some((_, since)) = &mut self.seen {
            *since = (*since).min(now); // the clock may have been set back
        }
        if self.blocked_until().is_some_and(|until| now < until) {
            return Ok(None);
        }
        let mut seen = self.seen.take().map(|(claim, _)| claim);
        loop {
            match self.replace(store, seen, now).await? {
                Ok(held) => return Ok(Some(held)),
                Err(None) => seen = None,
                // It is this one's own: a call was dropped, or its answer was lost.
                Err(Some(found)) if found.owner == self.owner => seen = Some(found),
                Err(Some(found)) => {
                    self.seen = Some((found, now));
                    return Ok(None);
                }
            }
        }
    }

    /// Takes the claim, if it is as it was seen. Otherwise returns it as it is.
    async fn replace(
        &self,
        store: &dyn Store,
        seen: Option<Claim>,
        now: Timestamp,
    ) -> Result<Result<Held, Option<Claim>>, StoreError> {
        // Never as an earlier claim of this one was, which another may have seen.
        let claim = Claim::new(ClaimKind::Job, "scheduler", &self.owner, now.seconds(), "");
        let next = claim.clone();
        let swap = match seen {
            Some(seen) => Swap::Replace { seen, next },
            None => Swap::Insert(next),
        };
        let swapped = store.swap(swap).await?;
        Ok(if swapped.is_done {
            Ok(Held { claim, renewed: now })
        } else {
            Err(swapped.claim)
        })
    }
}

impl Held {
    /// Renews the claim when it is time. Returns whether it is still held.
    pub(super) async fn renew(&mut self, store: &dyn Store, now: Timestamp) -> Result<bool, StoreError> {
        if (self.renewed..self.renewed.plus_seconds(RENEWAL_SECONDS)).contains(&now) {
            return Ok(true);
        }
        let next = self.claim.with_counter(self.claim.counter + 1);
        let seen = std::mem::replace(&mut self.claim, next.clone());
        self.renewed = now;
        Ok(store.swap(Swap::Replace { seen, next }).await?.is_done)
    }

    pub(super) async fn release(self, store: &dyn Store) -> Result<(), StoreError> {
        store.swap(Swap::Delete(self.claim)).await.map(drop)
    }
}
