//! This process as one of several nodes on a database.
//!
//! The connections to the database and the renewals of the lease have two threads of their own: neither
//! requests nor a key manager that hangs can hold them up.

use std::{net::SocketAddr, sync::Arc, time::Duration};

#[cfg(feature = "postgres")]
use tokio::runtime::Builder;
use tokio::{
    runtime::Runtime,
    task::JoinHandle,
    time::{sleep, timeout},
};
#[cfg(feature = "postgres")]
use xks_lifecycle::nodes::Terms;
use xks_lifecycle::{
    commands::Commands,
    nodes::Node,
    store::{ClaimKind, Store},
};

#[cfg(feature = "postgres")]
use super::{
    StartError,
    open::{named, open_database},
};
use super::{
    facts,
    node_meter::NodeMeter,
    node_watch::{Database, Watch},
};
use crate::reconciler::Reconciler;
#[cfg(feature = "postgres")]
use crate::{
    program::Program,
    settings::{DatabaseSettings, NodeSettings, StorePlace},
    timer::ServerTimer,
};

/// How long the row may take to be deleted at the end. A row that stays costs the others a lease.
const LEAVE: Duration = Duration::from_secs(5);
/// Between two looks whether the node has joined.
const LOOK: Duration = Duration::from_millis(10);

/// The node, and what it runs on.
pub(crate) struct OwnNode {
    node: Arc<Node>,
    meter: NodeMeter,
    lease: Duration,
    serves_on: bool,
    database: Database,
    runtime: Threads,
}

/// A runtime, which may be dropped in another one.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl OwnNode {
    /// Opens the store, and prepares the node, which has not joined yet.
    #[cfg(feature = "postgres")]
    pub(super) async fn open(
        database: &DatabaseSettings,
        settings: &NodeSettings,
        program: Program,
    ) -> Result<Self, StartError> {
        let node = Node::new(&settings.name, Terms::new(settings.lease), Arc::new(ServerTimer))?;
        let node = Arc::new(match settings.serves_on {
            true => node.serving_on(),
            false => node,
        });
        // Two, since a revision that is being read keeps one of them.
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("xks-node")
            .enable_all()
            .build();
        let runtime = runtime.map_err(StartError::Threads)?;
        let (own, lease) = (database.clone(), settings.lease);
        let opening = runtime.spawn(async move { open_database(&own, Some(lease)).await });
        let runtime = Threads(Some(runtime));
        let postgres = opening.await.map_err(|_| StartError::Thread)??;
        Ok(Self {
            meter: NodeMeter::new(Arc::clone(&node), settings.name.as_str(), program.version, lease),
            node,
            lease,
            serves_on: settings.serves_on,
            database: Database {
                place: named(&StorePlace::Database(database.clone())),
                store: Arc::clone(&postgres) as _,
                postgres,
            },
            runtime,
        })
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.database.store)
    }

    pub(super) fn meter(&self) -> NodeMeter {
        self.meter.clone()
    }

    pub(super) fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// Joins the others, and renews the lease from now on.
    pub(crate) fn start(self, commands: &Arc<Commands>) -> LiveNode {
        let watch = Watch {
            meter: self.meter.clone(),
            database: self.database.clone(),
            commands: Arc::clone(commands),
            lease: self.lease,
            serves_on: self.serves_on,
        };
        let (node, commands) = (Arc::clone(&self.node), Arc::clone(commands));
        let running = async move { node.run(&commands).await };
        let watching = watch.run();
        let runtime = self.runtime.0.as_ref();
        let (running, watching) = runtime
            .map(|runtime| (runtime.spawn(running), runtime.spawn(watching)))
            .unzip();
        LiveNode {
            running,
            watching,
            own: self,
        }
    }
}

/// The node while it lives.
pub(crate) struct LiveNode {
    own: OwnNode,
    running: Option<JoinHandle<()>>,
    watching: Option<JoinHandle<()>>,
}

impl LiveNode {
    /// Returns what says when the node has joined.
    pub(crate) fn joined(&self) -> impl Future<Output = ()> + Send + 'static {
        joined(self.own.node())
    }

    /// Returns what says whether it has a lease.
    pub(crate) fn has_lease(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let meter = self.own.meter();
        move || meter.has_lease()
    }

    /// Keeps the facts in this node's row current. To be called within a runtime.
    pub(crate) fn tell(&self, reconciler: &Arc<Reconciler>, version: &'static str, address: SocketAddr) {
        let (node, reconciler) = (self.own.node(), Arc::clone(reconciler));
        // At once, so that the first row has it.
        node.set_facts(facts::look(&reconciler, version, &address.to_string()));
        tokio::spawn(facts::keep(node, reconciler, version, address.to_string()));
    }

    /// Deletes its row. To be called when the last answer has gone.
    pub(crate) async fn leave(self) {
        if let Some(watching) = &self.watching {
            watching.abort(); // that it has no lease any more is meant
        }
        let own = self.own.node.row().map(|row| row.id());
        self.own.node.leave();
        let Some(running) = self.running else { return };
        let left = timeout(LEAVE, async {
            let _ = running.await; // it does not panic
            let claims = self.own.database.store.claims(ClaimKind::Node).await;
            claims.is_ok_and(|(claims, _)| claims.iter().all(|claim| Some(&*claim.id) != own.as_deref()))
        });
        match left.await {
            Ok(true) => tracing::info!("this node has left the others"),
            _ => tracing::warn!(
                "the database does not answer, so that this node did not leave: commands of the others wait until its \
                 lease has ended"
            ),
        }
    }
}

/// Waits until a node has joined.
pub(super) async fn joined(node: Arc<Node>) {
    while node.lease().enter().is_none() {
        sleep(LOOK).await;
    }
}
