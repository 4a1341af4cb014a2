//! A PostgreSQL of this process alone, and a database of each test on it.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    runtime::Runtime,
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
};
use tokio_postgres::{Client, Config, NoTls};
use xks_lifecycle::store::{PostgresSettings, PostgresStore};
pub(crate) use xks_test_postgres::PASSWORD;
use xks_test_postgres::Server;

/// The runtime of stores and tests.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SERVER: LazyLock<Shared> = LazyLock::new(|| Shared {
    server: Server::start(),
    lock: Arc::default(),
});

struct Shared {
    server: Server,
    /// Held by tests that use it; by those that restart it, or change its settings, alone.
    lock: Arc<RwLock<()>>,
}

/// An empty database of a test. It is left there when the test is over.
pub(crate) struct Database {
    pub(crate) server: &'static Server,
    pub(crate) name: String,
    _held: Held,
}

/// That the server is used.
enum Held {
    WithOthers { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

impl Database {
    /// A database on the server, which other tests use too.
    pub(crate) async fn new() -> Self {
        let shared = tokio::task::spawn_blocking(|| &*SERVER).await.unwrap();
        let guard = Arc::clone(&shared.lock).read_owned().await;
        Self::on(&shared.server, Held::WithOthers { _guard: guard }).await
    }

    /// A database on the server, while no other test uses that.
    pub(crate) async fn alone() -> Self {
        let shared = tokio::task::spawn_blocking(|| &*SERVER).await.unwrap();
        let guard = Arc::clone(&shared.lock).write_owned().await;
        Self::on(&shared.server, Held::Alone { _guard: guard }).await
    }

    async fn on(server: &'static Server, held: Held) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let created = name.clone();
        tokio::task::spawn_blocking(move || server.create_database(&created))
            .await
            .unwrap();
        Self {
            server,
            name,
            _held: held,
        }
    }

    /// The settings for it over the Unix socket. No notification is replaced by asking.
    pub(crate) fn settings(&self) -> PostgresSettings {
        let (directory, port, name) = (self.server.directory().display(), self.server.port(), &self.name);
        self.at(&format!("postgres:///{name}?user=xks&host={directory}&port={port}"))
    }

    /// The settings for a host of the network.
    pub(crate) fn over(&self, host: &str) -> PostgresSettings {
        let (port, name) = (self.server.port(), &self.name);
        self.at(&format!("postgres://xks@{host}:{port}/{name}"))
    }

    fn at(&self, url: &str) -> PostgresSettings {
        PostgresSettings::new(url)
            .unwrap()
            .password_file(self.server.password_file())
            .timeout(std::time::Duration::from_secs(60))
            .poll(std::time::Duration::from_secs(3600))
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.settings()).await.unwrap()
    }

    /// A connection of the superuser to it.
    pub(crate) async fn admin(&self) -> Client {
        let (client, connection) = Config::new()
            .host_path(self.server.directory())
            .port(self.server.port())
            .user("postgres")
            .password(PASSWORD)
            .dbname(&self.name)
            .connect(NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }
}
