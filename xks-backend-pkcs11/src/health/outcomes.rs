//! The outcomes of requests, for each kind of them: a test of the token cannot tell what becomes of requests,
//! which wait for a session, meet with other requests, and use other keys.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use xks_core::{BackendError, backend::BackendErrorKind};

/// What a request wants of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Encrypt,
    /// With an integrity value: it is decrypted again before it is answered.
    EncryptVerified,
    Decrypt,
}

impl RequestKind {
    pub(super) const ALL: [Self; 3] = [Self::Encrypt, Self::EncryptVerified, Self::Decrypt];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encryption",
            Self::EncryptVerified => "encryption with integrity value",
            Self::Decrypt => "decryption",
        }
    }
}

/// How many requests in a row make a row.
const FEW: u32 = 3;

/// What became of requests.
#[derive(Debug)]
pub(crate) struct Outcomes {
    start: Instant,
    kinds: [Row; RequestKind::ALL.len()],
    /// Requests of all kinds that were refused before anything was done for them.
    refused: Row,
}

/// Requests in a row that were not served.
#[derive(Debug, Default)]
struct Row {
    count: AtomicU32,
    /// When the first and the last of them failed, in milliseconds.
    first: AtomicU64,
    last: AtomicU64,
    /// How many failed for reasons that may be a key's own.
    odd: AtomicU32,
    /// One was served since the last test of the token, or ever.
    was_served: AtomicBool,
    was_ever_served: AtomicBool,
}

