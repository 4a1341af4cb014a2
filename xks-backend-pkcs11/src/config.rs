//! What a backend is opened with, as typed values.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use xks_core::{KeyId, text::Hex};

use crate::{
    attribute::AttributeValue,
    error::{LoadError, OpenError},
    pin::Pin,
    quirks::Quirks,
    raw::{Cryptoki, LinkedModule},
};

/// Configures how a backend finds and uses its token. [`Config::new`] has defaults for all but the module's
/// path.
///
/// ```
/// use std::time::Duration;
/// use xks_backend_pkcs11::{Config, Dispatch, Pin, Quirks, SlotSelector};
///
/// let config = Config::new("/opt/nfast/toolkits/pkcs11/libcknfast.so")
///     .quirks(Quirks::NSHIELD)
///     .slot(SlotSelector::TokenLabel("xks-ocs".into()))
///     .pin(Pin::new("the passphrase of the card set"))
///     .sessions(30)
///     .deadline(Duration::from_millis(150));
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) module: ModuleSource,
    pub(crate) parameters: Option<String>,
    pub(crate) slot: SlotSelector,
    pub(crate) token_may_change: bool,
    pub(crate) pin: Pin,
    /// Also that there is none.
    pub(crate) is_pin_said: bool,
    pub(crate) quirks: Quirks,
    pub(crate) id: Option<String>,
    pub(crate) sessions: usize,
    pub(crate) queue: usize,
    pub(crate) deadline: Duration,
    pub(crate) max_abandoned: usize,
    pub(crate) dispatch: Dispatch,
    pub(crate) key_lookup: KeyLookup,
    pub(crate) key_names: HashMap<KeyId, KeyName>,
    pub(crate) key_refresh: Duration,
    pub(crate) test_key: TestKey,
    pub(crate) health_interval: Duration,
    pub(crate) latency_bound: Duration,
    pub(crate) recovery_interval: Duration,
}

impl Config {
    /// Returns the configuration of the token in the first slot of the module in this library, without a PIN.
    /// Each method says its default.
    #[must_use]
    pub fn new(module: impl Into<PathBuf>) -> Self {
        Self::of(ModuleSource::Library(module.into()))
    }

    /// Returns the same for a module that is linked into the program.
    #[must_use]
    pub fn linked(module: LinkedModule) -> Self {
        Self::of(ModuleSource::Linked(module))
    }

    fn of(module: ModuleSource) -> Self {
        let sessions = 30;
        Self {
            module,
            parameters: None,
            slot: SlotSelector::First,
            token_may_change: false,
            pin: Pin::None,
            is_pin_said: false,
            quirks: Quirks::STANDARD,
            id: None,
            sessions,
            queue: sessions * 8,
            deadline: Duration::from_millis(200),
            max_abandoned: sessions,
            dispatch: Dispatch::Threads,
            key_lookup: KeyLookup::Label,
            key_names: HashMap::new(),
            key_refresh: Duration::from_secs(30),
            test_key: TestKey::Session,
            health_interval: Duration::from_secs(10),
            latency_bound: Duration::from_millis(100),
            recovery_interval: Duration::from_millis(500),
        }
    }

    /// Sets the text that the module wants at initialization (`pReserved`), as NSS does. None by default. It
    /// is kept until the process ends, so it must not hold a secret.
    #[must_use]
    pub fn module_parameters(mut self, parameters: impl Into<String>) -> Self {
        self.parameters = Some(parameters.into());
        self
    }

    /// Selects the token. By default the one in the first slot that has one.
    #[must_use]
    pub fn slot(mut self, slot: SlotSelector) -> Self {
        self.slot = slot;
        self
    }

    /// Sets whether the [selected](Self::slot) token, when it has to be found again, may have another serial
    /// number, manufacturer or model than before. By default such a token is rejected
    /// ([`OpenError::AnotherToken`]) until the process ends, since it need not have the same keys; one that
    /// is selected by its [serial number](SlotSelector::Serial) is not compared.
    #[must_use]
    pub fn token_may_change(mut self, may: bool) -> Self {
        self.token_may_change = may;
        self
    }

    /// Sets the user's PIN. By default there is none, and a token that requires a login is rejected
    /// ([`OpenError::LoginRequired`]). Where all keys are public, or another component logs in, pass
    /// [`Pin::None`].
    ///
    /// A token has one login for the whole process: where another backend or component has logged in, a wrong
    /// PIN here goes unnoticed until the module has to be reinitialized, and no PIN is needed.
    #[must_use]
    pub fn pin(mut self, pin: Pin) -> Self {
        self.pin = pin;
        self.is_pin_said = true;
        self
    }

