//! The thread that looks after a token: it keeps a session that is never used for work, tests the token,
//! looks at its keys again, and brings it back when it has failed.
//!
//! ```text
//! connected ──test fails, with new sessions too──▶ down: requests are refused at once
//!     ▲                                              │  every recovery interval
//!     └── token found, logged in, tested ◀── finalize, initialize (when no call is inside)
//! ```
//!
//! Where requests fail, a test that succeeds is not enough: SoftHSM2 keeps serving the session keys of a
//! token that is gone. So the test reads the token's information too; and when twelve requests in a row fail
//! while the test succeeds, health says so, sessions are replaced, then the module is reinitialized, at most
//! every ten seconds. An HSM that is down is retried for as long as the process lives.

mod absence;
mod connect;
mod keys;
mod life;
mod owner;
mod partly;
mod renewal;
mod test_key;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use xks_core::{BackendError, backend::BackendErrorKind, text::ErrorChain};

use self::{
    absence::{Absence, LOOKS},
    keys::Known,
    owner::Owner,
    renewal::Renewal,
    test_key::{KeyInUse, NoTestKey},
};
pub(crate) use self::{life::Life, owner::is_test_key};
use crate::{
    error::OpenError,
    gcm::AttemptError,
    health::Checkup,
    identity::is_another,
    module::NotReinitialized,
    notifier::Wake,
    return_code::Phase,
    session::SessionSlot,
    token::{A_MOMENT, ANOTHER_TOKEN, Token},
};

/// How long a failed module's last calls are waited for before it is finalized.
const LAST_CALLS: Duration = Duration::from_millis(250);

/// How often a token is tried at the start, each time after twice as long.
const MOST_BEGINNINGS: u32 = 6;

/// How often a token is looked for whose sessions do not work, each time after twice as long.
const MOST_LOOKS: u32 = 4;

/// How often a token is tested that is slow or fails the test, at the most.
const SLOW: Duration = Duration::from_secs(1);

pub(crate) struct Supervisor {
    token: Arc<Token>,
    /// Keeps the login alive. Never used for work.
    keep_alive: SessionSlot,
    /// Holds the test key, tests, and looks at keys.
    health_session: SessionSlot,
    test_key: Option<KeyInUse>,
    /// Why there is none, if it is known.
    no_test_key: Option<NoTestKey>,
    /// What was last said of that.
    said_of_test_key: Option<NoTestKey>,
    /// Who makes test keys here.
    owner: Owner,
    /// The module may keep session objects.
    may_keep_objects: bool,
    known_keys: Known,
    /// The token gives two sessions: one for requests, and one for all else, which then has no keep-alive
    /// session.
    gives_few_sessions: bool,
    /// The initialization of the module in which the token was last looked for.
    generation: u64,
    /// Requests have failed although the test succeeded.
    is_suspect: bool,
    /// When the module was last reinitialized because of that.
    reinitialized: Option<Instant>,
    /// An operation fails, and requests that do without it are served.
    is_partial: bool,
    /// A call hangs in the module, so that it cannot be reinitialized.
    is_wedged: bool,
    /// The token is not to be seen although its sessions work.
    missing: Option<Absence>,
    renewal: Renewal,
}

/// What a test of a token that is connected has come to.
enum Looked {
    Works(Checkup),
    /// Its sessions work, but the token itself is not to be seen, or is another.
    Missing(Option<Checkup>, String),
}

impl Supervisor {
    pub(crate) fn new(token: Arc<Token>) -> Self {
        let module = &token.module;
        Self {
            keep_alive: SessionSlot::new(Arc::clone(module)),
            health_session: SessionSlot::new(Arc::clone(module)),
            renewal: Renewal::new(token.config.recovery_interval),
            token,
            test_key: None,
            known_keys: Known::default(),
            no_test_key: None,
            said_of_test_key: None,
            owner: Owner::new(),
            may_keep_objects: true,
            gives_few_sessions: false,
            generation: 0,
            is_suspect: false,
            reinitialized: None,
            is_partial: false,
            is_wedged: false,
            missing: None,
        }
    }

