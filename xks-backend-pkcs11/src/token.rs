//! A token: its connection, what is known of it, and its login.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use cryptoki_sys as ck;
use xks_core::{BackendError, backend::BackendErrorKind};

use crate::{
    config::{Config, SlotSelector},
    error::{CallError, OpenError},
    gcm::Ivs,
    health::{Checkup, Outcomes, Supervision},
    identity::{Identity, is_another},
    keys::Keys,
    logins::Login,
    manage::Wrappings,
    module::{Access, Module},
    pin::Pin,
    request::Suspects,
    return_code::Remedy,
    threads::Notifier,
    token_info::TokenInfo,
    track_record::TrackRecord,
};

/// After how many failures of the device in a row, without a success in between, the token is tested. One
/// alone may be nothing.
const ALARMING: u32 = 3;

/// After how many failures in a row the test's word is not enough.
const SUSPECT: u32 = 4 * ALARMING;

/// Before what is not there, a token or a key that was until now, is looked for once more.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(20);

/// Why nothing is done in the slot of a token that was replaced.
pub(crate) const ANOTHER_TOKEN: &str = "another token is in the slot";

/// How often a token that is being connected again is looked at.
const A_LITTLE: Duration = Duration::from_millis(1);

/// A token of a module.
pub(crate) struct Token {
    pub(crate) config: Config,
    pub(crate) module: Arc<Module>,
    pub(crate) keys: Keys,
    pub(crate) ivs: Ivs,
    /// Notified when the token should be tested at once.
    pub(crate) notifier: Arc<Notifier>,
    /// What becomes of requests.
    pub(crate) outcomes: Outcomes,
    /// What the supervisor does in the module.
    pub(crate) supervision: Supervision,
    checkup: Mutex<Option<Checkup>>,
    connection: ArcSwapOption<Connection>,
    /// Why there is no connection.
    problem: ArcSwap<String>,
    /// What the token last said of itself.
    info: ArcSwapOption<TokenInfo>,
    /// Counts the logins: handles of keys may not outlive one.
    login_epoch: AtomicU64,
    /// What came of the attempts to log in, of all backends with this PIN.
    login: ArcSwapOption<Login>,
    /// Why nothing is encrypted any more.
    iv_fault: OnceLock<&'static str>,
    /// Failures of the device since the last request that succeeded, or since the token was connected.
    device_failures: AtomicU32,
    /// What device errors say of it.
    pub(crate) record: TrackRecord,
    /// The ciphertexts that have failed lately.
    pub(crate) suspects: Suspects,
    /// How it wraps keys.
    pub(crate) wrappings: Wrappings,
    /// A request has succeeded since that was last forgotten.
    is_confirmed: AtomicBool,
    /// Requests have failed because the token said nothing of itself since this was last asked.
    is_unseen: AtomicBool,
    /// What the last failure of the device was.
    last_failure: Mutex<Option<CallError>>,
}

/// What is known of a token that works.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The initialization of the module that this is in.
    pub(crate) generation: u64,
    pub(crate) slot: ck::CK_SLOT_ID,
    pub(crate) read_write: bool,
    pub(crate) wants_login: bool,
    pub(crate) test_key: Option<ck::CK_OBJECT_HANDLE>,
}

impl Token {
    pub(crate) fn new(config: Config, module: Arc<Module>, notifier: Arc<Notifier>) -> Self {
        Self {
            keys: Keys::new(config.key_lookup, config.key_names.clone(), config.deadline),
            ivs: Ivs::new(config.quirks.iv_source(), config.sessions),
            record: TrackRecord::new(config.sessions),
            config,
            module,
            notifier,
            outcomes: Outcomes::new(),
            supervision: Supervision::default(),
            checkup: Mutex::default(),
            connection: ArcSwapOption::empty(),
            problem: ArcSwap::from_pointee("it has not been connected yet".to_owned()),
            info: ArcSwapOption::empty(),
            login_epoch: AtomicU64::new(0),
            login: ArcSwapOption::empty(),
            iv_fault: OnceLock::new(),
            device_failures: AtomicU32::new(0),
            suspects: Suspects::default(),
            wrappings: Wrappings::default(),
            is_confirmed: AtomicBool::new(false),
            is_unseen: AtomicBool::new(false),
            last_failure: Mutex::default(),
        }
    }

    /// The token works, from now on.
    pub(crate) fn connected(&self, connection: Connection, info: TokenInfo) {
        self.module.note_identity(&self.config.slot, Identity::of(&info));
        self.info.store(Some(Arc::new(info)));
        self.device_failures.store(0, Ordering::Relaxed);
        self.login_epoch.fetch_add(1, Ordering::SeqCst);
        if self.connection.swap(Some(Arc::new(connection))).is_none() {
            self.module.note_up(true);
        }
    }

