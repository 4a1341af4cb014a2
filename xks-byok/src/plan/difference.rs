//! What it means that a KMS key and its external key are not in the same state.

use xks_lifecycle::key_state::KeyState as External;

use crate::aws::KeyState;

/// A difference between the two sides of a KMS key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Whether a request to AWS KMS fails.
    pub refuses: bool,
    /// What it means, and where it is changed.
    pub explanation: &'static str,
}

/// Compares the state of a KMS key with that of its external key. Nothing, if both serve.
#[must_use]
pub const fn difference(kms: &KeyState, external: External) -> Option<Difference> {
    let (refuses, explanation) = match (kms, external) {
        (KeyState::Enabled, External::Enabled) => return None,
        (KeyState::Enabled, External::Deactivated) => (
            true,
            "the KMS key is enabled and its external key has expired: AWS encrypts nothing under it, and decrypts only \
             if the key set keeps decryption; set a later expiry of the external key",
        ),
        (KeyState::Enabled, External::Destroyed) => (
            true,
            "the KMS key is enabled and its external key is destroyed: what was encrypted under it is lost",
        ),
        (KeyState::Enabled, _) => (
            true,
            "the KMS key is enabled and its external key is not: AWS KMS answers KMSInvalidStateException; enable the \
             external key",
        ),
        (KeyState::Disabled, External::Enabled) => (
            true,
            "the KMS key is disabled and its external key is enabled: AWS refuses by itself and does not ask the proxy; \
             enable the KMS key",
        ),
        (KeyState::Disabled, _) => (
            true,
            "the KMS key and its external key are both not enabled: enable both",
        ),
        (KeyState::PendingDeletion, External::Destroyed) => return None,
        (KeyState::PendingDeletion, _) => (
            true,
            "AWS deletes the KMS key when its waiting time is over; the external key stays",
        ),
        (KeyState::Unavailable, _) => (
            true,
            "the key store of the KMS key is disconnected: AWS asks no proxy; connect it",
        ),
        _ => return None,
    };
    Some(Difference { refuses, explanation })
}
