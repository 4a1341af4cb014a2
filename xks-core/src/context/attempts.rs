//! The key managers that had a request, in their order, and what each made of it: recorded by
//! backends that are several key managers, read when the request's audit record is made.

use std::{
    borrow::Cow,
    fmt, mem,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    api::UnknownName,
    backend::{BackendError, BackendErrorKind},
    names::{named_enum, serde_as_text},
};

/// One key manager's turn with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The key manager.
    pub member: MemberPath,
    /// What it was asked to do.
    pub phase: Phase,
    /// What it made of it.
    pub outcome: AttemptOutcome,
}

impl Attempt {
    /// Makes an attempt: for tests of audit sinks.
    #[must_use]
    pub const fn new(member: MemberPath, phase: Phase, outcome: AttemptOutcome) -> Self {
        Self { member, phase, outcome }
    }
}

impl fmt::Display for Attempt {
    /// `near/hsm-b: Timeout`, `hsm-a: verification answered`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Operation => "",
            Phase::Verification => "verification ",
        };
        write!(f, "{}: {phase}{}", self.member, self.outcome)
    }
}

/// The names that lead to a key manager, outermost first: one, or several where a member of a
/// [`Fleet`](crate::fleet::Fleet) is several key managers itself.
#[derive(Clone, PartialEq, Eq)]
pub struct MemberPath {
    outer: Option<Arc<Self>>,
    name: Arc<str>,
}

impl MemberPath {
    /// Names an outermost key manager.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            outer: None,
            name: name.into(),
        }
    }

    /// Names a key manager within this one.
    #[must_use]
    pub fn and(self, name: impl Into<Arc<str>>) -> Self {
        Self {
            outer: Some(Arc::new(self)),
            name: name.into(),
        }
    }

    /// Returns the names, outermost first.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names = self.outer.as_ref().map(|outer| outer.names()).unwrap_or_default();
        names.push(&self.name);
        names
    }

    /// The path as it is displayed, mostly without an allocation.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self.outer {
            None if !self.name.contains(separates) => Cow::Borrowed(&self.name),
            _ => Cow::Owned(self.to_string()),
        }
    }
}

impl fmt::Display for MemberPath {
    /// The names with `/` between them; one that holds a separator of this text or of a list is quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = &self.outer {
            write!(f, "{outer}/")?;
        }
        if self.name.contains(separates) {
            write!(f, "{:?}", self.name)
        } else {
            f.write_str(&self.name)
        }
    }
}

/// Whether a name with this character has to be quoted.
fn separates(c: char) -> bool {
    c.is_control() || matches!(c, '/' | ',' | ';' | ':' | '"' | '\\')
}

impl fmt::Debug for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberPath({self})")
    }
}

/// What an [`Attempt`] was for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// What KMS asked for.
    #[default]
    Operation,
    /// The decryption that verifies an encryption before it is returned.
    Verification,
}

// Their names in logs and serialized records.
named_enum! {
    Phase, "a phase of a request",
    Operation => "operation",
    Verification => "verification",
}

/// How an [`Attempt`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// With success.
    Answered,
    /// With an error.
    Failed(BackendErrorKind),
    /// Without an answer: the request was dropped, or the backend panicked.
    Abandoned,
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::Failed(kind) => f.write_str(kind.as_str()),
            Self::Abandoned => f.write_str("abandoned"),
        }
    }
}

/// All outcomes: the last ten are those of a failure.
const OUTCOMES: [&str; BackendErrorKind::ALL.len() + 2] = [
    "answered",
    "abandoned",
    "KeyNotFound",
    "KeyDisabled",
    "KeyUsage",
    "InvalidCiphertext",
    "AccessDenied",
    "Unsupported",
    "Throttled",
    "Timeout",
    "Unavailable",
    "Other",
];

impl FromStr for AttemptOutcome {
    type Err = UnknownName;

    /// Reads what `Display` writes: `answered`, `abandoned` or the name of a [`BackendErrorKind`].
    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "answered" => Ok(Self::Answered),
            "abandoned" => Ok(Self::Abandoned),
            kind => match kind.parse() {
                Ok(kind) => Ok(Self::Failed(kind)),
                Err(_) => Err(UnknownName::new("an outcome of an attempt", &OUTCOMES)),
            },
        }
    }
}

serde_as_text! { AttemptOutcome }

/// What the backends of one request recorded. It outlives the request's future, so that it is there when that
/// is dropped or panics. It allocates nothing until an attempt begins.
#[derive(Default)]
pub(crate) struct AttemptLog(Mutex<State>);

#[derive(Default)]
struct State {
    attempts: Vec<Attempt>,
    phase: Phase,
    /// Where the next attempt stands within.
    within: Option<Arc<MemberPath>>,
    /// Numbers attempts, so that each ends none but itself.
    begun: usize,
    /// The attempt that is under way and last in the list, with nothing within it.
    open: Option<usize>,
}

