//! A layer that tags its ciphertexts.

use std::sync::Arc;

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{DecryptRequest, EncryptRequest, Encrypted, Layered, VerifiedEncryption},
};

/// Tags what it encrypts. What has no tag is older, and the inner backend's alone.
pub(crate) struct Tagging {
    pub(crate) inner: Arc<dyn KeyBackend>,
    pub(crate) part: &'static [u8],
    /// Whether it says how long its part is.
    pub(crate) says_so: bool,
}

impl Tagging {
    pub(crate) fn around(inner: Arc<dyn KeyBackend>, part: &'static [u8]) -> Arc<dyn KeyBackend> {
        let says_so = true;
        Arc::new(Self { inner, part, says_so })
    }
}

#[async_trait]
impl Layered for Tagging {
    type Inner = dyn KeyBackend;

    fn inner(&self) -> &dyn KeyBackend {
        &*self.inner
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.inner().encrypt(key, &mut request.tag(self.part)).await
    }

    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        self.inner().encrypt_verified(key, &mut request.tag(self.part)).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        match request.untag(self.part.len()) {
            Some((part, request)) if part == self.part => self.inner().decrypt(key, &request).await,
            _ => self.inner().decrypt(key, request).await,
        }
    }

    fn metadata_length(&self) -> usize {
        let own = if self.says_so { self.part.len() } else { 0 };
        own + self.inner().metadata_length()
    }
}