    /// The first connection. Where an attempt may have met with a write of another process, there are a few
    /// more, each after the module has been reinitialized, if that may be: SoftHSM2 keeps to what it saw
    /// of its tokens then.
    pub(crate) fn begin(&mut self) -> Result<(), OpenError> {
        let (mut is_in_use, mut pause) = (false, A_MOMENT);
        for _ in 1..MOST_BEGINNINGS {
            match self.connect() {
                Err(error) if error.may_be_momentary() => {
                    tracing::debug!(cause = %error, "searching for the token again");
                }
                connected => return connected,
            }
            thread::sleep(pause);
            pause *= 2;
            if let Err(problem) = self.token.module.reinitialize(self.generation, LAST_CALLS) {
                tracing::debug!(%problem, "the PKCS#11 module was not reinitialized");
                is_in_use = matches!(problem, NotReinitialized::InUse);
            }
        }
        let connected = self.connect();
        // It may have been made since the module was initialized.
        if is_in_use && matches!(connected, Err(OpenError::NoToken { .. })) {
            if let Err(problem) = self.reinitialize_beside_others() {
                tracing::warn!(%problem, "the PKCS#11 module was not reinitialized");
            }
            return self.connect();
        }
        connected
    }

    /// Until the notifier is stopped.
    pub(crate) fn run(mut self) {
        loop {
            let config = &self.token.config;
            let is_poor = |checkup: Checkup| checkup.is_poor(config.latency_bound, config.deadline);
            let interval = match self.token.is_connected() {
                // What is bad is looked at more often, so that it is known when it is better.
                true if self.missing.is_some() => config.recovery_interval.min(LOOKS),
                true if self.token.checkup().is_some_and(is_poor) => config.recovery_interval.max(SLOW),
                true => config.health_interval.min(config.key_refresh),
                false => config.recovery_interval.max(self.token.login_wait()),
            };
            let interval = self.known_keys.interval(interval);
            match self.token.notifier.wait_until(Instant::now() + interval) {
                Wake::Stopped => break,
                Wake::Notified | Wake::Time if self.token.is_connected() => {
                    self.look_after();
                    if self.token.is_connected() {
                        self.see_to_keys();
                    }
                }
                // A refused PIN is not sent again: an operator has to correct it.
                Wake::Notified | Wake::Time if !self.may_log_in() => {}
                Wake::Notified | Wake::Time => self.recover(),
            }
        }
        // They would outlive a backend whose module is another component's.
        if let Some(access) = self.token.module.enter() {
            self.token.module.close_the_unclosed(&access);
        }
        self.token.disconnected("the backend is shut down".to_owned());
    }

