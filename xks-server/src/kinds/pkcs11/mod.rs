//! A token of an HSM, over its PKCS#11 module.

mod read;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use xks_backend_pkcs11::{
    Config, KeyLookup, KeyName, OpenError as TokenError, Pin, Pkcs11Backend, Quirks, SlotSelector, TestKey,
};
use xks_core::{KeyId, backend::HealthStatus, manage::KeyManager};

use crate::{
    backend::{BackendSettings, OpenBackend, OpenError, Opening},
    metrics::Samples,
    settings::Secret,
};

pub(crate) use self::read::{MODULE_VARIABLE, module, module_of_environment, pin};

/// The default time between two checks of a key's attributes.
pub(crate) const KEY_REFRESH: Duration = Duration::from_secs(30);

/// The time limit for calls in a module when its token is no longer served.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// A token: the module, which of its tokens, the PIN, and how it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Pkcs11Settings {
    pub(crate) module: PathBuf,
    /// The module's initialization string.
    pub(crate) module_parameters: Option<String>,
    pub(crate) quirks: Quirks,
    pub(crate) slot: SlotSelector,
    /// Another token may come in its place.
    pub(crate) token_may_change: bool,
    /// The settings ask for no login.
    pub(crate) no_login: bool,
    /// None without a login; an empty PIN is one of no characters.
    pub(crate) pin: Option<Secret>,
    pub(crate) key_lookup: KeyLookup,
    pub(crate) sessions: usize,
    /// None for as many as the backend thinks fit.
    pub(crate) queue: Option<usize>,
    pub(crate) deadline: Duration,
    /// The time between two checks of a key's attributes.
    pub(crate) key_refresh: Duration,
    pub(crate) test_key: TestKeySetting,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TestKeySetting {
    Session,
    Label(String),
    None,
}

impl Pkcs11Settings {
    fn config(&self) -> Config {
        let pin = self.pin.as_ref().map(|Secret(pin)| match pin.as_slice() {
            [] => Pin::Empty,
            pin => Pin::new(String::from_utf8_lossy(pin)),
        });
        let mut config = Config::new(&self.module)
            .quirks(self.quirks)
            .slot(self.slot.clone())
            .token_may_change(self.token_may_change)
            .key_lookup(self.key_lookup)
            .sessions(self.sessions)
            .deadline(self.deadline)
            .key_refresh(self.key_refresh)
            .test_key(match &self.test_key {
                TestKeySetting::Session => TestKey::Session,
                TestKeySetting::Label(label) => TestKey::Named(KeyName::Label(label.clone())),
                TestKeySetting::None => TestKey::None,
            });
        if let Some(pin) = pin.or(self.no_login.then_some(Pin::None)) {
            config = config.pin(pin);
        }
        if let Some(parameters) = &self.module_parameters {
            config = config.module_parameters(parameters);
        }
        if let Some(queue) = self.queue {
            config = config.queue_length(queue);
        }
        config
    }
}

impl BackendSettings for Pkcs11Settings {
    fn open(&self, opening: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        // A member of a fleet may be down: it is waited for in the background.
        let open = match opening.is_member() {
            true => Pkcs11Backend::open_when_ready,
            false => Pkcs11Backend::open,
        };
        let token = open(self.config()).map_err(|error| match error {
            TokenError::PinRefused(_) => OpenError::credential_refused(error),
            error if error.is_permanent() => OpenError::permanent(error),
            error => OpenError::temporary(error),
        })?;
        Ok(Arc::new(token))
    }

    fn is_same_device(&self, other: &Self) -> bool {
        self.module == other.module && self.slot == other.slot
    }

    /// A module may be found by several paths, and a token by label, serial number or place.
    fn may_share_device_with(&self, other: &Self) -> bool {
        let path = |settings: &Self| fs::canonicalize(&settings.module).unwrap_or_else(|_| settings.module.clone());
        let is_other_token = match (&self.slot, &other.slot) {
            (SlotSelector::TokenLabel(one), SlotSelector::TokenLabel(other))
            | (SlotSelector::Serial(one), SlotSelector::Serial(other)) => one != other,
            (SlotSelector::Index(one), SlotSelector::Index(other)) => one != other,
            _ => false,
        };
        path(self) == path(other) && !is_other_token
    }

    fn names_keys_as(&self, other: &Self) -> bool {
        self.key_lookup == other.key_lookup
    }

    // HLT-1: it is no external key.
    fn is_test_key(&self, key: &KeyId) -> bool {
        match &self.test_key {
            TestKeySetting::Label(label) => self.key_lookup == KeyLookup::Label && key.as_str() == label,
            TestKeySetting::Session | TestKeySetting::None => false,
        }
    }

    fn device(&self) -> Option<String> {
        Some(match &self.slot {
            SlotSelector::TokenLabel(label) => format!("token label {label}"),
            SlotSelector::Serial(serial) => format!("token serial {serial}"),
            SlotSelector::Index(index) => format!("slot {index}"),
            _ => return None,
        })
    }

    fn makes_no_keys(&self) -> Option<&'static str> {
        None
    }

    fn replacement_notice(&self, open: &Self) -> Option<&'static str> {
        (self.is_same_device(open) && self.pin != open.pin).then_some(
            "the token stays logged in with the former PIN: the new PIN is used at the next login, at the latest \
             after a restart",
        )
    }
}

impl OpenBackend for Pkcs11Backend {
    fn close(&self, name: &str) {
        // A module may crash that still has a call in it when the process ends.
        if self.shutdown(LAST_CALLS) {
            tracing::info!(backend = name, "token closed");
        } else {
            tracing::warn!(
                backend = name,
                "calls into the PKCS#11 module do not return: the module is not finalized"
            );
        }
    }

    fn as_key_manager(self: Arc<Self>) -> Option<Arc<dyn KeyManager>> {
        Some(self)
    }

    fn works(&self) -> bool {
        self.status().health != HealthStatus::Unavailable
    }

    fn stuck_for(&self) -> Option<Duration> {
        self.status().stuck
    }

    fn measure(&self, name: &str, samples: &mut Samples) {
        let status = self.status();
        let labels = [("backend", name)];
        let gauges = [
            ("pkcs11_queued", "Requests waiting for a session", status.queued),
            ("pkcs11_running", "Requests in the module", status.running),
            (
                "pkcs11_written_off",
                "Calls that are past their deadline and have not returned",
                status.abandoned,
            ),
            ("pkcs11_sessions", "Sessions available to requests", status.sessions),
        ];
        for (metric, help, value) in gauges {
            samples.gauge(metric, help, &labels, value as f64);
        }
        let counters = [
            ("pkcs11_timed_out", "Requests that timed out", status.timed_out),
            (
                "pkcs11_refused",
                "Requests rejected because the queue was full",
                status.refused,
            ),
        ];
        for (metric, help, value) in counters {
            samples.counter(metric, help, &labels, value as f64);
        }
    }
}
