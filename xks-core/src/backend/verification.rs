//! The ciphertext data integrity value, a hash by which KMS sees that nothing was corrupted on its way, and
//! the verification of an encryption.
//!
//! The hash is computed over what is about to be returned, and *then* that same memory is decrypted and
//! compared with the plaintext. The other way round, a fault between the two steps would go unseen: the hash
//! would vouch for the corrupted bytes. So it is the only way to a [`VerifiedEncryption`].

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted};
use crate::{BackendError, KeyBackend, KeyId};

/// An encryption that is not verified yet.
#[derive(Debug)]
pub struct Verification {
    pub(crate) encrypted: Encrypted,
    pub(crate) integrity_value: [u8; 32],
}

impl Verification {
    /// Takes the ciphertext data integrity value of what is about to be returned.
    #[must_use]
    pub fn begin(encrypted: Encrypted) -> Self {
        Self {
            integrity_value: ciphertext_data_integrity_value(&encrypted),
            encrypted,
        }
    }

    /// Returns the encryption, whose result is to be decrypted now.
    #[must_use]
    pub const fn encrypted(&self) -> &Encrypted {
        &self.encrypted
    }

    /// `SHA-256(AAD || metadata || IV || ciphertext || tag)`. Specification: Appendix C.
    // ENC-9
    #[must_use]
    pub const fn integrity_value(&self) -> &[u8; 32] {
        &self.integrity_value
    }

    /// Compares what the key manager decrypted with what was to be encrypted.
    ///
    /// # Errors
    /// The key manager's own, and `Other` when it is another plaintext.
    pub fn end(
        self,
        decrypted: Result<Zeroizing<Vec<u8>>, BackendError>,
        plaintext: &[u8],
    ) -> Result<VerifiedEncryption, BackendError> {
        let decrypted = decrypted.map_err(|error| error.in_the("verification"))?;
        if !bool::from(decrypted.ct_eq(plaintext)) {
            let detail = "verification failed: the ciphertext decrypts to another plaintext; nothing was returned";
            return Err(BackendError::new(BackendErrorKind::Other, detail));
        }
        Ok(VerifiedEncryption {
            encrypted: self.encrypted,
            integrity_value: self.integrity_value,
        })
    }
}

/// An encryption that was seen to decrypt to its plaintext, and its ciphertext data integrity value.
pub struct VerifiedEncryption {
    pub(crate) encrypted: Encrypted,
    pub(crate) integrity_value: [u8; 32],
}

impl VerifiedEncryption {
    /// Encrypts with one call of `backend` and decrypts with another: what [`KeyBackend::encrypt_verified`]
    /// does unless the backend does better. For a [layer](super::Layered) whose own `encrypt` and `decrypt`
    /// have to be verified.
    ///
    /// # Errors
    /// Those of the backend; `Other` when it decrypts to another plaintext.
    pub async fn by_two_calls<B: KeyBackend + ?Sized>(
        backend: &B,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<Self, BackendError> {
        let encrypted = backend.encrypt(key, request).await?;
        let broken = |reason| BackendError::new(BackendErrorKind::Other, reason);
        request.check(&encrypted).map_err(broken)?; // a ciphertext of another length is not tried
        let Verification {
            encrypted,
            integrity_value,
        } = Verification::begin(encrypted);
        let decryption = DecryptRequest::verification(request, encrypted);
        let decrypted = backend.decrypt(key, &decryption).await;
        let encrypted = decryption.into_encrypted();
        Verification {
            encrypted,
            integrity_value,
        }
        .end(decrypted, request.plaintext())
    }

    /// Returns the encryption.
    #[must_use]
    pub const fn encrypted(&self) -> &Encrypted {
        &self.encrypted
    }

    /// `SHA-256(AAD || metadata || IV || ciphertext || tag)`. Specification: Appendix C.
    // ENC-9
    #[must_use]
    pub const fn integrity_value(&self) -> &[u8; 32] {
        &self.integrity_value
    }
}

impl fmt::Debug for VerifiedEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedEncryption")
            .field("encrypted", &self.encrypted)
            .finish_non_exhaustive()
    }
}

/// `SHA-256(AAD ‖ metadata ‖ IV ‖ ciphertext ‖ tag)` over decoded bytes, absent parts empty.
// ENC-9
fn ciphertext_data_integrity_value(encrypted: &Encrypted) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(encrypted.aad.raw());
    hash.update(encrypted.aad.sent_metadata());
    hash.update(encrypted.iv.as_bytes());
    hash.update(&encrypted.ciphertext);
    hash.update(encrypted.tag.as_bytes());
    hash.finalize_reset().into() // in place: to move it out of itself takes longer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aad::{AadFraming, BoundAad},
        text::decode_hex,
    };

    fn hex<const N: usize>(digits: &str) -> [u8; N] {
        let mut bytes = [0; N];
        decode_hex(digits, &mut bytes).unwrap();
        bytes
    }

    /// ENC-9: the specification's vector, which does not depend on the framing.
    #[test]
    fn the_specifications_vector() {
        for framing in [AadFraming::Spec, AadFraming::Digest] {
            let metadata = b"key_version=1"[..].try_into().unwrap();
            let encrypted = Encrypted::new(
                hex::<12>("821c642b5b71783367deaf18").to_vec(),
                hex::<12>("1ccae5470f39700254779031").into(),
                hex("bc1c4dda7707d6812447c5955e99b261").into(),
                BoundAad::new(framing, Some(b"project=nile,department=marketing"), Some(metadata)).unwrap(),
            );
            let expected = hex("a8703f2260bd8791ec2d15ea0b23e65a0631eedcf2a13a65cc82db3f47cf5ec7");
            assert_eq!(ciphertext_data_integrity_value(&encrypted), expected);
        }
    }
}
