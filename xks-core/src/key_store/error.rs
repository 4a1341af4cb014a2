//! Errors of key stores that cannot be built or served.

use thiserror::Error;

use super::{AccessKeyId, UriPathPrefix};
use crate::{aad::AadFraming, backend::CiphertextMetadata};

/// The error of a key store that cannot be built, or of a set that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("key store `{prefix}`: {problem}")]
pub struct KeyStoreError {
    /// The key store.
    pub prefix: UriPathPrefix,
    /// The problem.
    pub problem: KeyStoreProblem,
}

/// A problem of a key store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyStoreProblem {
    /// No Region was named.
    #[error("`regions` must name at least one AWS Region")]
    NoRegion,
    /// No credential was given.
    #[error("at least one credential is required")]
    NoCredential,
    /// The keys that belong to it were not named.
    #[error("its keys are missing: give a list, or all of its backend")]
    NoKeys,
    /// Another key store of the set has the same prefix.
    #[error("another key store has the same prefix")]
    PrefixTaken,
    /// No key store of the set has this prefix.
    #[error("there is no key store of this prefix")]
    Unknown,
    /// An access key id names two secrets, or is there twice in one key store. Specification: Appendix A.
    // SIG-6
    #[error("the access key id {0} is used twice: it must have one secret, and be listed once per key store")]
    AccessKeyIdTaken(AccessKeyId),
    /// The ciphertext metadata may become longer than KMS stores. Specification: Encrypt.
    // ENC-7, ENC-8
    #[error(
        "its ciphertext metadata may have {} bytes, {backend} from its backend and {} from `aad_framing = \"{framing}\"`: \
         KMS stores at most {}; shorten the backend's, such as the numbers of key versions, or choose another framing",
        .backend + .framing.metadata_length(), .framing.metadata_length(), CiphertextMetadata::MAX_LENGTH
    )]
    MetadataTooLong {
        /// The most bytes that the backend may bind, with the layers around it:
        /// [`KeyBackend::metadata_length`](crate::KeyBackend::metadata_length).
        backend: usize,
        /// The framing, whose mark may take some, too.
        framing: AadFraming,
    },
}
