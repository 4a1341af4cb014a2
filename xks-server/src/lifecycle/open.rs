//! The store is opened, with its roots and the backends that have keys under management.

#[cfg(feature = "postgres")]
use std::time::Duration;
use std::{sync::Arc, time::SystemTime};

use tokio::task::spawn_blocking;
use xks_lifecycle::{
    Name, Repository, RepositoryError, Timestamp,
    commands::{Backends as ManagedBackends, Commands},
    seal::Root,
    store::{SqliteStore, Store},
};

#[cfg(feature = "postgres")]
use xks_lifecycle::{nodes::Terms, store::PostgresStore};

use super::{
    Guard, InUse, StartError,
    backend::NamedBackend,
    cloud::{Cloud, cloud},
    error::Place,
    node::OwnNode,
};
#[cfg(feature = "postgres")]
use crate::settings::DatabaseSettings;
use crate::{
    audit::{self, AuditedStore},
    backends::Backends,
    program::Program,
    settings::{AdminSettings, LifecycleSettings, RootPlace, RootSettings, StorePlace},
};

/// The state, and what is to be made of it when the server's key stores are in force.
pub(crate) struct Opened {
    pub(super) commands: Commands,
    pub(super) in_use: InUse,
    /// Keeps key stores of the settings file from keys under management.
    pub(super) guard: Guard,
    pub(super) admin: AdminSettings,
    pub(super) node: Option<OwnNode>,
    /// Where what was read is recorded, and by whom.
    pub(super) audit: Option<audit::Queue>,
    /// What calls AWS.
    pub(super) cloud: Option<Cloud>,
}

impl Opened {
    /// Opens the store, with the roots of which some may be in these backends. Blocks no thread of the
    /// runtime.
    pub(crate) async fn open(
        settings: &LifecycleSettings,
        backends: &Backends,
        program: Program,
        audit: Option<audit::Queue>,
    ) -> Result<Self, StartError> {
        let place = || Place::new(&settings.store.place);
        if let StorePlace::File(file) = &settings.store.place
            && !file.exists()
        {
            return Err(StartError::NoStore(place(), program.name));
        }
        let roots = roots(&settings.store.roots, backends)?;
        let (store, node): (_, Option<OwnNode>) = match (&settings.store.place, &settings.node) {
            #[cfg(feature = "postgres")]
            (StorePlace::Database(database), Some(node)) => {
                let node = OwnNode::open(database, node, program).await?;
                (node.store(), Some(node))
            }
            (place, _) => (open_store(place).await?, None),
        };
        let store = AuditedStore::around(store, audit.clone());
        let opened = Repository::open(store, &roots).await;
        let (repository, snapshot) = opened.map_err(|error| match error {
            RepositoryError::Empty => StartError::NoStore(place(), program.name),
            error => StartError::Repository {
                place: place(),
                is_final: all_in_files(&settings.store.roots),
                error,
            },
        })?;
        for root in &roots {
            if !snapshot.roots().any(|known| known == root.name()) {
                tracing::warn!(
                    "store.roots: root `{}` does not open the store, which was made without it",
                    root.name()
                );
            }
        }
        let (mut managed, mut in_use) = (ManagedBackends::new(), Vec::new());
        for name in &settings.backends {
            let no_manager = || StartError::NoManager(name.clone());
            let (configured, open) = backends.open_as(name).ok_or_else(no_manager)?;
            let backend = Arc::new(NamedBackend::new(configured, open).ok_or_else(no_manager)?);
            let name = Name::new("backends", name).map_err(|_| no_manager())?; // the settings were checked
            managed = managed.with(name, backend.clone(), backend.clone());
            in_use.push(backend);
        }
        let in_backends = settings.store.roots.iter().filter_map(RootSettings::backend);
        let in_use = InUse::new(in_use, in_backends.map(str::to_owned).collect());
        let commands = Commands::new(repository, snapshot, managed, settings.deployment.clone());
        let mut commands = commands.with_manager_timeout(settings.manager_timeout);
        if let Some(node) = &node {
            commands = commands.with_node(node.node());
        }
        Ok(Self {
            guard: Guard::new(&commands, in_use.names()),
            commands,
            node,
            in_use,
            admin: settings.admin.clone(),
            audit,
            cloud: settings.cloud.as_ref().map(cloud).transpose()?,
        })
    }

    /// What keeps key stores of the settings file from keys under management.
    pub(crate) fn guard(&self) -> Guard {
        self.guard.clone()
    }
}

pub(super) fn all_in_files(roots: &[RootSettings]) -> bool {
    roots.iter().all(|root| root.backend().is_none())
}

pub(super) fn roots(settings: &[RootSettings], backends: &Backends) -> Result<Vec<Root>, StartError> {
    let root = |settings: &RootSettings| {
        let name = &settings.name;
        let root = match &settings.place {
            RootPlace::File(path) => Root::file(name, path),
            RootPlace::Backend { backend, key } => {
                let open = backends.get(backend).ok_or_else(|| StartError::NoBackend {
                    root: name.clone(),
                    backend: backend.clone(),
                })?;
                Root::backend(name, open, key.clone())
            }
        };
        root.map_err(|error| StartError::Root(name.clone(), error))
    };
    settings.iter().map(root).collect()
}

/// Opens a store to read and write it, within a runtime that its connections run on, if it has any.
pub(super) async fn open_store(place: &StorePlace) -> Result<Arc<dyn Store>, StartError> {
    match place {
        StorePlace::File(file) => {
            let file = file.clone();
            let opened = spawn_blocking(move || SqliteStore::open(&file)).await;
            let opened = opened.map_err(|_| StartError::Thread)?;
            Ok(Arc::new(
                opened.map_err(|error| StartError::Store(Place::new(place), error))?,
            ))
        }
        #[cfg(feature = "postgres")]
        StorePlace::Database(database) => Ok(open_database(database, None).await?),
    }
}

/// Opens a database within a runtime that its connections run on. A node with a lease of this length asks and
/// waits accordingly.
#[cfg(feature = "postgres")]
pub(super) async fn open_database(
    database: &DatabaseSettings,
    lease: Option<Duration>,
) -> Result<Arc<PostgresStore>, StartError> {
    let failed = |error| StartError::Store(Place::new(&StorePlace::Database(database.clone())), error);
    let mut settings = database.postgres().map_err(failed)?;
    if let Some(renewal) = lease.map(|lease| Terms::new(lease).renewal()) {
        // An answer that is waited for keeps the next renewal waiting.
        let timeout = renewal.clamp(Duration::from_secs(1), Duration::from_secs(5));
        settings = settings.timeout(timeout).poll(renewal.min(Duration::from_secs(5)));
    }
    PostgresStore::open(settings).await.map(Arc::new).map_err(failed)
}

/// The file or the hosts of a store, for a person.
pub(super) fn named(place: &StorePlace) -> String {
    match place {
        StorePlace::File(file) => file.display().to_string(),
        #[cfg(feature = "postgres")]
        StorePlace::Database(database) => database.postgres().map_or_else(
            |_| String::new(), // it was checked
            |settings| format!("the database on {settings}"),
        ),
    }
}

/// Now, as the life cycle counts time.
pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}
