//! A PostgreSQL with a state on it.

use std::{fs, sync::Arc, time::Duration};

use tokio::runtime::Runtime;
use xks_benches::measure;
use xks_core::KeyId;
use xks_lifecycle::{
    KeySet, KeySetId, KeySource, Repository, Tenant, TenantId,
    commands::{Backends, Commands, CreateKey},
    seal::Root,
    store::{PostgresSettings, PostgresStore},
};
use xks_test_postgres::Server;

use crate::node::{Node, actor, deployment, now};

const DATABASE: &str = "xks";

pub(crate) struct Site {
    pub(crate) server: Server,
    root: Root,
    /// A vault key.
    pub(crate) key: KeyId,
}

impl Site {
    pub(crate) fn new() -> Self {
        let server = Server::start();
        server.create_database(DATABASE);
        let path = server.file("root");
        Root::create_file(&path).unwrap();
        let root = Root::file("recovery", &path).unwrap();
        let key = Runtime::new().unwrap().block_on(make_key(settings(&server), &root));
        Self { server, root, key }
    }

    /// Three nodes.
    pub(crate) fn nodes(&self, lease: Duration) -> Vec<Node> {
        let start = |name| Node::start(name, settings(&self.server), &self.root, lease);
        ["1", "2", "3"].map(start).into()
    }

    /// What the processes of the database have had of the processors.
    pub(crate) fn database_time(&self) -> Duration {
        let pids = self
            .server
            .sql("postgres", "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity");
        let pids = pids.split(' ').map(|pid| pid.parse().unwrap());
        let is_there = |pid: &u32| fs::exists(format!("/proc/{pid}")).unwrap(); // that of this query is gone
        pids.filter(is_there)
            .map(|pid| measure::processor_time(Some(pid)))
            .sum()
    }
}

/// Over the network, with its password, as nodes have it; the host is this one.
fn settings(server: &Server) -> PostgresSettings {
    let settings = PostgresSettings::new(&server.url(DATABASE)).unwrap();
    settings.password_file(server.password_file())
}

async fn make_key(settings: PostgresSettings, root: &Root) -> KeyId {
    let store = Arc::new(PostgresStore::open(settings).await.unwrap());
    let roots = std::slice::from_ref(root);
    let (repository, snapshot) = Repository::create(store, roots, now()).await.unwrap();
    let commands = Commands::new(repository, snapshot, Backends::new(), deployment());
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
    let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Vault).unwrap();
    let spec = CreateKey::new(set.id, "Key").unwrap();
    commands.create(&actor(), tenant).await.unwrap();
    commands.create(&actor(), set).await.unwrap();
    commands.create_key(&actor(), spec).await.unwrap().key.id
}
