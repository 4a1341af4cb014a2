//! The backends that are open.
//!
//! A reload keeps backends whose settings are unchanged. Others are opened again, and the former ones are
//! closed after a grace period, when no request can use them any more.

use std::{sync::Arc, thread, time::Duration};

use thiserror::Error;
use xks_core::KeyBackend;

use crate::{
    FAILURE, PIN_REFUSED, WRONG_SETTINGS,
    backend::{OpenBackend, OpenError, OpenErrorKind, Opening},
    registry::ConfiguredBackend,
};

/// All of them, in the order of their opening: members before what is made of them.
pub(crate) struct Backends(Vec<Open>);

struct Open {
    configured: ConfiguredBackend,
    backend: Arc<dyn OpenBackend>,
}

/// The error of a backend that cannot be opened.
#[derive(Debug, Error)]
#[error("[backends.{name}]")]
pub(crate) struct BackendError {
    name: String,
    source: OpenError,
}

impl BackendError {
    /// The status to end with when the start fails so.
    pub(crate) const fn exit_status(&self) -> u8 {
        match self.source.kind() {
            OpenErrorKind::Temporary => FAILURE,
            // Files that the settings name, and settings that passed their check.
            OpenErrorKind::Permanent => WRONG_SETTINGS,
            OpenErrorKind::CredentialRefused => PIN_REFUSED,
        }
    }
}

impl Backends {
    /// Opens them; those of `former` that are to be as they were are taken over. It blocks for as long as
    /// they do.
    pub(crate) fn open(configured: &[ConfiguredBackend], former: Option<&Self>) -> Result<Self, BackendError> {
        let (singles, composed): (Vec<_>, Vec<_>) = configured.iter().partition(|one| one.members().is_empty());
        let mut open = Self(Vec::with_capacity(configured.len()));
        for configured in singles.into_iter().chain(composed.iter().copied()) {
            let name = &*configured.name;
            let known = former.and_then(|former| former.find(name));
            let known =
                known.filter(|known| known.configured == *configured && open.has_members_of(former, configured));
            let backend = match known {
                Some(known) => Ok(Arc::clone(&known.backend)),
                None => configured.open(&Opening {
                    is_member: composed.iter().any(|other| other.has_member(name)),
                    open: &open,
                }),
            };
            match backend {
                Ok(backend) => open.0.push(Open {
                    configured: configured.clone(),
                    backend,
                }),
                Err(source) => {
                    open.close_all_but(former);
                    let name = name.to_owned();
                    return Err(BackendError { name, source });
                }
            }
        }
        Ok(open)
    }

    /// Whether the members of a backend are the very ones that they were.
    fn has_members_of(&self, former: Option<&Self>, configured: &ConfiguredBackend) -> bool {
        let is_same = |name: &str| former.is_some_and(|former| self.has_same(former, name));
        configured.members().into_iter().all(is_same)
    }

    /// Whether the backend of that name is the very one that it was.
    pub(crate) fn has_same(&self, former: &Self, name: &str) -> bool {
        let both = self.find(name).zip(former.find(name));
        both.is_some_and(|(new, old)| Arc::ptr_eq(&new.backend, &old.backend))
    }

    /// Whether all backends are the very ones that they were.
    pub(crate) fn are_as(&self, former: &Self) -> bool {
        self.0.len() == former.0.len() && self.0.iter().all(|open| self.has_same(former, &open.configured.name))
    }

    /// Whether the backend of that name is open, and new settings leave it and its members as they are.
    pub(crate) fn keeps(&self, name: &str, configured: &[ConfiguredBackend]) -> bool {
        let Some(new) = configured.iter().find(|new| new.name == name) else {
            return false;
        };
        let is_same = self.find(name).is_some_and(|open| open.configured == *new);
        is_same && new.members().into_iter().all(|member| self.keeps(member, configured))
    }

