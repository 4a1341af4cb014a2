//! What something is known by that must not be kept, such as a PIN.

use std::hash::{BuildHasher as _, Hash, RandomState};

/// 128 bits that only this process can foresee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u64; 2]);

/// Takes fingerprints; those of two of these have nothing in common.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints([RandomState; 2]);

impl Fingerprints {
    pub(crate) fn of(&self, whole: impl Hash) -> Fingerprint {
        Fingerprint(self.0.each_ref().map(|key| key.hash_one(&whole)))
    }
}