    /// Tests the token; if that fails, with new sessions; if that fails too, the token is down.
    fn look_after(&mut self) {
        let token = Arc::clone(&self.token);
        let problem = match self.test_again() {
            Ok(Looked::Works(checkup)) => {
                (self.missing, self.is_partial) = (None, false);
                token.take_unseen();
                token.note_checkup(checkup);
                if token.is_suspect() {
                    self.suspect();
                } else {
                    self.renewal.not_needed();
                }
                return;
            }
            Ok(Looked::Missing(checkup, why)) => {
                checkup.into_iter().for_each(|checkup| token.note_checkup(checkup));
                if !self.is_absence_believed() {
                    tracing::debug!(token = token.name(), why, "searching for the token again");
                    return;
                }
                why
            }
            // It works, for others: the last test's result stays until it is too old.
            Err(AttemptError::Call(error)) if token.config.quirks.is_throttled(&error) => return,
            Err(AttemptError::IvFault(fault)) => {
                token.note_iv_fault(fault);
                return;
            }
            Err(AttemptError::Call(error)) if self.goes_on_in_part(&error) => return,
            Err(AttemptError::Call(error)) => error.to_string(),
            Err(AttemptError::Final(error)) => error.to_string(),
        };
        self.is_partial = false;
        token.note_device_error();
        let error = match self.connect_patiently() {
            Ok(()) => {
                token.outcomes.forget_failures();
                tracing::info!(token = token.name(), problem, "the token's sessions were replaced");
                return;
            }
            // All that it allows are at work; that is no failure.
            Err(OpenError::Call(error)) if error.says_no_more_sessions() => return,
            // What failed may have been for a moment, and so may be that the token is not listed.
            Err(OpenError::NoToken { .. }) if self.test_again().is_ok() && !self.is_absence_believed() => return,
            Err(error) if self.serves_in_part(&error) => return,
            Err(error) => error,
        };
        let problem = ErrorChain(&error).to_string();
        tracing::error!(
            token = token.name(),
            problem,
            "token unavailable: rejecting requests until it recovers"
        );
        self.go_down(&error);
        if self.may_log_in() {
            self.recover();
        }
    }

    /// Whether a token is gone that is not to be seen while its sessions work.
    fn is_absence_believed(&mut self) -> bool {
        let now = Instant::now();
        let absence = self.missing.get_or_insert_with(|| Absence::new(now));
        absence.note_look(self.token.take_unseen());
        self.token.is_suspect() || absence.is_believed(now)
    }

    /// Connects; a token that is not there is looked for a few times more.
    fn connect_patiently(&mut self) -> Result<(), OpenError> {
        let mut pause = A_MOMENT;
        for _ in 1..MOST_LOOKS {
            match self.connect() {
                Err(OpenError::NoToken { .. }) => {}
                connected => return connected,
            }
            thread::sleep(pause);
            pause *= 2;
        }
        self.connect()
    }

    /// The test succeeds, and requests fail all the same: new sessions and a new search may help; if they do
    /// not, a new initialization, but not too often.
    fn suspect(&mut self) {
        let problem = self.token.suspicion();
        self.renewal.needed(Instant::now());
        let was_confirmed = self.token.take_confirmation();
        let is_first = !std::mem::replace(&mut self.is_suspect, true) || was_confirmed;
        let is_due = |last: Instant| last.elapsed() >= self.token.config.health_interval;
        if !is_first && self.reinitialized.is_none_or(is_due) {
            self.reinitialized = Some(Instant::now());
            tracing::error!(token = self.token.name(), "{problem}: reinitializing the module");
            self.token.disconnected(problem);
            self.recover();
        } else {
            if is_first {
                tracing::warn!(token = self.token.name(), "{problem}: opening new sessions");
            }
            if let Err(error) = self.connect_patiently() {
                self.go_down(&error);
            }
        }
    }

    fn test_again(&mut self) -> Result<Looked, AttemptError> {
        let token = Arc::clone(&self.token);
        let unavailable = || BackendError::from(BackendErrorKind::Unavailable);
        let access = token.module.enter().ok_or_else(unavailable)?;
        let connection = token.connection_in(access.generation()).ok_or_else(unavailable)?;
        let health_session = self.health_session.handle_in(&access).ok_or_else(unavailable)?;
        let keep_alive = match self.keep_alive.handle_in(&access) {
            None if self.gives_few_sessions => health_session,
            keep_alive => keep_alive.ok_or_else(unavailable)?,
        };
        let _supervised = token.supervision.begin();
        let is_logged_in = token.is_logged_in(&access, keep_alive)?;
        if !is_logged_in && connection.wants_login {
            return Err(unavailable().into());
        }
        token.supervision.note_return();
        let looked = match self.test_with_any_key(&access, connection.slot, is_logged_in) {
            // There is no key to test with, so that the token itself was asked.
            Err(AttemptError::Call(error)) if error.phase() == Phase::Token => Looked::Missing(None, error.to_string()),
            Err(error) => return Err(error),
            // A token may be gone, or another in its place, while sessions and what lives in them are served
            // on.
            Ok(checkup) => {
                token.set_test_key(self.test_key.as_ref().map(|key| key.handle));
                match access.token_info(connection.slot) {
                    Err(error) => Looked::Missing(Some(checkup), error.to_string()),
                    Ok(told) if token.info().is_some_and(|known| is_another(&known, &told)) => {
                        Looked::Missing(Some(checkup), ANOTHER_TOKEN.to_owned())
                    }
                    Ok(_) => Looked::Works(checkup),
                }
            }
        };
        token.module.close_the_unclosed(&access);
        Ok(looked)
    }

