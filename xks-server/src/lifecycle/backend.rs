//! A backend in which keys under management are made and used.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata, KeyStatus, Limits,
        VerifiedEncryption,
    },
    manage::{Capabilities, KeyDescription, KeyManager, KeyPage, ManageError, ManageErrorKind, NewKey, WrappingKey},
};

use crate::{backend::OpenBackend, described::record, registry::ConfiguredBackend};

/// The open backend of a name: a reload may put another one in its place. Audit records have the name.
pub(crate) struct NamedBackend {
    name: Arc<str>,
    open: ArcSwap<Open>,
}

struct Open {
    configured: ConfiguredBackend,
    keys: Arc<dyn OpenBackend>,
    manager: Arc<dyn KeyManager>,
}

impl Open {
    fn new(configured: &ConfiguredBackend, keys: &Arc<dyn OpenBackend>) -> Option<Self> {
        Some(Self {
            configured: configured.clone(),
            manager: Arc::clone(keys).as_key_manager()?,
            keys: Arc::clone(keys),
        })
    }
}

impl NamedBackend {
    /// None if the backend has no key manager.
    pub(super) fn new(configured: &ConfiguredBackend, backend: &Arc<dyn OpenBackend>) -> Option<Self> {
        Some(Self {
            name: configured.name.as_str().into(),
            open: ArcSwap::from_pointee(Open::new(configured, backend)?),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Puts another one in its place, as a reload has opened it. One that makes no keys is left out.
    pub(super) fn replace(&self, configured: &ConfiguredBackend, backend: &Arc<dyn OpenBackend>) {
        if let Some(open) = Open::new(configured, backend) {
            self.open.store(Arc::new(open));
        }
    }

    fn manager(&self) -> Arc<dyn KeyManager> {
        Arc::clone(&self.open.load().manager)
    }

    /// The manager for a key that is not the backend's test key: that comes under no management.
    fn manager_of(&self, key: &KeyId) -> Result<Arc<dyn KeyManager>, ManageError> {
        match self.open.load().configured.is_test_key(key) {
            true => Err(ManageError::new(
                ManageErrorKind::KeyNotFound,
                "it is the backend's test key, which must not be an external key",
            )),
            false => Ok(self.manager()),
        }
    }
}

#[async_trait]
impl KeyBackend for NamedBackend {
    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        let (attempt, open) = (request.attempt(Arc::clone(&self.name)), self.open.load());
        record(Some(attempt), open.keys.key_metadata(key, request)).await
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let (attempt, open) = (request.attempt(Arc::clone(&self.name)), self.open.load());
        record(Some(attempt), open.keys.encrypt(key, request)).await
    }

    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        let (attempt, open) = (request.attempt(Arc::clone(&self.name)), self.open.load());
        record(Some(attempt), open.keys.encrypt_verified(key, request)).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let (attempt, open) = (request.attempt(Arc::clone(&self.name)), self.open.load());
        record(Some(attempt), open.keys.decrypt(key, request)).await
    }

    async fn health(&self) -> Result<Health, BackendError> {
        self.open.load().keys.health().await
    }

    fn limits(&self) -> Limits {
        self.open.load().keys.limits()
    }

    fn metadata_length(&self) -> usize {
        self.open.load().keys.metadata_length()
    }
}

#[async_trait]
impl KeyManager for NamedBackend {
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError> {
        self.manager().capabilities(deadline).await
    }

    async fn create_key(&self, key: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        self.manager().create_key(key, deadline).await
    }

    async fn create_keys(&self, keys: &[NewKey], deadline: Instant) -> Vec<Result<KeyId, ManageError>> {
        self.manager().create_keys(keys, deadline).await
    }

    async fn keys(
        &self,
        after: Option<&KeyId>,
        limit: NonZeroUsize,
        deadline: Instant,
    ) -> Result<KeyPage, ManageError> {
        self.manager().keys(after, limit, deadline).await
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        self.manager_of(id)?.key(id, deadline).await
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        self.manager_of(id)?.destroy_key(id, deadline).await
    }

    async fn set_status(&self, id: &KeyId, status: KeyStatus, deadline: Instant) -> Result<(), ManageError> {
        self.manager_of(id)?.set_status(id, status, deadline).await
    }

    async fn wrap_key(&self, id: &KeyId, by: &WrappingKey, deadline: Instant) -> Result<Vec<u8>, ManageError> {
        self.manager_of(id)?.wrap_key(id, by, deadline).await
    }

    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        self.manager_of(id)?.cmac(id, message, deadline).await
    }
}
