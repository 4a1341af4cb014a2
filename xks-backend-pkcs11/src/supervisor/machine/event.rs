//! What the state machine is told, and what it asks for: events and effects, without strings, handles or
//! clocks.

use std::time::Duration;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Event {
    /// It is time to look after the token, or the supervisor was notified.
    Wake(Login),
    /// A test has ended.
    Tested(Test),
    /// An attempt to connect has ended.
    Connected(Result<Connected, Failure>),
    /// An attempt to reinitialize the module has ended.
    Reinitialized(Result<(), NotReinitialized>),
    /// The first connection has failed, and the backend opens all the same.
    Tolerated(Failure),
    Stopped,
}

/// Whether the user may be logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Login {
    Allowed,
    /// An attempt failed a short while ago.
    Postponed,
    /// The token has refused the PIN.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Test {
    pub(in crate::supervisor) outcome: Outcome,
    /// So many requests have failed in a row that a test which succeeds confirms nothing.
    pub(in crate::supervisor) requests_fail: bool,
    /// A request has succeeded since sessions were last replaced because requests failed.
    pub(in crate::supervisor) is_confirmed: bool,
    /// Requests have failed because the token is not to be seen.
    pub(in crate::supervisor) absence_fails_requests: bool,
}

/// What a test of a token that is connected has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Outcome {
    Works,
    /// Its sessions work, but the token itself is not to be seen, or is another.
    Missing,
    /// Nothing is known: the token is busy, or its IVs are faulty, which no connection changes.
    Unknown,
    Failed {
        /// An operation alone has failed, and requests that do without it are served.
        is_partial: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Connected {
    Fully,
    /// But for an operation that fails.
    Partly,
}

/// Why the token was not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Failure {
    pub(in crate::supervisor) kind: FailureKind,
    /// The same attempt may succeed a moment later.
    pub(in crate::supervisor) is_momentary: bool,
    /// The same attempt may succeed some time.
    pub(in crate::supervisor) may_pass: bool,
    pub(in crate::supervisor) login: Login,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum FailureKind {
    /// The token is not listed.
    NoToken,
    /// All sessions that the token allows are in use, which is no failure of its own.
    NoSessions,
    /// An operation alone has failed, and requests that do without it are served.
    Partial,
    PinRefused,
    /// Another token has taken its place.
    AnotherToken,
    Other,
}

/// Why the module was not reinitialized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum NotReinitialized {
    /// Another of its tokens works.
    InUse,
    /// Its owner is another component, or `C_Finalize` failed.
    Refused,
    /// A call hangs in it.
    Wedged,
    /// It cannot be initialized.
    Failed,
}

/// What the supervisor does. Those that have an outcome, which is the next event, come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Effect {
    Log(Message),
    Pause(Duration),
    /// Requests are refused from now on.
    Disconnect,
    /// The token is DEGRADED: its test fails, and requests are served.
    NotePartial,
    NoteDeviceError,
    NoteWedged(bool),
    /// What requests failed with was the token's fault, which is over.
    ForgetFailures,
    ForgetConfirmation,
    Test,
    /// Tests the former sessions once more: what the token was not connected for stays the problem.
    Retest,
    Connect {
        /// An operation may fail.
        is_partial: bool,
    },
    Reinitialize,
    ReinitializeBesideOthers,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Message {
    SearchingAgain,
    SessionsReplaced,
    RequestsFailOpening,
    RequestsFailReinitializing,
    OperationFails,
    OperationFailsReinitializing,
    NotFoundReinitializing,
    Unavailable,
    PinRefused,
    /// Unless it was logged last.
    AnotherToken,
    Wedged,
    Available,
    PartlyAvailable,
}
