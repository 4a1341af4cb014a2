//! What the unit tests share: a backend that does nothing, and a key store over it.

use std::sync::Arc;

use crate::{
    BackendError, Credential, KeyBackend, KeyId, KeyStore, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata,
    },
    key_store::{KeyStoreBuilder, Region},
};

pub(crate) const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
pub(crate) const SECRET_ACCESS_KEY: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";

pub(crate) struct NoBackend;

#[async_trait]
impl KeyBackend for NoBackend {
    async fn key_metadata(&self, _: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        Err(BackendErrorKind::Unavailable.into())
    }

    async fn encrypt(&self, _: &KeyId, _: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        Err(BackendErrorKind::Unavailable.into())
    }

    async fn decrypt(&self, _: &KeyId, _: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        Err(BackendErrorKind::Unavailable.into())
    }

    async fn health(&self) -> Result<Health, BackendError> {
        Err(BackendErrorKind::Unavailable.into())
    }
}

pub(crate) fn credential() -> Credential {
    Credential::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY.to_owned()).unwrap()
}

pub(crate) fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

/// A key store with everything but a credential.
pub(crate) fn key_store(prefix: &str) -> KeyStoreBuilder {
    KeyStore::builder(prefix.parse().unwrap(), Arc::new(NoBackend))
        .region(region("us-east-1"))
        .all_keys_of_backend()
}
