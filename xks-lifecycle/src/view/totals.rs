//! How many keys there are, for metrics.

use super::View;
use crate::{
    Timestamp,
    counts::{MAX_ENCRYPTIONS, NEAR_LIMIT},
    key_state::KeyState,
};

/// What all keys come to at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    keys: [usize; STATES.len()],
    /// Versions whose material is there, or is being made.
    pub versions: usize,
    /// The least number of encryptions that a version of an enabled key has left, of those that it may make;
    /// none without such a key.
    pub least_encryptions_left: Option<u64>,
    /// How many versions that encrypt have a quarter of that left, or less: their keys are due for rotation.
    pub versions_near_limit: usize,
}

const STATES: [KeyState; 6] = [
    KeyState::PreActive,
    KeyState::Enabled,
    KeyState::Disabled,
    KeyState::Deactivated,
    KeyState::PendingDeletion,
    KeyState::Destroyed,
];

impl Totals {
    /// Returns each state with how many keys are in it.
    pub fn keys(&self) -> impl Iterator<Item = (KeyState, usize)> {
        STATES.into_iter().zip(self.keys)
    }
}

impl View {
    /// Counts all keys. It looks at each of them, without a lock: call it every minute and not with each
    /// scrape, on a thread that may be busy for a while.
    #[must_use]
    pub fn totals(&self, now: Timestamp) -> Totals {
        let state = self.state.load_full();
        let mut totals = Totals::default();
        for key in state.keys.iter() {
            let key_state = key.state_at(now);
            let known = STATES.iter().zip(&mut totals.keys);
            known
                .filter(|(known, _)| **known == key_state)
                .for_each(|(_, count)| *count += 1);
            totals.versions += key.versions_held();
            if key_state != KeyState::Enabled {
                continue;
            }
            if let Some(reserved) = key.reserved() {
                let left = MAX_ENCRYPTIONS.saturating_sub(reserved);
                let least = totals.least_encryptions_left.map_or(left, |least| least.min(left));
                totals.least_encryptions_left = Some(least);
                totals.versions_near_limit += usize::from(reserved >= NEAR_LIMIT);
            }
        }
        totals
    }
}
