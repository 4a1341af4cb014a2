//! What a token's recent known-answer tests and device errors say about the next failed decryption, and how
//! many calls of the module may be spent on finding out more.
//!
//! A failing device and a wrong tag may have one code, and to call a good ciphertext invalid would tell KMS
//! that data is lost. So a decryption that fails is repeated, in turn with known-answer tests, which are
//! decryptions of what was just encrypted under the same key. Were it the device, which fails with a
//! probability of p, then that all of f attempts failed and all of a tests went well had a probability of p^f
//! (1-p)^a, which no p makes larger than f^f a^a / (f+a)^(f+a). A ciphertext is invalid when that is below
//! 1e-6: ten failures beside ten tests, or four beside the 45 tests of the last minute. When the device has
//! failed lately, for any request, it has to be below 1e-9, with tests of this request alone: fifteen beside
//! fifteen. Over 100 000 decryptions on a device that fails every fifth time the probability of one wrong
//! answer is 1e-7 then; with the code for wrong tags to itself there is none at all.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::error::CallError;

/// How many calls in a second, and at once, bad ciphertexts may cost beside their own.
pub(crate) const CALLS_PER_SECOND: u32 = 1000;

/// How long after a device error a token is suspected more than others.
const DEVICE_ERRORS_LAST: Duration = Duration::from_secs(10);

/// How long known answers, and the code of a wrong tag, are evidence.
const ANSWERS_LAST: Duration = Duration::from_secs(60);

/// Fewer attempts than these prove nothing, however well the token has been: it may have begun to fail just
/// now.
const FEWEST_FAILURES: u32 = 4;

/// So many known answers vouch for a token where there is no time, or no call left, for more.
const VOUCHING: u32 = 8;

/// The natural logarithms of 1e-6 and of 1e-9.
const SELDOM: f64 = -13.815_510_557_964_274;
const MOST_SELDOM: f64 = -20.723_265_836_946_41;

/// What is known of one token.
#[derive(Debug)]
pub(crate) struct TrackRecord(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Known answers in a row that came back right, since the last device error.
    answers: u32,
    answered: Option<Instant>,
    device_failed: Option<Instant>,
    /// How a ciphertext that is certainly bad was refused.
    bad_tag: Option<(CallError, Instant)>,
    /// Below zero when calls were made that could not wait.
    calls_left: i64,
    filled: Instant,
}

/// What one request has seen of its ciphertext.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// What all attempts failed with.
    pub(crate) error: CallError,
    /// Attempts, all failed.
    pub(crate) failures: u32,
    /// Known-answer tests in between, all right.
    pub(crate) answers: u32,
}

impl TrackRecord {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            answers: 0,
            answered: None,
            device_failed: None,
            bad_tag: None,
            calls_left: i64::from(CALLS_PER_SECOND),
            filled: Instant::now(),
        }))
    }

    /// The device has failed, for whichever request.
    pub(crate) fn note_device_error(&self, now: Instant) {
        let mut state = self.state();
        state.answers = 0;
        state.device_failed = Some(now);
    }

    /// What was encrypted a moment ago has decrypted.
    pub(crate) fn note_answer(&self, now: Instant) {
        let mut state = self.state();
        state.answers = state.answers_at(now).saturating_add(1);
        state.answered = Some(now);
    }

    /// A ciphertext that is certainly bad was refused with this.
    pub(crate) fn note_bad_tag(&self, error: CallError, now: Instant) {
        self.state().bad_tag = Some((error, now));
    }

    /// Whether a ciphertext that is certainly bad is known to be refused with this.
    pub(crate) fn is_bad_tag(&self, error: CallError, now: Instant) -> bool {
        self.state().is_bad_tag(error, now)
    }

    /// Whether the device has failed a short time ago.
    pub(crate) fn is_suspected(&self, now: Instant) -> bool {
        self.state().is_suspected(now)
    }

    /// Takes calls from those that bad ciphertexts may cost; false, and none taken, if there are not so many
    /// left.
    pub(crate) fn take(&self, calls: u32, now: Instant) -> bool {
        let mut state = self.state();
        state.fill(now);
        let may = state.calls_left >= i64::from(calls);
        if may {
            state.calls_left -= i64::from(calls);
        }
        may
    }

    /// Takes calls that have to be made, be they left or not.
    pub(crate) fn charge(&self, calls: u32, now: Instant) {
        let mut state = self.state();
        state.fill(now);
        state.calls_left = (state.calls_left - i64::from(calls)).max(-i64::from(CALLS_PER_SECOND));
    }

    /// Gives calls back: the ciphertext was a good one.
    pub(crate) fn give_back(&self, calls: u32) {
        let mut state = self.state();
        state.calls_left = (state.calls_left + i64::from(calls)).min(i64::from(CALLS_PER_SECOND));
    }

    /// Whether known answers are missing more than failures are.
    pub(crate) fn wants_answers(&self, now: Instant) -> bool {
        let state = self.state();
        state.is_suspected(now) || !is_rarer_than(SELDOM, FEWEST_FAILURES, state.answers_at(now))
    }

    /// Whether it was the ciphertext, to the certainty that this module promises.
    pub(crate) fn condemns(&self, seen: &Seen, now: Instant) -> bool {
        let state = self.state();
        if state.is_suspected(now) {
            return is_rarer_than(MOST_SELDOM, seen.failures, seen.answers);
        }
        let answers = state.answers_at(now).max(seen.answers);
        seen.failures >= FEWEST_FAILURES && is_rarer_than(SELDOM, seen.failures, answers)
    }

    /// Whether it was the ciphertext, where nothing more can be found out: a token that has shown itself well
    /// within the last minute refuses it as it refuses bad ones.
    pub(crate) fn vouches(&self, error: CallError, now: Instant) -> bool {
        let state = self.state();
        !state.is_suspected(now) && state.is_bad_tag(error, now) && state.answers_at(now) >= VOUCHING
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each value is whole, whatever panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled).min(Duration::from_secs(1));
        let more = since.as_micros() * u128::from(CALLS_PER_SECOND) / 1_000_000;
        if more > 0 {
            let most = i64::from(CALLS_PER_SECOND);
            self.calls_left = (self.calls_left + i64::try_from(more).unwrap_or(most)).min(most);
            self.filled = now;
        }
    }

    fn answers_at(&self, now: Instant) -> u32 {
        if is_within(self.answered, ANSWERS_LAST, now) {
            self.answers
        } else {
            0
        }
    }

    fn is_suspected(&self, now: Instant) -> bool {
        is_within(self.device_failed, DEVICE_ERRORS_LAST, now)
    }

    fn is_bad_tag(&self, error: CallError, now: Instant) -> bool {
        let (bad_tag, since) = self.bad_tag.unzip();
        bad_tag == Some(error) && is_within(since, ANSWERS_LAST, now)
    }
}