    /// The token is tested with another key from now on, or with none.
    pub(crate) fn set_test_key(&self, test_key: Option<ck::CK_OBJECT_HANDLE>) {
        if let Some(connection) = self.connection.load_full().filter(|known| known.test_key != test_key) {
            let changed = Connection {
                test_key,
                ..(*connection).clone()
            };
            self.connection.store(Some(Arc::new(changed)));
        }
    }

    /// The token does not work, for now. Requests are refused at once, so that others may serve them.
    pub(crate) fn disconnected(&self, problem: String) {
        self.problem.store(Arc::new(problem));
        if self.connection.swap(None).is_some() {
            self.module.note_up(false);
        }
    }

    /// Says, as long as there is no connection, how many of the token's keys have been looked through before
    /// there is one.
    pub(crate) fn preloads(&self, keys: usize, total: usize) {
        if !self.is_connected() {
            self.disconnected(format!("preloading its keys: {keys} of {total}"));
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.load().is_some()
    }

    /// What the token is called in logs.
    pub(crate) fn name(&self) -> String {
        let label = || self.info().map(|info| info.label.clone());
        let id = self.config.id.clone().or_else(label);
        id.unwrap_or_else(|| match &self.config.slot {
            SlotSelector::TokenLabel(label) => label.clone(),
            SlotSelector::Serial(serial) => format!("serial number {serial}"),
            slot => slot.to_string(),
        })
    }

    /// How the token is connected, if it is in this initialization of the module.
    pub(crate) fn connection_in(&self, generation: u64) -> Option<Arc<Connection>> {
        let connection = self.connection.load_full();
        connection.filter(|connection| connection.generation == generation)
    }

    pub(crate) fn problem(&self) -> Arc<String> {
        self.problem.load_full()
    }

    pub(crate) fn info(&self) -> Option<Arc<TokenInfo>> {
        self.info.load_full()
    }

    /// What the token has to say of itself, where that is known and not every token is taken that is asked
    /// for.
    pub(crate) fn known_identity(&self) -> Option<Identity> {
        let slot = &self.config.slot;
        let is_any = self.config.token_may_change || matches!(slot, SlotSelector::Serial(_));
        if is_any { None } else { self.module.identity(slot) }
    }

    /// Whether another token is in the slot of the one that was connected: it need not have the same keys,
    /// and its PIN is another.
    pub(crate) fn is_another_in(&self, access: &Access<'_>, slot: ck::CK_SLOT_ID) -> bool {
        let Some(known) = self.info() else { return false };
        access.token_info(slot).is_ok_and(|told| is_another(&known, &told))
    }

    pub(crate) fn login_epoch(&self) -> u64 {
        self.login_epoch.load(Ordering::SeqCst)
    }

    /// What the last test of the token came to.
    pub(crate) fn checkup(&self) -> Option<Checkup> {
        self.checkup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The token was tested, and works.
    pub(crate) fn note_checkup(&self, checkup: Checkup) {
        *self.checkup.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkup);
    }

    /// Why nothing is encrypted any more, if so.
    pub(crate) fn iv_fault(&self) -> Option<&'static str> {
        self.iv_fault.get().copied()
    }

    // ENC-6: from now on nothing is encrypted, until the backend is reopened.
    pub(crate) fn note_iv_fault(&self, fault: &'static str) {
        if self.iv_fault.set(fault).is_ok() {
            tracing::error!(
                fault,
                "encryption with this token is stopped: correct `quirks`, and restart"
            );
        }
    }

    /// The way to the module, and where the token is in it.
    pub(crate) fn enter(&self) -> Result<(Arc<Connection>, Access<'_>), BackendError> {
        if let Some(entered) = self.try_enter().or_else(|| self.enter_when_reconnected()) {
            return Ok(entered);
        }
        let problem = self.problem();
        Err(BackendError::new(
            BackendErrorKind::Unavailable,
            format!("token unavailable: {problem}"),
        ))
    }

    fn try_enter(&self) -> Option<(Arc<Connection>, Access<'_>)> {
        let connection = self.connection.load_full()?;
        let access = self.module.enter()?;
        (access.generation() == connection.generation).then_some((connection, access))
    }

    /// The token works, but for another's sake the module is being reinitialized, or was: this one is
    /// connected again in a moment.
    fn enter_when_reconnected(&self) -> Option<(Arc<Connection>, Access<'_>)> {
        let end = Instant::now() + self.config.deadline * 3 / 4;
        if self.is_connected() {
            self.notifier.notify();
        }
        while self.is_connected() && Instant::now() < end {
            thread::sleep(A_LITTLE);
            if let Some(entered) = self.try_enter() {
                return Some(entered);
            }
        }
        None
    }

    /// Whether the token may take this PIN, by its text and its length: what it cannot take would cost an
    /// attempt. AWS CloudHSM's has two parts, and no PIN at all may stand for a card set without a
    /// passphrase.
    pub(crate) fn check_pin(&self, info: &TokenInfo) -> Result<(), OpenError> {
        let Pin::Set(pin) = &self.config.pin else { return Ok(()) };
        if Pin::fault(pin).is_some() {
            return Err(OpenError::Config(
                "the PIN holds a NUL byte or more than one line: it was not sent",
            ));
        }
        match info.pin_length {
            Some((shortest, longest))
                if !(shortest..=longest).contains(&pin.len()) && !self.config.quirks.has_user_in_pin() =>
            {
                Err(OpenError::PinLength {
                    token: info.label.clone(),
                    shortest,
                    longest,
                })
            }
            _ => Ok(()),
        }
    }

