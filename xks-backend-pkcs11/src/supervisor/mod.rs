//! The supervisor of a token: keeps a session that is never used for work, tests the token, looks at its keys
//! again, and recovers it when it has failed. What it does next is decided by the [state machine](machine);
//! what that asks for is performed here. An HSM that is down is retried for as long as the process lives.

mod absence;
mod connect;
mod keys;
mod life;
mod machine;
mod observe;
mod owner;
mod renewal;
mod test_key;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use self::{
    absence::LOOKS,
    keys::Known,
    machine::{Effect, Event, Machine, Message},
    owner::Owner,
    test_key::{KeyInUse, NoTestKey},
};
pub(crate) use self::{life::Life, owner::is_test_key};
use crate::{
    error::{CallError, OpenError},
    health::Checkup,
    session::SessionSlot,
    threads::Wake,
    token::Token,
};

/// How long a failed module's last calls are waited for before it is finalized.
const LAST_CALLS: Duration = Duration::from_millis(250);

/// How often a token is tested that is slow or fails the test, at the most.
const SLOW: Duration = Duration::from_secs(1);

pub(crate) struct Supervisor {
    token: Arc<Token>,
    /// Keeps the login alive. Never used for work.
    keep_alive: SessionSlot,
    /// Holds the test key, tests, and looks at keys.
    health_session: SessionSlot,
    test_key: Option<KeyInUse>,
    /// Why there is none, if it is known.
    no_test_key: Option<NoTestKey>,
    /// The reason that was logged last.
    reported_no_test_key: Option<NoTestKey>,
    /// Who makes test keys here.
    owner: Owner,
    /// The module may keep session objects.
    may_keep_objects: bool,
    known_keys: Known,
    /// The token gives two sessions: one for requests, and one for all else, which then has no keep-alive
    /// session.
    gives_few_sessions: bool,
    /// The initialization of the module in which the token was last looked for.
    generation: u64,
    machine: Machine,
    report: Report,
}

/// The last failures, for messages and health.
#[derive(Default)]
struct Report {
    /// The last problem of any kind.
    problem: String,
    /// The problem of the last test that failed.
    test: String,
    /// Why the token was not connected the last time.
    connection: Option<OpenError>,
    /// The call that failed, if the test failed for one.
    call: Option<CallError>,
}

impl Supervisor {
    pub(crate) fn new(token: Arc<Token>) -> Self {
        let module = &token.module;
        Self {
            keep_alive: SessionSlot::new(Arc::clone(module)),
            health_session: SessionSlot::new(Arc::clone(module)),
            machine: Machine::new(token.config.recovery_interval, token.config.health_interval),
            token,
            test_key: None,
            known_keys: Known::default(),
            no_test_key: None,
            reported_no_test_key: None,
            owner: Owner::new(),
            may_keep_objects: true,
            gives_few_sessions: false,
            generation: 0,
            report: Report::default(),
        }
    }

    /// The first connection.
    pub(crate) fn begin(&mut self) -> Result<(), OpenError> {
        self.handle(Event::Wake(self.login()));
        if self.machine.is_connected() {
            return Ok(());
        }
        Err(self.report.connection.take().unwrap_or(OpenError::NotInitialized))
    }

    /// Goes on although the first connection has failed with this error.
    pub(crate) fn tolerate(&mut self, error: OpenError) {
        let failure = self.not_connected(error);
        self.handle(Event::Tolerated(failure));
    }

    /// Until the notifier is stopped.
    pub(crate) fn run(mut self) {
        loop {
            let config = &self.token.config;
            let is_poor = |checkup: Checkup| checkup.is_poor(config.latency_bound, config.deadline);
            let interval = match self.machine.is_connected() {
                // What is bad is looked at more often, so that it is known when it is better.
                true if self.machine.is_missing() => config.recovery_interval.min(LOOKS),
                true if self.token.checkup().is_some_and(is_poor) => config.recovery_interval.max(SLOW),
                true => config.health_interval.min(config.key_refresh),
                false => config.recovery_interval.max(self.token.login_wait()),
            };
            let interval = self.known_keys.interval(interval);
            let wake = self.token.notifier.wait_until(Instant::now() + interval);
            if wake == Wake::Stopped {
                self.handle(Event::Stopped);
                break;
            }
            let was_connected = self.machine.is_connected();
            self.handle(Event::Wake(self.login()));
            if was_connected && self.machine.is_connected() {
                self.see_to_keys();
            }
        }
        // They would outlive a backend whose module is another component's.
        if let Some(access) = self.token.module.enter() {
            self.token.module.close_the_unclosed(&access);
        }
        self.token.disconnected("the backend is shut down".to_owned());
    }

