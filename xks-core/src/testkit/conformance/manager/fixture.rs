//! A key manager under test, and its calls as the contracts make them.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::rand;

use super::super::{
    Fixture as Served, FixtureFuture, Problem,
    tools::{Checked, broken, not_run, said as backend_said, usual_aad},
};
use crate::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    backend::{Encrypted, KeyMetadata},
    manage::{Capabilities, CreationToken, KeyDescription, KeyManager, KeyPage, ManageError, ManageErrorKind, NewKey},
    text::ErrorChain,
};

type Both = (Arc<dyn KeyManager>, Arc<dyn KeyBackend>);

/// A key manager under test, and the backend that uses its keys.
pub struct Fixture {
    pub(super) manager: Arc<dyn KeyManager>,
    /// How the backend is called, and how long one contract may take.
    pub(super) served: Served,
    pub(super) restart: Option<Box<dyn Fn() -> Both + Send + Sync>>,
    pub(super) many: usize,
    time: Duration,
    created: Mutex<Vec<KeyId>>,
}

impl Fixture {
    /// Creates a fixture of a key manager and the backend that uses its keys, usually the same object.
    ///
    /// The tests create keys whose labels begin with `xks-conformance-`, and destroy them. The key manager
    /// may have others.
    #[must_use]
    pub fn new(manager: Arc<dyn KeyManager>, backend: Arc<dyn KeyBackend>) -> Self {
        Self {
            manager,
            served: Served::new(backend, "each-test-has-its-own"),
            restart: None,
            many: 20,
            time: Duration::from_secs(60),
            created: Mutex::default(),
        }
    }

    /// Opens the same key manager as after a restart, while the first one is still there.
    #[must_use]
    pub fn restart(mut self, restart: impl Fn() -> Both + Send + Sync + 'static) -> Self {
        self.restart = Some(Box::new(restart));
        self
    }

    /// Sets how many keys are created to be listed; by default 20. Less for a slow key manager, at least 4.
    #[must_use]
    pub fn many(self, many: usize) -> Self {
        Self {
            many: many.max(4),
            ..self
        }
    }

