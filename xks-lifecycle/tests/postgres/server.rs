//! A PostgreSQL of this process alone: in a folder of its own, with its own port and Unix socket. It flushes
//! to the disk as a real one. It ends with the process, however that ends.

use std::{
    env, fs,
    fs::Permissions,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    runtime::Runtime,
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
};
use tokio_postgres::{Client, Config, NoTls};
use xks_lifecycle::store::{PostgresSettings, PostgresStore};

/// The runtime of stores and tests.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// The password of all users.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct Server {
    programs: PathBuf,
    directory: PathBuf,
    pub(crate) port: u16,
    /// Held by tests that use it; by those that restart it, or change its settings, alone.
    lock: Arc<RwLock<()>>,
    /// Ends the server and removes its folder when this process is gone and so its input is closed.
    _guardian: Child,
}

/// The newest installed programs, such as Debian's, whose own cluster is left alone.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin"));
    let found = found.filter(|programs| programs.join("initdb").exists());
    let number = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let on_path = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists());
    found
        .max_by_key(number)
        .or(on_path)
        .expect("no PostgreSQL: install Debian's postgresql, as scripts/setup does")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A command as the user `postgres` where this process is root's, as which PostgreSQL does not run.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command.env_remove("PGDATA").current_dir("/");
    command
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Gives a file to the user `postgres`, where the server runs as that one.
fn give(path: &Path) {
    let number = |flag: &str| {
        let output = Command::new("id").args([flag, "postgres"]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if is_root() {
        chown(path, number("-u"), number("-g")).unwrap();
    }
}

/// Writes a file that only the server and root may read.
fn write(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    give(&path);
    path
}

/// A port outside of the range from which the system takes them, so that it is free again after a restart.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = 20_000 + process::id() % 1000 * 10;
    (0..)
        .map(|_| (first + TAKEN.fetch_add(1, Ordering::Relaxed)) as u16)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

impl Server {
    fn start() -> Self {
        let programs = programs();
        let directory = env::temp_dir().join(format!("xks-postgres-{}", process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        give(&directory);
        let script = "cat >/dev/null; \"$0\" -D \"$1/data\" -m immediate stop; rm -rf \"$1\"";
        let guardian = command(Path::new("/bin/sh"))
            .args(["-c", script])
            .arg(programs.join("pg_ctl"))
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // so that a signal to the tests' group leaves it to do its work
            .spawn()
            .unwrap();
        for name in ["authority", "another authority"] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let authority = CertifiedIssuer::self_signed(params, key).unwrap();
            write(&directory, &format!("{name}.pem"), &authority.pem());
            if name == "authority" {
                let key = KeyPair::generate().unwrap();
                let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
                let certificate = params.signed_by(&key, &authority).unwrap();
                write(&directory, "server.pem", &certificate.pem());
                write(&directory, "server.key", &key.serialize_pem());
            }
        }
        let password = write(&directory, "password", PASSWORD);
        let data = directory.join("data");
        succeed(
            command(&programs.join("initdb"))
                .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--username=postgres"])
                .arg("--auth=scram-sha-256")
                .arg("--pwfile")
                .arg(&password)
                .arg("-D")
                .arg(&data),
        );
        let port = free_port();
        let shown = directory.display();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{shown}'\n\
             ssl = on\nssl_cert_file = '{shown}/server.pem'\nssl_key_file = '{shown}/server.key'\n\
             max_connections = 300\nshared_buffers = 32MB\nfsync = on\n"
        );
        let path = data.join("postgresql.conf");
        let mut configuration = fs::read_to_string(&path).unwrap();
        configuration.push_str(&settings);
        fs::write(&path, configuration).unwrap();
        let server = Self {
            programs,
            directory,
            port,
            lock: Arc::default(),
            _guardian: guardian,
        };
        server.control(&["start"]);
        RUNTIME.block_on(async {
            let admin = server.admin("postgres").await;
            let role = format!("CREATE ROLE xks LOGIN PASSWORD '{PASSWORD}'");
            admin.batch_execute(&role).await.unwrap();
        });
        server
    }

    /// Runs `pg_ctl`, and waits until it is done.
    fn control(&self, arguments: &[&str]) {
        succeed(
            command(&self.programs.join("pg_ctl"))
                .arg("-D")
                .arg(self.directory.join("data"))
                .arg("-l")
                .arg(self.directory.join("log"))
                .args(["-w", "-t", "60"])
                .args(arguments),
        );
    }

    /// Restarts it as after a crash.
    pub(crate) fn restart(&self) {
        self.control(&["restart", "-m", "immediate"]);
    }

    pub(crate) fn stop(&self) {
        self.control(&["stop", "-m", "immediate"]);
    }

    pub(crate) fn start_again(&self) {
        self.control(&["start"]);
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        write(&self.directory, name, content)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A connection of the superuser.
    pub(crate) async fn admin(&self, database: &str) -> Client {
        let (client, connection) = Config::new()
            .host_path(&self.directory)
            .port(self.port)
            .user("postgres")
            .password(PASSWORD)
            .dbname(database)
            .connect(NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }
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
        let server = tokio::task::spawn_blocking(|| &*SERVER).await.unwrap();
        let guard = Arc::clone(&server.lock).read_owned().await;
        Self::on(server, Held::WithOthers { _guard: guard }).await
    }

    /// A database on the server, while no other test uses that.
    pub(crate) async fn alone() -> Self {
        let server = tokio::task::spawn_blocking(|| &*SERVER).await.unwrap();
        let guard = Arc::clone(&server.lock).write_owned().await;
        Self::on(server, Held::Alone { _guard: guard }).await
    }

    async fn on(server: &'static Server, held: Held) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = server.admin("postgres").await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name} OWNER xks"))
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
        let (directory, port, name) = (self.server.directory.display(), self.server.port, &self.name);
        self.at(&format!("postgres:///{name}?user=xks&host={directory}&port={port}"))
    }

    /// The settings for a host of the network.
    pub(crate) fn over(&self, host: &str) -> PostgresSettings {
        let (port, name) = (self.server.port, &self.name);
        self.at(&format!("postgres://xks@{host}:{port}/{name}"))
    }

    fn at(&self, url: &str) -> PostgresSettings {
        PostgresSettings::new(url)
            .unwrap()
            .password_file(self.server.file("password"))
            .timeout(std::time::Duration::from_secs(60))
            .poll(std::time::Duration::from_secs(3600))
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.settings()).await.unwrap()
    }

    /// A connection of the superuser to it.
    pub(crate) async fn admin(&self) -> Client {
        self.server.admin(&self.name).await
    }
}
