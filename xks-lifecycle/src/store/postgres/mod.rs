//! A store in a PostgreSQL database, which several nodes share.
//!
//! * **Runtime**: its connections are tasks of the Tokio runtime that [`PostgresStore::open`] is called in.
//!   Its other calls work on any runtime, or none.
//! * **Connections**, four for each store: one for commands, one for claims, so that no lease waits behind a
//!   command, one for loads, and one that listens. Each transaction has its connection for itself. One that
//!   has failed in any way is closed, and the next call connects again, with pauses.
//! * **Nothing is cancelled**: a call whose future is dropped is still made, and an answer that takes too
//!   long closes the connection. A commit that was not answered may have been made.
//! * **Order**: the head's row is locked by a commit and updated last, so that revisions are committed in
//!   their order.
//! * **Notifications** are sent by commits alone, and only wake: every node reads the revision every few
//!   seconds too. Behind a pooler that shares connections between transactions (pgbouncer) none arrive;
//!   [`PostgresStore::warning`] says so.
//! * **TLS** with the host's name verified, unless the database is on this host.

mod cell;
mod connection;
mod error;
mod lane;
mod listener;
mod schema;
mod settings;
mod statements;
mod tls;

use std::{fmt, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::runtime::Handle;
use xks_core::async_trait;

pub use self::settings::PostgresSettings;
use self::{
    lane::Lane,
    listener::{Known, Listener},
};
use super::{
    ChangeSet, Claim, ClaimKind, Durability, Head, Revision, RowSink, Scope, Store, StoreError, Swap, Swapped, sql,
};
use crate::Event;

/// The channel of notifications. Each database has its own of that name.
const CHANNEL: &str = "xks_revision";

/// What an operator should know of a store that works.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PostgresWarning {
    /// Notifications do not arrive.
    #[error(
        "notifications of the database do not arrive, so that commits of other nodes are noticed up to {} ms \
         later: a pooler between, such as pgbouncer with `pool_mode = transaction`, does not pass them on; let \
         `url` name the database itself",
        poll.as_millis()
    )]
    NoNotifications {
        /// How often the revision is read instead.
        poll: Duration,
    },
    /// The connection that listens is lost; it is made again.
    #[error("the database cannot be asked for commits of other nodes: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
}

/// A store in a PostgreSQL database. Several nodes share it.
pub struct PostgresStore {
    settings: Arc<PostgresSettings>,
    runtime: Handle,
    lanes: Arc<Lanes>,
    known: Arc<Known>,
    _listener: Listener,
}

/// The connections.
struct Lanes {
    commands: Lane,
    claims: Lane,
    loads: Lane,
}

impl PostgresStore {
    /// The schema version that this program writes, as `xks.store` in the database shows it.
    pub const SCHEMA: u32 = sql::VERSION;

    /// Connects to a database, and brings an older schema to that of this version: it may be one version
    /// older, or later, than that of the other nodes. Takes a Tokio runtime with timer and network, which
    /// runs the store's connections as long as the store is there.
    ///
    /// The database's user needs to be its owner, or of a schema `xks` in it.
    ///
    /// # Errors
    /// [`StoreError::Setting`], [`StoreError::Refused`], [`StoreError::NewerSchema`], and those of a store
    /// that cannot be read or written.
    pub async fn open(settings: PostgresSettings) -> Result<Self, StoreError> {
        let runtime = Handle::try_current();
        let runtime = runtime.map_err(|error| StoreError::unavailable("PostgreSQL cannot be reached", error))?;
        let settings = Arc::new(settings);
        let lane = || Lane::new(Arc::clone(&settings));
        let lanes = Arc::new(Lanes {
            commands: lane(),
            claims: lane(),
            loads: lane(),
        });
        let known = Arc::new(Known::default());
        schema::migrate(&lanes.commands).await?;
        let listener = Listener::start(Arc::clone(&settings), Arc::clone(&known));
        known.warning.wait(|warning| warning.as_ref().map(|_| ())).await;
        Ok(Self {
            settings,
            runtime,
            lanes,
            known,
            _listener: listener,
        })
    }

    /// Returns what an operator should know: that commits of other nodes are noticed late, or not at all for
    /// now. Nothing while all is well.
    #[must_use]
    pub fn warning(&self) -> Option<PostgresWarning> {
        self.known.warning.read(|warning| warning.clone().flatten())
    }

    /// Runs `call` as a task, so that it comes to its end whatever becomes of its caller.
    async fn run<T, F>(&self, call: impl FnOnce(Arc<Lanes>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let answer = self.runtime.spawn(call(Arc::clone(&self.lanes))).await;
        answer.map_err(|_| StoreError::unavailable("the database cannot be used", "its task has ended, or panicked"))?
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn load(&self, scope: Scope, sink: RowSink) -> Result<Head, StoreError> {
        self.run(|lanes| async move { statements::load(&lanes.loads, scope, sink).await })
            .await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError> {
        let known = Arc::clone(&self.known);
        self.run(|lanes| async move {
            let revision = statements::commit(&lanes.commands, &changes).await?;
            known.head.announce(revision);
            Ok(())
        })
        .await
    }

    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        Ok(self.known.head.follow(after).await)
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        self.run(|lanes| async move { statements::swap(&lanes.claims, &swap, false).await })
            .await
            .map(|(swapped, _)| swapped)
    }

    async fn swap_and_list(&self, swap: Swap) -> Result<(Swapped, Vec<Claim>), StoreError> {
        self.run(|lanes| async move { statements::swap(&lanes.claims, &swap, true).await })
            .await
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        self.run(|lanes| async move { statements::claims(&lanes.claims, kind).await })
            .await
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.run(|lanes| async move { statements::record(&lanes.commands, &events).await })
            .await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.run(|lanes| async move { statements::events(&lanes.loads, after, limit).await })
            .await
    }

    async fn durability(&self) -> Result<Durability, StoreError> {
        self.run(|lanes| async move { statements::durability(&lanes.loads).await })
            .await
    }
}
