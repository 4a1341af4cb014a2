//! A key manager that goes away at a call, comes back when a test wants it, and may be slow.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kms_double::kms::Clock;
use xks_backend_soft::SoftBackend;
use xks_core::{
    KeyId, async_trait,
    manage::{Capabilities, KeyDescription, KeyManager, KeyPage, ManageError, ManageErrorKind, NewKey, WrappingKey},
};

/// The manager of a soft backend.
pub(crate) struct Hsm {
    pub(crate) soft: Arc<SoftBackend>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: BTreeMap<&'static str, u32>,
    /// At which call it goes away, counted from the first one, and how it fails then.
    goes_at: Option<(&'static str, u32, ManageErrorKind)>,
    away: Option<ManageErrorKind>,
    /// How long the next wrapping takes.
    slow: Duration,
}

impl Hsm {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            soft: Arc::new(SoftBackend::new()),
            clock,
            state: Mutex::default(),
        })
    }

    /// Goes away at the call of this number from now on.
    pub(crate) fn goes_at(&self, call: &'static str, number: u32, kind: ManageErrorKind) {
        let mut state = self.state.lock().unwrap();
        state.calls.clear();
        state.goes_at = Some((call, number, kind));
    }

    /// Returns whether it is away.
    pub(crate) fn is_away(&self) -> bool {
        self.state.lock().unwrap().away.is_some()
    }

    pub(crate) fn comes_back(&self) {
        let mut state = self.state.lock().unwrap();
        (state.goes_at, state.away) = (None, None);
    }

    /// The next wrapping takes so long.
    pub(crate) fn is_slow(&self, duration: Duration) {
        self.state.lock().unwrap().slow = duration;
    }

    /// The labels of its keys.
    pub(crate) fn labels(&self) -> Vec<String> {
        self.soft.key_ids().iter().map(ToString::to_string).collect()
    }

    fn reach(&self, call: &'static str) -> Result<(), ManageError> {
        let mut state = self.state.lock().unwrap();
        let count = state.calls.entry(call).or_insert(0);
        *count += 1;
        let number = *count;
        match state.goes_at {
            Some((at, of, kind)) if at == call && of == number => state.away = Some(kind),
            _ => {}
        }
        state.away.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

#[async_trait]
impl KeyManager for Hsm {
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError> {
        self.reach("capabilities")?;
        self.soft.capabilities(deadline).await
    }

    async fn create_key(&self, key: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        self.reach("create_key")?;
        self.soft.create_key(key, deadline).await
    }

    async fn keys(&self, after: Option<&KeyId>, limit: NonZeroUsize, by: Instant) -> Result<KeyPage, ManageError> {
        self.reach("keys")?;
        self.soft.keys(after, limit, by).await
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        self.reach("key")?;
        KeyManager::key(&*self.soft, id, deadline).await
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        self.reach("destroy_key")?;
        self.soft.destroy_key(id, deadline).await
    }

    async fn wrap_key(&self, id: &KeyId, key: &WrappingKey, deadline: Instant) -> Result<Vec<u8>, ManageError> {
        self.reach("wrap_key")?;
        self.clock.advance(std::mem::take(&mut self.state.lock().unwrap().slow));
        self.soft.wrap_key(id, key, deadline).await
    }

    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        self.reach("cmac")?;
        self.soft.cmac(id, message, deadline).await
    }
}
