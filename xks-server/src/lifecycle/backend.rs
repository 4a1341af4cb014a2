//! A backend in which keys under management are made and used.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata, KeyStatus, Limits,
        VerifiedEncryption,
    },
    manage::{Capabilities, KeyDescription, KeyManager, KeyPage, ManageError, NewKey, WrappingKey},
};

use crate::{backend::OpenBackend, described::record};

/// The open backend of a name: a reload may put another one in its place. Audit records have the name.
pub(crate) struct NamedBackend {
    name: Arc<str>,
    open: ArcSwap<Open>,
}

struct Open {
    keys: Arc<dyn OpenBackend>,
    manager: Arc<dyn KeyManager>,
}

impl Open {
    fn new(keys: &Arc<dyn OpenBackend>) -> Option<Self> {
        let manager = Arc::clone(keys).as_key_manager()?;
        let keys = Arc::clone(keys);
        Some(Self { keys, manager })
    }
}

impl NamedBackend {
    /// None if the backend has no key manager.
    pub(super) fn new(name: &str, backend: &Arc<dyn OpenBackend>) -> Option<Self> {
        Some(Self {
            name: name.into(),
            open: ArcSwap::from_pointee(Open::new(backend)?),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Puts another one in its place, as a reload has opened it. One that makes no keys is left out.
    pub(super) fn replace(&self, backend: &Arc<dyn OpenBackend>) {
        if let Some(open) = Open::new(backend).filter(|open| !Arc::ptr_eq(&open.keys, &self.open.load().keys)) {
            self.open.store(Arc::new(open));
        }
    }

    fn manager(&self) -> Arc<dyn KeyManager> {
        Arc::clone(&self.open.load().manager)
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

    async fn keys(
        &self,
        after: Option<&KeyId>,
        limit: NonZeroUsize,
        deadline: Instant,
    ) -> Result<KeyPage, ManageError> {
        self.manager().keys(after, limit, deadline).await
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        self.manager().key(id, deadline).await
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        self.manager().destroy_key(id, deadline).await
    }

    async fn set_status(&self, id: &KeyId, status: KeyStatus, deadline: Instant) -> Result<(), ManageError> {
        self.manager().set_status(id, status, deadline).await
    }

    async fn wrap_key(&self, id: &KeyId, by: &WrappingKey, deadline: Instant) -> Result<Vec<u8>, ManageError> {
        self.manager().wrap_key(id, by, deadline).await
    }

    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        self.manager().cmac(id, message, deadline).await
    }
}
