//! What a token's device errors say about the next failed decryption, and how many calls of the module may be
//! spent on finding out more.
//!
//! A failing device and a wrong tag may have one code, and to call a good ciphertext invalid would tell KMS
//! that data is lost. So a decryption that fails is repeated, in turn with known-answer tests, which are
//! decryptions of what was just encrypted under the same key. Were it the device, which fails with a
//! probability of p, then that all of f attempts failed and all of a tests went well had a probability of p^f
//! (1-p)^a, which no p makes larger than f^f a^a / (f+a)^(f+a). A ciphertext is invalid when that is below
//! 2e-5: nine failures beside seven tests. When the device has failed lately, for any request, it has to be
//! below 1e-9: sixteen beside fourteen. Tests of before the request count for nothing: a device may begin to
//! fail at any time. So a device that fails at random makes one answer wrong in 50 000 of its spells at the
//! worst, and over 100 000 decryptions of a spell one with a probability of 1e-7 at a rate of one in five.
//! With the code for wrong tags to itself a ciphertext is never wronged.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::error::CallError;

/// How many calls in a second bad ciphertexts may cost beside their own; and so many at once after a pause.
pub(crate) const CALLS_PER_SECOND: u32 = 10_000;
const CALLS_AT_ONCE: u32 = CALLS_PER_SECOND;

/// What takes longer counts for as many calls of this length, so that bad ciphertexts keep no more than one
/// session of a slow module busy beside their own calls.
const A_CALL: Duration = Duration::from_micros(1_000_000 / CALLS_PER_SECOND as u64);

/// How long after a device error a token is suspected more than others.
const DEVICE_ERRORS_LAST: Duration = Duration::from_secs(10);

/// How long the code of a wrong tag is evidence.
const BAD_TAGS_LAST: Duration = Duration::from_secs(60);

/// The natural logarithms of 2e-5 and of 1e-9.
const SELDOM: f64 = -10.819_778_284_410_283;
const MOST_SELDOM: f64 = -20.723_265_836_946_41;

/// What is known of one token.
#[derive(Debug)]
pub(crate) struct TrackRecord {
    state: Mutex<State>,
    waiting: AtomicUsize,
    /// How many may wait for calls: half of the sessions, so that the others serve good ciphertexts.
    most_waiting: usize,
}

#[derive(Debug)]
struct State {
    device_failed: Option<Instant>,
    /// How a ciphertext that is certainly bad was refused.
    bad_tag: Option<(CallError, Instant)>,
    /// Below zero when calls took longer than others.
    calls_left: i64,
    filled: Instant,
}

/// What was seen of one ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What all attempts failed with.
    pub(crate) error: CallError,
    /// Attempts, all failed.
    pub(crate) failures: u32,
    /// Known-answer tests in between, all right.
    pub(crate) answers: u32,
}

impl Seen {
    /// Whether another known answer says more than another attempt. An attempt comes first: it may succeed.
    pub(crate) const fn wants_answer(&self) -> bool {
        self.answers + 1 < self.failures
    }
}

impl TrackRecord {
    /// Of a token with so many sessions.
    pub(crate) fn new(sessions: usize) -> Self {
        Self {
            state: Mutex::new(State {
                device_failed: None,
                bad_tag: None,
                calls_left: i64::from(CALLS_AT_ONCE),
                filled: Instant::now(),
            }),
            waiting: AtomicUsize::new(0),
            most_waiting: (sessions / 2).max(1),
        }
    }

    /// The device has failed, for whichever request.
    pub(crate) fn note_device_error(&self, now: Instant) {
        self.state().device_failed = Some(now);
    }

    /// A ciphertext that is certainly bad was refused with this.
    pub(crate) fn note_bad_tag(&self, error: CallError, now: Instant) {
        self.state().bad_tag = Some((error, now));
    }

    /// Whether a ciphertext that is certainly bad is known to be refused with this.
    pub(crate) fn is_bad_tag(&self, error: CallError, now: Instant) -> bool {
        let (bad_tag, since) = self.state().bad_tag.unzip();
        bad_tag == Some(error) && is_within(since, BAD_TAGS_LAST, now)
    }

    /// Whether the device has failed a short time ago.
    pub(crate) fn is_suspected(&self, now: Instant) -> bool {
        is_within(self.state().device_failed, DEVICE_ERRORS_LAST, now)
    }

    /// Whether it was the ciphertext, to the certainty that this module promises.
    pub(crate) fn condemns(&self, seen: &Seen, now: Instant) -> bool {
        let bound = if self.is_suspected(now) { MOST_SELDOM } else { SELDOM };
        is_rarer_than(bound, seen.failures, seen.answers)
    }