    /// Sets what the vendor's modules do differently. By default [nothing](Quirks::STANDARD).
    #[must_use]
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// Names the token for health and logs. By default its serial number in health, its label in logs.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The most sessions that serve requests at once: one or more, by default 30. Two more are kept for other
    /// purposes; a token that allows fewer gets fewer.
    ///
    /// This also sets the queue to eight requests for each session, and the calls that may be
    /// [abandoned](Self::max_abandoned) to as many as there are sessions: say other numbers after it.
    #[must_use]
    pub const fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self.queue = sessions.saturating_mul(8);
        self.max_abandoned = sessions;
        self
    }

    /// Sets how many requests may wait for a session; any further is `Throttled` at once. By default eight
    /// for each session. With fewer than one for each, a request may be rejected while a session is just
    /// becoming free.
    #[must_use]
    pub fn queue_length(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// Sets how long a request may take, from its arrival here to its answer: then it is answered `Timeout`,
    /// also when the module has not returned. By default 200 ms, of the 250 ms that KMS waits; choose less
    /// where a [`Fleet`](xks_core::fleet::Fleet) should have time to ask another member.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how many calls that have not returned within the deadline may be abandoned, each with its thread
    /// and its session, which are replaced. Beyond that, requests are answered `Unavailable` at once as soon
    /// as all threads hang. By default as many as sessions.
    #[must_use]
    pub fn max_abandoned(mut self, calls: usize) -> Self {
        self.max_abandoned = calls;
        self
    }

    /// On which threads the module is called. By default on threads of the backend's own.
    #[must_use]
    pub fn dispatch(mut self, dispatch: Dispatch) -> Self {
        self.dispatch = dispatch;
        self
    }

    /// Sets what an external key id names. By default a label.
    #[must_use]
    pub fn key_lookup(mut self, lookup: KeyLookup) -> Self {
        self.key_lookup = lookup;
        self
    }

    /// Names the key for one external key id, whatever [`key_lookup`](Self::key_lookup) says of others: for
    /// labels with characters that an external key id may not have.
    #[must_use]
    pub fn key(mut self, id: KeyId, name: KeyName) -> Self {
        self.key_names.insert(id, name);
        self
    }

    /// Sets how often a key in use is read again: whether it still exists and is the same, and what it
    /// permits. By default every 30 seconds. A key that the module itself rejects is noticed at once. New
    /// keys are searched for as often, or less often where that takes long; the log then names a second key
    /// of a name, and the one in use goes on to serve.
    #[must_use]
    pub fn key_refresh(mut self, interval: Duration) -> Self {
        self.key_refresh = interval;
        self
    }

    /// Sets the key of the known-answer tests, at the start and for health. By default a [session
    /// key](TestKey::Session).
    #[must_use]
    pub fn test_key(mut self, test_key: TestKey) -> Self {
        self.test_key = test_key;
        self
    }

    /// Sets the interval between known-answer tests: at most 30 seconds, since health is never older than 60;
    /// a backend with a longer interval is not opened ([`OpenError::Config`]). By default 10 seconds.
    /// Specification: GetHealthStatus.
    // HLT-3
    #[must_use]
    pub fn health_interval(mut self, interval: Duration) -> Self {
        self.health_interval = interval;
        self
    }

    /// Sets how long an encryption may take before health is DEGRADED. By default 100 ms. Requests that miss
    /// the [deadline](Self::deadline) count separately: health is UNAVAILABLE when all requests of a kind
    /// miss it.
    #[must_use]
    pub fn latency_bound(mut self, bound: Duration) -> Self {
        self.latency_bound = bound;
        self
    }

    /// Sets how long to wait between two attempts to recover a failed token. By default 500 ms.
    #[must_use]
    pub fn recovery_interval(mut self, interval: Duration) -> Self {
        self.recovery_interval = interval;
        self
    }
}

