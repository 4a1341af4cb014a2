//! Keys under management, in the server: the store is opened after the backends, and what the life cycle has
//! to do by itself runs beside the requests.
//!
//! ```text
//! [store], [lifecycle] ──▶ Running ──▶ Commands ◀── administration
//!                             │
//!                             └──▶ run: recover, then schedules, counts, usage
//! ```

mod backend;
mod backup;
mod create;
mod error;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::ensure;
use tokio::{task::spawn_blocking, time::sleep};
use xks_core::text::ErrorChain;
use xks_lifecycle::{
    Name, Repository, RepositoryError,
    commands::{Actor, Backends as ManagedBackends, Commands},
    schedule::Scheduler,
    seal::Root,
    store::{SqliteStore, StoreError},
};

use self::backend::NamedBackend;
pub(crate) use self::{
    backup::{back_up, restore},
    create::create,
    error::StartError,
};
use crate::{
    backends::Backends,
    program::Program,
    registry::ConfiguredBackend,
    settings::{AdminSettings, LifecycleSettings, RootPlace, RootSettings},
};

/// Between two times at which usage is added to the store.
const FLUSH: Duration = Duration::from_secs(30);
/// The time limit of the last time.
const LAST_FLUSH: Duration = Duration::from_secs(5);
/// A scheduler looks again after this time at the latest, since a command may have changed when a key is due.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Until the store is tried again that has failed.
const RETRY: Duration = Duration::from_secs(5);
/// Between two looks at which versions have made most of the encryptions that they may: what is left then is
/// enough for a day.
const LOOK_AT_COUNTS: Duration = Duration::from_secs(3600);

/// Keys under management that are served, and the commands that administration gives.
pub(crate) struct Running {
    pub(crate) commands: Arc<Commands>,
    #[expect(dead_code, reason = "for administration, which listens there")]
    pub(crate) admin: AdminSettings,
    pub(crate) backends: InUse,
    scheduler: Scheduler,
    actor: Actor,
    pub(crate) failures: Arc<Failures>,
}

/// The backends in which keys under management are made and used.
#[derive(Clone)]
pub(crate) struct InUse(Vec<Arc<NamedBackend>>);

impl InUse {
    /// Refuses settings that do not have these backends any more: which are in use is settled at the start.
    pub(crate) fn check(&self, new: &[ConfiguredBackend]) -> anyhow::Result<()> {
        let makes_keys = |name: &str| {
            let mut new = new.iter().filter(|new| new.name == name);
            new.any(|new| new.makes_no_keys().is_none())
        };
        for backend in &self.0 {
            let name = backend.name();
            ensure!(
                makes_keys(name),
                "[backends.{name}] has keys under management until the server is restarted: keep it"
            );
        }
        Ok(())
    }

    /// Takes those of the same names into use.
    pub(crate) fn replace(&self, new: &Backends) {
        for (backend, (_, new)) in self
            .0
            .iter()
            .filter_map(|old| Some((old, new.iter().find(|(name, _)| *name == old.name())?)))
        {
            backend.replace(new);
        }
    }
}

/// What has failed in the background since the start, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Versions that an earlier process has left half done, and that are so still.
    pub(crate) unrecovered: AtomicU64,
    /// Scheduled rotations that have failed.
    pub(crate) scheduled: AtomicU64,
    /// Times at which the store could not be read or written.
    pub(crate) store: AtomicU64,
}

fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

/// What gives commands without a person.
const ACTOR: &str = "server";

impl Running {
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
            let (_, open) = backends
                .iter()
                .find(|(known, _)| known == name)
                .ok_or_else(no_manager)?;
            let backend = Arc::new(NamedBackend::new(name, open).ok_or_else(no_manager)?);
            let name = Name::new("backends", name).map_err(|_| no_manager())?; // the settings were checked
            managed = managed.with(name, backend.clone(), backend.clone());
            in_use.push(backend);
        }
        let commands = Commands::new(repository, snapshot, managed, settings.deployment.clone());
        let commands = Arc::new(commands.with_manager_timeout(settings.manager_timeout));
        // It is a legal name.
        let actor = Actor::new(ACTOR).map_err(|_| StartError::Thread)?;
        let scheduler = Scheduler::new(Arc::clone(&commands), actor.clone())?;
        Ok(Self {
            scheduler,
            actor,
            commands,
            admin: settings.admin.clone(),
            backends: InUse(in_use),
            failures: Arc::default(),
        })
    }

    /// Finishes what an earlier process has left half done, and then does what is due, without end. No
    /// command should be given before the first is done.
    pub(crate) async fn run(self) {
        self.recover().await;
        self.tell_of_restores().await;
        let Self {
            commands,
            scheduler,
            actor,
            failures,
            ..
        } = self;
        tokio::join!(
            rotate_by_schedule(scheduler, &commands, &failures),
            rotate_by_count(&commands, &actor, &failures),
            keep_filled(&commands, &failures),
            keep_usage(&commands, &failures),
        );
    }

    /// Says that the state was restored from a backup, and which keys of the key managers it does not have.
    async fn tell_of_restores(&self) {
        let revision = self.commands.revision();
        let Some(restore) = self
            .commands
            .read(|snapshot| snapshot.restores().next_back().map(|entry| **entry))
        else {
            return;
        };
        let (time, backup) = (restore.time, restore.backup_time);
        if restore.revision == revision {
            tracing::warn!(
                "the state was restored on {time} from a backup of {backup}: what happened in between is not known; keys \
                 encrypt again when they are rotated, which begins now"
            );
        } else {
            tracing::info!("the state was restored on {time} from a backup of {backup}");
        }
        match self.commands.orphans().await {
            Ok(orphans) => {
                for orphan in orphans {
                    tracing::warn!(
                        backend = orphan.backend,
                        key = %orphan.backend_key,
                        version = %orphan.version,
                        "a key of this deployment is not in the restored state: what it has encrypted cannot be \
                         decrypted; do not destroy it"
                    );
                }
            }
            Err(error) => tracing::warn!(
                "whether key managers have keys that are not in the restored state is not known: {}",
                ErrorChain(&error)
            ),
        }
    }

    async fn recover(&self) {
        match self.commands.recover(&self.actor).await {
            Ok(recovered) => {
                add(&self.failures.unrecovered, recovered.failed.len());
                for version in &recovered.made {
                    tracing::warn!(%version, "a key that was being made when a process ended is made, and not active");
                }
                for version in &recovered.removed {
                    tracing::info!(%version, "the material of a destroyed key is destroyed in its key manager");
                }
                for (version, error) in &recovered.failed {
                    tracing::error!(
                        %version,
                        "what an earlier process has left half done cannot be finished: {}; give its command again, or \
                         restart when the key manager works",
                        ErrorChain(error)
                    );
                }
            }
            Err(error) => {
                add(&self.failures.store, 1);
                tracing::error!(
                    "what an earlier process has left half done is not finished: {}; restart when the store works",
                    ErrorChain(&error)
                );
            }
        }
    }
}

