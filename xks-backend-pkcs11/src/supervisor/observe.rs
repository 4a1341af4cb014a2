//! What the supervisor observes, in the state machine's terms: the outcomes of tests, of attempts to connect
//! and of attempts to reinitialize the module.
//!
//! A token whose test fails is down, so that others serve its requests. But when it is an operation that
//! fails, and requests of some kind are answered, those would be refused too: decryptions, where the token
//! makes no random numbers. Such a token stays connected, is DEGRADED at best, and is reinitialized now and
//! then. One that may encrypt wrongly is down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use xks_core::{BackendError, backend::BackendErrorKind, text::ErrorChain};

use super::{
    Supervisor,
    machine::{self, Event, Failure, FailureKind, Login, Outcome},
};
use crate::{
    error::{CallError, OpenError},
    gcm::AttemptError,
    health::{Checkup, Depth},
    identity::is_another,
    module::NotReinitialized,
    return_code::Phase,
    token::ANOTHER_TOKEN,
};

impl Supervisor {
    /// Tests the token.
    pub(super) fn observe(&mut self) -> machine::Test {
        let token = Arc::clone(&self.token);
        let outcome = match self.test_connected() {
            Ok(outcome) => outcome,
            // It works, for others: the last test's result stays until it is too old.
            Err(AttemptError::Call(error)) if token.config.quirks.is_throttled(&error) => Outcome::Unknown,
            Err(AttemptError::IvFault(fault)) => {
                token.note_iv_fault(fault);
                Outcome::Unknown
            }
            Err(AttemptError::Call(error)) => {
                self.report.call = Some(error);
                self.test_failed(error.to_string());
                Outcome::Failed {
                    is_partial: self.is_partly_served(&error),
                }
            }
            Err(AttemptError::Final(error)) => {
                self.test_failed(error.to_string());
                Outcome::Failed { is_partial: false }
            }
        };
        let requests_fail = token.is_suspect();
        if requests_fail && outcome == Outcome::Works {
            self.report.problem = token.suspicion();
        }
        machine::Test {
            outcome,
            requests_fail,
            is_confirmed: token.is_confirmed(),
            absence_fails_requests: matches!(outcome, Outcome::Works | Outcome::Missing) && token.take_unseen(),
        }
    }

    fn test_failed(&mut self, problem: String) {
        self.report.test.clone_from(&problem);
        self.report.problem = problem;
    }

    fn test_connected(&mut self) -> Result<Outcome, AttemptError> {
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
        let missing = match self.test_with_any_key(&access, connection.slot, is_logged_in) {
            // There is no key to test with, so that the token itself was asked.
            Err(AttemptError::Call(error)) if error.phase() == Phase::Token => Some(error.to_string()),
            Err(error) => return Err(error),
            // A token may be gone, or another in its place, while sessions and what lives in them are served
            // on.
            Ok(checkup) => {
                token.set_test_key(self.test_key.as_ref().map(|key| key.handle));
                token.note_checkup(checkup);
                match access.token_info(connection.slot) {
                    Err(error) => Some(error.to_string()),
                    Ok(told) if token.info().is_some_and(|known| is_another(&known, &told)) => {
                        Some(ANOTHER_TOKEN.to_owned())
                    }
                    Ok(_) => None,
                }
            }
        };
        token.module.close_the_unclosed(&access);
        Ok(missing.map_or(Outcome::Works, |problem| {
            self.test_failed(problem);
            Outcome::Missing
        }))
    }

    pub(super) fn login(&self) -> Login {
        if self.token.is_pin_refused() {
            Login::Refused
        } else if self.token.login_wait().is_zero() {
            Login::Allowed
        } else {
            Login::Postponed
        }
    }

    /// Notes why the token was not connected.
    pub(super) fn not_connected(&mut self, error: OpenError) -> Failure {
        let kind = match &error {
            OpenError::NoToken { .. } => FailureKind::NoToken,
            OpenError::PinRefused(_) => FailureKind::PinRefused,
            OpenError::AnotherToken { .. } => FailureKind::AnotherToken,
            OpenError::Call(error) if error.says_no_more_sessions() => FailureKind::NoSessions,
            OpenError::TestCall(error) if self.is_partly_served(error) => {
                self.report.call = Some(*error);
                FailureKind::Partial
            }
            _ => FailureKind::Other,
        };
        let failure = Failure {
            kind,
            is_momentary: error.may_be_momentary(),
            may_pass: error.may_pass(),
            login: self.login(),
        };
        self.report.problem = ErrorChain(&error).to_string();
        self.report.connection = Some(error);
        failure
    }

    /// Notes why the module was not reinitialized, if so.
    pub(super) fn reinitialized(&mut self, outcome: Result<(), NotReinitialized>) -> Event {
        Event::Reinitialized(outcome.map_err(|problem| {
            let kind = match &problem {
                NotReinitialized::InUse => machine::NotReinitialized::InUse,
                NotReinitialized::NotOurs | NotReinitialized::NotFinalized(_) => machine::NotReinitialized::Refused,
                NotReinitialized::Wedged(_) => machine::NotReinitialized::Wedged,
                NotReinitialized::Call(_) => machine::NotReinitialized::Failed,
            };
            tracing::debug!(token = self.token.name(), %problem, "the PKCS#11 module was not reinitialized");
            if matches!(
                kind,
                machine::NotReinitialized::Wedged | machine::NotReinitialized::Failed
            ) {
                self.report.problem = problem.to_string();
            }
            kind
        }))
    }

    /// Whether an operation alone has failed, and requests that do without it are served.
    fn is_partly_served(&self, error: &CallError) -> bool {
        self.is_of_an_operation(error) && self.token.outcomes.are_some_served()
    }

    /// Keys that are known are served where a module no longer finds others, or no longer tells what they
    /// are.
    pub(super) fn is_of_an_operation(&self, error: &CallError) -> bool {
        use Phase::{Attributes, Decrypt, DecryptInit, Encrypt, EncryptInit, Find, Random};

        match error.phase() {
            EncryptInit | Encrypt | DecryptInit | Decrypt | Random => true,
            Find | Attributes => self.token.config.quirks.is_refused(error),
            _ => false,
        }
    }
}

impl Checkup {
    pub(super) fn failed(error: &CallError) -> Self {
        Self {
            at: Instant::now(),
            latency: Duration::ZERO,
            encryption: Duration::ZERO,
            decryption: Duration::ZERO,
            depth: Depth::Failed(format!("the known-answer test fails: {error}")),
        }
    }
}
