//! What came of the attempts to log in, for each PIN of each token: HSMs lock a PIN after a few wrong ones,
//! and a process opens a token more than once. It is opened again when it was lost, and by each reload that
//! changes its settings.
//!
//! A PIN that a token has refused is not sent to it again by this process. A login that fails with a code
//! that does not tell whether the PIN was looked at may have cost an attempt too: after the second in a row
//! the next one is made half a second later, then each time after twice as long, five minutes at the most.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    error::{CallError, OpenError},
    fingerprint::{Fingerprint, Fingerprints},
    token_info::TokenInfo,
};

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(300);

/// Those of all tokens of a module.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    /// By token and PIN. No PIN is kept.
    known: Mutex<HashMap<Fingerprint, Arc<Login>>>,
    fingerprints: Fingerprints,
}

impl Logins {
    pub(crate) fn of(&self, token: &TokenInfo, pin: &[u8]) -> Arc<Login> {
        let name = self.fingerprints.of((&token.serial, &token.label, pin));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(name).or_default())
    }
}

/// One PIN of one token.
#[derive(Debug, Default)]
pub(crate) struct Login(Mutex<Attempts>);

#[derive(Debug, Default)]
pub(crate) struct Attempts {
    refused: Option<CallError>,
    /// The last of those that failed in a row, and what it failed with.
    failed: Option<(Instant, CallError)>,
    count: u32,
}

impl Login {
    /// Held during an attempt, so that a PIN that is refused is sent once.
    pub(crate) fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempts {
    /// Why there may be no attempt now, if so.
    pub(crate) fn forbid(&self, now: Instant) -> Option<OpenError> {
        if let Some(error) = self.refused {
            return Some(OpenError::PinRefused(error));
        }
        let (_, error) = self.failed?;
        let wait = self.wait(now);
        (!wait.is_zero()).then(|| self.postponed(error, wait))
    }

    pub(crate) const fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// How long it is until the next attempt that may be made.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let Some((last, _)) = self.failed else {
            return Duration::ZERO;
        };
        // One alone may be nothing.
        let Some(doublings) = self.count.checked_sub(2) else {
            return Duration::ZERO;
        };
        let pause = SHORTEST.saturating_mul(1 << doublings.min(16)).min(LONGEST);
        pause.saturating_sub(now.saturating_duration_since(last))
    }

    pub(crate) fn note_success(&mut self) {
        (self.failed, self.count) = (None, 0);
    }

    pub(crate) fn note_refusal(&mut self, error: CallError) -> OpenError {
        self.refused = Some(error);
        OpenError::PinRefused(error)
    }

    /// Notes a failure with a code that does not tell of the PIN.
    pub(crate) fn note_failure(&mut self, error: CallError, now: Instant) -> OpenError {
        if error.says_pin_was_not_seen() {
            return OpenError::Call(error);
        }
        self.failed = Some((now, error));
        self.count = self.count.saturating_add(1);
        self.postponed(error, self.wait(now))
    }

    fn postponed(&self, source: CallError, wait: Duration) -> OpenError {
        OpenError::LoginPostponed {
            attempts: self.count,
            wait,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki_sys as ck;

    use super::*;
    use crate::return_code::{Phase, ReturnCode};

    const fn error(code: ck::CK_RV) -> CallError {
        CallError::new("C_Login", Phase::Login, ReturnCode(code))
    }

    /// The half seconds at which a login is tried that fails each time, of one that is thought of at each.
    fn attempts(attempts: &mut Attempts, code: ck::CK_RV, halves: u32) -> Vec<u32> {
        let start = Instant::now();
        let mut is_made = |half: &u32| {
            let now = start + *half * Duration::from_millis(500);
            let may = attempts.forbid(now).is_none();
            if may {
                attempts.note_failure(error(code), now);
            }
            may
        };
        (0..halves).filter(|half| is_made(half)).collect()
    }

    #[test]
    fn what_is_not_named_is_tried_less_and_less_often() {
        let mut failing = Attempts::default();
        let made = attempts(&mut failing, ck::CKR_VENDOR_DEFINED, 6000);
        assert_eq!(made[..8], [0, 1, 2, 4, 8, 16, 32, 64]);
        let gaps: Vec<_> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.ends_with(&[600, 600]), "once in five minutes: {gaps:?}");
        failing.note_success();
        assert!(failing.forbid(Instant::now()).is_none());
        assert_eq!(failing.wait(Instant::now()), Duration::ZERO);
    }

    #[test]
    fn what_never_came_to_the_pin_does_not_count() {
        let made = attempts(&mut Attempts::default(), ck::CKR_DEVICE_REMOVED, 100);
        assert_eq!(made.len(), 100);
    }

    #[test]
    fn a_refusal_is_for_good() {
        let mut attempts = Attempts::default();
        attempts.note_refusal(error(ck::CKR_PIN_INCORRECT));
        let later = Instant::now() + Duration::from_secs(1_000_000);
        assert!(matches!(attempts.forbid(later), Some(OpenError::PinRefused(_))));
    }
}
