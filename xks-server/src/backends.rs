//! The key managers that are open: tokens, software keys, and fleets of them.
//!
//! A reload keeps backends whose settings are unchanged. Others are opened again, and the former ones are
//! closed after a grace period, when no request can use them any more.

use std::{sync::Arc, thread, time::Duration};

use thiserror::Error;
use xks_backend_pkcs11::{Config, KeyName, OpenError, Pin, Pkcs11Backend, TestKey};
use xks_backend_soft::{KeyMaterial, KeyMaterialError, KeyVersion, SoftBackend, SoftKey, SoftKeyError};
use xks_core::{
    KeyBackend,
    backend::HealthStatus,
    fleet::{Fleet, FleetError},
};

use crate::settings::{
    BackendKind, BackendSettings, FleetSettings, Pkcs11Settings, Secret, SoftSettings, TestKeySetting,
};
use crate::{FAILURE, PIN_REFUSED, WRONG_SETTINGS};

/// How long calls in a module are waited for when its token is no longer served.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// All of them, in the order of their opening: the members of a fleet before it.
pub(crate) struct Backends(Vec<OpenBackend>);

pub(crate) struct OpenBackend {
    settings: BackendSettings,
    pub(crate) backend: Backend,
}

#[derive(Clone)]
pub(crate) enum Backend {
    Pkcs11(Arc<Pkcs11Backend>),
    Soft(Arc<SoftBackend>),
    Fleet(Arc<Fleet>),
}

/// Why a key manager cannot be opened.
#[derive(Debug, Error)]
#[error("[backends.{}]", settings.name)]
pub(crate) struct BackendError {
    settings: Box<BackendSettings>,
    source: BackendProblem,
}

