//! When a module may have given a handle to another object.
//!
//! A handle proves nothing about a name: openCryptoki gives the handle of a destroyed key to the next object
//! that is found or made, and some modules number the objects of each session on their own. So a handle is
//! used on a session that has seen whose it is, and looked at again when the module has given out handles
//! since.
//!
//! This process counts the calls by which a module may give out handles. A session that has used a handle
//! checks it again if such a call was made during the operation, and discards the result if the handle
//! belongs to another object.
//!
//! Handles count as valid in all sessions until the module shows otherwise: the session that keeps the login
//! never searches, and is asked for a handle that the health session found. If it does not know the handle,
//! each session searches for the keys that it uses. Each preload checks this again, since a wrong answer
//! costs searches.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

/// Counts the calls in which a module gives out handles, in all of the process.
#[derive(Debug, Default)]
pub(crate) struct HandleClock {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// What the clock shows while no such call is under way: as long as it shows the same, every handle is whose
/// it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandleTime(u64);

impl HandleTime {
    /// The time after one more call, if there is no other.
    pub(crate) const fn after_one(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A call that may give out handles.
pub(crate) struct Giving<'a>(&'a HandleClock);

impl HandleClock {
    /// Marks the beginning of a call; its end is when the mark is dropped.
    pub(crate) fn giving(&self) -> Giving<'_> {
        self.begun.fetch_add(1, SeqCst);
        Giving(self)
    }

    /// The time; none while a call is under way.
    pub(crate) fn now(&self) -> Option<HandleTime> {
        // In this order: a call that has not ended when the second is read had not ended when the first was.
        let ended = self.ended.load(SeqCst);
        let begun = self.begun.load(SeqCst);
        (begun == ended).then_some(HandleTime(begun))
    }
}

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

/// Where a handle is good: by the standard in all sessions of the process, in some modules in the one that
/// found it.
#[derive(Debug, Default)]
pub(crate) struct HandleScope {
    is_session: AtomicBool,
    /// How often in a row a session did not know a handle that another had just found.
    refused: AtomicU32,
}

impl HandleScope {
    /// After how many refusals in a row the handles are believed to be good in one session: one alone may be
    /// due to a key that was deleted and made again.
    const CONVINCING: u32 = 2;

    /// Whether each session looks for its keys itself.
    pub(crate) fn is_session(&self) -> bool {
        self.is_session.load(Relaxed)
    }

    /// The handles are good in all sessions: one that never searched knows a handle of another's.
    pub(crate) fn note_all(&self) {
        self.note_shared();
        if self.is_session.swap(false, Relaxed) {
            tracing::info!("the PKCS#11 module's object handles are valid in all sessions again");
        }
    }

    /// Another session than the one that found it knows a handle.
    pub(crate) fn note_shared(&self) {
        // Read first: as long as all is well, nothing is written.
        if self.refused.load(Relaxed) != 0 {
            self.refused.store(0, Relaxed);
        }
    }

    /// Another session than the one that has just found it does not know a handle, or as another object's.
    pub(crate) fn note_refused(&self) {
        if self.refused.fetch_add(1, Relaxed) + 1 >= Self::CONVINCING {
            self.note_session();
        }
    }

    /// The handles are good in one session.
    pub(crate) fn note_session(&self) {
        if !self.is_session.swap(true, Relaxed) {
            tracing::info!(
                "the PKCS#11 module's object handles are valid only in the session that found them: each session \
                 searches for its keys itself"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_while_no_handles_are_given_out() {
        let clock = HandleClock::default();
        let start = clock.now().unwrap();
        assert_eq!(clock.now(), Some(start));
        let giving = clock.giving();
        let another = clock.giving();
        assert_eq!(clock.now(), None);
        drop(giving);
        assert_eq!(clock.now(), None, "the other is still under way");
        drop(another);
        assert_eq!(clock.now(), Some(start.after_one().after_one()));
    }
}
