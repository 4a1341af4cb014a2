//! A state with a key set of each source, a key manager that can fail, and a clock that is set by hand.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use pollster::block_on;
use xks_backend_soft::SoftBackend;
use xks_core::{
    KeyId, async_trait,
    backend::KeyStatus,
    manage::{Capabilities, KeyDescription, KeyManager, KeyPage, ManageError, ManageErrorKind, NewKey, WrappingKey},
};
use xks_lifecycle::{
    Event, KeySet, KeySetId, KeySource, KeyVersionId, Name, Repository, Tenant, TenantId, WaitingDays, backup,
    commands::{Actor, Backends, Commands, CreateKey, Deployment, KeyEntry},
    key_state::{KeyCommand, VersionCommand},
    seal::Root,
    store::{MemoryStore, Store},
};

use crate::support::{TempDir, at};

pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// How the next call of a key manager that changes something goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It does nothing.
    Before(ManageErrorKind),
    /// It makes the change, and its answer is lost.
    After(ManageErrorKind),
    /// It does not.
    None,
}

/// The manager of a soft backend, which fails when a test wants it to.
pub(crate) struct Manager {
    pub(crate) soft: Arc<SoftBackend>,
    faults: Mutex<Vec<Fault>>,
    /// Whether it makes keys that can be wrapped, though it was asked for others.
    pub(crate) is_loose: AtomicBool,
    /// Whether the value of its keys can be read.
    pub(crate) is_readable: AtomicBool,
    /// Whether it makes keys that cannot be wrapped, though it was asked for others.
    pub(crate) is_tight: AtomicBool,
    /// Whether it wraps no keys.
    pub(crate) wraps_nothing: AtomicBool,
    /// Whether it makes keys that do not serve.
    pub(crate) is_idle: AtomicBool,
    /// How many keys serve that it makes next, before those that do not.
    serving: AtomicU64,
}

impl Manager {
    pub(crate) fn new(soft: SoftBackend) -> Arc<Self> {
        let soft = Arc::new(soft);
        Arc::new(Self {
            soft,
            faults: Mutex::default(),
            is_loose: AtomicBool::new(false),
            is_readable: AtomicBool::new(false),
            is_tight: AtomicBool::new(false),
            wraps_nothing: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
            serving: AtomicU64::new(u64::MAX),
        })
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Makes so many keys that serve, and others then.
    pub(crate) fn idle_from(&self, count: u64) {
        self.serving.store(count, Ordering::Relaxed);
    }

    /// The labels of the keys that it has.
    pub(crate) fn labels(&self) -> Vec<String> {
        self.soft.key_ids().iter().map(ToString::to_string).collect()
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, ManageError>>) -> Result<T, ManageError> {
        let fault = self.faults.lock().unwrap().pop();
        match fault {
            None | Some(Fault::None) => call.await,
            Some(Fault::Before(kind)) => Err(kind.into()),
            Some(Fault::After(kind)) => {
                call.await?;
                Err(kind.into())
            }
        }
    }
}

#[async_trait]
impl KeyManager for Manager {
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError> {
        let can = self.soft.capabilities(deadline).await?;
        Ok(match self.wraps_nothing.load(Ordering::Relaxed) {
            true => can.with_wrapping([]),
            false => can,
        })
    }

    async fn create_key(&self, key: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        let id = self.call(self.soft.create_key(key, deadline)).await?;
        let one_less = |serving: u64| serving.checked_sub(1);
        let serves = self
            .serving
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if self.is_idle.load(Ordering::Relaxed) || serves.is_err() {
            self.soft.set_status(&id, KeyStatus::Disabled).unwrap();
        }
        Ok(id)
    }

    async fn keys(&self, after: Option<&KeyId>, limit: NonZeroUsize, by: Instant) -> Result<KeyPage, ManageError> {
        self.soft.keys(after, limit, by).await
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        let described = KeyManager::key(&*self.soft, id, deadline).await?;
        let described = described.with_sensitive(!self.is_readable.load(Ordering::Relaxed));
        if self.is_tight.load(Ordering::Relaxed) {
            return Ok(described.with_extractable(false));
        }
        Ok(if self.is_loose.load(Ordering::Relaxed) {
            described.with_extractable(true)
        } else {
            described
        })
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        self.call(self.soft.destroy_key(id, deadline)).await
    }

    async fn set_status(&self, id: &KeyId, status: KeyStatus, deadline: Instant) -> Result<(), ManageError> {
        KeyManager::set_status(&*self.soft, id, status, deadline).await
    }

    async fn wrap_key(&self, id: &KeyId, key: &WrappingKey, deadline: Instant) -> Result<Vec<u8>, ManageError> {
        self.call(self.soft.wrap_key(id, key, deadline)).await
    }

    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        self.soft.cmac(id, message, deadline).await
    }
}

