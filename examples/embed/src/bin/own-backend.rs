//! A vendor's own backend: one AES-256-GCM key, from the trait to a served key store.
//!
//! `cargo run -p xks-embed-examples --bin own-backend`, then call `http://127.0.0.1:8003`.

#![forbid(unsafe_code)]

use std::{error::Error, sync::Arc, time::Duration};

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::AeadInOut as _};
use xks_core::{
    BackendError, Credential, KeyBackend, KeyId, KeyStore, KeyStores, Proxy, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        HealthStatus, KeyMetadata, KeySpec, KeyStatus, KeyUsage,
    },
};
use xks_http::XksService;

/// Stands for a key manager: here, one key in memory, called `my-key`.
struct OneKey(Aes256Gcm);

impl OneKey {
    fn cipher(&self, key: &KeyId) -> Result<&Aes256Gcm, BackendError> {
        if key.as_str() == "my-key" {
            Ok(&self.0)
        } else {
            Err(BackendErrorKind::KeyNotFound.into())
        }
    }
}

#[async_trait]
impl KeyBackend for OneKey {
    async fn key_metadata(&self, key: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        self.cipher(key)?;
        Ok(KeyMetadata::new(
            KeySpec::Aes256,
            [KeyUsage::Encrypt, KeyUsage::Decrypt],
            KeyStatus::Enabled,
        ))
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let aad = request.bind_aad(None); // no ciphertext metadata
        let mut iv = [0; 12];
        getrandom::fill(&mut iv).map_err(|error| failed("no random bytes").with_source(error))?;
        let mut text = request.plaintext().to_vec(); // encrypted in place
        let tag = self
            .cipher(key)?
            .encrypt_inout_detached(&iv.into(), aad.as_bytes(), text.as_mut_slice().into())
            .map_err(|_| failed("AES-GCM refused to encrypt"))?;
        Ok(Encrypted::new(text, iv.into(), <[u8; 16]>::from(tag).into(), aad))
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let invalid = BackendError::invalid_ciphertext;
        let iv: [u8; 12] = request.iv().as_bytes().try_into().map_err(|_| invalid())?;
        let mut text = Zeroizing::new(request.ciphertext().to_vec());
        let (aad, tag) = (request.bound_aad().as_bytes(), (*request.tag().as_bytes()).into());
        self.cipher(key)?
            .decrypt_inout_detached(&iv.into(), aad, text.as_mut_slice().into(), &tag)
            .map_err(|_| invalid())?;
        Ok(text)
    }

    async fn health(&self) -> Result<Health, BackendError> {
        let status = if works() {
            HealthStatus::Active
        } else {
            HealthStatus::Unavailable
        };
        Ok(Health::new(
            "Example Inc.",
            EkmStatus::new("memory-1", "OneKey 1.0", status),
        ))
    }
}

// HLT-1: real cryptography, with a key that is never served.
fn works() -> bool {
    let (key, iv, mut text) = (Aes256Gcm::new(&[1; 32].into()), [0; 12].into(), *b"probe");
    key.encrypt_inout_detached(&iv, b"", text.as_mut_slice().into())
        .and_then(|tag| key.decrypt_inout_detached(&iv, b"", text.as_mut_slice().into(), &tag))
        .is_ok_and(|()| text == *b"probe")
}

fn failed(what: &'static str) -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, what)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key)?;
    let secret =
        std::env::var("XKS_SECRET").map_err(|_| "put 43 to 64 characters of A-Z a-z 0-9 + / = into XKS_SECRET")?;
    let key_store = KeyStore::builder(
        "/my-key-store".parse()?,
        Arc::new(OneKey(Aes256Gcm::new((&*key).into()))),
    )
    .region("us-east-1".parse()?)
    .credential(Credential::new("BETWEEN2TENAND3TENCHARACTERS", secret)?)
    .all_keys_of_backend()
    .build()?;
    let app = axum::Router::new().fallback_service(
        XksService::new(Proxy::new(KeyStores::new([key_store])?)).timeout(Duration::from_millis(200)),
    );
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8003").await?, app).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use xks_core::testkit::conformance::Fixture;

    const VALUE: [u8; 32] = [7; 32];

    fn backend() -> Arc<OneKey> {
        Arc::new(OneKey(Aes256Gcm::new(&VALUE.into())))
    }

    // One test for each rule of `KeyBackend`. The more the fixture has, the more is tried: for each test that
    // cannot be, a line says what it lacks.
    xks_core::testkit::conformance!(
        Fixture::new(backend(), "my-key")
            .value(VALUE)
            .short_ivs_only()
            .restarted(backend())
    );
}
