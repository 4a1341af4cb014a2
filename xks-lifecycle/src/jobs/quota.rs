//! Quotas that all nodes share: from when on the next call may be made.

use crate::{
    CommandError,
    commands::Commands,
    store::{Claim, ClaimKind, Swap},
};

/// A quota that is reserved for longer than this, in microseconds, was reserved by a clock that was wrong.
const LONGEST: u64 = 3600 * 1_000_000;

impl Commands {
    /// Reserves a quota that all nodes share. The counter of its claim is the time from which on it is free.
    /// Times are in microseconds since 1970, by the clock of the caller: `seen` is what it has seen there
    /// last (0 at first), `now` the present time, `cost` for how long the quota is taken. Returns from when
    /// on it is the caller's.
    ///
    /// Clocks of nodes that differ take nothing from the quota but their difference, once: the time in the
    /// store goes forward with each reservation, by its cost at least.
    ///
    /// # Errors
    /// Those of the store. Then the quota may be taken, which costs its time.
    pub async fn reserve_quota(&self, id: &str, seen: &mut u64, now: u64, cost: u64) -> Result<u64, CommandError> {
        let claim = |counter| Claim::new(ClaimKind::CloudQuota, id, "", counter, "");
        loop {
            let is_sane = *seen <= now.saturating_add(LONGEST);
            let start = if is_sane { now.max(*seen) } else { now };
            let next = claim(start.saturating_add(cost));
            let free = next.counter;
            let swap = match *seen {
                0 => Swap::Insert(next),
                seen => Swap::Replace {
                    seen: claim(seen),
                    next,
                },
            };
            let swapped = self.repository().store().swap(swap).await?;
            if swapped.is_done {
                *seen = free;
                return Ok(start);
            }
            *seen = swapped.claim.map_or(0, |claim| claim.counter);
        }
    }
}
