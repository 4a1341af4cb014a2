//! The judge: whether what nodes answer is right, after the commands that are confirmed. A pure function of
//! events, whose moments are of the driver's one clock.
//!
//! A *subject* is what a command closes and opens: a key that is disabled and enabled, a key store that is
//! blocked, a version that is revoked, a credential. Commands on one subject come one after the other.
//!
//! ```text
//! close is sent ─ ─ ─ ▶ confirmed ──────────────▶ open is sent ─ ─ ─ ▶ confirmed ──────────▶
//!     not judged            must be refused           not judged           must be served
//! ```
//! A request is judged if it starts and is answered within one of these stretches. One that is answered
//! later may have been worked on later too: it waits in a process that is stopped.

use std::time::Duration;

/// A moment: since the driver's start.
pub(crate) type At = Duration;

/// The number of a subject.
pub(crate) type SubjectId = usize;

/// What a command does to its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Command {
    /// Takes it away: disable, block, revoke.
    Close,
    /// Gives it: enable, unblock, restore, create.
    Open,
}

/// How a command has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Returned {
    /// Every node serves it.
    Confirmed,
    /// It is committed, and not every node is known to serve it.
    NotConfirmed,
    /// It has failed: perhaps it is committed.
    Failed,
    /// The connection has ended with its node. Perhaps it is committed.
    Lost,
}

/// What a node has answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was served.
    Served,
    /// It was refused as what is closed is refused.
    Refused,
    /// The node has no lease: `DependencyTimeoutException`.
    Unleased,
    /// The node did not take the connection, or it ended before the answer.
    NoConnection,
    /// Nothing came for as long as the driver waits.
    Silence,
    /// Something else, which is never right.
    Wrong(String),
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) subject: SubjectId,
    pub(crate) node: usize,
    /// Read before anything of it was sent.
    pub(crate) start: At,
    /// Read when all of the answer was there.
    pub(crate) end: At,
    pub(crate) answer: Answer,
}

/// What must be so of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// A command is under way, or nothing is known of the last one.
    Unknown,
    MustBe(Command, At),
}

/// Which rule an answer has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Violation {
    /// Served after the confirmation that it is closed.
    ServedClosed,
    /// Refused as if it were closed, after the confirmation that it is open.
    RefusedOpen,
}

/// The judgement of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Judgement {
    /// Right: as the last confirmed command wants it, or no answer that is judged here.
    Right(Command),
    /// A command was under way.
    NotJudged,
    /// A broken promise, and how long after the confirmation the request has started.
    Violation(Violation, Duration),
}

/// Knows what must be so of each subject.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    subjects: Vec<Stand>,
}

impl Judge {
    /// Adds a subject of which nothing is known yet.
    pub(crate) fn add(&mut self) -> SubjectId {
        self.subjects.push(Stand::Unknown);
        self.subjects.len() - 1
    }

    /// A command is about to be sent: from now on either may be right.
    pub(crate) fn sent(&mut self, subject: SubjectId) {
        self.set(subject, Stand::Unknown);
    }

    /// A command has returned. `at` is read after it has.
    pub(crate) fn returned(&mut self, subject: SubjectId, command: Command, returned: Returned, at: At) {
        if returned == Returned::Confirmed {
            self.set(subject, Stand::MustBe(command, at));
        }
    }

    fn set(&mut self, subject: SubjectId, stand: Stand) {
        if let Some(found) = self.subjects.get_mut(subject) {
            *found = stand;
        }
    }

    /// Returns whether it is confirmed that this subject is closed, with no command since.
    pub(crate) fn is_closed(&self, subject: SubjectId) -> bool {
        matches!(self.subjects.get(subject), Some(Stand::MustBe(Command::Close, _)))
    }