pub(crate) struct World {
    pub(crate) commands: Commands,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) manager: Arc<Manager>,
    pub(crate) tenant: TenantId,
    pub(crate) hsm: KeySetId,
    pub(crate) vault: KeySetId,
    pub(crate) adopted: KeySetId,
    clock: Arc<AtomicU64>,
    root: Root,
    _directory: TempDir,
}

pub(crate) fn alice() -> &'static Actor {
    static ALICE: LazyLock<Actor> = LazyLock::new(|| Actor::new("alice").unwrap());
    &ALICE
}

impl World {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new()))
    }

    pub(crate) fn over(store: Arc<dyn Store>) -> Self {
        let directory = TempDir::new();
        let root = directory.root("first");
        let manager = Manager::new(SoftBackend::new());
        let clock = Arc::new(AtomicU64::new(START));
        let made = Repository::create(Arc::clone(&store), std::slice::from_ref(&root), at(START));
        let (repository, snapshot) = block_on(made).unwrap();
        let commands = commands(repository, snapshot, &manager, &clock);
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let id = tenant.id;
        block_on(commands.create(alice(), tenant)).unwrap();
        let set = |source: KeySource| {
            let mut set = KeySet::new(KeySetId::generate().unwrap(), id, source.as_str(), source).unwrap();
            set.waiting = WaitingDays::new(7).unwrap();
            let id = set.id;
            block_on(commands.create(alice(), set)).unwrap();
            id
        };
        let (hsm, vault, adopted) = (set(KeySource::Hsm), set(KeySource::Vault), set(KeySource::Adopted));
        Self {
            commands,
            store,
            manager,
            tenant: id,
            hsm,
            vault,
            adopted,
            clock,
            root,
            _directory: directory,
        }
    }

    /// Another process on the same state, as of a later start or on another node.
    pub(crate) fn another(&self) -> Commands {
        let (repository, snapshot) = self.repository();
        commands(repository, snapshot, &self.manager, &self.clock)
    }

    pub(crate) fn repository(&self) -> (Repository, xks_lifecycle::Snapshot) {
        let opened = Repository::open(Arc::clone(&self.store), std::slice::from_ref(&self.root));
        block_on(opened).unwrap()
    }

    /// A process on a store into which a backup was restored.
    pub(crate) fn restored(&self, backup: &Path, store: Arc<dyn Store>) -> Commands {
        let now = at(self.clock.load(Ordering::Relaxed));
        let restored = backup::restore(backup, store, std::slice::from_ref(&self.root), alice(), now);
        let (repository, snapshot) = block_on(restored).unwrap();
        commands(repository, snapshot, &self.manager, &self.clock)
    }

    pub(crate) fn wait(&self, days: u64) {
        self.wait_seconds(days * DAY);
    }

    pub(crate) fn wait_seconds(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    /// What moves the clock, for hooks.
    pub(crate) fn clock(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn create(&self, set: KeySetId, name: &str) -> KeyEntry {
        block_on(self.commands.create_key(alice(), CreateKey::new(set, name).unwrap())).unwrap()
    }

    pub(crate) fn change(&self, id: &KeyId, command: KeyCommand) -> Result<KeyEntry, xks_lifecycle::CommandError> {
        block_on(self.commands.change_key(alice(), id, None, command))
    }

    pub(crate) fn rotate(&self, id: &KeyId) -> Result<KeyEntry, xks_lifecycle::CommandError> {
        block_on(self.commands.rotate(alice(), id, None))
    }

    pub(crate) fn change_version(
        &self,
        id: &KeyVersionId,
        command: VersionCommand,
    ) -> Result<KeyEntry, xks_lifecycle::CommandError> {
        block_on(self.commands.change_version(alice(), id, None, command))
    }

    /// A key whose waiting time is over.
    pub(crate) fn doomed(&self, set: KeySetId, name: &str) -> KeyEntry {
        let key = self.create(set, name);
        self.change(&key.key.id, KeyCommand::ScheduleDeletion(None)).unwrap();
        self.wait(7);
        self.commands.key(&key.key.id).unwrap()
    }

    /// The events after those of the sets' creation.
    pub(crate) fn events(&self) -> Vec<Event> {
        let events = block_on(self.commands.events(4, 1000)).unwrap();
        events.into_iter().map(|(_, event)| event).collect()
    }

    pub(crate) fn told(&self) -> Vec<String> {
        let told = |event: &Event| format!("{} {}", event.command, event.outcome);
        self.events().iter().map(told).collect()
    }
}

fn commands(
    repository: Repository,
    snapshot: xks_lifecycle::Snapshot,
    manager: &Arc<Manager>,
    clock: &Arc<AtomicU64>,
) -> Commands {
    let hsm = Name::new("name", "hsm").unwrap();
    let backends = Backends::new().with(hsm, Arc::clone(&manager.soft) as _, Arc::clone(manager) as _);
    let clock = Arc::clone(clock);
    Commands::new(repository, snapshot, backends, Deployment::new("test").unwrap())
        .with_clock(move || at(clock.load(Ordering::Relaxed)))
}