    /// Takes calls from those that bad ciphertexts may cost, and waits for them if there are not so many
    /// left; false, and none taken, if enough others wait already, or if it would last until the deadline.
    pub(crate) fn take(&self, calls: u32, deadline: Instant) -> bool {
        let Some(mut wait) = self.try_take(calls, Instant::now()) else {
            return true;
        };
        let admit = |waiting| (waiting < self.most_waiting).then_some(waiting + 1);
        let is_admitted = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit);
        if is_admitted.is_err() {
            return false;
        }
        let is_taken = loop {
            if Instant::now() + wait >= deadline {
                break false;
            }
            thread::sleep(wait);
            match self.try_take(calls, Instant::now()) {
                Some(more) => wait = more,
                None => break true,
            }
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        is_taken
    }

    /// How long it is until there are so many calls; none if they are taken.
    fn try_take(&self, calls: u32, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        state.fill(now);
        state.calls_left -= i64::from(calls);
        let missing = u32::try_from(-state.calls_left).ok().filter(|missing| *missing > 0)?;
        state.calls_left += i64::from(calls);
        Some(A_CALL.saturating_mul(missing))
    }

    /// So many calls were taken, and have lasted so long; returns how many they count for.
    pub(crate) fn charge(&self, calls: u32, took: Duration) -> u32 {
        let worth = u32::try_from(took.as_micros() / A_CALL.as_micros()).unwrap_or(u32::MAX);
        let more = worth.saturating_sub(calls);
        let mut state = self.state();
        state.calls_left = (state.calls_left - i64::from(more)).max(-i64::from(CALLS_AT_ONCE));
        calls.saturating_add(more)
    }

    /// Gives calls back: the ciphertext was a good one.
    pub(crate) fn give_back(&self, calls: u32) {
        let mut state = self.state();
        state.calls_left = (state.calls_left + i64::from(calls)).min(i64::from(CALLS_AT_ONCE));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each value is whole, whatever panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fill(&mut self, now: Instant) {
        let more = now.saturating_duration_since(self.filled).as_micros() / A_CALL.as_micros();
        if more > 0 {
            let most = i64::from(CALLS_AT_ONCE);
            self.calls_left = i64::try_from(more).map_or(most, |more| self.calls_left.saturating_add(more).min(most));
            self.filled = now;
        }
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

    /// How many failures and answers condemn, when each comes as it is wanted.
    fn condemning(record: &TrackRecord, now: Instant) -> (u32, u32) {
        let mut seen = seen(1, 0);
        while !record.condemns(&seen, now) {
            if seen.wants_answer() {
                seen.answers += 1;
            } else {
                seen.failures += 1;
            }
        }
        (seen.failures, seen.answers)
    }

    #[test]
    fn a_device_that_has_failed_has_to_prove_more() {
        let (record, now) = (TrackRecord::new(4), Instant::now());
        assert_eq!(condemning(&record, now), (9, 7));
        assert!(!record.condemns(&seen(1000, 0), now), "a device that always fails");
        record.note_device_error(now);
        assert_eq!(condemning(&record, now), (16, 14));
        assert_eq!(condemning(&record, now + DEVICE_ERRORS_LAST), (9, 7));
    }

    #[test]
    fn the_code_of_a_bad_tag_is_known_for_a_while() {
        let (record, now) = (TrackRecord::new(4), Instant::now());
        assert!(!record.is_bad_tag(FAILED, now));
        record.note_bad_tag(FAILED, now);
        assert!(record.is_bad_tag(FAILED, now));
        assert!(!record.is_bad_tag(OTHER, now));
        assert!(!record.is_bad_tag(FAILED, now + BAD_TAGS_LAST));
    }

    #[test]
    fn calls_are_counted_and_come_back_with_time() {
        let (record, now) = (TrackRecord::new(4), Instant::now());
        let left = |calls, now| record.try_take(calls, now).is_none();
        assert!(left(CALLS_AT_ONCE - 10, now));
        assert_eq!(record.try_take(12, now), Some(2 * A_CALL));
        assert!(left(10, now));
        assert!(!left(1, now));
        let later = now + 100 * A_CALL;
        assert!(!left(101, later));
        assert!(left(90, later));
        record.give_back(50);
        assert!(left(60, later));
        assert!(!left(1, later));
        // Four calls that last as long as thirty.
        assert_eq!(record.charge(4, 30 * A_CALL), 30);
        assert_eq!(record.try_take(1, later), Some(27 * A_CALL));
        assert_eq!(record.charge(4, A_CALL), 4);
        let later = now + Duration::from_secs(100);
        assert!(left(CALLS_AT_ONCE, later));
        assert!(!left(1, later));
    }

    #[test]
    fn calls_are_waited_for_until_the_deadline() {
        let record = TrackRecord::new(4);
        let far = Instant::now() + Duration::from_secs(60);
        assert!(record.take(CALLS_AT_ONCE, far));
        assert!(!record.take(CALLS_AT_ONCE, Instant::now() + Duration::from_millis(1)));
        assert!(record.take(10, far), "they have come meanwhile");
        record.waiting.store(2, Ordering::Relaxed);
        assert!(!record.take(CALLS_AT_ONCE, far), "two others wait");
    }
}
