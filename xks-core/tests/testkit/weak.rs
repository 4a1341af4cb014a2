//! Backends that hide too little, though all that they encrypt decrypts, and nothing else does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata,
        KeyUsage,
    },
};

use crate::good::{Good, open, random_iv, seal};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakness {
    ShowsIvsThatItDoesNotUse,
    EncryptsOnlyTheStart,
    RepeatsItsKeystream,
    PadsAShortTag,
    RacesForIvs,
    LogsPlaintext,
    LogsPlaintextOfDecryptions,
    TellsTheKey,
}

pub(crate) struct Weak {
    good: Good,
    weakness: Weakness,
    count: AtomicU64,
}

impl Weak {
    pub(crate) fn new(weakness: Weakness) -> Arc<Self> {
        Arc::new(Self {
            good: Good::new(),
            weakness,
            count: AtomicU64::new(0),
        })
    }

    fn is(&self, weakness: Weakness) -> bool {
        self.weakness == weakness
    }

    fn iv(&self) -> [u8; 12] {
        if self.is(Weakness::RacesForIvs) {
            let count = self.count.load(SeqCst);
            thread::yield_now();
            self.count.store(count + 1, SeqCst);
            let mut iv = [7; 12];
            iv[..8].copy_from_slice(&count.to_le_bytes());
            return iv;
        }
        random_iv()
    }

    /// Encrypts or decrypts in place, without authentication.
    fn stream(&self, value: &[u8; 32], iv: &[u8], text: &mut [u8]) {
        let mut iv = <[u8; 12]>::try_from(iv).unwrap_or_default();
        if self.is(Weakness::ShowsIvsThatItDoesNotUse) {
            iv = [7; 12];
        }
        match self.weakness {
            Weakness::EncryptsOnlyTheStart => {
                let start = text.len().min(4096);
                seal(value, &iv, b"", &mut text[..start]);
            }
            Weakness::RepeatsItsKeystream => {
                let mut stream = [0; 32];
                seal(value, &iv, b"", &mut stream);
                text.iter_mut()
                    .zip(stream.iter().cycle())
                    .for_each(|(byte, key)| *byte ^= key);
            }
            _ => {
                seal(value, &iv, b"", text);
            }
        }
    }

    /// Of a cipher of its own: of 16 bytes, and changed by any change of any part.
    fn tag(&self, value: &[u8; 32], iv: &[u8], aad: &[u8], ciphertext: &[u8]) -> [u8; 16] {
        let length = (ciphertext.len() as u64).to_be_bytes();
        let all = [iv, &length, ciphertext, aad].concat();
        let mut tag = seal(value, &[1; 12], &all, &mut []);
        if self.is(Weakness::PadsAShortTag) {
            tag[12..].fill(0);
        }
        tag
    }

    /// Whether texts and tags are not those of GCM.
    fn has_a_cipher_of_its_own(&self) -> bool {
        matches!(
            self.weakness,
            Weakness::ShowsIvsThatItDoesNotUse
                | Weakness::EncryptsOnlyTheStart
                | Weakness::RepeatsItsKeystream
                | Weakness::PadsAShortTag
        )
    }
}

#[async_trait]
impl KeyBackend for Weak {
    async fn key_metadata(&self, id: &KeyId, request: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        self.good.key_metadata(id, request).await
    }

    async fn encrypt(&self, id: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let key = self.good.key_for(id, &KeyUsage::Encrypt)?;
        if self.is(Weakness::LogsPlaintext) {
            tracing::debug!(key = %id, plaintext = ?request.plaintext(), "encrypts");
        }
        let (aad, iv, mut text) = (request.bind_aad(None), self.iv(), request.plaintext().to_vec());
        let tag = if self.has_a_cipher_of_its_own() {
            self.stream(&key.value, &iv, &mut text);
            self.tag(&key.value, &iv, aad.as_bytes(), &text)
        } else {
            seal(&key.value, &iv, aad.as_bytes(), &mut text)
        };
        Ok(Encrypted::new(text, iv.into(), tag.into(), aad))
    }

    async fn decrypt(&self, id: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let key = self.good.key_for(id, &KeyUsage::Decrypt)?;
        let (iv, tag, aad) = (
            request.iv().as_bytes(),
            request.tag().as_bytes(),
            request.bound_aad().as_bytes(),
        );
        let mut text = request.ciphertext().to_vec();
        let is_right = if self.has_a_cipher_of_its_own() {
            let is_right = iv.len() == 12 && self.tag(&key.value, iv, aad, &text) == *tag;
            self.stream(&key.value, iv, &mut text);
            is_right
        } else {
            open(&key.value, iv, aad, &mut text, tag)
        };
        if self.is(Weakness::LogsPlaintextOfDecryptions) {
            tracing::trace!("decrypted {}", String::from_utf8_lossy(&text));
        }
        if is_right {
            Ok(Zeroizing::new(text))
        } else if self.is(Weakness::TellsTheKey) {
            let words = format!("not decrypted with {:02x?}", key.value);
            Err(BackendError::new(BackendErrorKind::InvalidCiphertext, words))
        } else {
            Err(BackendError::invalid_ciphertext())
        }
    }

    async fn health(&self) -> Result<Health, BackendError> {
        self.good.health().await
    }
}
