//! AES-256-GCM with random IVs: a byte for the format, 12 for the IV, the ciphertext, 16 for the tag.

use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _, aead::inout::InOutBuf};
use xks_core::Zeroizing;

use super::SealError;
use crate::id::fill_random;

const FORMAT: u8 = 1;
const IV: usize = 12;
const TAG: usize = 16;

/// Seals what is secret. Plaintext never stands in the buffer that is returned.
pub(super) fn seal(key: &[u8; 32], aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut iv = [0; IV];
    fill_random(&mut iv)?;
    let mut ciphertext = vec![0; secret.len()];
    let buffer = InOutBuf::new(secret, &mut ciphertext).map_err(|_| SealError::TooLong)?;
    let tag = Aes256Gcm::new(key.into())
        .encrypt_inout_detached(&iv.into(), aad, buffer)
        .map_err(|_| SealError::TooLong)?;
    Ok([&[FORMAT], &iv[..], &ciphertext, &tag].concat())
}

/// Opens what was sealed under this key with this additional authenticated data; nothing if it was not.
pub(super) fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (iv, rest) = sealed.strip_prefix(&[FORMAT])?.split_first_chunk::<IV>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>()?;
    let mut secret = Zeroizing::new(vec![0; ciphertext.len()]);
    let buffer = InOutBuf::new(ciphertext, &mut secret).ok()?;
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(iv.into(), aad, buffer, tag.into())
        .ok()?;
    Some(secret)
}
