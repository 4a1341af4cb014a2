//! The external key ids that were searched for and name no key.
//!
//! Absence is believed only of a token that answers and is logged in, for twenty times as long as the search
//! took, 1 s to 30 s. A key that was there until now is searched again for 150 ms: SoftHSM2 hides a token
//! while another process writes to it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use xks_core::KeyId;

use super::Miss;

/// For how long it is believed that a key is not there, and that it does not permit something.
pub(crate) const RECHECK_AFTER: Duration = Duration::from_secs(1);
/// How many times as long as the search took it is believed: searches for absent keys take little of a
/// token's time.
const TIMES_ITS_SEARCH: u32 = 20;
/// The longest that it is believed.
const LONGEST_BELIEF: Duration = Duration::from_secs(30);
/// How many absent keys are remembered.
const MOST_ABSENT: usize = 1024;

#[derive(Default)]
pub(super) struct Absent(Mutex<HashMap<KeyId, Note>>);

struct Note {
    miss: Miss,
    until: Instant,
    login_epoch: u64,
}

impl Absent {
    /// Why there is no key, if that is still believed.
    pub(super) fn get(&self, id: &KeyId, login_epoch: u64) -> Option<Miss> {
        let notes = self.notes();
        let note = notes.get(id)?;
        (note.login_epoch == login_epoch && Instant::now() < note.until).then(|| note.miss.clone())
    }

    /// Notes what a search that took so long has come to.
    pub(super) fn note(&self, id: &KeyId, miss: Miss, login_epoch: u64, took: Duration) {
        let belief = took
            .saturating_mul(TIMES_ITS_SEARCH)
            .clamp(RECHECK_AFTER, LONGEST_BELIEF);
        let until = Instant::now() + belief;
        let mut notes = self.notes();
        if notes.len() >= MOST_ABSENT {
            notes.clear();
        }
        notes.insert(
            id.clone(),
            Note {
                miss,
                until,
                login_epoch,
            },
        );
    }

    /// The key is there now.
    pub(super) fn forget(&self, id: &KeyId) {
        self.notes().remove(id);
    }

    fn notes(&self) -> MutexGuard<'_, HashMap<KeyId, Note>> {
        // What a panic leaves behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