    /// Judges an answer that has come now: whatever was sent before it came is known.
    pub(crate) fn judge(&self, request: &Request) -> Judgement {
        let Some(Stand::MustBe(command, since)) = self.subjects.get(request.subject) else {
            return Judgement::NotJudged;
        };
        if request.start <= *since {
            return Judgement::NotJudged;
        }
        let late = request.start - *since;
        match (command, &request.answer) {
            (Command::Close, Answer::Served) => Judgement::Violation(Violation::ServedClosed, late),
            (Command::Open, Answer::Refused) => Judgement::Violation(Violation::RefusedOpen, late),
            _ => Judgement::Right(*command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> At {
        Duration::from_millis(ms)
    }

    /// A subject, and commands on it that were sent and have returned at these moments.
    fn judge_after(commands: &[(Command, u64, Returned)]) -> Judge {
        let mut judge = Judge::default();
        let subject = judge.add();
        for (command, returned_at, returned) in commands {
            judge.sent(subject);
            judge.returned(subject, *command, *returned, at(*returned_at));
        }
        judge
    }

    fn request(start: u64, answer: Answer) -> Request {
        Request {
            subject: 0,
            node: 0,
            start: at(start),
            end: at(start + 1),
            answer,
        }
    }

    const CLOSED: (Command, u64, Returned) = (Command::Close, 10, Returned::Confirmed);
    const OPEN: (Command, u64, Returned) = (Command::Open, 20, Returned::Confirmed);

    #[test]
    fn what_is_served_after_a_confirmation_is_a_violation() {
        let judge = judge_after(&[CLOSED]);
        assert_eq!(
            judge.judge(&request(11, Answer::Served)),
            Judgement::Violation(Violation::ServedClosed, at(1))
        );
        for answer in [Answer::Refused, Answer::Unleased, Answer::NoConnection, Answer::Silence] {
            assert_eq!(judge.judge(&request(11, answer)), Judgement::Right(Command::Close));
        }
    }

    #[test]
    fn what_is_refused_after_it_was_opened_is_a_violation() {
        let judge = judge_after(&[CLOSED, OPEN]);
        assert_eq!(
            judge.judge(&request(25, Answer::Refused)),
            Judgement::Violation(Violation::RefusedOpen, at(5))
        );
        for answer in [Answer::Served, Answer::Unleased, Answer::NoConnection, Answer::Silence] {
            assert_eq!(judge.judge(&request(25, answer)), Judgement::Right(Command::Open));
        }
    }

    /// It started before the confirmation returned, or at that moment.
    #[test]
    fn what_had_started_is_not_judged() {
        let judge = judge_after(&[CLOSED]);
        for start in [0, 9, 10] {
            assert_eq!(judge.judge(&request(start, Answer::Served)), Judgement::NotJudged);
        }
    }

    #[test]
    fn what_is_answered_after_the_next_command_was_sent_is_not_judged() {
        let mut judge = judge_after(&[CLOSED]);
        judge.sent(0);
        assert_eq!(judge.judge(&request(11, Answer::Served)), Judgement::NotJudged);
        judge.returned(0, Command::Open, Returned::Confirmed, at(30));
        assert_eq!(judge.judge(&request(11, Answer::Served)), Judgement::NotJudged);
        assert_eq!(
            judge.judge(&request(31, Answer::Served)),
            Judgement::Right(Command::Open)
        );
    }

    #[test]
    fn a_command_that_is_not_confirmed_promises_nothing() {
        for returned in [Returned::NotConfirmed, Returned::Failed, Returned::Lost] {
            for command in [Command::Close, Command::Open] {
                let judge = judge_after(&[CLOSED, (command, 20, returned)]);
                for answer in [Answer::Served, Answer::Refused] {
                    assert_eq!(judge.judge(&request(21, answer)), Judgement::NotJudged);
                }
                assert!(!judge.is_closed(0));
            }
        }
    }

    #[test]
    fn subjects_are_judged_each_for_itself() {
        let mut judge = judge_after(&[CLOSED]);
        let other = judge.add();
        let of_other = |answer| Request {
            subject: other,
            ..request(30, answer)
        };
        assert_eq!(judge.judge(&of_other(Answer::Served)), Judgement::NotJudged);
        judge.sent(other);
        judge.returned(other, Command::Open, Returned::Confirmed, at(20));
        assert_eq!(judge.judge(&of_other(Answer::Served)), Judgement::Right(Command::Open));
        assert_eq!(
            judge.judge(&request(30, Answer::Served)),
            Judgement::Violation(Violation::ServedClosed, at(20))
        );
        assert!(judge.is_closed(0) && !judge.is_closed(other));
    }
}
