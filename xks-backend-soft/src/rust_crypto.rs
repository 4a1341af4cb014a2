//! AES-256-GCM by the crate `aes-gcm`, in Rust alone.

use aes_gcm::{
    AeadInOut as _, AesGcm, KeyInit as _,
    aead::{
        array::{Array, ArraySize},
        consts::{U12, U16},
        inout::InOutBuf,
    },
    aes::Aes256,
};
use xks_core::{Zeroizing, backend::Tag};
use zeroize::ZeroizeOnDrop;

use crate::{SoftKeyError, material::KeyMaterial};

/// Under IVs of `N` bytes. The key schedule is derived once, when this is made.
pub(crate) struct RustCrypto<N: ArraySize>(AesGcm<Aes256, N>);

/// Key schedules and hash keys are wiped on drop: this does not compile without aes-gcm's feature `zeroize`.
const _: () = {
    const fn is_wiped<T: ZeroizeOnDrop>() {}
    is_wiped::<AesGcm<Aes256, U12>>();
    is_wiped::<AesGcm<Aes256, U16>>();
};

impl<N: ArraySize> RustCrypto<N> {
    /// Never fails; [`AwsLc`](crate::aws_lc::AwsLc) may.
    pub(crate) fn new(material: &KeyMaterial) -> Result<Self, SoftKeyError> {
        Ok(Self(AesGcm::new(material.as_bytes().into())))
    }

    /// The ciphertext and its tag; nothing if AES-GCM does not take that much. Plaintext never stands in the
    /// ciphertext's buffer.
    #[cfg_attr(
        all(feature = "aws-lc-rs", not(test)),
        expect(dead_code, reason = "it is left with IVs of 16 bytes, which are not made here")
    )]
    pub(crate) fn seal(&self, iv: &[u8], aad: &[u8], plaintext: &[u8]) -> Option<(Vec<u8>, Tag)> {
        let mut ciphertext = vec![0; plaintext.len()];
        let buffer = InOutBuf::new(plaintext, &mut ciphertext).ok()?;
        let tag = self.0.encrypt_inout_detached(iv_of(iv)?, aad, buffer).ok()?;
        Some((ciphertext, <[u8; 16]>::from(tag).into()))
    }

    /// The plaintext, if the tag fits.
    pub(crate) fn open(&self, iv: &[u8], aad: &[u8], ciphertext: &[u8], tag: &Tag) -> Option<Zeroizing<Vec<u8>>> {
        let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
        let buffer = InOutBuf::new(ciphertext, &mut plaintext).ok()?;
        let tag = tag.as_bytes().into();
        self.0.decrypt_inout_detached(iv_of(iv)?, aad, buffer, tag).ok()?;
        Some(plaintext)
    }
}

fn iv_of<N: ArraySize>(bytes: &[u8]) -> Option<&Array<u8, N>> {
    bytes.try_into().ok()
}
