//! The same ciphertext metadata with every ciphertext, as a setting of the sample proxy has it.

use std::sync::Arc;

use xks_core::{
    BackendError, CiphertextMetadata, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
    KeyBackend, KeyId, KeyMetadata, Limits, Zeroizing, async_trait,
};

/// A backend whose ciphertexts bear a constant, for one that has no metadata of its own. What was encrypted without it,
/// or with another, decrypts as before: it comes with each request.
pub(crate) struct WithMetadata {
    pub(crate) inner: Arc<dyn KeyBackend>,
    pub(crate) metadata: CiphertextMetadata,
}

#[async_trait]
impl KeyBackend for WithMetadata {
    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        self.inner.key_metadata(key, request).await
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        request.set_default_metadata(self.metadata);
        self.inner.encrypt(key, request).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.inner.decrypt(key, request).await
    }

    async fn health(&self) -> Result<Health, BackendError> {
        self.inner.health().await
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
