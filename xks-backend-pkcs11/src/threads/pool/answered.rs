//! Callers that have their answers and have not been woken yet.
//!
//! To wake a caller takes a system call, and on a busy machine the processor from the thread that does the
//! jobs: for one answer it costs as much as a third of a quick call. So while there is more to do, the
//! answers of quick calls wait for one another, and never longer than [`LONGEST`]. Then one caller is woken,
//! which wakes the others as it leaves: on its own thread, which most often is theirs, that costs next to
//! nothing.
//!
//! What hangs, a call behind them or the caller that was woken, is seen to by the deadline thread: it wakes
//! all that have waited for [`STANDSTILL`].

use std::time::{Duration, Instant};

use super::{STANDSTILL, job::Caller};

/// How long an answer may wait for the next one: little beside the time of a request.
const LONGEST: Duration = Duration::from_micros(200);

#[derive(Default)]
pub(super) struct Answered {
    callers: Vec<Caller>,
    /// When the first of them had its answer.
    since: Option<Instant>,
    /// A caller was woken, and comes for the others.
    is_one_called: bool,
}

impl Answered {
    pub(super) fn add(&mut self, caller: Caller, at: Instant) {
        self.callers.push(caller);
        self.since.get_or_insert(at);
    }

    /// Whether one of them has to be woken now that a call has taken as long as `last`: there is nothing else
    /// to do, or another call like it would take too long.
    pub(super) fn are_to_go(&self, is_there_more: bool, last: Duration, now: impl FnOnce() -> Instant) -> bool {
        let may_wait = |since| is_there_more && now() + last <= since + LONGEST;
        !self.is_one_called && self.since.is_some_and(|since| !may_wait(since))
    }

    /// When the deadline thread wakes them, if they wait still.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.since.map(|since| since + STANDSTILL)
    }

    /// The one that is to be woken, and will come for the others. `note` is how it learns of them.
    pub(super) fn call(&mut self, note: impl Fn(bool)) -> Option<Caller> {
        while let Some(caller) = self.callers.pop() {
            self.is_one_called = !self.callers.is_empty();
            note(self.is_one_called);
            if !self.is_one_called {
                self.since = None;
            }
            // One that left before the note does not come.
            if !(self.is_one_called && caller.has_left()) {
                return Some(caller);
            }
        }
        None
    }

    /// Those who are to be woken now, without a lock.
    pub(super) fn take(&mut self) -> Vec<Caller> {
        (self.since, self.is_one_called) = (None, false);
        let room = Vec::with_capacity(self.callers.len());
        std::mem::replace(&mut self.callers, room)
    }
}

#[cfg(test)]
#[cfg(not(any(model = "loom", model = "shuttle")))]
mod tests {
    use std::{
        cell::Cell,
        pin::Pin,
        task::{Context, Waker},
    };

    use super::{
        super::{
            super::Refused,
            job::{Answer, reply},
        },
        *,
    };

    /// One that has its answer, and leaves when what is returned beside it is dropped.
    fn caller() -> (Caller, Pin<Box<Answer<(), Refused>>>) {
        let (promise, _, answer) = reply(Instant::now());
        let mut answer = Box::pin(answer);
        let poll = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
        (promise.keep(Ok(())).unwrap(), answer)
    }

    #[test]
    fn answers_wait_for_quick_calls_alone_and_not_for_long() {
        let (mut answered, start) = (Answered::default(), Instant::now());
        let (quick, slow) = (LONGEST / 4, LONGEST * 2);
        assert!(!answered.are_to_go(false, quick, || start));
        let [(first, _there), (second, _there_too)] = [caller(), caller()];
        answered.add(first, start);
        assert!(
            answered.are_to_go(false, quick, || start),
            "there is nothing else to do"
        );
        assert!(!answered.are_to_go(true, quick, || start));
        assert!(answered.are_to_go(true, slow, || start));
        answered.add(second, start + quick);
        assert!(!answered.are_to_go(true, quick, || start + quick * 3));
        let over = start + quick * 3 + Duration::from_nanos(1);
        assert!(answered.are_to_go(true, quick, || over), "the first has waited longest");
        assert_eq!(answered.overdue_at(), Some(start + STANDSTILL));
        assert_eq!(answered.take().len(), 2);
        assert_eq!(answered.overdue_at(), None);
    }

    #[test]
    fn one_that_is_still_there_is_called_and_comes_for_the_others() {
        let (mut answered, start, noted) = (Answered::default(), Instant::now(), Cell::new(false));
        let note = |has_answered| noted.set(has_answered);
        let [(first, _there), (second, _there_too), (third, leaves)] = [caller(), caller(), caller()];
        drop(leaves);
        for caller in [first, second, third] {
            answered.add(caller, start);
        }
        assert!(answered.call(note).is_some_and(|caller| !caller.has_left()));
        assert!(noted.get());
        assert!(!answered.are_to_go(false, LONGEST, || start), "one is on its way");
        assert_eq!(answered.take().len(), 1);
        let (last, _there) = caller();
        answered.add(last, start);
        assert!(answered.call(note).is_some());
        assert!(!noted.get(), "there are no others");
        assert_eq!(answered.overdue_at(), None);
    }
}