// HLT-3
const LONGEST_HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// A day: no time here is longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if self.sessions == 0 {
            return Err(OpenError::Config("`sessions` must be greater than zero"));
        }
        if self.deadline.is_zero() {
            return Err(OpenError::Config("`deadline` must be greater than zero"));
        }
        if self.key_refresh.is_zero() || self.health_interval.is_zero() || self.recovery_interval.is_zero() {
            return Err(OpenError::Config(
                "`key_refresh`, `health_interval` and `recovery_interval` must be greater than zero",
            ));
        }
        if self.health_interval > LONGEST_HEALTH_INTERVAL {
            return Err(OpenError::Config("`health_interval` must not exceed 30 seconds"));
        }
        let named = match &self.test_key {
            TestKey::Named(name) => Some(name),
            TestKey::Session | TestKey::None => None,
        };
        if self
            .key_names
            .values()
            .chain(named)
            .any(|name| name.bytes().len() > AttributeValue::ROOM)
        {
            return Err(OpenError::Config("a key's label or id must not exceed 256 bytes"));
        }
        let times = [
            self.deadline,
            self.key_refresh,
            self.health_interval,
            self.recovery_interval,
        ];
        if times.into_iter().any(|time| time > LONGEST) {
            return Err(OpenError::Config(
                "`deadline`, `key_refresh`, `health_interval` and `recovery_interval` must \
                 not exceed one day",
            ));
        }
        Ok(())
    }
}

/// Where the functions of a module come from.
#[derive(Clone, Debug)]
pub(crate) enum ModuleSource {
    Library(PathBuf),
    Linked(LinkedModule),
}

impl ModuleSource {
    /// The path of a library, the name of a linked module.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Library(path) => path,
            Self::Linked(module) => Path::new(module.name()),
        }
    }

    /// Loads the module, for as long as the process lives. The address is that of its function list: a module
    /// has one, however often and by whatever names it is loaded.
    pub(crate) fn load(&self) -> Result<(Cryptoki, usize), LoadError> {
        match self {
            Self::Library(path) => Cryptoki::load(path),
            Self::Linked(module) => Cryptoki::link(module),
        }
    }
}

/// Which token of a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlotSelector {
    /// The first slot that has an initialized token.
    First,
    /// The slot at this place, from 0, among those that have a token. Places may change when tokens come and
    /// go.
    Index(usize),
    /// The token with this label.
    TokenLabel(String),
    /// The token with this serial number.
    Serial(String),
}

impl fmt::Display for SlotSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("in the first slot"),
            Self::Index(index) => write!(f, "in slot number {index} (from 0)"),
            Self::TokenLabel(label) => write!(f, "labelled {label:?}"),
            Self::Serial(serial) => write!(f, "with the serial number {serial:?}"),
        }
    }
}

/// On which threads the module is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dispatch {
    /// On threads of the backend's own, one for each session: for every HSM whose calls take time. Requests
    /// are answered at their deadline also when the module does not return.
    #[default]
    Threads,
    /// On the thread that polls the request: for modules that answer in microseconds, such as SoftHSM2, where
    /// the way to another thread may take longer than the call. A module that does not return keeps that
    /// thread, and so does the search for a key, which takes tens of milliseconds on a SoftHSM2 token with a
    /// thousand keys. Where fewer threads call than there are sessions, nothing is ever `Throttled`: overload
    /// waits elsewhere. Not for openCryptoki, which ends the process if a thread that called it outlives
    /// `C_Finalize`.
    Inline,
}

/// What an external key id names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyLookup {
    /// The key whose label (`CKA_LABEL`) is the external key id.
    #[default]
    Label,
    /// The key whose `CKA_ID` is, in hexadecimal digits (lower case), the external key id.
    Id,
}

/// What names a key on its token: at most 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyName {
    /// `CKA_LABEL`
    Label(String),
    /// `CKA_ID`
    Id(Vec<u8>),
}

impl KeyName {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Label(label) => label.as_bytes(),
            Self::Id(id) => id,
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "CKA_LABEL {label:?}"),
            Self::Id(id) => {
                write!(f, "CKA_ID {}", Hex(id))
            }
        }
    }
}

/// The key that a token is tested with. It is no external key: requests for it are answered `KeyNotFound`.
/// Specification: GetHealthStatus.
// HLT-1
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TestKey {
    /// One that is made for the purpose, lives in a session, and is destroyed when it is no longer used, also
    /// where the module keeps session objects. Where a process that crashed has left one behind, it is
    /// destroyed, or used if that process may still live. A token that makes none is served all the same:
    /// what it answers is tested then, and health follows the requests.
    #[default]
    Session,
    /// A key on the token, an AES-256 key that may encrypt and decrypt: where the token makes no session
    /// keys. When it is not there at the start, the backend is not opened; when it goes later, other keys are
    /// served, and health is DEGRADED.
    Named(KeyName),
    /// None. Then nothing tells before the first request whether the token makes IVs as its quirks say,
    /// health is never better than DEGRADED, and a wrong ciphertext of a key that may not encrypt is
    /// distinguished from a failing token by guess.
    None,
}
