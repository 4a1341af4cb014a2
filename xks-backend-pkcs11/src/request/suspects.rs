//! The ciphertexts whose decryption has failed lately, and what was seen of each: a request for the same
//! ciphertext goes on where the one before ended, so that one that is known to be bad costs no more calls,
//! and one that a slow module left no time for is settled in the end.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use xks_core::KeyId;

use super::suspect::Ciphertext;
use crate::{error::CallError, track_record::Seen};

/// How many are remembered, and for how long.
const MOST: usize = 256;
const REMEMBERED: Duration = Duration::from_secs(60);

/// A ciphertext, by 128 bits that only this process can foresee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name([u64; 2]);

#[derive(Debug)]
pub(crate) struct Suspects {
    keys: [RandomState; 2],
    /// As many as are in `seen`, for those who only want to know whether there are any.
    count: AtomicUsize,
    /// The oldest first.
    seen: Mutex<VecDeque<(Name, Seen, Instant)>>,
}

impl Suspects {
    pub(crate) fn new() -> Self {
        Self {
            keys: [RandomState::new(), RandomState::new()],
            count: AtomicUsize::new(0),
            seen: Mutex::default(),
        }
    }

    pub(super) fn name(&self, id: &KeyId, ciphertext: Ciphertext<'_>) -> Name {
        let whole = (id, ciphertext.iv.as_bytes(), ciphertext.aad, ciphertext.both);
        Name(self.keys.each_ref().map(|key| key.hash_one(whole)))
    }

    /// What was seen of a ciphertext that fails with this error again.
    pub(super) fn recall(&self, name: Name, error: CallError, now: Instant) -> Option<Seen> {
        let found = self.take(name, now).filter(|seen| seen.error == error);
        if let Some(seen) = found {
            self.remember(name, seen, now);
        }
        found
    }

    pub(super) fn remember(&self, name: Name, seen: Seen, now: Instant) {
        self.take(name, now);
        let mut all = self.lock();
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back((name, seen, now));
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// The ciphertext has decrypted.
    pub(super) fn acquit(&self, id: &KeyId, ciphertext: Ciphertext<'_>) {
        // As long as all is well, nothing is hashed, and no request waits.
        if self.count.load(Ordering::Relaxed) != 0 {
            self.take(self.name(id, ciphertext), Instant::now());
        }
    }

    fn take(&self, name: Name, now: Instant) -> Option<Seen> {
        let mut all = self.lock();
        while all
            .front()
            .is_some_and(|(.., at)| now.saturating_duration_since(*at) >= REMEMBERED)
        {
            all.pop_front();
        }
        let index = all.iter().position(|(other, ..)| *other == name);
        let taken = index.and_then(|index| all.remove(index));
        self.count.store(all.len(), Ordering::Relaxed);
        taken.map(|(_, seen, _)| seen)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Name, Seen, Instant)>> {
        // Each entry is whole, whatever panics.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
