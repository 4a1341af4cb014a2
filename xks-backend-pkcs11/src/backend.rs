//! The backend: requests go to the token's threads, or stay on the caller's, and come back as the pipeline
//! wants them.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::BoundAad,
    async_trait,
    backend::{
        DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, HealthStatus, KeyMetadata,
        VerifiedEncryption,
    },
};

use crate::{
    config::{Config, Dispatch, LONGEST},
    error::OpenError,
    gcm,
    health::{self, RequestKind},
    session::SessionSlot,
    supervisor::Life,
    threads::{Load, Pool, Sessions, Size},
    token::Token,
};

/// Sessions beside those that serve requests: one that only keeps the login alive, and one that tests. While
/// the token is being reconnected, there is one more.
const OTHER_SESSIONS: usize = 3;

/// How long a backend that is dropped waits for calls in the module.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// The keys of one token of a PKCS#11 module.
///
/// Several backends may use one module, each with a token or a configuration of its own. Drop them, or say
/// [`shutdown`](Self::shutdown), before the process ends: a module may crash that still has a call in it
/// then.
///
/// The crate's first page has an example.
pub struct Pkcs11Backend {
    pub(crate) token: Arc<Token>,
    pub(crate) calls: Calls,
    life: Life,
    is_stopped: AtomicBool,
}

/// How a token seals a plaintext with its AAD.
type Sealing<T> = fn(&Token, &mut SessionSlot, &KeyId, Instant, BoundAad, &[u8]) -> Result<T, BackendError>;

pub(crate) enum Calls {
    OnThreads(Pool<SessionSlot>),
    Inline(Sessions<SessionSlot>),
}

/// What a backend is doing, for metrics.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// How the token is.
    pub health: HealthStatus,
    /// Why it is not better.
    pub problem: Option<String>,
    /// Sessions that can serve: fewer than configured where the token gives fewer, or where some are being
    /// fixed.
    pub sessions: usize,
    /// Requests that wait for a session.
    pub queued: usize,
    /// Requests in the module.
    pub running: usize,
    /// Calls that did not return in time and have not returned since.
    pub abandoned: usize,
    /// Requests that were `Throttled` because the queue was full, since the start.
    pub refused: u64,
    /// Requests that were answered `Timeout`, since the start.
    pub timed_out: u64,
    /// How long a test encryption or decryption took at the last test.
    pub latency: Option<Duration>,
    /// For how long calls have been in the module of which none returns, so that requests cannot be served
    /// and the module cannot be initialized again: unless one returns, only another process helps. None while
    /// something else can.
    pub stuck: Option<Duration>,
}

impl Pkcs11Backend {
    /// Loads the module, finds the token, logs in and tests it, and starts the threads. It blocks until that
    /// is done; a call of the module that does not return keeps it forever. What may be due to another
    /// process that writes to the token at that moment is tried again, five times within 620 ms.
    ///
    /// # Errors
    /// [`OpenError`]: nothing is left running then.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        Self::start(config, |_| false)
    }

    /// As [`open`](Self::open), but a token that does not work at the moment is waited for in the background,
    /// and the requests until then are answered `Unavailable`. So one HSM of a fleet that is down at the
    /// start keeps no application from starting.
    ///
    /// # Errors
    /// What no waiting fixes: a library that is no module, a refused PIN, a token without AES-GCM, a failed
    /// self-test.
    pub fn open_when_ready(config: Config) -> Result<Self, OpenError> {
        Self::start(config, OpenError::may_pass)
    }

    fn start(config: Config, is_tolerable: impl Fn(&OpenError) -> bool + Send + 'static) -> Result<Self, OpenError> {
        config.check()?;
        let (life, token) = Life::begin(config, is_tolerable)?;
        match Calls::start(&token) {
            Ok(calls) => {
                if let Calls::OnThreads(pool) = &calls {
                    token.module.note_threads(&token.notifier, Box::new(pool.renewal()));
                }
                Ok(Self {
                    token,
                    calls,
                    life,
                    is_stopped: AtomicBool::new(false),
                })
            }
            Err(error) => {
                life.end(Instant::now() + LAST_CALLS);
                Err(error)
            }
        }
    }

    /// What the backend is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let load = self.calls.load();
        let (health, problem) = health::status(&self.token, &load);
        Status {
            health,
            problem,
            sessions: load.sessions,
            queued: load.queued,
            running: load.running,
            abandoned: load.abandoned,
            refused: load.refused,
            timed_out: load.timed_out,
            latency: self.token.checkup().map(|checkup| checkup.latency),
            stuck: health::stuck(&self.token, &load),
        }
    }

    /// Takes no more requests, waits for those in the module, closes the sessions, ends the threads that
    /// called the module, and finalizes it if no other backend uses it. Returns whether all of that was done
    /// within the time; if not, a call does not return, the module is not finalized, and the process should
    /// end without unloading it. A second call tries again.
    #[must_use = "a module with pending calls may crash when the process exits"]
    pub fn shutdown(&self, patience: Duration) -> bool {
        let patience = patience.min(LONGEST);
        let end = Instant::now() + patience;
        let was_stopped = self.is_stopped.swap(true, Ordering::SeqCst);
        self.token.notifier.stop();
        let hanging = self.calls.stop_within(patience);
        if hanging == 0 && self.life.is_unsupervised_by(end) {
            self.calls.join();
            if self.life.end(end) {
                return true;
            }
        }
        if !was_stopped {
            let module = &self.token.module;
            tracing::warn!(
                module = %module.path().display(), calls = module.calls_inside(),
                "calls into the PKCS#11 module do not return: it is not finalized; end the process"
            );
        }
        false
    }

    /// Has what is to be encrypted sealed, in one way or the other.
    async fn seal<T: Send + 'static>(
        &self,
        id: &KeyId,
        request: &mut EncryptRequest<'_>,
        way: Sealing<T>,
        kind: RequestKind,
    ) -> Result<T, BackendError> {
        let aad = request.bind_aad(None);
        let outcome = match &self.calls {
            Calls::Inline(sessions) => sessions
                .run(|session_slot, deadline| way(&self.token, session_slot, id, deadline, aad, request.plaintext())),
            Calls::OnThreads(pool) => {
                let (token, id) = (Arc::clone(&self.token), id.clone());
                let plaintext = Zeroizing::new(request.plaintext().to_vec());
                pool.run(move |session_slot, deadline| way(&token, session_slot, &id, deadline, aad, &plaintext))
                    .await
            }
        };
        self.note(kind, &outcome);
        outcome
    }

    // HLT-1: what becomes of requests counts for health.
    fn note<T>(&self, kind: RequestKind, outcome: &Result<T, BackendError>) {
        // What fails without a connection says nothing of the token.
        if !self.token.is_connected() {
            return;
        }
        // No test fixes IVs that repeat.
        if self.token.outcomes.note(kind, outcome) && self.token.iv_fault().is_none() {
            self.token.notifier.notify();
        }
    }
}