    /// Logs in to the token, if a PIN is configured, it was never refused, and enough time has passed since
    /// an attempt that failed.
    pub(crate) fn log_in(
        &self,
        access: &Access<'_>,
        session: ck::CK_SESSION_HANDLE,
        info: &TokenInfo,
    ) -> Result<(), OpenError> {
        let Some(pin) = self.config.pin.login() else {
            return Ok(());
        };
        let login = match pin {
            Some(pin) => self.module.logins.of(info, pin),
            // What is typed at the token is another PIN each time that it is opened.
            None => self.login.load_full().unwrap_or_default(),
        };
        self.login.store(Some(Arc::clone(&login)));
        let mut attempts = login.attempts();
        if let Some(error) = attempts.forbid(Instant::now()) {
            return Err(error);
        }
        // Handles of an earlier login may be good for nothing, or for something else.
        self.login_epoch.fetch_add(1, Ordering::SeqCst);
        let Err(error) = access.log_in(session, pin) else {
            self.login_epoch.fetch_add(1, Ordering::SeqCst);
            attempts.note_success();
            return Ok(());
        };
        match self.config.quirks.remedy(&error) {
            Remedy::Done => Ok(()),
            Remedy::PinRefused => Err(attempts.note_refusal(error)),
            _ if !info.wants_login() => {
                // nShield's module slot takes no login, and needs none.
                tracing::warn!(cause = %error, "the token rejects the login and does not require one: continuing \
                     without login");
                Ok(())
            }
            _ => {
                let failure = attempts.note_failure(error, Instant::now());
                tracing::warn!(token = self.name(), %error, "{failure}");
                Err(failure)
            }
        }
    }

    /// Whether the user is logged in. A module that tells nothing of its sessions is taken at the word of its
    /// `C_Login`.
    pub(crate) fn is_logged_in(&self, access: &Access<'_>, session: ck::CK_SESSION_HANDLE) -> Result<bool, CallError> {
        match access.is_logged_in(session) {
            Err(error) if error.says_not_supported() => Ok(self.config.pin.login().is_some()),
            told => told,
        }
    }

    /// Whether the token has refused the PIN, which is not sent again.
    pub(crate) fn is_pin_refused(&self) -> bool {
        self.login
            .load()
            .as_ref()
            .is_some_and(|login| login.attempts().is_refused())
    }

    /// How long it is until a login may be tried again.
    pub(crate) fn login_wait(&self) -> Duration {
        let login = self.login.load();
        login
            .as_ref()
            .map_or(Duration::ZERO, |login| login.attempts().wait(Instant::now()))
    }

    /// A request has succeeded.
    pub(crate) fn note_served(&self) {
        // Read first: as long as all is well, nothing is written.
        if self.device_failures.load(Ordering::Relaxed) != 0 {
            self.device_failures.store(0, Ordering::Relaxed);
        }
        if !self.is_confirmed.load(Ordering::Relaxed) {
            self.is_confirmed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a request has succeeded since that was last forgotten.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.is_confirmed.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_confirmation(&self) {
        self.is_confirmed.store(false, Ordering::Relaxed);
    }

    /// A request fails because the token says nothing of itself: it is looked for at once.
    pub(crate) fn note_unseen(&self) {
        self.is_unseen.store(true, Ordering::Relaxed);
        self.notifier.notify();
    }

    /// Whether requests have failed because of that since this was last asked.
    pub(crate) fn take_unseen(&self) -> bool {
        self.is_unseen.swap(false, Ordering::Relaxed)
    }

    /// Whether so many requests have failed, and none succeeded, that a test which succeeds confirms nothing.
    pub(crate) fn is_suspect(&self) -> bool {
        self.device_failures.load(Ordering::Relaxed) >= SUSPECT
    }

    /// Why a test that succeeds confirms nothing.
    pub(crate) fn suspicion(&self) -> String {
        let last = *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.map_or_else(String::new, |error| format!(" ({error})"));
        format!("requests fail{last}, although the known-answer test succeeds")
    }

    /// Counts a failure that need not be the device's: it triggers no test.
    pub(crate) fn note_device_error(&self) {
        self.record.note_device_error(Instant::now());
    }

    /// Counts a failure of the device, and has the token tested when there are several in a row.
    pub(crate) fn note_device_failure(&self, error: &CallError) {
        self.note_device_error();
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(*error);
        let count = self.device_failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        tracing::debug!(cause = %error, failures = count, "the device failed");
        if count.is_multiple_of(ALARMING) {
            self.notifier.notify();
        }
    }
}