async fn rotate_by_schedule(mut scheduler: Scheduler, commands: &Commands, failures: &Failures) {
    loop {
        let ran = scheduler.run_due().await;
        for task in &ran.done {
            tracing::info!(%task, "done by schedule");
        }
        add(&failures.scheduled, ran.failed.len());
        for failure in &ran.failed {
            tracing::error!(
                task = %failure.task,
                attempts = failure.attempts,
                retry = %failure.retry,
                "failed by schedule: {}",
                ErrorChain(&failure.error)
            );
        }
        if let Some(error) = &ran.stopped {
            add(&failures.store, 1);
            tracing::error!("what is due by schedule waits: {}", ErrorChain(error));
            sleep(RETRY).await;
            continue;
        }
        let now = commands.now();
        let next = scheduler
            .next_due()
            .map(|due| due.seconds().saturating_sub(now.seconds()));
        let next = next.map_or(LONGEST_WAIT, Duration::from_secs);
        sleep(next.clamp(Duration::from_secs(1), LONGEST_WAIT)).await;
    }
}

/// Rotates keys whose version has made most of the encryptions that it may.
async fn rotate_by_count(commands: &Commands, actor: &Actor, failures: &Failures) {
    if let Err(error) = commands.load_counts().await {
        add(&failures.store, 1);
        tracing::error!("the counts of encryptions cannot be read: {}", ErrorChain(&error));
    }
    loop {
        for version in commands.versions_near_limit() {
            match commands.rotate(actor, &version.key, None).await {
                Ok(_) => tracing::info!(%version, "rotated: it has made most of the encryptions that it may"),
                Err(error) => {
                    add(&failures.scheduled, 1);
                    tracing::error!(
                        %version,
                        "not rotated, though it has made most of the encryptions that it may: {}; rotate the key",
                        ErrorChain(&error)
                    );
                }
            }
        }
        sleep(LOOK_AT_COUNTS).await;
    }
}

async fn keep_filled(commands: &Commands, failures: &Failures) {
    let counts = commands.counts();
    loop {
        counts.low().await;
        if let Err(error) = counts.refill().await {
            add(&failures.store, 1);
            tracing::error!(
                "no encryptions can be reserved, and soon none will be made: {}",
                ErrorChain(&error)
            );
            sleep(RETRY).await;
        }
    }
}

async fn keep_usage(commands: &Commands, failures: &Failures) {
    loop {
        sleep(FLUSH).await;
        if let Err(error) = commands.flush_usage().await {
            add(&failures.store, 1);
            tracing::error!("usage is not added to the store yet: {}", ErrorChain(&error));
        }
    }
}

/// Adds to the store, at the end, what keys were used for since the last time.
pub(crate) async fn close(commands: &Commands) {
    match tokio::time::timeout(LAST_FLUSH, commands.flush_usage()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("the last usage is not in the store: {}", ErrorChain(&error)),
        Err(_) => tracing::error!("the last usage is not in the store, which does not answer"),
    }
}

fn all_in_files(roots: &[RootSettings]) -> bool {
    roots.iter().all(|root| matches!(root.place, RootPlace::File(_)))
}

fn roots(settings: &[RootSettings], backends: &Backends) -> Result<Vec<Root>, StartError> {
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

async fn open_store(file: &Path) -> Result<SqliteStore, StartError> {
    let path = file.to_owned();
    let opened = spawn_blocking(move || SqliteStore::open(&path)).await;
    let opened: Result<_, StoreError> = opened.map_err(|_| StartError::Thread)?;
    opened.map_err(|error| StartError::Store(file.to_owned(), error))
}

/// Now, as the life cycle counts time.
fn now() -> xks_lifecycle::Timestamp {
    SystemTime::now().into()
}