impl Drop for Pkcs11Backend {
    fn drop(&mut self) {
        let was_stopped = self.is_stopped.load(Ordering::SeqCst);
        let patience = if was_stopped { Duration::ZERO } else { LAST_CALLS };
        let _has_ended = self.shutdown(patience); // which says so itself if not
    }
}

impl Calls {
    fn start(token: &Arc<Token>) -> Result<Self, OpenError> {
        let config = &token.config;
        let most = token.info().and_then(|info| info.max_sessions).unwrap_or(usize::MAX);
        let number = config.sessions.min(most.saturating_sub(OTHER_SESSIONS)).max(1);
        if number < config.sessions {
            tracing::warn!(
                token = token.name(),
                sessions = number,
                max_sessions = most,
                "the token allows fewer sessions than `sessions` asks for"
            );
        }
        let module = Arc::clone(&token.module);
        let new_session_slot = move || SessionSlot::new(Arc::clone(&module));
        let preparing = Arc::clone(token);
        let prepare = move |session_slot: &mut SessionSlot| preparing.prepare(session_slot);
        Ok(match config.dispatch {
            Dispatch::Inline => {
                let places = (0..number).map(|_| new_session_slot());
                Self::Inline(Sessions::new(places, prepare, config.queue, config.deadline))
            }
            Dispatch::Threads => {
                let size = Size {
                    threads: number,
                    queue_length: config.queue,
                    max_abandoned: config.max_abandoned,
                    deadline: config.deadline,
                    processors: thread::available_parallelism().map_or(1, NonZeroUsize::get),
                };
                let pool = Pool::start(&token.name(), new_session_slot, prepare, &size);
                Self::OnThreads(pool.map_err(OpenError::Thread)?)
            }
        })
    }

    fn load(&self) -> Load {
        match self {
            Self::OnThreads(pool) => pool.load(),
            Self::Inline(sessions) => sessions.load(),
        }
    }

    fn stop_within(&self, patience: Duration) -> usize {
        match self {
            Self::OnThreads(pool) => pool.stop_within(patience),
            Self::Inline(sessions) => sessions.stop_within(patience),
        }
    }

    /// Waits until the threads, which have all come to their end, are gone.
    fn join(&self) {
        match self {
            Self::OnThreads(pool) => pool.join(),
            Self::Inline(_) => {} // they are the callers'
        }
    }
}

#[async_trait]
impl KeyBackend for Pkcs11Backend {
    async fn key_metadata(
        &self,
        id: &KeyId,
        _request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        if let Some(metadata) = self.token.known_metadata(id) {
            return Ok(metadata);
        }
        match &self.calls {
            Calls::Inline(sessions) => {
                sessions.run(|session_slot, deadline| self.token.key_metadata(session_slot, id, deadline))
            }
            Calls::OnThreads(pool) => {
                let (token, id) = (Arc::clone(&self.token), id.clone());
                pool.run(move |session_slot, deadline| token.key_metadata(session_slot, &id, deadline))
                    .await
            }
        }
    }

    async fn encrypt(&self, id: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.seal(id, request, Token::encrypt, RequestKind::Encrypt).await
    }

    /// Both on one thread: the way there is most of what a fast module costs.
    async fn encrypt_verified(
        &self,
        id: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        let kind = RequestKind::EncryptVerified;
        self.seal(id, request, Token::encrypt_verified, kind).await
    }

    async fn decrypt(&self, id: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let (aad, iv) = (request.bound_aad(), *request.iv());
        let both = gcm::with_tag(request.ciphertext(), request.tag());
        let outcome = match &self.calls {
            Calls::Inline(sessions) => sessions.run(|session_slot, deadline| {
                self.token
                    .decrypt(session_slot, id, deadline, &iv, aad.as_bytes(), &both)
            }),
            Calls::OnThreads(pool) => {
                let (token, id, aad) = (Arc::clone(&self.token), id.clone(), aad.clone());
                pool.run(move |session_slot, deadline| {
                    token.decrypt(session_slot, &id, deadline, &iv, aad.as_bytes(), &both)
                })
                .await
            }
        };
        self.note(RequestKind::Decrypt, &outcome);
        outcome
    }

    // HLT-3: from the last test, which is never older than 60 seconds; it never waits for the token.
    async fn health(&self) -> Result<Health, BackendError> {
        Ok(health::report(&self.token, &self.calls.load()))
    }
}

impl fmt::Debug for Pkcs11Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Backend")
            .field("config", &self.token.config)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
