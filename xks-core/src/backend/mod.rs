//! [`KeyBackend`], the trait that a key manager implements, and its requests and results.

mod ciphertext;
mod error;
mod layered;
mod verification;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use self::{
    ciphertext::{CiphertextMetadata, Encrypted, Iv, LengthError, Tag},
    error::{BackendError, BackendErrorKind},
    layered::Layered,
    verification::{Verification, VerifiedEncryption},
};
use crate::KeyId;
pub use crate::api::{
    decrypt::DecryptRequest,
    encrypt::{EncryptRequest, TaggedRequest},
    health::{EkmStatus, Health, HealthStatus},
    key_metadata::{GetKeyMetadataRequest, KeyMetadata, KeySpec, KeyStatus, KeyUsage},
};

/// A key manager: what a vendor or an HSM integrator writes.
/// Specification: GetKeyMetadata, Decrypt, Encrypt, API operations, Appendix C, Logging.
///
/// # Already done for you
/// The request is authenticated, decoded and authorized; the key is one of those that the key store names;
/// plaintext, ciphertext and AAD are no larger than [`limits`](Self::limits); IV, tag and metadata have legal
/// lengths. The AAD and the ciphertext metadata come framed, ready for AES-GCM. Base64, the ciphertext data
/// integrity value and the verification of an encryption are the pipeline's.
///
/// # You must
/// * answer `KeyNotFound` for a key that does not exist: with
///   [`all_keys_of_backend`](crate::key_store::KeyStoreBuilder::all_keys_of_backend) you may be asked for
///   any;
/// * on encrypt: use a fresh IV from a cryptographically secure random source, or the key manager's own, and
///   never the same twice under a key;
/// * authenticate exactly the bytes of [`BoundAad::as_bytes`](crate::aad::BoundAad::as_bytes);
/// * return the 16-byte tag apart from the ciphertext, which is as long as the plaintext;
/// * on decrypt: answer the key's error (`KeyNotFound`, `KeyDisabled`, `KeyUsage`) for a ciphertext that
///   another key made. Where the ciphertext is invalid too, that error or `InvalidCiphertext`: either may be
///   found out first;
/// * report usage and status as they are at this moment, and keep to them;
/// * say in [`metadata_length`](Self::metadata_length) how much ciphertext metadata you bind, if you do;
/// * take a key id as it is, to the case of its letters;
/// * serve calls from many threads and tasks at once, and give each its own answer;
/// * decrypt with the key itself, and not from a cache, when an encryption is verified, see
///   [`encrypt_verified`](Self::encrypt_verified) and [`is_verification`](DecryptRequest::is_verification);
/// * never log plaintext or key material;
/// * where you are several key managers, record which one has the request, with
///   [`attempt`](EncryptRequest::attempt), for the audit record. A [`Fleet`](crate::fleet::Fleet)
///   does that for its members.
///
/// # Errors
/// A [`BackendError`] whose [kind](crate::backend::BackendErrorKind) decides the error that KMS gets. A tag
/// that does not fit is [`BackendError::invalid_ciphertext`], with no further word. What KMS may repeat
/// elsewhere is `Unavailable`, `Timeout` or `Throttled`.
///
/// # Cancellation
/// The future may be dropped at any time, when the caller's time is up or the client has gone. Dropping it
/// must leak nothing: a call that goes on in a key manager is forgotten there.
///
/// # Time
/// KMS waits 250 ms in all. A blocking call belongs on a thread of your own, not in the future.
///
/// # A backend around another one
/// Limits, metrics or a cache around a backend implement [`Layered`], and so write only what they change.
///
/// # Conformance
/// One line in the backend's own tests makes a test of each of these rules: see
/// `xks_core::testkit::conformance`, of the feature `testkit`. What the fixture has no key or hook for is not
/// tried, and a line says so; with `all` behind the fixture it fails.
/// ```text
/// xks_core::conformance!(Fixture::new(my_backend(), "my-key"));
/// ```
///
/// # Example
/// ```
/// use xks_core::{
///     BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
///     backend::{BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, HealthStatus, KeyMetadata, KeySpec, KeyStatus, KeyUsage},
/// };
///
/// struct NoHsm;
///
/// #[async_trait]
/// impl KeyBackend for NoHsm {
///     async fn key_metadata(
///         &self,
///         key: &KeyId,
///         _request: &GetKeyMetadataRequest<'_>,
///     ) -> Result<KeyMetadata, BackendError> {
///         if key.as_str() != "the-one-key" {
///             return Err(BackendErrorKind::KeyNotFound.into());
///         }
///         Ok(KeyMetadata::new(KeySpec::Aes256, [KeyUsage::Encrypt, KeyUsage::Decrypt], KeyStatus::Enabled))
///     }
///
///     async fn encrypt(&self, _key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
///         let aad = request.bind_aad(None);
///         let _seal = (request.plaintext(), aad.as_bytes()); // your key manager's AES-GCM goes here
///         Err(BackendError::new(BackendErrorKind::Unavailable, "there is no HSM"))
///     }
///
///     async fn decrypt(
///         &self,
///         _key: &KeyId,
///         request: &DecryptRequest<'_>,
///     ) -> Result<Zeroizing<Vec<u8>>, BackendError> {
///         let _open = (request.ciphertext(), request.iv(), request.tag(), request.bound_aad().as_bytes());
///         Err(BackendError::invalid_ciphertext())
///     }
///
///     async fn health(&self) -> Result<Health, BackendError> {
///         Ok(Health::new("Example Inc.", EkmStatus::new("hsm-1", "None 1.0", HealthStatus::Unavailable)))
///     }
/// }
/// ```
#[async_trait]
pub trait KeyBackend: Send + Sync + 'static {
    /// Returns the key's kind, its usages, and whether it is enabled now.
    async fn key_metadata(&self, key: &KeyId, request: &GetKeyMetadataRequest<'_>)
    -> Result<KeyMetadata, BackendError>;

    /// Encrypts under the key's newest version, with a fresh IV.
    ///
    /// [`EncryptRequest::bind_aad`] is given the ciphertext metadata, if the backend uses any, and gives the
    /// bytes to authenticate. It writes them in place, which is why the request is borrowed mutably; it may
    /// be called again when a second attempt needs other metadata.
    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError>;

    /// Encrypts, decrypts the result and compares it with the plaintext: the pipeline calls this when KMS
    /// asks for a ciphertext data integrity value (section 5 of the specification), as it may with every
    /// encryption.
    ///
    /// The provided method calls [`encrypt`](Self::encrypt) and [`decrypt`](Self::decrypt). A backend that
    /// hands its calls to another thread, or sends them over a network, can do both in one trip: encrypt
    /// there, [begin](Verification::begin) the verification, decrypt what is about to be returned, and
    /// [end](Verification::end) it.
    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        VerifiedEncryption::by_two_calls(self, key, request).await
    }

    /// Decrypts what [`encrypt`](Self::encrypt) made, under whichever version the metadata names.
    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError>;

    /// Returns whether an operation right now would succeed, by real cryptography with a test key of the
    /// backend's own. It may answer from a cache that is never older than 60 seconds.
    // HLT-1, HLT-3
    async fn health(&self) -> Result<Health, BackendError>;

    /// Returns the largest inputs that this key manager takes; by default what the specification demands.
    // ENC-2, ENC-3
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Returns the most bytes of ciphertext metadata that this backend's ciphertexts have, by default none:
    /// at most 20. A layer adds its [part](EncryptRequest::tag) to what the inner backend says; one that sets
    /// [default metadata](EncryptRequest::set_default_metadata) says the greater of both.
    ///
    /// A key store is not [built](crate::key_store::KeyStoreBuilder::build) when this and the mark of its
    /// framing exceed 20. Specification: Encrypt.
    // ENC-7
    fn metadata_length(&self) -> usize {
        0
    }
}

