//! AES-256-GCM by AWS-LC, which takes less than half the time and can be had with a FIPS certificate.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use xks_core::{Zeroizing, backend::Tag};

use crate::{SoftKeyError, material::KeyMaterial};

/// Under IVs of 12 bytes. The key schedule is derived once, when this is made. It lies in AWS-LC's own
/// memory, which AWS-LC wipes when it frees it.
pub(crate) struct AwsLc(LessSafeKey);

impl AwsLc {
    pub(crate) fn new(material: &KeyMaterial) -> Result<Self, SoftKeyError> {
        let key = UnboundKey::new(&AES_256_GCM, material.as_bytes()).map_err(|_| SoftKeyError::Library)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The ciphertext and its tag; nothing if AES-GCM does not take that much. AWS-LC encrypts in place, so
    /// the plaintext stands in the ciphertext's buffer until then, which is wiped if that fails.
    pub(crate) fn seal(&self, iv: &[u8], aad: &[u8], plaintext: &[u8]) -> Option<(Vec<u8>, Tag)> {
        let iv = Nonce::try_assume_unique_for_key(iv).ok()?;
        let mut buffer = Zeroizing::new(plaintext.to_vec());
        let tag = self.0.seal_in_place_separate_tag(iv, Aad::from(aad), &mut buffer);
        let tag = Tag::try_from(tag.ok()?.as_ref()).ok()?;
        Some((std::mem::take(&mut *buffer), tag))
    }

    /// The plaintext, if the tag fits.
    pub(crate) fn open(&self, iv: &[u8], aad: &[u8], ciphertext: &[u8], tag: &Tag) -> Option<Zeroizing<Vec<u8>>> {
        let iv = Nonce::try_assume_unique_for_key(iv).ok()?;
        let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
        self.0
            .open_separate_gather(iv, Aad::from(aad), ciphertext, tag.as_bytes(), &mut plaintext)
            .ok()?;
        Some(plaintext)
    }
}
