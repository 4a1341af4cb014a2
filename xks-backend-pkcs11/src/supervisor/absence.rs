//! When a token is taken for absent that is not to be seen while its sessions work.
//!
//! SoftHSM2 says nothing of a token for a moment while another process writes to it, so a first look is not
//! believed. On the other hand it goes on to serve the sessions of a token that is gone, and it may say
//! nothing more of a token until it is initialized again, although the token is there.
//!
//! So absence is believed when sessions fail too, or when eight looks within two seconds agree.

use std::time::{Duration, Instant};

/// For how long, and for how many looks in a row, a token is taken for present.
const PATIENCE: (Duration, u32) = (Duration::from_secs(2), 8);

/// The same, when requests fail because the token says nothing of itself: a key that is not found may be
/// absent, or the token may be. Still several times as long as another process's write hides a token.
const PATIENCE_OF_REQUESTS: (Duration, u32) = (Duration::from_millis(600), 4);

/// How often the token is looked for meanwhile.
pub(super) const LOOKS: Duration = Duration::from_millis(200);

/// The looks at a token that is not to be seen.
#[derive(Clone, Debug)]
pub(super) struct Absence {
    pub(super) since: Instant,
    pub(super) looks: u32,
    pub(super) fails_requests: bool,
}

impl Absence {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            since: now,
            looks: 0,
            fails_requests: false,
        }
    }

    /// Notes one more look, and whether requests have failed because of the absence since the last.
    pub(super) fn note_look(&mut self, fails_requests: bool) {
        self.looks = self.looks.saturating_add(1);
        self.fails_requests |= fails_requests;
    }

    pub(super) fn is_believed(&self, now: Instant) -> bool {
        let (time, looks) = if self.fails_requests {
            PATIENCE_OF_REQUESTS
        } else {
            PATIENCE
        };
        self.looks >= looks && now.saturating_duration_since(self.since) >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After so many looks, one each so many milliseconds.
    fn is_believed(looks: u32, every_ms: u64, fails_requests: bool) -> bool {
        let (start, every) = (Instant::now(), Duration::from_millis(every_ms));
        let mut absence = Absence::new(start);
        for look in 0..looks {
            // Only one of them: that requests fail is known from then on.
            absence.note_look(fails_requests && look == 0);
        }
        absence.is_believed(start + every * looks.saturating_sub(1))
    }

    #[test]
    fn absence_takes_looks_and_time() {
        assert!(!is_believed(1, 200, false), "a first look");
        assert!(!is_believed(1, 60_000, false));
        assert!(!is_believed(7, 60_000, false), "too few looks");
        assert!(!is_believed(100, 10, false), "too soon");
        assert!(is_believed(11, 200, false));
    }

    #[test]
    fn absence_that_fails_requests_takes_fewer_but_never_one() {
        assert!(!is_believed(1, 60_000, true), "a first look");
        assert!(!is_believed(3, 60_000, true));
        assert!(!is_believed(50, 10, true), "too soon: another process may be writing");
        assert!(is_believed(4, 200, true));
        assert!(!is_believed(4, 200, false));
    }
}