#[derive(Debug, Error)]
#[error(transparent)]
enum BackendProblem {
    Token(#[from] OpenError),
    KeyFile(#[from] KeyMaterialError),
    Key(#[from] SoftKeyError),
    Fleet(#[from] FleetError),
}

impl BackendError {
    /// The status to end with when the start fails so.
    pub(crate) const fn exit_status(&self) -> u8 {
        match &self.source {
            BackendProblem::Token(OpenError::PinRefused(_)) => PIN_REFUSED,
            BackendProblem::Token(error) if !error.is_permanent() => FAILURE,
            // Files that the settings name, and settings that passed their check.
            BackendProblem::Token(_)
            | BackendProblem::KeyFile(_)
            | BackendProblem::Key(_)
            | BackendProblem::Fleet(_) => WRONG_SETTINGS,
        }
    }
}

impl Backends {
    /// Opens them; those of `former` that are to be as they were are taken over. It blocks for as long as the tokens do.
    ///
    /// A token that is a member of a fleet may be down: it is waited for in the background.
    pub(crate) fn open(settings: &[BackendSettings], former: Option<&Self>) -> Result<Self, BackendError> {
        let is_fleet = |settings: &&BackendSettings| matches!(settings.kind, BackendKind::Fleet(_));
        let (fleets, singles): (Vec<_>, Vec<_>) = settings.iter().partition(is_fleet);
        let mut open = Self(Vec::with_capacity(settings.len()));
        for settings in singles.into_iter().chain(fleets.iter().copied()) {
            let is_member = fleets.iter().any(|fleet| match &fleet.kind {
                BackendKind::Fleet(fleet) => {
                    fleet.members.contains(&settings.name) || fleet.standby.contains(&settings.name)
                }
                _ => false,
            });
            let known = former.and_then(|former| former.find(&settings.name));
            let known = known.filter(|known| known.settings == *settings && open.has_the_members_of(former, settings));
            let backend = match known {
                Some(known) => Ok(known.backend.clone()),
                None => open.open_one(&settings.kind, is_member),
            };
            let backend = backend.map_err(|source| BackendError {
                settings: Box::new(settings.clone()),
                source,
            });
            match backend {
                Ok(backend) => open.0.push(OpenBackend {
                    settings: settings.clone(),
                    backend,
                }),
                Err(error) => {
                    open.close_all_but(former);
                    return Err(error);
                }
            }
        }
        Ok(open)
    }

    /// Software keys that no file holds.
    pub(crate) fn of_demo(name: &str, backend: SoftBackend) -> Self {
        Self(vec![OpenBackend {
            settings: BackendSettings {
                name: name.to_owned(),
                kind: BackendKind::Soft(SoftSettings { keys: Vec::new() }),
            },
            backend: Backend::Soft(Arc::new(backend)),
        }])
    }

    fn open_one(&self, kind: &BackendKind, is_member: bool) -> Result<Backend, BackendProblem> {
        Ok(match kind {
            BackendKind::Pkcs11(settings) => {
                let config = config(settings);
                let open = if is_member {
                    Pkcs11Backend::open_when_ready
                } else {
                    Pkcs11Backend::open
                };
                Backend::Pkcs11(Arc::new(open(config)?))
            }
            BackendKind::Soft(settings) => Backend::Soft(Arc::new(soft(settings)?)),
            BackendKind::Fleet(settings) => Backend::Fleet(Arc::new(self.fleet(settings)?)),
        })
    }

    fn fleet(&self, settings: &FleetSettings) -> Result<Fleet, FleetError> {
        let member = |name: &String| self.get(name).map(|backend| (name.clone(), backend));
        let mut fleet = Fleet::builder()
            .timer(tokio::time::sleep)
            .attempt(settings.attempt)
            .budget(settings.budget);
        for (name, backend) in settings.members.iter().filter_map(member) {
            fleet = fleet.member(name, backend);
        }
        for (name, backend) in settings.standby.iter().filter_map(member) {
            fleet = fleet.standby_member(name, backend);
        }
        fleet.build()
    }

    /// Whether a fleet's members are the very ones that they were.
    fn has_the_members_of(&self, former: Option<&Self>, settings: &BackendSettings) -> bool {
        let BackendKind::Fleet(fleet) = &settings.kind else {
            return true;
        };
        let same = |name: &String| match (self.get(name), former.and_then(|former| former.get(name))) {
            (Some(new), Some(old)) => Arc::ptr_eq(&new, &old),
            _ => false,
        };
        fleet.members.iter().chain(&fleet.standby).all(same)
    }

    /// Whether the backend of that name is open, and new settings leave it and its members as they are.
    pub(crate) fn keeps(&self, name: &str, settings: &[BackendSettings]) -> bool {
        let Some(new) = settings.iter().find(|new| new.name == name) else {
            return false;
        };
        let is_same = self.find(name).is_some_and(|open| open.settings == *new);
        let mut members: &[String] = &[];
        let mut standby: &[String] = &[];
        if let BackendKind::Fleet(fleet) = &new.kind {
            (members, standby) = (&fleet.members, &fleet.standby);
        }
        is_same && members.iter().chain(standby).all(|member| self.keeps(member, settings))
    }

    /// Whether the token that new settings are of works, and was logged in to with another PIN.
    pub(crate) fn are_open_under_another_pin_than(&self, new: &BackendSettings) -> bool {
        let works = |backend: &Backend| match backend {
            Backend::Pkcs11(token) => token.status().health != HealthStatus::Unavailable,
            Backend::Soft(_) | Backend::Fleet(_) => false,
        };
        let mut open = self.0.iter();
        open.any(|open| open.settings.has_another_pin_than(new) && works(&open.backend))
    }

    pub(crate) fn settings(&self) -> impl Iterator<Item = &BackendSettings> {
        self.0.iter().map(|open| &open.settings)
    }

    fn find(&self, name: &str) -> Option<&OpenBackend> {
        self.0.iter().find(|open| open.settings.name == name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn KeyBackend>> {
        self.find(name).map(|open| open.backend.as_key_backend())
    }

    pub(crate) fn is_fleet(&self, name: &str) -> bool {
        self.find(name)
            .is_some_and(|open| matches!(open.backend, Backend::Fleet(_)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Backend)> {
        self.0.iter().map(|open| (open.settings.name.as_str(), &open.backend))
    }

    /// The tokens of which no call has returned for so long that nothing in this process has them served
    /// again, and for how long.
    pub(crate) fn stuck_for(&self, bound: Duration) -> Vec<(String, Duration)> {
        let stuck = self.iter().filter_map(|(name, backend)| match backend {
            Backend::Pkcs11(token) => Some((name.to_owned(), token.status().stuck?)),
            Backend::Soft(_) | Backend::Fleet(_) => None,
        });
        stuck.filter(|(_, time)| *time >= bound).collect()
    }

    /// Closes the tokens that `other` does not have, each when its last request has ended. It blocks until then.
    pub(crate) fn close_all_but(&self, other: Option<&Self>) {
        for (name, backend) in self.iter() {
            let Backend::Pkcs11(token) = backend else { continue };
            let stays = other.into_iter().flat_map(Self::iter).any(|(_, other)| match other {
                Backend::Pkcs11(other) => Arc::ptr_eq(token, other),
                _ => false,
            });
            if stays {
                continue;
            }
            // A module may crash that still has a call in it when the process ends.
            if token.shutdown(LAST_CALLS) {
                tracing::info!(backend = name, "the token is closed");
            } else {
                tracing::warn!(
                    backend = name,
                    "calls that do not return are in the PKCS#11 module: it is left as it is"
                );
            }
        }
    }

    /// Closes, in the background, the tokens that `successor` does not have. Requests that began with them have `grace` to
    /// end.
    pub(crate) fn retire(self: Arc<Self>, successor: Arc<Self>, grace: Duration) {
        let closing = move || {
            thread::sleep(grace);
            self.close_all_but(Some(&successor));
        };
        if let Err(error) = thread::Builder::new().name("xks-retire".to_owned()).spawn(closing) {
            tracing::error!(cause = %error, "tokens that are no longer served stay open");
        }
    }
}

impl Backend {
    pub(crate) fn as_key_backend(&self) -> Arc<dyn KeyBackend> {
        match self {
            Self::Pkcs11(backend) => Arc::<Pkcs11Backend>::clone(backend),
            Self::Soft(backend) => Arc::<SoftBackend>::clone(backend),
            Self::Fleet(backend) => Arc::<Fleet>::clone(backend),
        }
    }
}

fn config(settings: &Pkcs11Settings) -> Config {
    let pin = settings.pin.as_ref().map(|Secret(pin)| match pin.as_slice() {
        [] => Pin::Empty,
        pin => Pin::new(String::from_utf8_lossy(pin)),
    });
    let mut config = Config::new(&settings.module)
        .quirks(settings.quirks)
        .slot(settings.slot.clone())
        .token_may_change(settings.token_may_change)
        .key_lookup(settings.key_lookup)
        .sessions(settings.sessions)
        .deadline(settings.deadline)
        .key_refresh(settings.key_refresh)
        .test_key(match &settings.test_key {
            TestKeySetting::Session => TestKey::Session,
            TestKeySetting::Label(label) => TestKey::Named(KeyName::Label(label.clone())),
            TestKeySetting::None => TestKey::None,
        });
    if let Some(pin) = pin.or(settings.no_login.then_some(Pin::None)) {
        config = config.pin(pin);
    }
    if let Some(parameters) = &settings.module_parameters {
        config = config.module_parameters(parameters);
    }
    if let Some(queue) = settings.queue {
        config = config.queue_length(queue);
    }
    config
}

fn soft(settings: &SoftSettings) -> Result<SoftBackend, BackendProblem> {
    let backend = SoftBackend::new();
    for (id, path, _) in &settings.keys {
        let key = SoftKey::new(KeyVersion::new(1, KeyMaterial::from_file(path)?)?);
        backend.insert(id.clone(), key);
    }
    Ok(backend)
}