    /// Returns the log line for a reload in which these settings replace those of a backend that is open and
    /// works.
    pub(crate) fn replacement_notice(&self, new: &ConfiguredBackend) -> Option<&'static str> {
        let mut open = self.0.iter().filter(|open| open.backend.works());
        open.find_map(|open| new.replacement_notice(&open.configured))
    }

    /// Whether a backend is open with these very settings.
    pub(crate) fn has(&self, configured: &ConfiguredBackend) -> bool {
        self.0.iter().any(|open| open.configured == *configured)
    }

    /// The open backend of a name, with what it was made of.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn open_as(&self, name: &str) -> Option<(&ConfiguredBackend, &Arc<dyn OpenBackend>)> {
        self.find(name).map(|open| (&open.configured, &open.backend))
    }

    /// The backend of a name, or its members.
    #[cfg(feature = "lifecycle")]
    fn singles(&self, name: &str) -> Vec<&ConfiguredBackend> {
        let Some(open) = self.find(name) else { return Vec::new() };
        match open.configured.members() {
            members if members.is_empty() => vec![&open.configured],
            members => members.into_iter().flat_map(|member| self.singles(member)).collect(),
        }
    }

    /// Whether two backends, or members of them, may be one device.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn may_share_device(&self, one: &str, other: &str) -> bool {
        let others = self.singles(other);
        let one = self.singles(one);
        one.iter()
            .any(|one| others.iter().any(|other| one.may_share_device_with(other)))
    }

    /// All backends that may be the device of this one, or of a member.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn of_devices(&self, name: &str) -> Box<[ConfiguredBackend]> {
        let singles = self.singles(name);
        let configured = self.0.iter().map(|open| &open.configured);
        let is_one = |other: &&ConfiguredBackend| singles.iter().any(|one| one.may_share_device_with(other));
        configured.filter(is_one).cloned().collect()
    }

    fn find(&self, name: &str) -> Option<&Open> {
        self.0.iter().find(|open| open.configured.name == name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn KeyBackend>> {
        self.find(name).map(|open| Arc::clone(&open.backend) as _)
    }

    pub(crate) fn is_fleet(&self, name: &str) -> bool {
        self.find(name).is_some_and(|open| open.backend.as_fleet().is_some())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn OpenBackend>)> {
        self.0.iter().map(|open| (&*open.configured.name, &open.backend))
    }

    /// As [`iter`](Self::iter), with what each was made of.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn configured(&self) -> impl Iterator<Item = (&str, &ConfiguredBackend, &Arc<dyn OpenBackend>)> {
        self.0
            .iter()
            .map(|open| (&*open.configured.name, &open.configured, &open.backend))
    }

    /// The backends of which no call has returned for so long that nothing in this process has them served
    /// again, and for how long.
    pub(crate) fn stuck_for(&self, bound: Duration) -> Vec<(String, Duration)> {
        let stuck = self
            .iter()
            .filter_map(|(name, backend)| Some((name.to_owned(), backend.stuck_for()?)));
        stuck.filter(|(_, time)| *time >= bound).collect()
    }

    /// Closes the backends that `other` does not have, each when its last request has ended. It blocks until
    /// then.
    pub(crate) fn close_all_but(&self, other: Option<&Self>) {
        for (name, backend) in self.iter() {
            let mut others = other.into_iter().flat_map(Self::iter);
            if !others.any(|(_, other)| Arc::ptr_eq(backend, other)) {
                backend.close(name);
            }
        }
    }

    /// Closes, in the background, the backends that `successor` does not have. Requests that began with them
    /// have `grace` to end.
    pub(crate) fn retire(self: Arc<Self>, successor: Arc<Self>, grace: Duration) {
        let closing = move || {
            thread::sleep(grace);
            self.close_all_but(Some(&successor));
        };
        if let Err(error) = thread::Builder::new().name("xks-retire".to_owned()).spawn(closing) {
            tracing::error!(cause = %error, "backends that are no longer in use could not be closed");
        }
    }
}
