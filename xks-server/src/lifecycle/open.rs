//! The store is opened, with its roots and the backends that have keys under management.

use std::{path::Path, sync::Arc, time::SystemTime};

use tokio::task::spawn_blocking;
use xks_lifecycle::{
    Name, Repository, RepositoryError, Timestamp,
    commands::{Backends as ManagedBackends, Commands},
    seal::Root,
    store::{SqliteStore, StoreError},
};

use super::{Guard, InUse, StartError, backend::NamedBackend};
use crate::{
    backends::Backends,
    program::Program,
    settings::{AdminSettings, LifecycleSettings, RootPlace, RootSettings},
};

/// The state, and what is to be made of it when the server's key stores are in force.
pub(crate) struct Opened {
    pub(super) commands: Commands,
    pub(super) in_use: InUse,
    pub(super) admin: AdminSettings,
}

impl Opened {
    /// Opens the store, with the roots of which some may be in these backends. Blocks no thread of the
    /// runtime.
    pub(crate) async fn open(
        settings: &LifecycleSettings,
        backends: &Backends,
        program: Program,
    ) -> Result<Self, StartError> {
        let file = &settings.store.file;
        if !file.exists() {
            return Err(StartError::NoStore(file.clone(), program.name));
        }
        let roots = roots(&settings.store.roots, backends)?;
        let store = open_store(file).await?;
        let opened = Repository::open(Arc::new(store), &roots).await;
        let (repository, snapshot) = opened.map_err(|error| match error {
            RepositoryError::Empty => StartError::NoStore(file.clone(), program.name),
            error => StartError::Repository {
                file: file.clone(),
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
        Ok(Self {
            commands: commands.with_manager_timeout(settings.manager_timeout),
            in_use,
            admin: settings.admin.clone(),
        })
    }

    /// What keeps key stores of the settings file from keys under management.
    pub(crate) fn guard(&self) -> Guard {
        Guard::new(&self.commands, self.in_use.names())
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

pub(super) async fn open_store(file: &Path) -> Result<SqliteStore, StartError> {
    let path = file.to_owned();
    let opened = spawn_blocking(move || SqliteStore::open(&path)).await;
    let opened: Result<_, StoreError> = opened.map_err(|_| StartError::Thread)?;
    opened.map_err(|error| StartError::Store(file.to_owned(), error))
}

/// Now, as the life cycle counts time.
pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}
