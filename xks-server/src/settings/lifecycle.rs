//! The model of `[store]` and `[lifecycle]`: where keys under management are kept, and how they are made.

use std::{path::PathBuf, time::Duration};

use xks_core::KeyId;
use xks_lifecycle::commands::Deployment;

/// Keys under management.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LifecycleSettings {
    pub(crate) store: StoreSettings,
    pub(crate) deployment: Deployment,
    /// The names of the backends in which keys are made.
    pub(crate) backends: Vec<String>,
    /// How long a key manager may take to make or destroy one key.
    pub(crate) manager_timeout: Duration,
    pub(crate) admin: AdminSettings,
}

/// The store and what opens it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoreSettings {
    pub(crate) file: PathBuf,
    pub(crate) roots: Vec<RootSettings>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RootSettings {
    pub(crate) name: String,
    pub(crate) place: RootPlace,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RootPlace {
    File(PathBuf),
    Backend { backend: String, key: KeyId },
}

/// The socket for commands of administration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdminSettings {
    pub(crate) socket: PathBuf,
    /// The group whose members may give commands, beside this process's user and root.
    pub(crate) group: Option<String>,
}

impl RootSettings {
    /// The backend that has the root; none for a file.
    pub(crate) fn backend(&self) -> Option<&str> {
        match &self.place {
            RootPlace::File(_) => None,
            RootPlace::Backend { backend, .. } => Some(backend),
        }
    }
}

impl LifecycleSettings {
    pub(crate) const MANAGER_TIMEOUT: Duration = Duration::from_secs(60);

    pub(crate) fn is_same_store(one: Option<&Self>, other: Option<&Self>) -> bool {
        one.map(|settings| &settings.store) == other.map(|settings| &settings.store)
    }

    pub(crate) fn is_same_but_for_store(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => {
                let store = one.store.clone();
                *one == Self { store, ..other.clone() }
            }
            _ => true, // with the store it has come or gone
        }
    }
}