    /// One attempt to bring the token back: the module is reinitialized, if that may be, and the token is
    /// looked for.
    fn recover(&mut self) {
        let supervised = self.token.supervision.begin();
        let mut outcome = self.token.module.reinitialize(self.generation, LAST_CALLS);
        if matches!(outcome, Err(NotReinitialized::InUse)) && self.renewal.take_turn(Instant::now()) {
            outcome = self.reinitialize_beside_others();
        }
        supervised.end(outcome.as_ref().is_ok());
        let is_wedged = matches!(outcome, Err(NotReinitialized::Wedged(_)));
        self.token.supervision.note_wedged(is_wedged);
        let was_wedged = std::mem::replace(&mut self.is_wedged, is_wedged);
        match outcome {
            Ok(()) => {}
            Err(
                problem @ (NotReinitialized::NotOurs | NotReinitialized::InUse | NotReinitialized::NotFinalized(_)),
            ) => {
                tracing::debug!(%problem, "the PKCS#11 module was not reinitialized");
            }
            Err(problem @ NotReinitialized::Wedged(_)) => {
                self.token.disconnected(problem.to_string());
                if !was_wedged {
                    tracing::warn!(token = self.token.name(), %problem);
                }
            }
            Err(problem @ NotReinitialized::Call(_)) => {
                self.token.disconnected(problem.to_string());
                tracing::debug!(%problem, "the PKCS#11 module cannot be initialized");
                return;
            }
        }
        match self.connect() {
            Ok(()) if self.is_partial => tracing::warn!(
                token = self.token.name(),
                "token partly available again: \
                 one operation still fails"
            ),
            Ok(()) => {
                self.token.outcomes.forget_failures();
                tracing::info!(token = self.token.name(), "token available again");
            }
            Err(error) => self.go_down(&error),
        }
    }

    /// The last resort for a token that a new list of slots does not bring.
    fn reinitialize_beside_others(&self) -> Result<(), NotReinitialized> {
        tracing::warn!(
            token = self.token.name(),
            problem = %self.token.problem(),
            not_again_within_secs = self.renewal.wait().as_secs(),
            "token not found: reinitializing its PKCS#11 module; requests for the module's other tokens wait for a \
             moment"
        );
        let module = &self.token.module;
        module.reinitialize_beside_others(self.generation, LAST_CALLS)
    }

    fn may_log_in(&self) -> bool {
        !self.token.is_pin_refused() && self.token.login_wait().is_zero()
    }

    pub(crate) fn go_down(&mut self, error: &OpenError) {
        (self.missing, self.is_partial) = (None, false);
        if error.may_pass() {
            self.renewal.needed(Instant::now());
        }
        if matches!(error, OpenError::PinRefused(_)) {
            tracing::error!(token = self.token.name(), "{error}");
        }
        let problem = ErrorChain(error).to_string();
        if matches!(error, OpenError::AnotherToken { .. }) && *self.token.problem() != problem {
            tracing::error!(token = self.token.name(), "{problem}");
        }
        self.token.disconnected(problem);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let module = Arc::clone(&self.token.module);
        if let Some(access) = module.enter() {
            self.destroy_test_key(&access);
        }
    }
}
