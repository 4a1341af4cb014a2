//! A backend under test, and what the tests may use of it.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use crate::{KeyBackend, KeyId, Zeroizing};

/// A future that a [`Fixture`] has to run to its end.
pub type FixtureFuture<'f> = Pin<Box<dyn Future<Output = ()> + Send + 'f>>;

type Run = Arc<dyn Fn(FixtureFuture<'_>) + Send + Sync>;
type Switch = Box<dyn Fn(bool) + Send + Sync>;

/// A backend under test, and the keys that it has. What is not named is not tried.
pub struct Fixture {
    pub(super) backend: Arc<dyn KeyBackend>,
    pub(super) usable: String,
    pub(super) other: Option<String>,
    pub(super) encrypt_only: Option<String>,
    pub(super) decrypt_only: Option<String>,
    pub(super) disabled: Option<String>,
    pub(super) missing: String,
    pub(super) value: Option<Zeroizing<[u8; 32]>>,
    pub(super) restarted: Option<Arc<dyn KeyBackend>>,
    pub(super) switch: Option<(String, Switch)>,
    pub(super) break_down: Option<Box<dyn Fn() + Send + Sync>>,
    pub(super) long_ivs: bool,
    pub(super) iv_calls: usize,
    pub(super) patience: Duration,
    run: Option<Run>,
}

impl Fixture {
    /// Creates a fixture of a backend and the id of an AES key of 256 bits that may encrypt and decrypt.
    ///
    /// The key is used for some ten thousand encryptions.
    #[must_use]
    pub fn new(backend: Arc<dyn KeyBackend>, usable: &str) -> Self {
        Self {
            backend,
            usable: usable.to_owned(),
            other: None,
            encrypt_only: None,
            decrypt_only: None,
            disabled: None,
            missing: "there-is-no-such-key".to_owned(),
            value: None,
            restarted: None,
            switch: None,
            break_down: None,
            long_ivs: true,
            iv_calls: 10_000,
            patience: Duration::from_secs(300),
            run: None,
        }
    }

    /// Names another key that may encrypt and decrypt.
    #[must_use]
    pub fn other(mut self, key: &str) -> Self {
        self.other = Some(key.to_owned());
        self
    }

    /// Names a key that may encrypt and not decrypt.
    #[must_use]
    pub fn encrypt_only(mut self, key: &str) -> Self {
        self.encrypt_only = Some(key.to_owned());
        self
    }

    /// Names a key that may decrypt and not encrypt.
    #[must_use]
    pub fn decrypt_only(mut self, key: &str) -> Self {
        self.decrypt_only = Some(key.to_owned());
        self
    }

    /// Names a key that is disabled.
    #[must_use]
    pub fn disabled(mut self, key: &str) -> Self {
        self.disabled = Some(key.to_owned());
        self
    }

    /// Sets the id of a key that does not exist; by default `there-is-no-such-key`.
    #[must_use]
    pub fn missing(mut self, key: &str) -> Self {
        key.clone_into(&mut self.missing);
        self
    }

    /// Sets the value of the usable key, so that software can decrypt what the backend encrypts and the other
    /// way around.
    #[must_use]
    pub fn value(mut self, value: [u8; 32]) -> Self {
        self.value = Some(Zeroizing::new(value));
        self
    }

    /// Adds the same key manager as after a restart, with the same usable key.
    #[must_use]
    pub fn restarted(mut self, backend: Arc<dyn KeyBackend>) -> Self {
        self.restarted = Some(backend);
        self
    }

    /// Names a key that may encrypt and decrypt, and what an operator does to enable (`true`) or disable it.
    /// Where the tests share a key manager, no other test should use this key.
    #[must_use]
    pub fn switch(mut self, key: &str, switch: impl Fn(bool) + Send + Sync + 'static) -> Self {
        self.switch = Some((key.to_owned(), Box::new(switch)));
        self
    }

    /// Makes the key manager fail, from now on and for every operation: pulls the plug. It may be called
    /// again when it is out already. Not for a key manager that other tests share.
    #[must_use]
    pub fn break_down(mut self, break_down: impl Fn() + Send + Sync + 'static) -> Self {
        self.break_down = Some(Box::new(break_down));
        self
    }

    /// Limits the tests to IVs of 12 bytes: the key manager takes no others.
    #[must_use]
    pub const fn short_ivs_only(mut self) -> Self {
        self.long_ivs = false;
        self
    }

    /// Sets how many encryptions are made in search of an IV that repeats; by default 10 000. Less for a slow
    /// key manager.
    #[must_use]
    pub const fn iv_calls(mut self, calls: usize) -> Self {
        self.iv_calls = calls;
        self
    }

    /// Sets how long one contract may take before it counts as hung; by default five minutes.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs calls on an async runtime, for a backend that needs one: `run` gets a future and returns when it
    /// has ended, such as `move |future| runtime.block_on(future)`. It is called from several threads. By
    /// default calls run on plain threads.
    #[must_use]
    pub fn run(mut self, run: impl Fn(FixtureFuture<'_>) + Send + Sync + 'static) -> Self {
        self.run = Some(Arc::new(run));
        self
    }

    /// A fixture of the same backend with another usable key, whose calls run as this one's do.
    #[cfg(feature = "testkit-manage")]
    pub(super) fn of_key(&self, key: &str) -> Self {
        Self {
            long_ivs: self.long_ivs,
            patience: self.patience,
            run: self.run.clone(),
            ..Self::new(Arc::clone(&self.backend), key)
        }
    }

    /// Waits for a future.
    pub(super) fn wait<T: Send>(&self, future: impl Future<Output = T> + Send) -> Option<T> {
        let mut output = None;
        let future = Box::pin(async { output = Some(future.await) });
        match &self.run {
            Some(run) => run(future),
            None => pollster::block_on(future),
        }
        output
    }

    pub(super) fn key(&self, id: &str) -> Result<KeyId, super::Problem> {
        let not_an_id = |error| super::Problem::Broken(format!("the fixture's key id {id:?} is none: {error}"));
        id.parse().map_err(not_an_id)
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("usable", &self.usable)
            .finish_non_exhaustive()
    }
}
