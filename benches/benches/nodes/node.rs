//! A node as a server process has it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::{sleep, timeout},
};
use xks_core::{
    KeyId,
    timer::{Sleep, Timer},
};
use xks_lifecycle::{
    Name, Repository,
    commands::{Actor, Backends, Commands, Deployment},
    key_state::KeyCommand,
    nodes::{Node as Member, Terms},
    seal::Root,
    store::{PostgresSettings, PostgresStore},
};

/// The clocks of the server.
struct Clocks;

impl Timer for Clocks {
    fn lease_clock(&self) -> Option<Duration> {
        clock_gettime(ClockId::Boottime).try_into().ok()
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        Some(Box::pin(sleep(duration)))
    }
}

/// A node that has joined, on two threads of its own.
pub(crate) struct Node {
    pub(crate) commands: Arc<Commands>,
    runtime: Runtime,
    task: JoinHandle<()>,
}

impl Node {
    pub(crate) fn start(name: &str, settings: PostgresSettings, root: &Root, lease: Duration) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(format!("node-{name}"))
            .enable_all()
            .build()
            .unwrap();
        let commands = runtime.block_on(async {
            let renewal = Terms::new(lease).renewal();
            let limits = (
                renewal.clamp(Duration::from_secs(1), Duration::from_secs(5)),
                Duration::from_secs(5),
            );
            let settings = settings.timeout(limits.0).poll(renewal.min(limits.1));
            let store = Arc::new(PostgresStore::open(settings).await.unwrap());
            let (repository, snapshot) = Repository::open(store, std::slice::from_ref(root)).await.unwrap();
            let name = Name::new("node", name).unwrap();
            let member = Member::new(&name, Terms::new(lease), Arc::new(Clocks)).unwrap();
            let commands = Commands::new(repository, snapshot, Backends::new(), deployment());
            Arc::new(commands.with_node(Arc::new(member)))
        });
        let run = Arc::clone(&commands);
        let task = runtime.spawn(async move {
            let counts = async {
                run.load_counts().await.unwrap();
                loop {
                    run.counts().low().await;
                    run.counts().refill().await.unwrap();
                }
            };
            tokio::select! {
                () = run.node().unwrap().run(&run) => {}
                () = counts => {}
            }
        });
        let node = Self {
            commands,
            runtime,
            task,
        };
        node.wait(async {
            while node.member().lease().enter().is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        });
        node
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let soon = async { timeout(Duration::from_secs(30), work).await };
        self.runtime.block_on(soon).expect("the database answers")
    }

    fn member(&self) -> &Member {
        self.commands.node().unwrap()
    }

    /// How often the lease was renewed.
    pub(crate) fn counter(&self) -> u64 {
        self.member().row().map_or(0, |row| row.counter)
    }

    /// Gives a command on a key, and waits until all nodes have confirmed it. Returns when its commit had
    /// returned.
    pub(crate) fn command(&self, key: &KeyId, command: KeyCommand) -> Instant {
        let work = async {
            let entry = self.commands.change_key(&actor(), key, None, command).await.unwrap();
            let committed = Instant::now();
            let confirmation = self.commands.confirm(entry.revision).await;
            assert!(confirmation.is_confirmed(), "{confirmation:?}");
            assert_eq!(confirmation.confirmed.len(), 3, "{confirmation:?}");
            committed
        };
        self.wait(work)
    }

    pub(crate) fn leave(self) {
        self.member().leave();
        let Self { runtime, task, .. } = self;
        runtime.block_on(task).unwrap();
    }
}

pub(crate) fn actor() -> Actor {
    Actor::new("benches").unwrap()
}

pub(crate) fn deployment() -> Deployment {
    Deployment::new("benches").unwrap()
}

/// The time for a state that is made.
pub(crate) fn now() -> xks_lifecycle::Timestamp {
    SystemTime::now().into()
}
