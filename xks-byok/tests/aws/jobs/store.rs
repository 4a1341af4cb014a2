//! A store at which a process ends: it never answers a write, before or after it was made; or answers when
//! the process, which stood still, goes on.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;
use xks_core::async_trait;
use xks_lifecycle::{
    Event,
    store::{
        ChangeSet, Claim, ClaimKind, Head, MemoryStore, Revision, RowSink, Scope, Store, StoreError, Swap, Swapped,
    },
};

#[derive(Default)]
pub(crate) struct MortalStore {
    inner: MemoryStore,
    writes: AtomicU64,
    /// At which write it ends; never at 0.
    last: AtomicU64,
    is_made: AtomicBool,
    ended: Notify,
    goes_on: Notify,
}

impl MortalStore {
    /// Ends at the write of this number from now on, before it is made or after.
    pub(crate) fn end_at(&self, write: u64, is_made: bool) {
        self.writes.store(0, Ordering::SeqCst);
        self.is_made.store(is_made, Ordering::SeqCst);
        self.last.store(write, Ordering::SeqCst);
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Lets the process go on that stood still.
    pub(super) fn go_on(&self) {
        self.goes_on.notify_one();
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if number != self.last.load(Ordering::SeqCst) {
            return write.await;
        }
        let made = match self.is_made.load(Ordering::SeqCst) {
            true => Some(write.await),
            false => None,
        };
        self.ended.notify_one();
        self.goes_on.notified().await;
        match made {
            Some(made) => made,
            None => pending().await,
        }
    }
}

#[async_trait]
impl Store for MortalStore {
    async fn load(&self, scope: Scope, sink: RowSink) -> Result<Head, StoreError> {
        self.inner.load(scope, sink).await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError> {
        self.write(self.inner.commit(changes)).await
    }

    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        self.inner.follow(after).await
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        self.write(self.inner.swap(swap)).await
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        self.inner.claims(kind).await
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.write(self.inner.record(events)).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.inner.events(after, limit).await
    }
}

/// A store that is shared by nodes.
pub(crate) fn shared() -> Arc<MortalStore> {
    Arc::new(MortalStore::default())
}
