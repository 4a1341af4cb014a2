//! `[audit]`, whole and checked.

use std::{path::PathBuf, time::Duration};

use xks_audit::{KeyError, Origin, SigningKey};

use super::Secret;

/// The audit log that shows tampering.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AuditSettings {
    pub(crate) directory: PathBuf,
    /// What its logs are called, before the incarnation.
    pub(crate) name: Origin,
    /// A file of this length is followed by another one.
    pub(crate) max_file_bytes: u64,
    /// How many files there are at most; none for no limit.
    pub(crate) keep: Option<usize>,
    pub(crate) durability: Durability,
    pub(crate) heads: Option<HeadSettings>,
}

/// What a record survives as soon as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The end of the process.
    None,
    /// The end of the machine: each batch is on the disk before the next one is begun.
    Batched,
}

/// The signed heads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeadSettings {
    /// In PKCS #8 (DER).
    pub(crate) key: Secret,
    pub(crate) directory: PathBuf,
    pub(crate) interval: Duration,
}

impl AuditSettings {
    /// The key of the heads, under the name of the logs.
    pub(crate) fn signing_key(&self) -> Result<Option<SigningKey>, KeyError> {
        let heads = self.heads.as_ref();
        heads
            .map(|heads| SigningKey::from_pkcs8(self.name.clone(), heads.key.expose()))
            .transpose()
    }
}
