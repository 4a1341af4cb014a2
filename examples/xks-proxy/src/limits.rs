//! How much one key store may ask for: a rate, and a number of requests at once. Beyond it the answer is
//! ThrottlingException, and the key manager is not asked.

use std::{num::NonZeroU32, sync::Arc};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};
use xks_core::{
    BackendError, BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
    KeyBackend, KeyId, KeyMetadata, Limits, Proven, Zeroizing, async_trait,
};

use crate::settings::TrafficLimits;

/// What has been used up. It outlives a reload that leaves the limits as they are.
pub(crate) struct Traffic {
    limits: TrafficLimits,
    rate: Option<DefaultDirectRateLimiter>,
    slots: Option<Semaphore>,
}

impl Traffic {
    pub(crate) fn new(limits: TrafficLimits) -> Self {
        let rate = limits.rate.and_then(|(rate, burst)| {
            let quota = Quota::per_second(NonZeroU32::new(rate)?).allow_burst(NonZeroU32::new(burst)?);
            Some(RateLimiter::direct(quota))
        });
        Self {
            limits,
            rate,
            slots: limits.concurrent.map(Semaphore::new),
        }
    }

    pub(crate) const fn limits(&self) -> TrafficLimits {
        self.limits
    }

    /// A place for a new request, or none.
    fn admit(&self) -> Result<Option<SemaphorePermit<'_>>, BackendError> {
        if self.rate.as_ref().is_some_and(|rate| rate.check().is_err()) {
            return Err(BackendError::new(
                BackendErrorKind::Throttled,
                "the key store's rate of requests is spent",
            ));
        }
        let full = |_| {
            BackendError::new(
                BackendErrorKind::Throttled,
                "the key store has as many requests as it may at once",
            )
        };
        self.slots
            .as_ref()
            .map(Semaphore::try_acquire)
            .transpose()
            .map_err(full)
    }
}

/// A backend that takes no more than its key store may ask for. Health is never limited.
pub(crate) struct Limited {
    inner: Arc<dyn KeyBackend>,
    traffic: Arc<Traffic>,
}

impl Limited {
    pub(crate) fn new(inner: Arc<dyn KeyBackend>, traffic: Arc<Traffic>) -> Self {
        Self { inner, traffic }
    }
}

#[async_trait]
impl KeyBackend for Limited {
    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        let _place = self.traffic.admit()?;
        self.inner.key_metadata(key, request).await
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let _place = self.traffic.admit()?;
        self.inner.encrypt(key, request).await
    }

    /// One request, with one place until its end.
    async fn encrypt_and_try(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Proven, BackendError> {
        let _place = self.traffic.admit()?;
        self.inner.encrypt_and_try(key, request).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let _place = self.traffic.admit()?;
        self.inner.decrypt(key, request).await
    }

    async fn health(&self) -> Result<Health, BackendError> {
        self.inner.health().await
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
