//! A layer that tags its ciphertexts is a backend like any other.

use std::sync::Arc;

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{DecryptRequest, EncryptRequest, Encrypted, Layered, VerifiedEncryption},
    testkit::conformance::Fixture,
};

use crate::good::{Good, fixture};

/// A layer whose part is the same in every ciphertext.
struct Tagging {
    inner: Arc<dyn KeyBackend>,
    part: &'static [u8],
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
            _ => Err(BackendError::invalid_ciphertext()),
        }
    }

    fn metadata_length(&self) -> usize {
        self.part.len() + self.inner().metadata_length()
    }
}

/// Two layers around a backend, which binds what another layer may have given it.
fn layers() -> Fixture {
    let tagging = |inner, part| -> Arc<dyn KeyBackend> { Arc::new(Tagging { inner, part }) };
    let two_around = |good| tagging(tagging(good, b"inner"), b"o");
    fixture(two_around(Arc::new(Good::new()))).restarted(two_around(Arc::new(Good::new())))
}

mod by_macro {
    xks_core::testkit::conformance!(super::layers(), all but a_change_of_status_is_seen, health_follows,
        outages_tell_no_plaintext);
}
