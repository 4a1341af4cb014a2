//! The model of `[store]` and `[lifecycle]`: where keys under management are kept, and how they are made.

use std::{fmt, path::PathBuf, time::Duration};

use xks_core::KeyId;
#[cfg(feature = "postgres")]
use xks_lifecycle::store::{PostgresSettings, StoreError};
use xks_lifecycle::{Name, commands::Deployment};

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
    /// This process as one of several nodes; none if the store is a file, which one process has.
    pub(crate) node: Option<NodeSettings>,
    /// How AWS is called; none if it is not.
    pub(crate) cloud: Option<CloudSettings>,
}

/// How AWS is called.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "such a build does not call it"))]
pub(crate) struct CloudSettings {
    /// In place of AWS's endpoints.
    pub(crate) endpoint_url: Option<String>,
    /// What its certificate must chain to, in place of the system's roots.
    pub(crate) ca_file: Option<PathBuf>,
    /// How long jobs wait between the reads of AWS that have to be equal; none for a second.
    pub(crate) read_interval: Option<Duration>,
}

/// The store and what opens it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoreSettings {
    pub(crate) place: StorePlace,
    pub(crate) roots: Vec<RootSettings>,
}

/// Where the state is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StorePlace {
    /// SQLite, of one process.
    File(PathBuf),
    /// PostgreSQL, which several nodes share.
    #[cfg(feature = "postgres")]
    Database(DatabaseSettings),
}

/// How a database is reached. The URL has no password.
#[cfg(feature = "postgres")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DatabaseSettings {
    pub(crate) url: String,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
}

/// A node of several on one database.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeSettings {
    pub(crate) name: Name,
    /// How long it serves after it has reached the database last.
    pub(crate) lease: Duration,
    /// Whether it serves on when it has not reached the database for longer.
    pub(crate) serves_on: bool,
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

/// The setting that names the place, and what it names: the hosts of a database.
impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "store.file = {path:?}"),
            #[cfg(feature = "postgres")]
            Self::Database(database) => match database.postgres() {
                Ok(settings) => write!(f, "store.url = {settings}"),
                Err(_) => write!(f, "store.url"), // it was checked
            },
        }
    }
}

#[cfg(feature = "postgres")]
impl DatabaseSettings {
    /// As the store takes it.
    ///
    /// # Errors
    /// [`StoreError::Setting`] of the URL.
    pub(crate) fn postgres(&self) -> Result<PostgresSettings, StoreError> {
        let mut settings = PostgresSettings::new(&self.url)?;
        if let Some(path) = &self.password_file {
            settings = settings.password_file(path);
        }
        if let Some(path) = &self.ca_file {
            settings = settings.ca_file(path);
        }
        Ok(settings)
    }
}

impl NodeSettings {
    /// As long as a failover of the database takes, and half of that again.
    pub(crate) const LEASE: Duration = Duration::from_secs(30);
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