/// The largest inputs that are served; what is larger is answered `UnsupportedOperationException`.
/// Specification: Encrypt.
// ENC-4
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of plaintext, and of ciphertext. The specification demands at least 4300. A server has a
    /// limit for whole bodies too, which must have room for this in Base64. Specification: Encrypt, Decrypt.
    // ENC-2, DEC-1
    pub plaintext: usize,
    /// Bytes of AAD. The specification demands at least 8192; its framing allows at most 65 535.
    /// Specification: Encrypt, Decrypt.
    // ENC-3, DEC-1
    pub aad: usize,
}

impl Limits {
    /// Sets the limit of plaintext and ciphertext, in bytes.
    #[must_use]
    pub const fn with_plaintext(self, plaintext: usize) -> Self {
        Self { plaintext, ..self }
    }

    /// Sets the limit of AAD, in bytes.
    #[must_use]
    pub const fn with_aad(self, aad: usize) -> Self {
        Self { aad, ..self }
    }

    /// The smaller of both, each for itself.
    pub(crate) fn min(self, other: Self) -> Self {
        Self {
            plaintext: self.plaintext.min(other.plaintext),
            aad: self.aad.min(other.aad),
        }
    }
}

impl Default for Limits {
    /// The limits that the specification demands: 4300 bytes of plaintext, 8192 bytes of AAD.
    fn default() -> Self {
        Self {
            plaintext: 4300,
            aad: 8192,
        }
    }
}