impl AttemptLog {
    /// Only the tasks of one request come here, one after the other: the lock is never waited for.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, name: Arc<str>) -> OngoingAttempt<'_> {
        let state = &mut *self.lock();
        // An attempt with others within it stands in their paths alone.
        if let Some(outer) = state.open.take().and_then(|_| state.attempts.pop()) {
            state.within = Some(Arc::new(outer.member));
        }
        state.begun += 1;
        state.open = Some(state.begun);
        state.attempts.push(Attempt {
            member: MemberPath {
                outer: state.within.clone(),
                name,
            },
            phase: state.phase,
            outcome: AttemptOutcome::Abandoned,
        });
        OngoingAttempt(Some(Ongoing {
            log: self,
            number: state.begun,
            within: state.within.clone(),
            outcome: AttemptOutcome::Abandoned,
        }))
    }

    /// The encryption is done; what is attempted from now on verifies it.
    // ENC-10
    pub(super) fn begin_verification(&self) {
        self.lock().phase = Phase::Verification;
    }

    /// Returns what was recorded, once nothing more is to come.
    pub(crate) fn take(&self) -> Vec<Attempt> {
        mem::take(&mut self.lock().attempts)
    }
}

/// A request's stay with one of a backend's key managers. Drop it when the answer is there, or the request
/// goes elsewhere.
#[must_use = "an attempt ends when this is dropped"]
pub struct OngoingAttempt<'a>(Option<Ongoing<'a>>);

struct Ongoing<'a> {
    log: &'a AttemptLog,
    number: usize,
    /// Where this attempt stands within.
    within: Option<Arc<MemberPath>>,
    outcome: AttemptOutcome,
}

impl OngoingAttempt<'_> {
    /// An attempt at a request that has no record.
    pub(crate) const fn unrecorded() -> Self {
        Self(None)
    }

    /// Ends the attempt with its answer. One that is dropped without is recorded as abandoned.
    pub fn end<T>(mut self, answer: &Result<T, BackendError>) {
        if let Some(ongoing) = &mut self.0 {
            ongoing.outcome = match answer {
                Ok(_) => AttemptOutcome::Answered,
                Err(error) => AttemptOutcome::Failed(error.kind()),
            };
        }
    }
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        let state = &mut *self.log.lock();
        if state.open == Some(self.number) {
            state.open = None;
            if let Some(attempt) = state.attempts.last_mut() {
                attempt.outcome = self.outcome;
            }
        }
        state.within = self.within.take();
    }
}

impl fmt::Debug for OngoingAttempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OngoingAttempt")
            .field("is_recorded", &self.0.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Result<(), BackendErrorKind> = Err(BackendErrorKind::Throttled);

    fn end(attempt: OngoingAttempt<'_>, answer: Result<(), BackendErrorKind>) {
        attempt.end(&answer.map_err(BackendError::from));
    }

    fn read(log: &AttemptLog) -> Vec<String> {
        log.take().iter().map(Attempt::to_string).collect()
    }

    /// LOG-1: each key manager that had the request is in the list, behind those that lead to it.
    #[test]
    fn the_way_through_nested_fleets_is_recorded() {
        let log = AttemptLog::default();
        let near = log.begin("near".into());
        end(log.begin("1".into()), FULL);
        drop(log.begin("2".into()));
        end(near, FULL);
        let far = log.begin("far".into());
        let inner = log.begin("inner".into());
        end(log.begin("3".into()), Ok(()));
        end(inner, Ok(()));
        end(far, Ok(()));
        end(log.begin("last".into()), FULL);
        assert_eq!(
            read(&log),
            [
                "near/1: Throttled",
                "near/2: abandoned",
                "far/inner/3: answered",
                "last: Throttled"
            ]
        );
        assert_eq!(read(&log), [""; 0]);
    }

    /// LOG-1, ENC-10: the member that verified is distinguished from the one that encrypted.
    #[test]
    fn operation_and_verification_are_told_apart() {
        let log = AttemptLog::default();
        end(log.begin("a".into()), Ok(()));
        log.begin_verification();
        end(log.begin("b".into()), FULL);
        end(log.begin("a".into()), Ok(()));
        let attempts = log.take();
        let phases: Vec<_> = attempts.iter().map(|attempt| attempt.phase.as_str()).collect();
        assert_eq!(phases, ["operation", "verification", "verification"]);
        assert_eq!(attempts[1].to_string(), "b: verification Throttled");
    }

    /// LOG-2: a name may hold anything, and no text of a list can be read in two ways.
    #[test]
    fn names_with_separators_are_quoted() {
        let path = MemberPath::new("a/b").and("slot 0").and("c\", d\n");
        assert_eq!(path.names(), ["a/b", "slot 0", "c\", d\n"]);
        assert_eq!(path.to_string(), r#""a/b"/slot 0/"c\", d\n""#);
    }

    /// Attempts that end in another order than they should have are odd to read, and nothing worse.
    #[test]
    fn attempts_may_end_in_any_order() {
        let log = AttemptLog::default();
        let (one, two) = (log.begin("1".into()), log.begin("2".into()));
        end(one, FULL);
        end(two, Ok(()));
        end(OngoingAttempt::unrecorded(), Ok(()));
        end(log.begin("3".into()), Ok(()));
        assert_eq!(log.take()[0].to_string(), "1/2: answered");
    }
}
