//! Who runs what is due: one scheduler at a time, by a claim in the store.
//!
//! The claim is there while a scheduler runs something, and is renewed as it goes on. It is taken over from a
//! process whose row among the [nodes](crate::nodes) is gone, and where it stays as it is for longer than one
//! task may take, on the lease clock of another scheduler that has seen it.
//!
//! What a scheduler changes it changes under its claim, which is a condition of each commit: one that was
//! stopped in the middle of a task, and goes on when another has taken over, changes nothing any more.

use std::time::Duration;

use crate::{
    RandomError, generate_key_id,
    nodes::{Moment, NodeRow},
    store::{Claim, ClaimKind, Store, StoreError, Swap},
};

/// For how long a claim counts that is not renewed, where no command waits for other nodes.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// After which part of that its holder renews it.
const RENEWALS: u32 = 3;

/// One that would hold the claim.
pub(super) struct Claimant {
    owner: Box<str>,
    /// The process as one of several nodes; empty for one alone.
    process: Box<str>,
    lease: Duration,
    /// The counter of its last claim.
    counter: u64,
    /// The claim of another, and when it was seen first as it is.
    seen: Option<(Claim, Moment)>,
}

/// The claim, held.
pub(super) struct Held {
    claim: Claim,
    renewed: Moment,
    lease: Duration,
}

impl Claimant {
    pub(super) fn new(process: &str, lease: Duration) -> Result<Self, RandomError> {
        Ok(Self {
            owner: generate_key_id()?.as_str().into(),
            process: process.into(),
            lease,
            counter: 0,
            seen: None,
        })
    }

    /// From when on another's claim counts no more, if there was one.
    pub(super) fn blocked_until(&self) -> Option<Moment> {
        let (_, since) = self.seen.as_ref()?;
        Some(since.plus(self.lease))
    }

    /// Takes the claim, unless another holds it.
    pub(super) async fn take(&mut self, store: &dyn Store, now: Moment) -> Result<Option<Held>, StoreError> {
        if let Some((_, since)) = &mut self.seen {
            *since = (*since).min(now); // a process alone measures by the system's clock, which may be set back
        }
        if self.blocked_until().is_some_and(|until| now < until) && !self.is_dead(store).await? {
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
                    self.seen = Some((found.clone(), now));
                    if !self.is_dead(store).await? {
                        return Ok(None);
                    }
                    seen = Some(found);
                }
            }
        }
    }

    /// Whether the process that holds the claim is a node which is dead, or has left.
    async fn is_dead(&self, store: &dyn Store) -> Result<bool, StoreError> {
        let Some((claim, _)) = &self.seen else { return Ok(false) };
        if claim.body.is_empty() || self.process.is_empty() {
            return Ok(false);
        }
        let rows = store.claims(ClaimKind::Node).await?.0;
        // A row that cannot be read may be its.
        let may_be = |row: &Claim| NodeRow::from_claim(row).map_or(true, |row| *row.process == *claim.body);
        Ok(!rows.iter().any(may_be))
    }

    /// Takes the claim, if it is as it was seen. Otherwise returns it as it is.
    async fn replace(
        &mut self,
        store: &dyn Store,
        seen: Option<Claim>,
        now: Moment,
    ) -> Result<Result<Held, Option<Claim>>, StoreError> {
        // Never as an earlier claim of this one was, which another may have seen.
        let millis = u64::try_from(now.shown().as_millis()).unwrap_or_default();
        self.counter = millis.max(self.counter + 1);
        let claim = Claim::new(ClaimKind::Job, "scheduler", &self.owner, self.counter, &self.process);
        let next = claim.clone();
        let swap = match seen {
            Some(seen) => Swap::Replace { seen, next },
            None => Swap::Insert(next),
        };
        let swapped = store.swap(swap).await?;
        let (renewed, lease) = (now, self.lease);
        Ok(if swapped.is_done {
            Ok(Held { claim, renewed, lease })
        } else {
            Err(swapped.claim)
        })
    }
}

impl Held {
    /// Returns the claim as it is.
    pub(super) const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Renews the claim when it is time. Returns whether it is still held.
    pub(super) async fn renew(&mut self, store: &dyn Store, now: Moment) -> Result<bool, StoreError> {
        if (self.renewed..self.renewed.plus(self.lease / RENEWALS)).contains(&now) {
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
