//! Errors of making and changing keys. No message holds key material.

use std::{io, path::PathBuf};

use thiserror::Error;
use xks_core::KeyId;

use crate::{key_file::KeyFileProblem, version::KeyVersion};

/// Why a key cannot be made or changed as it was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SoftKeyError {
    /// There is no key material.
    #[error(transparent)]
    Material(#[from] KeyMaterialError),
    /// The cryptographic library has no use for the material, as when no memory is left. Only with the
    /// feature `aws-lc-rs`.
    #[error("AWS-LC cannot create a key from the material; check the free memory")]
    Library,
    /// There is no such key to change.
    #[error("no key {0}: insert it first")]
    UnknownKey(KeyId),
    /// A number that cannot be written into the ciphertext metadata.
    #[error("{0} is not a number of a key version: use 1 to {max}", max = KeyVersion::MAX_NUMBER)]
    VersionNumber(u32),
    /// The key has a version of this number.
    #[error("the key already has a version {0}: use another number")]
    VersionExists(u32),
    /// The key has no version of this number.
    #[error("the key has no version {0}")]
    UnknownVersion(u32),
    /// The newest version encrypts: without it, new ciphertexts would be made under an older one again.
    #[error("version {0} is the key's newest, which encrypts: add a newer one before removing it")]
    NewestVersion(u32),
    /// Two versions are one key, whose encryptions would be counted twice.
    #[error("version {new} has the same key material as version {existing}: each version needs its own")]
    SameMaterial {
        /// The version that was to be added.
        new: u32,
        /// The version that the key has.
        existing: u32,
    },
}

/// Why there is no key material.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyMaterialError {
    /// The operating system gave no random bytes.
    #[error("the operating system's random number generator failed, so no key can be created: {0}")]
    Random(io::Error),
    /// Not as long as a key.
    #[error("an AES-256 key must have 32 bytes, not {0}")]
    Length(usize),
    /// A file that cannot be opened or read.
    #[error("cannot read the key file {path:?}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
    /// A file that holds something else than a key.
    #[error("invalid key file {path:?}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyFileProblem,
    },
}
