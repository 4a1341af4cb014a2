//! Traffic limits of one key store: a rate, and a number of requests at once. No KMS client repeats what
//! is throttled, so a request that is too many waits for a moment, in a short queue. Beyond that the answer
//! is ThrottlingException, and the key manager is not asked.
//!
//! The limits apply after the signature was verified: unauthenticated clients use up nothing, the rejection
//! has a name and a record, and health is not limited.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout_at},
};
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, KeyMetadata, Layered,
        VerifiedEncryption,
    },
};

use crate::settings::TrafficLimits;

/// The number of requests that may wait for each that may be under way: as for the sessions of a token.
const QUEUE_PER_SLOT: usize = 8;

/// The used part of a limit. It outlives a reload that leaves the limits as they are.
pub(crate) struct Traffic {
    limits: TrafficLimits,
    rate: Option<Rate>,
    slots: Option<Slots>,
}

impl Traffic {
    pub(crate) fn new(limits: TrafficLimits) -> Self {
        let rate = limits.rate.and_then(|(rate, burst)| {
            let quota = Quota::per_second(NonZeroU32::new(rate)?).allow_burst(NonZeroU32::new(burst)?);
            // No more wait than are served before the first one's time is up.
            let most = (f64::from(rate) * limits.queue.as_secs_f64()).ceil() as usize;
            Some(Rate {
                limiter: RateLimiter::direct(quota),
                turn: Mutex::default(),
                queue: Queue::of(most),
            })
        });
        let slots = limits.concurrent.map(|most| Slots {
            free: Semaphore::new(most),
            queue: Queue::of(most.saturating_mul(QUEUE_PER_SLOT)),
        });
        Self { limits, rate, slots }
    }

    pub(crate) const fn limits(&self) -> TrafficLimits {
        self.limits
    }

    /// A place for a new request, after a wait of [`TrafficLimits::queue`] at most, or none.
    async fn admit(&self) -> Result<Option<SemaphorePermit<'_>>, BackendError> {
        let refused = |detail| BackendError::new(BackendErrorKind::Throttled, detail);
        let until = || Instant::now() + self.limits.queue;
        let mut end = None; // one wait for both
        if let Some(rate) = &self.rate
            && !rate.passes_at_once()
        {
            let end = *end.get_or_insert_with(until);
            let passes = rate.passes_until(end).await;
            passes.ok_or_else(|| refused("the key store exceeded `requests_per_second`"))?;
        }
        let Some(slots) = &self.slots else { return Ok(None) };
        if let Ok(slot) = slots.free.try_acquire() {
            return Ok(Some(slot));
        }
        let slot = slots.free_until(end.unwrap_or_else(until)).await;
        let full = || refused("the key store reached `concurrent_requests`");
        slot.ok_or_else(full).map(Some)
    }
}

struct Rate {
    limiter: DefaultDirectRateLimiter,
    /// Held by the one that is next, so that those who wait go in turn.
    turn: Mutex<()>,
    queue: Queue,
}

impl Rate {
    fn passes_at_once(&self) -> bool {
        self.queue.is_empty() && self.limiter.check().is_ok()
    }

    async fn passes_until(&self, end: Instant) -> Option<()> {
        let _place = self.queue.join()?;
        let _turn = timeout_at(end, self.turn.lock()).await.ok()?;
        while let Err(not_yet) = self.limiter.check() {
            let wait = not_yet.wait_time_from(self.limiter.clock().now());
            if Instant::now() + wait > end {
                return None; // at once: nothing changes by waiting
            }
            sleep(wait).await;
        }
        Some(())
    }
}

struct Slots {
    free: Semaphore,
    queue: Queue,
}

impl Slots {
    async fn free_until(&self, end: Instant) -> Option<SemaphorePermit<'_>> {
        let _place = self.queue.join()?;
        timeout_at(end, self.free.acquire()).await.ok()?.ok()
    }
}

/// The number of requests that wait, and its limit.
struct Queue {
    waiting: AtomicUsize,
    most: usize,
}

impl Queue {
    const fn of(most: usize) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            most,
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    fn join(&self) -> Option<Waiting<'_>> {
        let one_more = |waiting| (waiting < self.most).then_some(waiting + 1);
        let joined = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        joined.ok().map(|_| Waiting(self))
    }
}

/// A place in a queue, given back also when the request is dropped.
struct Waiting<'q>(&'q Queue);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
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
impl Layered for Limited {
    type Inner = dyn KeyBackend;

    fn inner(&self) -> &dyn KeyBackend {
        &*self.inner
    }

    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        let _place = self.traffic.admit().await?;
        self.inner().key_metadata(key, request).await
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let _place = self.traffic.admit().await?;
        self.inner().encrypt(key, request).await
    }

    /// One request, with one place until its end.
    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        let _place = self.traffic.admit().await?;
        self.inner().encrypt_verified(key, request).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let _place = self.traffic.admit().await?;
        self.inner().decrypt(key, request).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn traffic(rate: Option<(u32, u32)>, concurrent: Option<usize>, queue_ms: u64) -> Traffic {
        Traffic::new(TrafficLimits {
            rate,
            concurrent,
            queue: Duration::from_millis(queue_ms),
        })
    }

    /// Without a queue, or beyond it, a request is refused without a wait.
    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_served_in_time_is_refused_at_once() {
        let start = Instant::now();
        for traffic in [traffic(Some((1, 2)), None, 50), traffic(Some((1000, 2)), None, 0)] {
            for is_served in [true, true, false, false] {
                assert_eq!(traffic.admit().await.is_ok(), is_served);
            }
        }
        let one = traffic(None, Some(1), 0);
        let _slot = one.admit().await.unwrap();
        assert!(one.admit().await.is_err());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    /// A request waits for a slot, not longer than it may, and no more of them than may.
    #[tokio::test(start_paused = true)]
    async fn a_slot_is_waited_for() {
        let traffic = Arc::new(traffic(None, Some(1), 50));
        let start = Instant::now();
        let slot = traffic.admit().await.unwrap();
        assert_eq!(traffic.admit().await.unwrap_err().kind(), BackendErrorKind::Throttled);
        assert_eq!(start.elapsed(), Duration::from_millis(50));
        let waiting: Vec<_> = (0..QUEUE_PER_SLOT)
            .map(|_| {
                let traffic = Arc::clone(&traffic);
                tokio::spawn(async move { traffic.admit().await.is_ok() })
            })
            .collect();
        tokio::task::yield_now().await;
        let before = Instant::now();
        assert!(traffic.admit().await.is_err(), "the queue is full");
        assert_eq!(before.elapsed(), Duration::ZERO);
        drop(slot);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
        assert!(traffic.slots.as_ref().unwrap().queue.is_empty());
    }

    /// A request that is given up while it waits leaves its place.
    #[tokio::test(start_paused = true)]
    async fn a_place_is_given_back() {
        let traffic = traffic(Some((100, 1)), Some(1), 50);
        let _slot = traffic.admit().await.unwrap();
        for _ in 0..20 {
            let given_up = tokio::time::timeout(Duration::from_millis(1), traffic.admit()).await;
            assert!(given_up.is_err());
        }
        assert!(traffic.rate.as_ref().unwrap().queue.is_empty());
        assert!(traffic.slots.as_ref().unwrap().queue.is_empty());
    }
}
