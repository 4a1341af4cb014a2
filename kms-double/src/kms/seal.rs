//! KMS's own layer: AES-256-GCM under key material that never leaves KMS. Whoever has the external key alone,
//! or this material alone, has nothing.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Nonce, Payload},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{binary::Binary, exception::Exception, random};

const NONCE: usize = 12;

/// The bytes that a sealed text is longer than the plaintext: nonce and tag.
pub(crate) const OVERHEAD: usize = NONCE + 16;

/// The purpose of a seal, so that one for one purpose is invalid for another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// A plaintext, before the proxy gets it.
    Plaintext,
    /// A whole blob, over all that the proxy answered.
    Blob,
    /// A plaintext, by imported material alone.
    Imported,
    /// An import token.
    ImportToken,
}

/// The key material of one KMS key: 32 bytes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeyMaterial(Binary);

impl KeyMaterial {
    pub(crate) fn generate() -> Result<Self, Exception> {
        Ok(Self(random::<32>()?.as_slice().into()))
    }

    /// Material that has been imported, where it is an AES-256 key.
    pub(crate) fn imported(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 32).then(|| Self(bytes.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `nonce ‖ ciphertext ‖ tag`.
    pub(crate) fn seal(&self, purpose: Purpose, plaintext: &[u8], bound_to: &[&[u8]]) -> Result<Vec<u8>, Exception> {
        let nonce = random::<NONCE>()?;
        let aad = aad(purpose, bound_to);
        let payload = Payload {
            msg: plaintext,
            aad: &aad,
        };
        let cipher = self.cipher().ok_or_else(corrupt)?;
        let sealed = cipher
            .encrypt(&Nonce::<Aes256Gcm>::from(*nonce), payload)
            .map_err(|_| corrupt())?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// The plaintext, unless anything has been changed.
    pub(crate) fn open(&self, purpose: Purpose, sealed: &[u8], bound_to: &[&[u8]]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>()?;
        let aad = aad(purpose, bound_to);
        let payload = Payload {
            msg: ciphertext,
            aad: &aad,
        };
        let opened = self.cipher()?.decrypt(&Nonce::<Aes256Gcm>::from(*nonce), payload);
        opened.ok().map(Zeroizing::new)
    }

    fn cipher(&self) -> Option<Aes256Gcm> {
        Aes256Gcm::new_from_slice(&self.0).ok()
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyMaterial")
    }
}

fn corrupt() -> Exception {
    Exception::new(
        super::exception::ExceptionName::Internal,
        "the key material of the KMS key cannot be used",
    )
}

/// Each part comes with its length in front.
fn aad(purpose: Purpose, bound_to: &[&[u8]]) -> Vec<u8> {
    let mut aad = vec![purpose as u8];
    for part in bound_to {
        aad.extend((part.len() as u64).to_be_bytes());
        aad.extend(*part);
    }
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_was_sealed_for_the_same() {
        let key = KeyMaterial::generate().unwrap();
        let sealed = key.seal(Purpose::Plaintext, b"plain", &[b"a", b"bc"]).unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        let opened = key.open(Purpose::Plaintext, &sealed, &[b"a", b"bc"]);
        assert_eq!(&**opened.unwrap(), b"plain");
        assert!(key.open(Purpose::Blob, &sealed, &[b"a", b"bc"]).is_none());
        assert!(key.open(Purpose::Plaintext, &sealed, &[b"ab", b"c"]).is_none());
        assert!(key.open(Purpose::Plaintext, &sealed[..20], &[b"a", b"bc"]).is_none());
        assert!(key.open(Purpose::Plaintext, b"", &[b"a", b"bc"]).is_none());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key.open(Purpose::Plaintext, &changed, &[b"a", b"bc"]).is_none());
        }
        let other = KeyMaterial::generate().unwrap();
        assert!(other.open(Purpose::Plaintext, &sealed, &[b"a", b"bc"]).is_none());
    }
}