    /// Sets how long one call may take; by default a minute.
    #[must_use]
    pub fn time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Sets how long one contract may take before it counts as hung; by default five minutes.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        let served = self.served.patience(patience);
        Self { served, ..self }
    }

    /// Limits the tests to IVs of 12 bytes: the key manager takes no others.
    #[must_use]
    pub fn short_ivs_only(self) -> Self {
        let served = self.served.short_ivs_only();
        Self { served, ..self }
    }

    /// Runs calls on an async runtime, as [`conformance::Fixture::run`](super::super::Fixture::run).
    #[must_use]
    pub fn run(self, run: impl Fn(FixtureFuture<'_>) + Send + Sync + 'static) -> Self {
        let served = self.served.run(run);
        Self { served, ..self }
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.time
    }

    /// Waits for a call.
    pub(super) fn call<T: Send>(
        &self,
        call: impl Future<Output = Result<T, ManageError>> + Send,
    ) -> Result<Result<T, ManageError>, Problem> {
        self.served.wait(call).ok_or_else(not_run)
    }

    /// Waits for a call that must succeed. `what` was to be done.
    pub(super) fn must<T: Send>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, ManageError>> + Send,
    ) -> Result<T, Problem> {
        self.call(call)?
            .map_err(|error| broken(format!("{what} failed: {}", said(&error))))
    }

    /// Waits for a call that must be refused with one of these kinds. `what` was to be done.
    pub(super) fn refuses<T: Send>(
        &self,
        what: &str,
        kinds: &[ManageErrorKind],
        call: impl Future<Output = Result<T, ManageError>> + Send,
    ) -> Checked {
        match self.call(call)? {
            Ok(_) => Err(broken(format!("{what} succeeded, instead of {kinds:?}"))),
            Err(error) if kinds.contains(&error.kind()) => Ok(()),
            Err(error) => Err(broken(format!("{what} gave {} instead of {kinds:?}", said(&error)))),
        }
    }

    pub(super) fn capabilities(&self) -> Result<Capabilities, Problem> {
        self.must(
            "to ask for the capabilities",
            self.manager.capabilities(self.deadline()),
        )
    }

    /// A key for KMS with a token and a label that nothing else has.
    pub(super) fn new_key(&self) -> Result<NewKey, Problem> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| broken("there are no random bytes"))?;
        let token = CreationToken::from(random);
        Ok(NewKey::for_xks(token, label(&token.to_string())?))
    }

    /// A key that can be wrapped and has these usages, if the manager can make such.
    pub(super) fn extractable_key(&self) -> Result<NewKey, Problem> {
        if self.capabilities()?.wrapping.is_empty() {
            return Err(Problem::NotTried("way to wrap keys"));
        }
        Ok(self.new_key()?.extractable(true))
    }

    /// Creates a key, which must succeed; not tried with a manager that cannot.
    pub(super) fn create(&self, key: &NewKey) -> Result<KeyId, Problem> {
        if !self.capabilities()?.create {
            return Err(Problem::NotTried("way to create keys"));
        }
        let id = self.must("to create a key", self.manager.create_key(key, self.deadline()))?;
        self.created().push(id.clone());
        Ok(id)
    }

    pub(super) fn create_new(&self) -> Result<KeyId, Problem> {
        self.create(&self.new_key()?)
    }

    /// Destroys a key, which must succeed; not tried with a manager that cannot.
    pub(super) fn destroy(&self, id: &KeyId) -> Checked {
        if !self.capabilities()?.destroy {
            return Err(Problem::NotTried("way to destroy keys"));
        }
        self.must("to destroy a key", self.manager.destroy_key(id, self.deadline()))
    }

    pub(super) fn describe(&self, id: &KeyId) -> Result<KeyDescription, Problem> {
        self.must("to describe a key", self.manager.key(id, self.deadline()))
    }

    pub(super) fn page(&self, after: Option<&KeyId>, limit: usize) -> Result<KeyPage, Problem> {
        let limit = NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN);
        self.must("to list keys", self.manager.keys(after, limit, self.deadline()))
    }

    /// The whole list, in pages of this size.
    pub(super) fn list(&self, limit: usize) -> Result<Vec<KeyDescription>, Problem> {
        let mut keys: Vec<KeyDescription> = Vec::new();
        loop {
            let page = self.page(keys.last().map(|key| &key.id), limit)?;
            if page.keys.len() > limit || page.keys.is_empty() && !page.is_last {
                let (length, is_last) = (page.keys.len(), page.is_last);
                return Err(broken(format!(
                    "a page of at most {limit} keys has {length} (is_last: {is_last})"
                )));
            }
            keys.extend(page.keys);
            if page.is_last {
                return Ok(keys);
            }
            if keys.len() > 1_000_000 {
                return Err(broken("the list of keys has no end"));
            }
        }
    }

    /// The ids of the keys that were created with this token.
    pub(super) fn made_with(&self, token: CreationToken) -> Result<Vec<KeyId>, Problem> {
        let keys = self.list(1000)?.into_iter();
        Ok(keys.filter(|key| key.token == Some(token)).map(|key| key.id).collect())
    }

    /// The backend with this key.
    pub(super) fn serving(&self, id: &KeyId) -> Served {
        self.served.of_key(id.as_str())
    }

    pub(super) fn metadata(&self, id: &KeyId) -> Result<KeyMetadata, Problem> {
        let outcome = self.served.key_metadata(id.as_str())?;
        outcome.map_err(|error| broken(format!("the backend does not serve {id}: {}", backend_said(&error))))
    }

    pub(super) fn encrypt(&self, id: &KeyId) -> Result<Encrypted, Problem> {
        self.serving(id).encrypt(b"plaintext", usual_aad()?)
    }

    pub(super) fn must_decrypt(&self, id: &KeyId, encrypted: &Encrypted, what: &str) -> Checked {
        self.serving(id).must_decrypt(encrypted, b"plaintext", what)
    }

    pub(super) fn decrypt(
        &self,
        id: &KeyId,
        encrypted: Encrypted,
    ) -> Result<Result<Zeroizing<Vec<u8>>, BackendError>, Problem> {
        self.served.decrypt(id.as_str(), encrypted)
    }

    /// Destroys what a test has created, as far as that is possible.
    pub(super) fn clean_up(&self) {
        let created = std::mem::take(&mut *self.created());
        for id in created {
            let _ = self.call(self.manager.destroy_key(&id, self.deadline()));
        }
    }

    fn created(&self) -> MutexGuard<'_, Vec<KeyId>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("many", &self.many)
            .finish_non_exhaustive()
    }
}

pub(super) fn label(end: &str) -> Result<KeyId, Problem> {
    let label = format!("xks-conformance-{end}").parse();
    label.map_err(|error| broken(format!("the label {end:?}: {error}")))
}

/// Kind and words.
pub(super) fn said(error: &ManageError) -> String {
    format!("{:?} ({})", error.kind(), ErrorChain(error))
}
