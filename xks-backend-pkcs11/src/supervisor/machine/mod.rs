//! The states of a token, and what its supervisor does in each: a pure function of what has happened. It
//! calls no module, reads no clock and logs nothing; the supervisor performs the effects, and what comes of
//! the last one is the next event.
//!
//! ```text
//! Connecting ───connected───▶ Up ◀───works───▶ Suspect: sessions are replaced
//!     │ not connected,         ▲                  │ not connected, or requests go on to fail
//!     ▼ tolerated              │ connected        ▼
//!   Down ◀─────────────────────┴──────────────── Down: requests are refused, the module is reinitialized
//!     │ PIN refused, or the end
//!     ▼
//!   Halted
//! ```
//!
//! Where requests fail, a test that succeeds is not enough: SoftHSM2 keeps serving the session keys of a
//! token that is gone. So the test reads the token's information too; and when twelve requests in a row fail
//! while the test succeeds, sessions are replaced, then the module is reinitialized, at most every
//! [health interval](crate::Config::health_interval).

mod event;

use std::time::{Duration, Instant};

pub(super) use self::event::{
    Connected, Effect, Event, Failure, FailureKind, Login, Message, NotReinitialized, Outcome, Test,
};
use self::{
    Effect::{
        Connect, Disconnect, ForgetConfirmation, ForgetFailures, Log, NoteDeviceError, NotePartial, NoteWedged, Pause,
        Reinitialize, ReinitializeBesideOthers,
    },
    Event::{Reinitialized, Stopped, Tested, Tolerated, Wake},
};
use super::{absence::Absence, renewal::Renewal};
use crate::token::A_MOMENT;

/// How often a token is tried at the start, each time after twice as long.
const MOST_BEGINNINGS: u32 = 6;

/// How often a token is looked for whose sessions do not work, each time after twice as long.
const MOST_LOOKS: u32 = 4;

/// A token's state, and when the module may be reinitialized for its sake.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    state: State,
    /// Paces what disturbs the module's other tokens, and tokens of which an operation fails.
    renewal: Renewal,
    /// When the module was last reinitialized because requests failed although the test succeeded.
    reinitialized: Option<Instant>,
    /// The least time between two such reinitializations.
    interval: Duration,
}

#[derive(Clone, Debug)]
enum State {
    Connecting(Beginning),
    /// Connected, and the last test succeeded.
    Up,
    /// Connected, but what was observed does not fit together.
    Suspect(Suspicion),
    /// Not connected.
    Down(Outage),
    /// Not connected, and never again: the PIN is refused, or the backend is shut down.
    Halted,
}

/// The first connection. Where an attempt may have met with a write of another process, there are a few more,
/// each after the module has been reinitialized, if that may be: SoftHSM2 keeps to what it saw of its tokens.
#[derive(Clone, Debug)]
struct Beginning {
    attempt: u32,
    /// Another token of the module is in use, so that it was not reinitialized.
    is_in_use: bool,
}

#[derive(Clone, Debug, Default)]
struct Suspicion {
    step: Step,
    /// The token is not to be seen although its sessions work.
    absence: Option<Absence>,
    /// An operation fails, and requests that do without it are served.
    is_partial: bool,
    /// Requests failed although the test succeeded, and none has succeeded since.
    is_unconfirmed: bool,
}

/// What is being done about a suspicion.
#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Watching,
    /// New sessions are opened, for this reason; the token was looked for so often.
    Replacing(Reason, u32),
    /// The token is not listed, which may be for a moment: the former sessions are tested once more.
    Retesting(Failure),
}

/// Why sessions are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    TestFails,
    RequestsFail,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outage {
    /// An operation alone failed: a connection is good without it.
    is_partial: bool,
    /// A call hangs in the module, so that it cannot be reinitialized.
    is_wedged: bool,
    is_unconfirmed: bool,
}

type Next = (State, Vec<Effect>);

/// Connects; every operation of the test must succeed.
const CONNECT: Effect = Connect { is_partial: false };

