//! The ciphertexts whose decryption has failed lately, and what was seen of each: a request for the same
//! ciphertext goes on where the one before ended, so that one that is known to be bad costs no more calls,
//! and one that a slow module left no time for is settled in the end.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use xks_core::KeyId;

use super::suspect::Ciphertext;
use crate::{
    error::CallError,
    fingerprint::{Fingerprint, Fingerprints},
    track_record::Seen,
};

/// How many are remembered, and for how long.
const MOST: usize = 256;
const REMEMBERED: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Suspects {
    fingerprints: Fingerprints,
    /// As many as are in `seen`, for those who only want to know whether there are any.
    count: AtomicUsize,
    /// The oldest first.
    seen: Mutex<VecDeque<(Fingerprint, Seen, Instant)>>,
}

impl Suspects {
    pub(super) fn fingerprint(&self, id: &KeyId, ciphertext: Ciphertext<'_>) -> Fingerprint {
        self.fingerprints
            .of((id, ciphertext.iv.as_bytes(), ciphertext.aad, ciphertext.both))
    }

    /// What was seen of a ciphertext that fails with this error again.
    pub(super) fn recall(&self, ciphertext: Fingerprint, error: CallError, now: Instant) -> Option<Seen> {
        let found = self.take(ciphertext, now).filter(|seen| seen.error == error);
        if let Some(seen) = found {
            self.remember(ciphertext, seen, now);
        }
        found
    }

    pub(super) fn remember(&self, ciphertext: Fingerprint, seen: Seen, now: Instant) {
        self.take(ciphertext, now);
        let mut all = self.lock();
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back((ciphertext, seen, now));
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// The ciphertext has decrypted.
    pub(super) fn acquit(&self, id: &KeyId, ciphertext: Ciphertext<'_>) {
        // As long as all is well, nothing is hashed, and no request waits.
        if self.count.load(Ordering::Relaxed) != 0 {
            self.take(self.fingerprint(id, ciphertext), Instant::now());
        }
    }

    fn take(&self, ciphertext: Fingerprint, now: Instant) -> Option<Seen> {
        let mut all = self.lock();
        while all
            .front()
            .is_some_and(|(.., at)| now.saturating_duration_since(*at) >= REMEMBERED)
        {
            all.pop_front();
        }
        let index = all.iter().position(|(other, ..)| *other == ciphertext);
        let taken = index.and_then(|index| all.remove(index));
        self.count.store(all.len(), Ordering::Relaxed);
        taken.map(|(_, seen, _)| seen)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Fingerprint, Seen, Instant)>> {
        // Each entry is whole, whatever panics.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