impl Outcomes {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            kinds: Default::default(),
            refused: Row::default(),
        }
    }

    /// Notes what became of a request; says whether the token should be tested at once.
    pub(crate) fn note<T>(&self, kind: RequestKind, outcome: &Result<T, BackendError>) -> bool {
        let row = self.row(kind);
        match outcome.as_ref().map_err(BackendError::kind) {
            // Failures of the device are counted in all requests too, but there the success of any kind ends
            // a row.
            Err(BackendErrorKind::Timeout | BackendErrorKind::Unavailable) => row.fail(self.now()) == FEW,
            Err(BackendErrorKind::Throttled) => {
                let now = self.now();
                self.refused.fail(now);
                row.fail(now) == FEW
            }
            // It may be the key's alone, which says nothing of others: the test tells.
            Err(BackendErrorKind::Other) => row.fail_oddly() == FEW,
            // A refusal of the ciphertext or of the key is an answer too.
            Ok(_) | Err(_) => {
                row.succeed();
                self.refused.succeed();
                false
            }
        }
    }

    /// The token was found not to work: that is why requests have failed.
    pub(crate) fn forget_failures(&self) {
        for row in self.kinds.iter().chain([&self.refused]) {
            row.count.store(0, Ordering::Relaxed);
            row.odd.store(0, Ordering::Relaxed);
        }
    }

    /// The token is about to be tested: what was served before confirms nothing any more.
    pub(crate) fn begin_test(&self) {
        for row in &self.kinds {
            row.was_served.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn was_served(&self, kind: RequestKind) -> bool {
        let row = self.row(kind);
        row.was_served.load(Ordering::Relaxed) && row.count.load(Ordering::Relaxed) == 0
    }

    /// Whether there is a kind of which a request was served, and no row has failed since.
    pub(crate) fn are_some_served(&self) -> bool {
        let is_served = |row: &Row| {
            let failures = row.count.load(Ordering::Relaxed) + row.odd.load(Ordering::Relaxed);
            failures < FEW && row.was_ever_served.load(Ordering::Relaxed)
        };
        self.kinds.iter().any(is_served)
    }

    /// Whether requests of a kind have failed in a row for reasons that may be a key's own, or the module's.
    pub(crate) fn are_some_refused(&self) -> bool {
        self.kinds.iter().any(|row| row.odd.load(Ordering::Relaxed) >= FEW)
    }

    /// How many requests of a kind have failed in a row, if for `long` and not only before `recent`.
    pub(super) fn failing(&self, kind: RequestKind, long: Duration, recent: Duration) -> Option<u32> {
        self.row(kind).failing(self.now(), long, recent)
    }

    /// How many requests of all kinds were refused in a row, if for `long` and not only before `recent`.
    pub(super) fn refusing(&self, long: Duration, recent: Duration) -> Option<u32> {
        self.refused.failing(self.now(), long, recent)
    }

    fn row(&self, kind: RequestKind) -> &Row {
        let [encrypt, verified, decrypt] = &self.kinds;
        match kind {
            RequestKind::Encrypt => encrypt,
            RequestKind::EncryptVerified => verified,
            RequestKind::Decrypt => decrypt,
        }
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

impl Row {
    /// As long as all is well, nothing is written.
    fn succeed(&self) {
        if self.count.load(Ordering::Relaxed) != 0 {
            self.count.store(0, Ordering::Relaxed);
        }
        if self.odd.load(Ordering::Relaxed) != 0 {
            self.odd.store(0, Ordering::Relaxed);
        }
        if !self.was_served.load(Ordering::Relaxed) {
            self.was_served.store(true, Ordering::Relaxed);
            self.was_ever_served.store(true, Ordering::Relaxed);
        }
    }

    fn fail(&self, now: u64) -> u32 {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.first.store(now, Ordering::Relaxed);
        }
        self.last.store(now, Ordering::Relaxed);
        before.saturating_add(1)
    }

    fn fail_oddly(&self) -> u32 {
        self.odd.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    fn failing(&self, now: u64, long: Duration, recent: Duration) -> Option<u32> {
        let count = self.count.load(Ordering::Relaxed);
        let ago = |at: &AtomicU64| now.saturating_sub(at.load(Ordering::Relaxed));
        let is_failing = count >= FEW && ago(&self.first) >= millis(long) && ago(&self.last) <= millis(recent);
        is_failing.then_some(count)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const EVER: Duration = Duration::MAX;

    /// HLT-1: requests in a row that are late or refused say that no more of their kind are served; one that
    /// is answered says otherwise at once.
    #[test]
    fn rows_of_failures() {
        let outcomes = Outcomes::new();
        let note = |kind, error: Option<BackendErrorKind>| {
            outcomes.note(kind, &error.map_or(Ok(()), |error| Err(error.into())));
        };
        let failing = |kind| outcomes.failing(kind, NOW, EVER);
        for _ in 0..3 {
            assert_eq!(failing(RequestKind::Decrypt), None);
            note(RequestKind::Decrypt, Some(BackendErrorKind::Timeout));
            note(RequestKind::EncryptVerified, Some(BackendErrorKind::Unavailable));
            note(RequestKind::Encrypt, Some(BackendErrorKind::Other));
        }
        assert_eq!(failing(RequestKind::Decrypt), Some(3));
        assert_eq!(failing(RequestKind::EncryptVerified), Some(3));
        assert_eq!(
            outcomes.failing(RequestKind::Decrypt, Duration::from_secs(60), EVER),
            None
        );
        assert_eq!(
            (failing(RequestKind::Encrypt), outcomes.refusing(NOW, EVER)),
            (None, None)
        );
        note(RequestKind::Decrypt, Some(BackendErrorKind::InvalidCiphertext));
        assert_eq!(failing(RequestKind::Decrypt), None);
        assert!(outcomes.was_served(RequestKind::Decrypt) && !outcomes.was_served(RequestKind::Encrypt));
        for kind in RequestKind::ALL {
            note(kind, Some(BackendErrorKind::Throttled));
        }
        assert_eq!(outcomes.refusing(NOW, EVER), Some(3), "of whatever kind");
        note(RequestKind::Encrypt, None);
        assert_eq!(outcomes.refusing(NOW, EVER), None);
        outcomes.begin_test();
        assert!(!outcomes.was_served(RequestKind::Encrypt));
        assert_eq!(failing(RequestKind::EncryptVerified), Some(4));
        outcomes.forget_failures();
        assert_eq!(failing(RequestKind::EncryptVerified), None);
    }

    /// The third failure of a kind in a row, however it fails, has the token tested.
    #[test]
    fn a_row_of_failures_calls_for_a_test() {
        for error in [
            BackendErrorKind::Timeout,
            BackendErrorKind::Throttled,
            BackendErrorKind::Unavailable,
            BackendErrorKind::Other,
        ] {
            let outcomes = Outcomes::new();
            let note =
                |kind, outcome: Result<(), BackendErrorKind>| outcomes.note(kind, &outcome.map_err(BackendError::from));
            for is_third in [false, false, true, false] {
                // Another kind that is served does not end the row.
                assert!(!note(RequestKind::Encrypt, Ok(())));
                assert_eq!(note(RequestKind::Decrypt, Err(error)), is_third, "{error:?}");
            }
            assert!(!note(RequestKind::Decrypt, Err(BackendErrorKind::KeyUsage)));
            assert!(!note(RequestKind::Decrypt, Err(error)), "a row begins again");
        }
    }
}
