//! Two nodes with key managers of their own, of which the second is synchronised late, on one database.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use xks_backend_soft::SoftBackend;
use xks_core::timer::{Sleep, Timer};
use xks_lifecycle::{
    KeySet, KeySetId, KeySource, Name, Repository, Tenant, TenantId, VersionState,
    commands::{Actor, Backends, CommandError, Commands, CreateKey, Deployment},
    key_state::{KeyCommand, KeyState},
    nodes::{Node, Terms},
    seal::Root,
    store::{ClaimKind, PostgresStore, Store as _},
};

use crate::{
    server::{Database, RUNTIME},
    support::soon,
};

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

/// A node, as one process has it.
pub(crate) struct Running {
    pub(crate) hsm: Arc<SoftBackend>,
    pub(crate) commands: Arc<Commands>,
    store: Arc<PostgresStore>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(database: &Database, root: &Root, name: &str, lease: Duration) -> Self {
        let hsm = Arc::new(SoftBackend::new());
        let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), hsm.clone(), hsm.clone());
        let store = Arc::new(database.open().await);
        let roots = std::slice::from_ref(root);
        let (repository, snapshot) = Repository::open(Arc::clone(&store) as _, roots).await.unwrap();
        let node = Node::new(
            &Name::new("node", name).unwrap(),
            Terms::new(lease),
            Arc::new(Real(Instant::now())),
        )
        .unwrap();
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap());
        let commands = Arc::new(commands.with_node(Arc::new(node)));
        let run = Arc::clone(&commands);
        let task = tokio::spawn(async move { run.node().unwrap().run(&run).await });
        let running = Self {
            hsm,
            commands,
            store,
            task,
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

    async fn leave(self) {
        self.commands.node().unwrap().leave();
        soon(self.task).await.unwrap();
    }
}

fn synchronise(from: &SoftBackend, to: &SoftBackend) {
    for id in from.key_ids() {
        to.insert(id.clone(), from.key(&id).unwrap());
    }
}

#[test]
fn a_version_waits_for_the_node_that_is_synchronised_late() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let path = database.server.file("root of the nodes");
        if !path.exists() {
            Root::create_file(&path).unwrap();
        }
        let root = Root::file("recovery", &path).unwrap();
        let now = std::time::SystemTime::now().into();
        let store = Arc::new(database.open().await);
        drop(
            Repository::create(store, std::slice::from_ref(&root), now)
                .await
                .unwrap(),
        );
        let lease = Duration::from_secs(20);
        let a = Running::start(&database, &root, "a", lease).await;
        let b = Running::start(&database, &root, "b", lease).await;
        let alice = Actor::new("alice").unwrap();
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
        let spec = CreateKey::new(set.id, "Key").unwrap();
        a.commands.create(&alice, tenant).await.unwrap();
        a.commands.create(&alice, set).await.unwrap();

        // Its creator waits, and goes on when the other one has got it.
        let making = {
            let (commands, alice) = (Arc::clone(&a.commands), alice.clone());
            tokio::spawn(async move { commands.create_key(&alice, spec).await })
        };
        let blocked = || {
            let row = b.commands.node().unwrap().row();
            row.is_some_and(|row| row.usable.failed.len() == 1)
        };
        soon(async {
            while !blocked() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert!(!making.is_finished());
        assert_eq!(a.store.claims(ClaimKind::KnownAnswer).await.unwrap().0.len(), 1);
        synchronise(&a.hsm, &b.hsm);
        let made = soon(making).await.unwrap().unwrap();
        assert_eq!(
            (made.state, made.versions[0].state),
            (KeyState::Enabled, VersionState::Current)
        );
        assert!(a.store.claims(ClaimKind::KnownAnswer).await.unwrap().0.is_empty());
        assert!(b.commands.key(&made.key.id).is_ok(), "it has taken it in");

        // A rotation that gives up says who cannot use it, and is ended by a command on another node.
        let id = made.key.id;
        let hurried = Running::start(&database, &root, "hurried", lease).await;
        synchronise(&a.hsm, &hurried.hsm);
        let patient = hurried.commands.confirm_usable(hurried.commands.revision()).await;
        assert!(patient.is_confirmed(), "{patient:?}");
        let confirmation = {
            let store = Arc::clone(&hurried.store);
            let roots = std::slice::from_ref(&root);
            let (repository, snapshot) = Repository::open(store, roots).await.unwrap();
            let name = Name::new("name", "hsm").unwrap();
            let backends = Backends::new().with(name, hurried.hsm.clone(), hurried.hsm.clone());
            let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap());
            let commands = commands
                .with_node(Arc::clone(hurried.commands.node().unwrap()))
                .with_patience(Duration::from_secs(3));
            match commands.rotate(&alice, &id, None).await.unwrap_err() {
                CommandError::NotConfirmed { confirmation } => confirmation,
                error => panic!("{error}"),
            }
        };
        let mut missing: Vec<_> = confirmation.missing.iter().map(|missing| &*missing.node).collect();
        missing.sort_unstable();
        assert_eq!(missing, ["a", "b"], "{confirmation:?}");
        hurried.commands.refresh().await.unwrap();
        let entry = hurried.commands.key(&id).unwrap();
        assert_eq!(entry.versions.len(), 2);
        assert!(
            entry
                .versions
                .iter()
                .any(|version| version.state == VersionState::Published)
        );
        synchronise(&hurried.hsm, &a.hsm);
        synchronise(&hurried.hsm, &b.hsm);
        let entry = b.commands.rotate(&alice, &id, None).await.unwrap();
        let current = entry
            .versions
            .iter()
            .find(|version| version.state == VersionState::Current);
        assert_eq!(current.unwrap().number, 2);

        // Nodes that have left are not waited for.
        hurried.leave().await;
        let (entry, took) = {
            let begun = tokio::time::Instant::now();
            let entry = a
                .commands
                .change_key(&alice, &id, None, KeyCommand::Disable)
                .await
                .unwrap();
            let confirmation = a.commands.confirm(entry.revision).await;
            assert!(confirmation.is_confirmed(), "{confirmation:?}");
            (entry, begun.elapsed())
        };
        println!("disabled on two nodes within {took:?}");
        assert!(b.commands.revision() >= entry.revision);
        a.leave().await;
        b.leave().await;
        assert!(store_is_empty_of_nodes(&database).await);
    });
}

async fn store_is_empty_of_nodes(database: &Database) -> bool {
    database
        .open()
        .await
        .claims(ClaimKind::Node)
        .await
        .unwrap()
        .0
        .is_empty()
}
