//! The life of a supervisor's thread, and of the module that it calls.
//!
//! Only threads of a backend's own call its module, at the start and at the end too, and they have ended
//! before the module is finalized: openCryptoki 3.27 frees at `C_Finalize` what OpenSSL needs when a thread
//! that used it ends, and the process crashes.
//!
//! A thread whose call hangs cannot be joined: then the module is not finalized, and the log says so.
//! Recovery replaces the workers first, and finalizes on the supervisor's thread; the supervisor of another
//! backend of the module lives on. With `Dispatch::Inline` the calling threads belong to the embedder.

use std::{
    io,
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::Supervisor;
use crate::{config::Config, error::OpenError, module::Module, threads::Notifier, token::Token};

/// How long the module may take to be finalized after a failed start.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// How often it is looked whether a thread has ended.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct Life {
    module: Arc<Module>,
    notifier: Arc<Notifier>,
    stage: Mutex<Stage>,
}

/// A supervisor's thread: why there is none, if it could not begin.
type Supervising = JoinHandle<Result<(), OpenError>>;

enum Stage {
    Supervised(Supervising),
    /// No longer, or not yet.
    Unsupervised,
    /// The module is being released by this thread.
    Ending(JoinHandle<()>),
    Ended,
}

impl Life {
    /// Loads the module and connects the token. It is looked after from then on, until its notifier is
    /// stopped.
    pub(crate) fn begin(
        config: Config,
        is_tolerable: impl Fn(&OpenError) -> bool + Send + 'static,
    ) -> Result<(Self, Arc<Token>), OpenError> {
        let notifier = Arc::<Notifier>::default();
        let (source, parameters, user) = (config.module.clone(), config.parameters.clone(), Arc::clone(&notifier));
        let acquire = move || Module::acquire(&source, parameters.as_deref(), &user);
        let thread = spawn("load", acquire).map_err(OpenError::Thread)?;
        let module = thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        module.name_codes(config.quirks.code_names());
        let token = Arc::new(Token::new(config, Arc::clone(&module), Arc::clone(&notifier)));
        let mut life = Self {
            module,
            notifier,
            stage: Mutex::new(Stage::Unsupervised),
        };
        match supervise(Arc::clone(&token), is_tolerable) {
            Ok(thread) => {
                life.stage = Mutex::new(Stage::Supervised(thread));
                Ok((life, token))
            }
            Err(error) => {
                life.end(Instant::now() + LAST_CALLS);
                Err(error)
            }
        }
    }

    /// Waits until the supervisor's thread has come to its end; its notifier must have been stopped.
    pub(crate) fn is_unsupervised_by(&self, end: Instant) -> bool {
        match &*self.stage() {
            Stage::Supervised(thread) => is_finished_by(thread, end),
            Stage::Unsupervised | Stage::Ending(_) | Stage::Ended => true,
        }
    }

    /// Releases the module, which no thread of the backend calls any more; false if that does not end in
    /// time.
    pub(crate) fn end(&self, end: Instant) -> bool {
        let mut stage = self.stage();
        loop {
            *stage = match std::mem::replace(&mut *stage, Stage::Unsupervised) {
                Stage::Supervised(thread) => {
                    if thread.join().is_err() {
                        tracing::error!("the supervisor thread of a token panicked");
                    }
                    Stage::Unsupervised
                }
                Stage::Unsupervised => {
                    let (module, notifier) = (Arc::clone(&self.module), Arc::clone(&self.notifier));
                    match spawn("end", move || module.release(&notifier)) {
                        Ok(thread) => Stage::Ending(thread),
                        Err(error) => {
                            tracing::warn!(cause = %error, "cannot start a thread to finalize the PKCS#11 module");
                            return false;
                        }
                    }
                }
                Stage::Ending(thread) if !is_finished_by(&thread, end) => {
                    *stage = Stage::Ending(thread);
                    return false;
                }
                Stage::Ending(thread) => {
                    if thread.join().is_err() {
                        tracing::error!("the thread that finalized a PKCS#11 module panicked");
                    }
                    Stage::Ended
                }
                Stage::Ended => {
                    *stage = Stage::Ended;
                    return true;
                }
            };
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects the token on a thread that looks after it from then on.
fn supervise(
    token: Arc<Token>,
    is_tolerable: impl Fn(&OpenError) -> bool + Send + 'static,
) -> Result<Supervising, OpenError> {
    let (to, begun) = mpsc::sync_channel(1);
    let supervise = move || {
        let mut supervisor = Supervisor::new(token);
        if let Err(error) = supervisor.begin() {
            if !is_tolerable(&error) {
                return Err(error); // its sessions go before the module
            }
            tracing::warn!(cause = %error, "token unavailable at startup: rejecting requests until it recovers");
            supervisor.tolerate(error);
        }
        if to.send(()).is_ok() {
            supervisor.run();
        }
        Ok(())
    };
    let thread = spawn("supervise", supervise).map_err(OpenError::Thread)?;
    if begun.recv().is_ok() {
        return Ok(thread);
    }
    let outcome = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
    Err(outcome.err().unwrap_or(OpenError::NotInitialized))
}

/// Starts a thread that may call the module.
fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(format!("xks-hsm-{name}")).spawn(run)
}

fn is_finished_by<T>(thread: &JoinHandle<T>, end: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(PAUSE);
    }
    true
}
