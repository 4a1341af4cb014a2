//! Tokens of which an operation fails while others go on: what is served stays served.
//!
//! A token whose test fails is down, so that others serve its requests. But when it is an operation that
//! fails, and requests of some kind are answered, those would be refused too: decryptions, where the token
//! makes no random numbers. Such a token stays connected, is DEGRADED at best, and is reinitialized now and
//! then.

use std::time::{Duration, Instant};

use super::Supervisor;
use crate::{
    error::{CallError, OpenError},
    health::{Checkup, Depth},
    return_code::Phase,
};

impl Supervisor {
    /// Whether an operation alone has failed, and requests that do without it are served.
    fn is_partly_served(&self, error: &CallError) -> bool {
        self.is_of_an_operation(error) && self.token.outcomes.are_some_served()
    }

    /// A test has failed again: whether the token goes on to serve in part. If it has for a while, the module
    /// is reinitialized, which is done more and more seldom.
    pub(super) fn goes_on_in_part(&mut self, error: &CallError) -> bool {
        if !self.is_partial || !self.is_partly_served(error) {
            return false;
        }
        self.token.note_checkup(Checkup::failed(error));
        if self.renewal.take_turn(Instant::now()) {
            tracing::error!(
                token = self.token.name(),
                problem = %error,
                not_again_within = ?self.renewal.wait(),
                "one operation of the token fails: reinitializing the module"
            );
            self.token.disconnected(error.to_string());
            self.recover();
        }
        true
    }

    /// A test has failed with new sessions too: whether the token goes on to serve in part.
    pub(super) fn serves_in_part(&mut self, problem: &OpenError) -> bool {
        let OpenError::TestCall(error) = problem else {
            return false;
        };
        let serves = self.is_partly_served(error);
        if serves {
            tracing::error!(
                token = self.token.name(),
                problem = %error,
                "one operation of the token fails: serving only requests that do not need it"
            );
            self.is_partial = true;
            self.renewal.needed(Instant::now());
            self.token.note_checkup(Checkup::failed(error));
        }
        serves
    }

    /// The outcome of a test at a new connection.
    pub(super) fn tolerated(&self, error: &CallError) -> Option<Checkup> {
        (self.is_partial && self.is_of_an_operation(error)).then(|| Checkup::failed(error))
    }

    /// Keys that are known are served where a module no longer finds others, or no longer tells what they
    /// are.
    fn is_of_an_operation(&self, error: &CallError) -> bool {
        use Phase::{Attributes, Decrypt, DecryptInit, Encrypt, EncryptInit, Find, Random};

        match error.phase() {
            EncryptInit | Encrypt | DecryptInit | Decrypt | Random => true,
            Find | Attributes => self.token.config.quirks.is_refused(error),
            _ => false,
        }
    }
}

impl Checkup {
    fn failed(error: &CallError) -> Self {
        Self {
            at: Instant::now(),
            latency: Duration::ZERO,
            encryption: Duration::ZERO,
            decryption: Duration::ZERO,
            depth: Depth::Failed(format!("the known-answer test fails: {error}")),
        }
    }
}
