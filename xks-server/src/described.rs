//! The layer of a key store's settings around its key manager: name, ciphertext metadata, limits.

use std::sync::Arc;

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        CiphertextMetadata, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, KeyMetadata, Layered,
        Limits, VerifiedEncryption,
    },
    context::OngoingAttempt,
};

/// A backend around another one.
pub(crate) struct Described {
    pub(crate) inner: Arc<dyn KeyBackend>,
    /// Its name in audit records; none for a fleet, whose members have names.
    // LOG-1
    pub(crate) name: Option<Arc<str>>,
    /// The same for every ciphertext, for a backend that has none of its own. What was encrypted without it,
    /// or with another, decrypts as before: it comes with each request.
    pub(crate) metadata: Option<CiphertextMetadata>,
    /// What the key manager takes, where its operator knows better.
    pub(crate) limits: Option<Limits>,
}

impl Described {
    fn describe(&self, request: &mut EncryptRequest<'_>) {
        if let Some(metadata) = self.metadata {
            request.set_default_metadata(metadata);
        }
    }
}

/// Records an answer as that of the key manager with this name, if it has one.
pub(crate) async fn record<T>(
    attempt: Option<OngoingAttempt<'_>>,
    answer: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    let answer = answer.await;
    if let Some(attempt) = attempt {
        attempt.end(&answer);
    }
    answer
}

#[async_trait]
impl Layered for Described {
    type Inner = dyn KeyBackend;

    fn inner(&self) -> &dyn KeyBackend {
        &*self.inner
    }

    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        let attempt = self.name.clone().map(|name| request.attempt(name));
        record(attempt, self.inner().key_metadata(key, request)).await
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.describe(request);
        let attempt = self.name.clone().map(|name| request.attempt(name));
        record(attempt, self.inner().encrypt(key, request)).await
    }

    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        self.describe(request);
        let attempt = self.name.clone().map(|name| request.attempt(name));
        record(attempt, self.inner().encrypt_verified(key, request)).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let attempt = self.name.clone().map(|name| request.attempt(name));
        record(attempt, self.inner().decrypt(key, request)).await
    }

    fn limits(&self) -> Limits {
        self.limits.unwrap_or_else(|| self.inner().limits())
    }

    fn metadata_length(&self) -> usize {
        let default = self.metadata.as_ref().map_or(0, |metadata| metadata.as_bytes().len());
        default.max(self.inner().metadata_length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ENC-7: metadata of the settings is for a key manager that has none, so the longer one counts.
    #[test]
    fn the_longer_metadata_counts() {
        let inner: Arc<dyn KeyBackend> = Arc::new(xks_backend_soft::SoftBackend::new());
        let own = inner.metadata_length();
        for (metadata, expected) in [(None, own), (Some(&[7; 5][..]), own), (Some(&[7; 20]), 20)] {
            let described = Described {
                inner: Arc::clone(&inner),
                name: None,
                metadata: metadata.map(|metadata| metadata.try_into().unwrap()),
                limits: None,
            };
            assert_eq!(KeyBackend::metadata_length(&described), expected);
        }
    }
}
