//! The state of all Regions of the account: key stores, keys and aliases are a Region's own, users, roles and
//! access keys the account's. [`multi_region`](super::multi_region) has what keys of several Regions share.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::state::State;

/// By Region. In a state file too; a change copies it, and shares with it all but what changes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct World {
    regions: BTreeMap<String, State>,
    /// A Region that nothing was done in yet.
    #[serde(skip)]
    fresh: Arc<State>,
}

impl<'de> Deserialize<'de> for World {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let regions = BTreeMap::<String, State>::deserialize(deserializer)?;
        let fresh = regions
            .values()
            .next()
            .map(State::with_the_account_of)
            .unwrap_or_default();
        let indexed = |(region, state): (String, State)| {
            let mut state = state.indexed();
            state.take_account_of(&fresh);
            (region, state)
        };
        Ok(Self {
            regions: regions.into_iter().map(indexed).collect(),
            fresh: Arc::new(fresh),
        })
    }
}

impl World {
    pub(crate) fn region(&self, region: &str) -> &State {
        self.regions.get(region).unwrap_or(&self.fresh)
    }

    pub(crate) fn region_mut(&mut self, region: &str) -> &mut State {
        let fresh = &self.fresh;
        self.regions
            .entry(region.to_owned())
            .or_insert_with(|| State::clone(fresh))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &State)> {
        self.regions.iter().map(|(region, state)| (&**region, state))
    }

    /// Gives all Regions the users, roles and access keys of one of them.
    pub(crate) fn share_account_of(&mut self, region: &str) {
        let changed = self.region(region).clone();
        if changed.shares_account_with(&self.fresh) {
            return;
        }
        self.fresh = Arc::new(changed.with_the_account_of());
        for state in self.regions.values_mut() {
            state.take_account_of(&changed);
        }
    }

    /// Only the keys and aliases of another state are found, or all of them.
    pub(crate) fn seen_as(mut self, seen: Option<&Self>) -> Self {
        for (region, state) in &mut self.regions {
            *state = std::mem::take(state).seen_as(seen.map(|seen| seen.region(region).clone()));
        }
        self
    }

    /// Does what is due: see [`State::settle`].
    pub(crate) fn settle(&mut self, now: f64) {
        loop {
            let (mut was_due, mut removed) = (false, Vec::new());
            for state in self.regions.values_mut() {
                was_due |= state.settle(now, &mut removed);
            }
            if !was_due {
                return;
            }
            // A primary key whose last replica is gone may be due by now too.
            self.relate(now, &removed);
        }
    }
}
