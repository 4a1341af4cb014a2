//! Threads and sessions that call a module: the [pool](Pool) with its deadline thread, [sessions](Sessions)
//! for callers that call on their own threads, the [gate](Gate) before the module, and the
//! [notifier](Notifier).
//!
//! This module knows nothing of PKCS#11, and uses nothing of the crate: what a thread has for itself is a
//! [`Slot`]. So the models of `models/` try the very code that serves requests.

mod gate;
#[cfg(all(test, any(model = "loom", model = "shuttle")))]
mod models;
mod notifier;
mod pool;
mod sessions;
mod sync;

use std::time::{Duration, Instant};

pub(crate) use self::{
    gate::{Drained, Entry, Gate},
    notifier::{Notifier, Wake},
    pool::{Pool, Size},
    sessions::Sessions,
};

/// How long a slot rests that is not fit for a request.
const REST: Duration = Duration::from_secs(1);

/// What a thread, or a caller, has for itself while it calls the module.
pub(crate) trait Slot: 'static {
    /// What work with it fails with.
    type Error: From<Refused> + Send + 'static;

    /// Whether it is fit for a request without being prepared.
    fn is_ready(&self) -> bool;
}

/// Work that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) detail: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many wait already, or no session is to be had.
    Throttled,
    /// The threads are stopped, or all of them hang.
    Unavailable,
    /// The deadline came first.
    Timeout,
}

impl Refusal {
    const fn because(self, detail: &'static str) -> Refused {
        Refused { refusal: self, detail }
    }
}

/// What threads or callers are doing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Session slots that are fit for a request.
    pub(crate) sessions: usize,
    pub(crate) queued: usize,
    pub(crate) running: usize,
    pub(crate) abandoned: usize,
    pub(crate) is_stuck: bool,
    pub(crate) refused: u64,
    pub(crate) timed_out: u64,
    /// When a job was last done in time.
    pub(crate) done: Option<Instant>,
    /// When a job was last done, in time or not.
    pub(crate) returned: Option<Instant>,
    /// When the oldest and the newest of the calls that are under way began.
    pub(crate) oldest: Option<Instant>,
    pub(crate) newest: Option<Instant>,
}

impl Load {
    /// One more call is under way.
    pub(crate) fn add_call(&mut self, since: Instant) {
        self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
        self.newest = self.newest.max(Some(since));
    }
}

#[cfg(test)]
impl Slot for usize {
    type Error = Refused;

    fn is_ready(&self) -> bool {
        *self == 0 // so that tests see both
    }
}
