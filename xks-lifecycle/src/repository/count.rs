//! Counts of encryptions, which are reserved in the store before they are made, and what else is noted of the
//! use of keys and credentials.

use std::{fmt::Display, ops::Range};

use xks_core::key_store::AccessKeyId;

use super::{Repository, RepositoryError};
use crate::{
    KeyVersionId, Timestamp, Usage,
    store::{Claim, ClaimKind, Store, StoreError, Swap},
};

/// Reserves encryptions of a version: from `known`, or from what is reserved if that is more, to what `next`
/// says. Returns nothing if it says nothing.
pub(crate) async fn advance(
    store: &dyn Store,
    version: &KeyVersionId,
    known: u64,
    next: impl Fn(u64) -> Option<u64> + Send,
) -> Result<Option<Range<u64>>, StoreError> {
    raise(store, ClaimKind::Count, version, known, next).await
}

/// Raises the counter of a claim, as [`advance`] says.
async fn raise(
    store: &dyn Store,
    kind: ClaimKind,
    id: &(dyn Display + Sync),
    known: u64,
    next: impl Fn(u64) -> Option<u64> + Send,
) -> Result<Option<Range<u64>>, StoreError> {
    // One that is known is most often there, as it is known.
    let mut is_there = known > 0;
    let mut seen = Claim::new(kind, &id.to_string(), "", known, "");
    loop {
        let start = seen.counter.max(known);
        let Some(end) = next(start) else { return Ok(None) };
        let reserved = seen.with_counter(end);
        let swap = if is_there {
            Swap::Replace {
                seen: seen.clone(),
                next: reserved,
            }
        } else {
            Swap::Insert(reserved)
        };
        let swapped = store.swap(swap).await?;
        if swapped.is_done {
            return Ok(Some(start..end));
        }
        match swapped.claim {
            Some(claim) => (seen, is_there) = (claim, true),
            None => (seen, is_there) = (seen.with_counter(0), false),
        }
    }
}

impl Repository {
    /// Reserves `count` encryptions of a version, before the first of them is made, and returns their
    /// numbers. A process that ends wastes what it has not used of them. The revision stays.
    ///
    /// # Errors
    /// [`RepositoryError::Exhausted`] when fewer than `count` of `limit` are left; those of the store.
    pub async fn reserve(&self, version: &KeyVersionId, count: u64, limit: u64) -> Result<Range<u64>, RepositoryError> {
        let next = |start: u64| start.checked_add(count).filter(|end| *end <= limit);
        let reserved = advance(&*self.store, version, 0, next).await?;
        reserved.ok_or_else(|| RepositoryError::Exhausted {
            version: version.clone(),
            limit,
        })
    }

    /// Returns how many encryptions of a version were [reserved](Self::reserve).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn reserved(&self, version: &KeyVersionId) -> Result<u64, StoreError> {
        let claim = self.claim(ClaimKind::Count, version).await?;
        Ok(claim.map_or(0, |claim| claim.counter))
    }

    async fn claim(&self, kind: ClaimKind, id: &(dyn Display + Sync)) -> Result<Option<Claim>, StoreError> {
        // Put in the place of itself, a claim stays as it is; and one that is not there is not made.
        let seen = Claim::new(kind, &id.to_string(), "", 0, "");
        let swap = Swap::Replace {
            next: seen.clone(),
            seen,
        };
        Ok(self.store.swap(swap).await?.claim)
    }

    /// Returns how much a version was used, as far as it was [added](Self::add_usage).
    pub(crate) async fn usage(&self, version: &KeyVersionId) -> Result<Usage, StoreError> {
        let claim = self.claim(ClaimKind::Usage, version).await?;
        Ok(claim.map_or_else(Usage::default, |claim| Usage::read(&claim.body)))
    }

    /// Adds to how much a version was used. Its uses are counted by the claim, so that nothing is lost when
    /// several nodes add.
    pub(crate) async fn add_usage(&self, version: &KeyVersionId, used: &Usage) -> Result<(), StoreError> {
        let mut found = self.claim(ClaimKind::Usage, version).await?;
        loop {
            let known = found.as_ref().map(|claim| Usage::read(&claim.body));
            let all = known.unwrap_or_default().and(used);
            let next = Claim::new(ClaimKind::Usage, &version.to_string(), "", all.uses(), &all.body());
            let swapped = self.store.swap(match found {
                Some(seen) => Swap::Replace { seen, next },
                None => Swap::Insert(next),
            });
            let swapped = swapped.await?;
            if swapped.is_done {
                return Ok(());
            }
            found = swapped.claim;
        }
    }

    /// Returns when a credential was used last, as far as it was [noted](Self::note_use).
    pub(crate) async fn last_use(&self, id: &AccessKeyId) -> Result<Option<Timestamp>, StoreError> {
        let claim = self.claim(ClaimKind::Credential, id).await?;
        let time = |claim: Claim| Timestamp::from_seconds("last_used", claim.counter).ok();
        Ok(claim.and_then(time))
    }

    /// Notes that a credential was used, unless a later use is noted.
    pub(crate) async fn note_use(&self, id: &AccessKeyId, time: Timestamp) -> Result<(), StoreError> {
        let later = |noted: u64| Some(time.seconds()).filter(|time| *time > noted);
        raise(&*self.store, ClaimKind::Credential, id, 0, later).await.map(drop)
    }

    /// Returns how many encryptions are reserved of each version of which any are. A claim that names no
    /// version is left out: counts are not authenticated.
    pub(crate) async fn counts(&self) -> Result<impl Iterator<Item = (KeyVersionId, u64)>, StoreError> {
        let (claims, _) = self.store.claims(ClaimKind::Count).await?;
        let counts = claims.into_iter();
        Ok(counts.filter_map(|claim| Some((claim.id.parse().ok()?, claim.counter))))
    }
}
