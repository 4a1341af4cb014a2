//! A key manager that can be away.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use xks_backend_soft::SoftBackend;
use xks_core::{
    KeyId, async_trait,
    manage::{Capabilities, KeyDescription, KeyManager, KeyPage, ManageError, ManageErrorKind, NewKey},
};

/// The manager of a soft backend.
pub(crate) struct Manager {
    pub(crate) soft: Arc<SoftBackend>,
    /// Whether it destroys no keys, since it cannot be reached.
    pub(crate) is_away: AtomicBool,
}

#[async_trait]
impl KeyManager for Manager {
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError> {
        self.soft.capabilities(deadline).await
    }

    async fn create_key(&self, key: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        self.soft.create_key(key, deadline).await
    }

    async fn keys(
        &self,
        after: Option<&KeyId>,
        limit: NonZeroUsize,
        deadline: Instant,
    ) -> Result<KeyPage, ManageError> {
        self.soft.keys(after, limit, deadline).await
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        KeyManager::key(&*self.soft, id, deadline).await
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(ManageErrorKind::Unavailable.into()),
            false => self.soft.destroy_key(id, deadline).await,
        }
    }
}