impl Machine {
    /// Before the first connection. The intervals are those of [`Config`](crate::Config).
    pub(super) fn new(recovery_interval: Duration, health_interval: Duration) -> Self {
        Self {
            state: State::Connecting(Beginning {
                attempt: 1,
                is_in_use: false,
            }),
            renewal: Renewal::new(recovery_interval),
            reinitialized: None,
            interval: health_interval,
        }
    }

    /// The state after an event, and what to do.
    pub(super) fn next(mut self, event: Event, now: Instant) -> (Self, Vec<Effect>) {
        let (state, effects) = match (self.state.clone(), event) {
            (State::Halted, _) | (_, Stopped) => (State::Halted, Vec::new()),
            (State::Connecting(beginning), event) => self.begin(beginning, event, now),
            (State::Up, event) => self.look_after(Suspicion::default(), event, now),
            (State::Suspect(suspicion), event) => self.look_after(suspicion, event, now),
            (State::Down(outage), event) => self.recover(outage, event, now),
        };
        self.state = state;
        (self, effects)
    }

    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.state, State::Up | State::Suspect(_))
    }

    /// The token is not to be seen although its sessions work.
    pub(super) const fn is_missing(&self) -> bool {
        matches!(&self.state, State::Suspect(suspicion) if suspicion.absence.is_some())
    }

    /// How long it is at least until the module is reinitialized again for the token's sake.
    pub(super) const fn renewal_wait(&self) -> Duration {
        self.renewal.wait()
    }

    fn begin(&mut self, mut beginning: Beginning, event: Event, now: Instant) -> Next {
        let effects = match event {
            Wake(_) => vec![CONNECT],
            Event::Connected(Ok(_)) => return (State::Up, Vec::new()),
            Event::Connected(Err(failure)) if beginning.attempt < MOST_BEGINNINGS && failure.is_momentary => {
                let pause = pause(beginning.attempt);
                beginning.attempt += 1;
                vec![Log(Message::SearchingAgain), pause, Reinitialize]
            }
            // It may have been made since the module was initialized.
            Event::Connected(Err(failure))
                if beginning.attempt == MOST_BEGINNINGS
                    && beginning.is_in_use
                    && failure.kind == FailureKind::NoToken =>
            {
                beginning.attempt += 1;
                vec![Log(Message::NotFoundReinitializing), ReinitializeBesideOthers]
            }
            Reinitialized(outcome) => {
                if let Err(problem) = outcome {
                    beginning.is_in_use = problem == NotReinitialized::InUse;
                }
                vec![CONNECT]
            }
            Tolerated(failure) => return self.go_down(Outage::default(), failure, now),
            Event::Connected(Err(_)) | Tested(_) | Stopped => Vec::new(),
        };
        (State::Connecting(beginning), effects)
    }

    /// Tests the token; if that fails, with new sessions; if that fails too, the token is down.
    fn look_after(&mut self, mut suspicion: Suspicion, event: Event, now: Instant) -> Next {
        let effects = match (suspicion.step, event) {
            (Step::Watching, Wake(_)) => vec![Effect::Test],
            (Step::Watching, Tested(test)) => return self.judge(suspicion, test, now),
            (Step::Replacing(reason, _), Event::Connected(Ok(_))) => {
                suspicion.step = Step::Watching;
                match reason {
                    Reason::TestFails => vec![ForgetFailures, Log(Message::SessionsReplaced)],
                    Reason::RequestsFail => Vec::new(),
                }
            }
            (Step::Replacing(reason, looks), Event::Connected(Err(failure))) => {
                return self.not_replaced(suspicion, (reason, looks), failure, now);
            }
            (Step::Retesting(failure), Tested(test)) => {
                suspicion.step = Step::Watching;
                let works = matches!(test.outcome, Outcome::Works | Outcome::Missing);
                if !works || suspicion.believes_absence(test, now) {
                    return self.unavailable(&suspicion, failure, now);
                }
                Vec::new()
            }
            _ => Vec::new(),
        };
        (suspicion.into(), effects)
    }

    fn judge(&mut self, mut suspicion: Suspicion, test: Test, now: Instant) -> Next {
        let effects = match test.outcome {
            Outcome::Works => {
                (suspicion.absence, suspicion.is_partial) = (None, false);
                if test.requests_fail {
                    return self.suspect(suspicion, test, now);
                }
                self.renewal.not_needed();
                suspicion.is_unconfirmed &= !test.is_confirmed;
                Vec::new()
            }
            Outcome::Missing if !suspicion.believes_absence(test, now) => vec![Log(Message::SearchingAgain)],
            Outcome::Unknown => Vec::new(),
            Outcome::Failed { is_partial: true } if suspicion.is_partial => {
                // More and more seldom.
                if self.renewal.take_turn(now) {
                    let outage = Outage {
                        is_partial: true,
                        is_unconfirmed: suspicion.is_unconfirmed,
                        ..Outage::default()
                    };
                    let message = Log(Message::OperationFailsReinitializing);
                    return (
                        State::Down(outage),
                        vec![NotePartial, message, Disconnect, Reinitialize],
                    );
                }
                vec![NotePartial]
            }
            Outcome::Missing | Outcome::Failed { .. } => {
                suspicion.is_partial = false;
                suspicion.step = Step::Replacing(Reason::TestFails, 1);
                vec![NoteDeviceError, CONNECT]
            }
        };
        (suspicion.into(), effects)
    }

    /// The test succeeds, and requests fail all the same: new sessions and a new search may help; if they do
    /// not, a new initialization, but not too often.
    fn suspect(&mut self, mut suspicion: Suspicion, test: Test, now: Instant) -> Next {
        self.renewal.needed(now);
        let is_first = !suspicion.is_unconfirmed || test.is_confirmed;
        let is_due = |last: Instant| now.saturating_duration_since(last) >= self.interval;
        suspicion.is_unconfirmed = true;
        if !is_first && self.reinitialized.is_none_or(is_due) {
            self.reinitialized = Some(now);
            let message = Log(Message::RequestsFailReinitializing);
            let effects = vec![ForgetConfirmation, message, Disconnect, Reinitialize];
            return (State::Down(suspicion.outage()), effects);
        }
        suspicion.step = Step::Replacing(Reason::RequestsFail, 1);
        let effects = if is_first {
            vec![ForgetConfirmation, Log(Message::RequestsFailOpening), CONNECT]
        } else {
            vec![ForgetConfirmation, CONNECT]
        };
        (suspicion.into(), effects)
    }

    fn not_replaced(
        &mut self,
        mut suspicion: Suspicion,
        (reason, looks): (Reason, u32),
        failure: Failure,
        now: Instant,
    ) -> Next {
        let effects = match (reason, failure.kind) {
            (_, FailureKind::NoToken) if looks < MOST_LOOKS => {
                suspicion.step = Step::Replacing(reason, looks + 1);
                vec![pause(looks), CONNECT]
            }
            (Reason::RequestsFail, _) => return self.go_down(suspicion.outage(), failure, now),
            (Reason::TestFails, FailureKind::NoToken) => {
                suspicion.step = Step::Retesting(failure);
                vec![Effect::Retest]
            }
            (Reason::TestFails, FailureKind::NoSessions) => {
                suspicion.step = Step::Watching;
                Vec::new()
            }
            (Reason::TestFails, FailureKind::Partial) => {
                self.renewal.needed(now);
                (suspicion.step, suspicion.is_partial) = (Step::Watching, true);
                vec![Log(Message::OperationFails), NotePartial]
            }
            (Reason::TestFails, FailureKind::PinRefused | FailureKind::AnotherToken | FailureKind::Other) => {
                return self.unavailable(&suspicion, failure, now);
            }
        };
        (suspicion.into(), effects)
    }

    /// Neither the former sessions work nor new ones.
    fn unavailable(&mut self, suspicion: &Suspicion, failure: Failure, now: Instant) -> Next {
        let (state, down) = self.go_down(suspicion.outage(), failure, now);
        let mut effects = vec![Log(Message::Unavailable)];
        effects.extend(down);
        if matches!(state, State::Down(_)) && failure.login == Login::Allowed {
            effects.push(Reinitialize);
        }
        (state, effects)
    }

    /// Reinitializes the module, if that may be, and looks for the token.
    fn recover(&mut self, mut outage: Outage, event: Event, now: Instant) -> Next {
        let connect = Connect {
            is_partial: outage.is_partial,
        };
        let effects = match event {
            Wake(Login::Allowed) => vec![Reinitialize],
            // A refused PIN is not sent again: an operator has to correct it.
            Wake(Login::Refused) => return (State::Halted, Vec::new()),
            // The last resort for a token that a new list of slots does not bring.
            Reinitialized(Err(NotReinitialized::InUse)) if self.renewal.take_turn(now) => {
                outage.is_wedged = false;
                let message = Log(Message::NotFoundReinitializing);
                vec![NoteWedged(false), message, ReinitializeBesideOthers]
            }
            Reinitialized(Ok(()) | Err(NotReinitialized::InUse | NotReinitialized::Refused)) => {
                outage.is_wedged = false;
                vec![NoteWedged(false), connect]
            }
            Reinitialized(Err(NotReinitialized::Wedged)) => {
                let mut effects = vec![NoteWedged(true), Disconnect];
                if !std::mem::replace(&mut outage.is_wedged, true) {
                    effects.push(Log(Message::Wedged));
                }
                effects.push(connect);
                effects
            }
            Reinitialized(Err(NotReinitialized::Failed)) => {
                outage.is_wedged = false;
                vec![NoteWedged(false), Disconnect]
            }
            Event::Connected(Ok(connected)) => {
                let is_partial = connected == Connected::Partly;
                let suspicion = Suspicion {
                    is_partial,
                    is_unconfirmed: outage.is_unconfirmed,
                    ..Suspicion::default()
                };
                let effects = if is_partial {
                    vec![Log(Message::PartlyAvailable)]
                } else {
                    vec![ForgetFailures, Log(Message::Available)]
                };
                return (suspicion.into(), effects);
            }
            Event::Connected(Err(failure)) => return self.go_down(outage, failure, now),
            Wake(Login::Postponed) | Tested(_) | Tolerated(_) | Stopped => Vec::new(),
        };
        (State::Down(outage), effects)
    }

    fn go_down(&mut self, outage: Outage, failure: Failure, now: Instant) -> Next {
        if failure.may_pass {
            self.renewal.needed(now);
        }
        let outage = Outage {
            is_partial: false,
            ..outage
        };
        let state = if failure.kind == FailureKind::PinRefused || failure.login == Login::Refused {
            State::Halted
        } else {
            State::Down(outage)
        };
        let effects = match failure.kind {
            FailureKind::PinRefused => vec![Log(Message::PinRefused), Disconnect],
            FailureKind::AnotherToken => vec![Log(Message::AnotherToken), Disconnect],
            _ => vec![Disconnect],
        };
        (state, effects)
    }
}

impl Suspicion {
    /// Whether a token is gone that is not to be seen while its sessions work.
    fn believes_absence(&mut self, test: Test, now: Instant) -> bool {
        let absence = self.absence.get_or_insert_with(|| Absence::new(now));
        absence.note_look(test.absence_fails_requests);
        test.requests_fail || absence.is_believed(now)
    }

    fn outage(&self) -> Outage {
        Outage {
            is_unconfirmed: self.is_unconfirmed,
            ..Outage::default()
        }
    }
}

impl From<Suspicion> for State {
    fn from(suspicion: Suspicion) -> Self {
        match suspicion {
            Suspicion {
                step: Step::Watching,
                absence: None,
                is_partial: false,
                is_unconfirmed: false,
            } => Self::Up,
            suspicion => Self::Suspect(suspicion),
        }
    }
}

/// The pause after an attempt, which has twice the length of the one before.
fn pause(attempt: u32) -> Effect {
    Pause(A_MOMENT.saturating_mul(1 << attempt.saturating_sub(1).min(16)))
}

#[cfg(test)]
mod tests;