fn is_within(time: Option<Instant>, window: Duration, now: Instant) -> bool {
    time.is_some_and(|time| now.saturating_duration_since(time) < window)
}

/// Whether so many failures beside so many successes are rarer than this, whatever the probability of a
/// failure is.
fn is_rarer_than(bound: f64, failures: u32, successes: u32) -> bool {
    let (f, s) = (f64::from(failures), f64::from(successes));
    let entropy = |n: f64| if n > 0.0 { n * n.ln() } else { 0.0 };
    entropy(f) + entropy(s) - entropy(f + s) < bound
}

#[cfg(test)]
mod tests {
    use cryptoki_sys as ck;

    use super::*;
    use crate::return_code::{Phase, ReturnCode};

    const FAILED: CallError = CallError::new("C_Decrypt", Phase::Decrypt, ReturnCode(ck::CKR_GENERAL_ERROR));
    const OTHER: CallError = CallError::new("C_Decrypt", Phase::Decrypt, ReturnCode(ck::CKR_DEVICE_ERROR));

    const fn seen(failures: u32, answers: u32) -> Seen {
        Seen {
            error: FAILED,
            failures,
            answers,
        }
    }

    #[test]
    fn a_token_that_is_not_known_has_to_prove_more() {
        let (record, now) = (TrackRecord::new(), Instant::now());
        assert!(record.condemns(&seen(10, 10), now));
        assert!(!record.condemns(&seen(9, 9), now));
        assert!(!record.condemns(&seen(100, 0), now), "a device that always fails");
        (0..50).for_each(|_| record.note_answer(now));
        assert!(record.condemns(&seen(4, 1), now));
        assert!(!record.condemns(&seen(3, 1), now));
        assert!(!record.condemns(&seen(4, 1), now + ANSWERS_LAST), "that was long ago");
    }

    #[test]
    fn a_device_that_has_failed_has_to_prove_most() {
        let (record, now) = (TrackRecord::new(), Instant::now());
        (0..1000).for_each(|_| record.note_answer(now));
        record.note_device_error(now);
        (0..1000).for_each(|_| record.note_answer(now));
        assert!(!record.condemns(&seen(10, 10), now));
        assert!(record.condemns(&seen(15, 15), now));
        assert!(record.condemns(&seen(4, 1), now + DEVICE_ERRORS_LAST));
    }

    #[test]
    fn only_a_known_code_of_a_token_known_to_be_well_is_vouched_for() {
        let (record, now) = (TrackRecord::new(), Instant::now());
        (0..VOUCHING).for_each(|_| record.note_answer(now));
        assert!(!record.vouches(FAILED, now));
        record.note_bad_tag(FAILED, now);
        assert!(record.vouches(FAILED, now));
        assert!(!record.vouches(OTHER, now));
        assert!(!record.vouches(FAILED, now + ANSWERS_LAST));
        record.note_device_error(now);
        assert!(!record.vouches(FAILED, now));
        assert!(
            !record.vouches(FAILED, now + DEVICE_ERRORS_LAST),
            "well again, but not proved"
        );
    }

    #[test]
    fn calls_are_counted_and_come_back_with_time() {
        let (record, now) = (TrackRecord::new(), Instant::now());
        assert!(record.take(CALLS_PER_SECOND - 10, now));
        assert!(!record.take(11, now));
        assert!(record.take(10, now));
        assert!(!record.take(1, now));
        assert!(!record.take(101, now + Duration::from_millis(100)));
        assert!(record.take(90, now + Duration::from_millis(100)));
        record.give_back(50);
        assert!(record.take(50, now + Duration::from_millis(100)));
        let later = now + Duration::from_secs(100);
        assert!(record.take(CALLS_PER_SECOND, later));
        assert!(!record.take(1, later));
    }
}
