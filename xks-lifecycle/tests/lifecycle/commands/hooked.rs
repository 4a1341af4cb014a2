//! A store in memory that does something before a commit or a load, and fails or is stuck while it is told
//! so.

use std::{
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use xks_core::async_trait;
use xks_lifecycle::{
    Event,
    store::{
        ChangeSet, Claim, ClaimKind, Head, MemoryStore, Revision, RowSink, Scope, Store, StoreError, Swap, Swapped,
    },
};

#[derive(Default)]
pub(crate) struct Hooked {
    inner: MemoryStore,
    /// Whether it records no events.
    pub(crate) is_deaf: AtomicBool,
    /// Whether it commits nothing.
    pub(crate) is_full: AtomicBool,
    /// Whether it changes no claims.
    pub(crate) refuses_claims: AtomicBool,
    /// Whether it does not answer when claims shall be changed.
    pub(crate) is_stuck: AtomicBool,
    before_commit: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    before_loads: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Hooked {
    /// What happens between the next decision and its commit.
    pub(crate) fn before_commit(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_commit.lock().unwrap() = Some(Box::new(hook));
    }

    /// What happens before the load of this number from now on, from 0.
    pub(crate) fn before_load(&self, number: usize, hook: impl FnOnce() + Send + 'static) {
        let mut hooks = self.before_loads.lock().unwrap();
        *hooks = vec![Box::new(hook)];
        hooks.extend((0..number).map(|_| Box::new(|| ()) as Box<dyn FnOnce() + Send>));
    }
}

#[async_trait]
impl Store for Hooked {
    async fn load(&self, scope: Scope, sink: RowSink) -> Result<Head, StoreError> {
        let hook = self.before_loads.lock().unwrap().pop();
        if let Some(hook) = hook {
            hook();
        }
        self.inner.load(scope, sink).await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError> {
        let hook = self.before_commit.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StoreError::Full("the test".to_owned()));
        }
        self.inner.commit(changes).await
    }

    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        self.inner.follow(after).await
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        if self.is_stuck.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        if self.refuses_claims.load(Ordering::Relaxed) {
            return Err(StoreError::Full("the test".to_owned()));
        }
        self.inner.swap(swap).await
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        self.inner.claims(kind).await
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        if self.is_deaf.load(Ordering::Relaxed) {
            return Err(StoreError::Full("the test".to_owned()));
        }
        self.inner.record(events).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.inner.events(after, limit).await
    }
}
