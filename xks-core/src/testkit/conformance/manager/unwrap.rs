//! The other side of an import: unwraps what a key manager has wrapped, as AWS KMS does, by AWS-LC.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{
    cmac,
    encoding::{AsDer as _, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};

use super::super::{Problem, tools::broken};
use crate::{
    Zeroizing,
    manage::{WrappingAlgorithm, WrappingKey},
};

/// A private RSA key of this process, and its public key.
pub(super) struct Importer {
    private: OaepPrivateDecryptingKey,
    public: Vec<u8>,
}

/// They are made once: that takes long.
static IMPORTERS: Mutex<Vec<(usize, Arc<Importer>)>> = Mutex::new(Vec::new());

impl Importer {
    pub(super) fn of_bits(bits: usize) -> Result<Arc<Self>, Problem> {
        let mut made = IMPORTERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, importer)) = made.iter().find(|(size, _)| *size == bits) {
            return Ok(Arc::clone(importer));
        }
        let importer = Arc::new(Self::generate(bits).ok_or_else(|| broken("AWS-LC makes no RSA key"))?);
        made.push((bits, Arc::clone(&importer)));
        Ok(importer)
    }

    fn generate(bits: usize) -> Option<Self> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return None,
        };
        let private = PrivateDecryptingKey::generate(size).ok()?;
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().ok()?;
        Some(Self {
            public: public.as_ref().to_vec(),
            private: OaepPrivateDecryptingKey::new(private).ok()?,
        })
    }

    pub(super) fn wrapping_key(&self, algorithm: WrappingAlgorithm) -> Result<WrappingKey, Problem> {
        WrappingKey::from_spki_der(&self.public, algorithm).map_err(|error| broken(error.to_string()))
    }

    /// The key material, if it was wrapped with this algorithm.
    pub(super) fn unwrap(&self, algorithm: WrappingAlgorithm, wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let oaep = match algorithm {
            WrappingAlgorithm::RsaOaepSha1 => &OAEP_SHA1_MGF1SHA1,
            WrappingAlgorithm::RsaOaepSha256 | WrappingAlgorithm::RsaAesKeyWrapSha256 => &OAEP_SHA256_MGF1SHA256,
        };
        let (by_rsa, by_aes) = wrapped.split_at_checked(self.private.key_size_bytes())?;
        let mut opened = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let opened: &[u8] = self.private.decrypt(oaep, by_rsa, &mut opened, None).ok()?;
        let opened = Zeroizing::new(<[u8; 32]>::try_from(opened).ok()?);
        if algorithm != WrappingAlgorithm::RsaAesKeyWrapSha256 {
            return by_aes.is_empty().then_some(opened);
        }
        let mut material = Zeroizing::new([0; 40]);
        let kek = AesKek::new(&AES_256, &*opened).ok()?;
        let material: &[u8] = kek.unwrap_with_padding(by_aes, &mut *material).ok()?;
        Some(Zeroizing::new(material.try_into().ok()?))
    }
}

/// AES-CMAC in software.
pub(super) fn cmac(material: &[u8; 32], message: &[u8]) -> Result<Vec<u8>, Problem> {
    let tag = cmac::Key::new(cmac::AES_256, material).and_then(|key| cmac::sign(&key, message));
    let tag = tag.map_err(|_| broken("AWS-LC computes no CMAC"))?;
    Ok(tag.as_ref().to_vec())
}
