//! This process as one of several nodes on a database.
//!
//! The connections to the database and the renewals of the lease have two threads of their own: neither
//! requests nor a key manager that hangs can hold them up.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::{sleep, timeout},
};
use xks_core::text::ErrorChain;
use xks_lifecycle::{
    commands::Commands,
    nodes::{Node, Terms},
    store::{ClaimKind, Store},
};

use super::{StartError, open::open_store};
use crate::{
    settings::{NodeSettings, StorePlace},
    timer::ServerTimer,
};

/// How long the row may take to be deleted at the end. A row that stays costs the others a lease.
const LEAVE: Duration = Duration::from_secs(5);
/// Between two looks whether the node has joined.
const LOOK: Duration = Duration::from_millis(10);

/// The node, and what it runs on.
pub(crate) struct OwnNode {
    node: Arc<Node>,
    store: Arc<dyn Store>,
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
    pub(super) async fn open(
        place: &StorePlace,
        settings: &NodeSettings,
    ) -> Result<(Arc<dyn Store>, Self), StartError> {
        let node = Node::new(&settings.name, Terms::new(settings.lease), Arc::new(ServerTimer))?;
        // Two, since a revision that is being read keeps one of them.
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("xks-node")
            .enable_all()
            .build();
        let runtime = runtime.map_err(StartError::Threads)?;
        let (place, lease) = (place.clone(), settings.lease);
        let opening = runtime.spawn(async move { open_store(&place, Some(lease)).await });
        let runtime = Threads(Some(runtime));
        let store = opening.await.map_err(|_| StartError::Thread)??;
        Ok((
            Arc::clone(&store),
            Self {
                node: Arc::new(node),
                store,
                runtime,
            },
        ))
    }

    pub(super) fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// Joins the others, and renews the lease from now on.
    pub(crate) fn start(self, commands: &Arc<Commands>) -> LiveNode {
        let (node, commands) = (Arc::clone(&self.node), Arc::clone(commands));
        let running = async move { node.run(&commands).await };
        LiveNode {
            running: self.runtime.0.as_ref().map(|runtime| runtime.spawn(running)),
            own: self,
        }
    }
}

/// The node while it lives.
pub(crate) struct LiveNode {
    own: OwnNode,
    running: Option<JoinHandle<()>>,
}

impl LiveNode {
    /// Returns what says when the node has joined.
    pub(crate) fn joined(&self) -> impl Future<Output = ()> + Send + 'static {
        joined(self.own.node())
    }

    /// Returns what says whether it is the only one.
    pub(crate) fn company(&self) -> Company {
        Company {
            node: self.own.node(),
            store: Arc::clone(&self.own.store),
        }
    }

    /// Deletes its row. To be called when the last answer has gone.
    pub(crate) async fn leave(self) {
        self.own.node.leave();
        let Some(running) = self.running else { return };
        match timeout(LEAVE, running).await {
            Ok(_) => tracing::info!("this node has left the others"),
            Err(_) => tracing::warn!(
                "the database does not answer, so that this node did not leave: commands of the others wait until its \
                 lease has ended"
            ),
        }
    }
}

async fn joined(node: Arc<Node>) {
    while node.lease().enter().is_none() {
        sleep(LOOK).await;
    }
}

/// The other nodes, as a start sees them.
pub(crate) struct Company {
    node: Arc<Node>,
    store: Arc<dyn Store>,
}

impl Company {
    /// Waits until this node has joined, and returns whether no other has a row.
    pub(super) async fn is_alone(&self) -> bool {
        joined(Arc::clone(&self.node)).await;
        let own = self.node.row().map(|row| row.id());
        match self.store.claims(ClaimKind::Node).await {
            Ok((claims, _)) => claims.iter().all(|claim| Some(&*claim.id) == own.as_deref()),
            Err(error) => {
                tracing::error!("whether there are other nodes is not known: {}", ErrorChain(&error));
                false
            }
        }
    }
}
