//! Eventual consistency: two replicas that answer in turn, of which one is behind.
//!
//! One replica has every change at once, the other after the time to settle. So a new key is not found at
//! first by every other request, and an old and a new value take turns, as callers of AWS KMS see it. What a
//! request changes is changed in both; it may fail because a key or alias that it names is not found yet.

use std::collections::VecDeque;

use super::{exception::Exception, world::World};

/// The state, and the states before it that a replica still shows.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    latest: World,
    /// Each with the time at which the next one took its place, oldest first.
    past: VecDeque<(f64, World)>,
}

impl Replicas {
    pub(crate) fn new(latest: World) -> Self {
        Self {
            latest,
            past: VecDeque::new(),
        }
    }

    pub(crate) fn latest(&mut self, now: f64) -> &World {
        self.latest.settle(now);
        &self.latest
    }

    /// The state as it was this time ago.
    pub(crate) fn behind(&mut self, now: f64, settle: f64) -> &World {
        self.latest.settle(now);
        let seen = now - settle;
        while self.past.front().is_some_and(|(until, _)| *until <= seen) {
            self.past.pop_front();
        }
        self.past.front().map_or(&self.latest, |(_, state)| state)
    }

    /// What is to be changed. Behind, new keys and aliases are not found in it.
    pub(crate) fn changeable(&mut self, now: f64, settle: Option<f64>) -> World {
        let seen = settle.map(|settle| self.behind(now, settle).clone());
        self.latest(now).clone().seen_as(seen.as_ref())
    }

    pub(crate) fn replace(&mut self, changed: World, now: f64, settle: f64) {
        let former = std::mem::replace(&mut self.latest, changed.seen_as(None));
        if settle > 0.0 {
            self.past.push_back((now, former));
        }
    }
}

/// For a change that cannot be kept in its file.
pub(crate) fn not_kept(error: &std::io::Error) -> Exception {
    let message = format!("cannot write the state file: {error}");
    Exception::new(super::exception::ExceptionName::Internal, message)
}
