//! Nodes that run on one database, each as a process has it.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::Notify, task::JoinHandle};
use xks_backend_soft::SoftBackend;
use xks_core::{
    BackendError, KeyBackend as _, KeyId, async_trait,
    backend::{EncryptRequest, Layered, VerifiedEncryption},
    manage::{Capabilities, KeyDescription, KeyManager, KeyPage, ManageError, NewKey, WrappingKey},
    timer::{Sleep, Timer},
};
use xks_lifecycle::{
    KeySet, KeySetId, KeySource, Name, Repository, Tenant, TenantId, Timestamp,
    commands::{Actor, Backends, Commands, Deployment},
    nodes::{Node, Terms},
    seal::Root,
    store::PostgresStore,
};

use crate::{server::Database, support::soon};

/// The clocks and timers of this process. Nothing is suspended in a test.
struct Real(Instant);

impl Timer for Real {
    fn lease_clock(&self) -> Option<Duration> {
        Some(self.0.elapsed())
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        Some(Box::pin(tokio::time::sleep(duration)))
    }
}

/// The key manager of a node, in which an encryption, the check value of material, or the end of a key, stops
/// when a test wants it to.
#[derive(Default)]
pub(crate) struct Hsm {
    pub(crate) soft: Arc<SoftBackend>,
    pub(crate) stops: AtomicBool,
    pub(crate) stops_to_check: AtomicBool,
    pub(crate) stops_to_destroy: AtomicBool,
    /// A call has come to where it stops.
    pub(crate) is_there: Notify,
    pub(crate) goes_on: Notify,
}

#[async_trait]
impl Layered for Hsm {
    type Inner = SoftBackend;

    fn inner(&self) -> &SoftBackend {
        &self.soft
    }

    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        if self.stops.swap(false, Ordering::Relaxed) {
            self.is_there.notify_one();
            self.goes_on.notified().await;
        }
        self.soft.encrypt_verified(key, request).await
    }
}

#[async_trait]
impl KeyManager for Hsm {
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError> {
        self.soft.capabilities(deadline).await
    }

    async fn create_key(&self, key: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        self.soft.create_key(key, deadline).await
    }

    async fn keys(
        &self,
        after: Option<&KeyId>,
        limit: NonZeroUsize,
        deadline: Instant,
    ) -> Result<KeyPage, ManageError> {
        self.soft.keys(after, limit, deadline).await
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        KeyManager::key(&*self.soft, id, deadline).await
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        if self.stops_to_destroy.swap(false, Ordering::Relaxed) {
            self.is_there.notify_one();
            self.goes_on.notified().await;
        }
        self.soft.destroy_key(id, deadline).await
    }

    async fn wrap_key(&self, id: &KeyId, key: &WrappingKey, deadline: Instant) -> Result<Vec<u8>, ManageError> {
        self.soft.wrap_key(id, key, deadline).await
    }

    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        if self.stops_to_check.swap(false, Ordering::Relaxed) {
            self.is_there.notify_one();
            self.goes_on.notified().await;
        }
        self.soft.cmac(id, message, deadline).await
    }
}

/// A state on a database, and the root that opens it.
pub(crate) async fn state_of(database: &Database) -> Root {
    let path = database.server.file(&format!("root of {}", database.name));
    Root::create_file(&path).unwrap();
    let root = Root::file("recovery", &path).unwrap();
    let store = Arc::new(database.open().await);
    let now = SystemTime::now().into();
    drop(
        Repository::create(store, std::slice::from_ref(&root), now)
            .await
            .unwrap(),
    );
    root
}

/// A node that has joined.
pub(crate) struct Running {
    pub(crate) hsm: Arc<Hsm>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) store: Arc<PostgresStore>,
    /// How many seconds its time is ahead.
    pub(crate) ahead: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(
        database: &Database,
        root: &Root,
        name: &str,
        lease: Duration,
        soft: Arc<SoftBackend>,
    ) -> Self {
        let hsm = Arc::new(Hsm { soft, ..Hsm::default() });
        let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), hsm.clone(), hsm.clone());
        let store = Arc::new(database.open().await);
        let roots = std::slice::from_ref(root);
        let (repository, snapshot) = Repository::open(Arc::clone(&store) as _, roots).await.unwrap();
        let name = Name::new("node", name).unwrap();
        let node = Node::new(&name, Terms::new(lease), Arc::new(Real(Instant::now()))).unwrap();
        let ahead = Arc::new(AtomicU64::new(0));
        let seconds = Arc::clone(&ahead);
        let now = move || Timestamp::from(SystemTime::now()).plus_seconds(seconds.load(Ordering::Relaxed));
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap());
        let commands = Arc::new(commands.with_clock(now).with_node(Arc::new(node)));
        let run = Arc::clone(&commands);
        let running = Self {
            hsm,
            commands,
            store,
            ahead,
            task: tokio::spawn(async move { run.node().unwrap().run(&run).await }),
        };
        let node = running.commands.node().unwrap();
        soon(async {
            while node.lease().enter().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        running
    }

    /// Makes a key set whose keys are in the key manager.
    pub(crate) async fn key_set(&self, actor: &Actor) -> KeySetId {
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
        let id = set.id;
        self.commands.create(actor, tenant).await.unwrap();
        self.commands.create(actor, set).await.unwrap();
        id
    }

    /// Renews its lease no more, as when the process is stopped.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    pub(crate) async fn leave(self) {
        self.commands.node().unwrap().leave();
        soon(self.task).await.unwrap();
    }
}