    /// Has the state machine decide what an event calls for, and performs it; and so on with what comes of
    /// it.
    fn handle(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let (machine, effects) = self.machine.clone().next(event, Instant::now());
            self.machine = machine;
            for effect in effects {
                next = self.perform(effect).or(next);
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        let token = Arc::clone(&self.token);
        match effect {
            Effect::Log(message) => self.log(message),
            Effect::Pause(time) => thread::sleep(time),
            Effect::Disconnect => token.disconnected(self.report.problem.clone()),
            Effect::NotePartial => {
                if let Some(error) = &self.report.call {
                    token.note_checkup(Checkup::failed(error));
                }
            }
            Effect::NoteDeviceError => token.note_device_error(),
            Effect::NoteWedged(is_wedged) => token.supervision.note_wedged(is_wedged),
            Effect::ForgetFailures => token.outcomes.forget_failures(),
            Effect::ForgetConfirmation => token.forget_confirmation(),
            Effect::Test => return Some(Event::Tested(self.observe())),
            Effect::Retest => {
                let problem = self.report.problem.clone();
                let test = self.observe();
                self.report.problem = problem;
                return Some(Event::Tested(test));
            }
            Effect::Connect { is_partial } => {
                let connected = self.connect(is_partial);
                return Some(Event::Connected(connected.map_err(|error| self.not_connected(error))));
            }
            Effect::Reinitialize => {
                let supervised = token.supervision.begin();
                let outcome = token.module.reinitialize(self.generation, LAST_CALLS);
                supervised.end(outcome.is_ok());
                return Some(self.reinitialized(outcome));
            }
            Effect::ReinitializeBesideOthers => {
                let supervised = token.supervision.begin();
                let outcome = token.module.reinitialize_beside_others(self.generation, LAST_CALLS);
                supervised.end(outcome.is_ok());
                return Some(self.reinitialized(outcome));
            }
        }
        None
    }

    fn log(&self, message: Message) {
        let (token, problem) = (self.token.name(), &self.report.problem);
        let not_again_within = self.machine.renewal_wait();
        match message {
            Message::SearchingAgain => tracing::debug!(token, problem, "searching for the token again"),
            Message::SessionsReplaced => {
                tracing::info!(token, problem = self.report.test, "the token's sessions were replaced");
            }
            Message::RequestsFailOpening => tracing::warn!(token, "{problem}: opening new sessions"),
            Message::RequestsFailReinitializing => tracing::error!(token, "{problem}: reinitializing the module"),
            Message::OperationFails => tracing::error!(
                token,
                problem = self.report.call.map(tracing::field::display),
                "one operation of the token fails: serving only requests that do not need it"
            ),
            Message::OperationFailsReinitializing => tracing::error!(
                token,
                %problem,
                ?not_again_within,
                "one operation of the token fails: reinitializing the module"
            ),
            Message::NotFoundReinitializing => tracing::warn!(
                token,
                problem = %self.token.problem(),
                not_again_within_secs = not_again_within.as_secs(),
                "token not found: reinitializing its PKCS#11 module; requests for the module's other tokens wait for \
                 a moment"
            ),
            Message::Unavailable => {
                tracing::error!(
                    token,
                    problem,
                    "token unavailable: rejecting requests until it recovers"
                );
            }
            Message::PinRefused => {
                if let Some(error) = &self.report.connection {
                    tracing::error!(token, "{error}");
                }
            }
            Message::AnotherToken => {
                if *self.token.problem() != *problem {
                    tracing::error!(token, "{problem}");
                }
            }
            Message::Wedged => tracing::warn!(token, %problem),
            Message::Available => tracing::info!(token, "token available again"),
            Message::PartlyAvailable => {
                tracing::warn!(token, "token partly available again: one operation still fails");
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let module = Arc::clone(&self.token.module);
        if let Some(access) = module.enter() {
            self.destroy_test_key(&access);
        }
    }
}
