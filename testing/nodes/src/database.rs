//! The database: a primary and a synchronous standby, and what happens to them.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{Client, Config, NoTls};
use xks_test_postgres::{PASSWORD, Server, Setup, USER};

use crate::network::{HUB, NETWORK};

/// The name of the database.
pub(crate) const NAME: &str = "xks";

/// A primary, and a standby for which each commit waits. After a promotion they have changed places.
pub(crate) struct Database {
    primary: Server,
    standby: Option<Server>,
    /// How many standbys there were.
    standbys: u32,
}

fn setup(port: u16) -> Setup {
    let mut setup = Setup::default();
    setup.addresses = vec![HUB.to_string()];
    setup.networks = vec![NETWORK.to_owned()];
    setup.port = Some(port);
    // A standby whose primary was away comes back at once, and not after five seconds, for which commits
    // would wait.
    setup.settings = vec!["wal_retrieve_retry_interval = 100ms".to_owned()];
    setup
}

impl Database {
    /// The ports of the two servers, of which either may be the primary.
    pub(crate) const PORTS: [u16; 2] = [6431, 6432];

    /// Starts both. Blocks.
    pub(crate) fn start() -> Self {
        let primary = Server::with(setup(Self::PORTS[0]));
        primary.create_database(NAME);
        let mut database = Self {
            primary,
            standby: None,
            standbys: 0,
        };
        database.add_standby(Self::PORTS[1]);
        database
    }

    fn add_standby(&mut self, port: u16) {
        self.standbys += 1;
        let name = format!("standby_{}", self.standbys);
        let standby = self.primary.standby_with(&name, setup(port));
        self.primary.wait_for(&name);
        self.standby = Some(standby);
    }

    /// The URL of both, for a node.
    pub(crate) fn url() -> String {
        let hosts = Self::PORTS.map(|port| format!("{HUB}:{port}"));
        format!("postgres://{USER}@{}/{NAME}", hosts.join(","))
    }

    /// The file with the password, and that with the authority of the certificate.
    pub(crate) fn files(&self) -> [PathBuf; 2] {
        [self.primary.password_file(), self.primary.file("authority.pem")]
    }

    /// Ends all its processes at once, and starts it again, as `pg_ctl restart -m immediate` does. Blocks.
    pub(crate) fn crash(&self) {
        self.primary.restart();
    }

    /// Stops the processes of the primary where they are.
    pub(crate) fn stop_processes(&self) -> anyhow::Result<()> {
        signal(&self.primary, Signal::STOP)
    }

    /// Lets the processes of the primary go on.
    pub(crate) fn continue_processes(&self) -> anyhow::Result<()> {
        signal(&self.primary, Signal::CONT)
    }

    /// Ends the primary as a crash does; with `is_hung` it does not end, but stops where it is, and never
    /// goes on.
    pub(crate) fn lose(&self, is_hung: bool) -> anyhow::Result<()> {
        match is_hung {
            true => self.stop_processes(),
            false => {
                self.primary.stop();
                Ok(())
            }
        }
    }

    /// Makes the standby the primary, when that is lost. Blocks.
    pub(crate) fn promote(&mut self, is_hung: bool) -> anyhow::Result<()> {
        let standby = self.standby.take().context("no standby")?;
        standby.promote();
        let old = std::mem::replace(&mut self.primary, standby);
        self.primary.wait_for_none();
        match is_hung {
            true => signal(&old, Signal::KILL),
            false => Ok(()),
        }
    }

    /// Makes a new standby in the place of the old primary. Blocks.
    pub(crate) fn rebuild(&mut self) {
        let port = Self::PORTS.into_iter().find(|port| *port != self.primary.port());
        self.add_standby(port.unwrap_or(Self::PORTS[0]));
    }

    /// Lets each insertion of a node's row take so long, as in a database that is slow.
    pub(crate) fn slow_joins(&self, seconds: f64) {
        let sql = format!(
            "CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON xks.claims
                 FOR EACH ROW WHEN (NEW.kind = 'node') EXECUTE FUNCTION public.slow()"
        );
        self.primary.sql(NAME, &sql);
    }

    /// Lets them take as long as they do.
    pub(crate) fn joins_as_usual(&self) {
        self.primary.sql(NAME, "DROP TRIGGER IF EXISTS slow ON xks.claims");
    }

    /// How to connect to the primary as the superuser.
    pub(crate) fn superuser(&self) -> Config {
        let mut config = Config::new();
        config
            .host_path(self.primary.directory())
            .port(self.primary.port())
            .user("postgres")
            .password(PASSWORD)
            .dbname(NAME);
        config
    }
}

/// Connects as the superuser.
pub(crate) async fn connect(config: &Config) -> anyhow::Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Sends a signal to the first process of a server, and then to those that it has started.
fn signal(server: &Server, signal: Signal) -> anyhow::Result<()> {
    let file = server.file("data/postmaster.pid");
    let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let first: i32 = text.lines().next().unwrap_or_default().parse()?;
    // The first has no children any more when it is killed.
    let mut processes = children(first)?;
    send(first, signal)?;
    if signal == Signal::STOP {
        processes = children(first)?;
    }
    for process in processes {
        let _ = send(process, signal); // it may have ended meanwhile
    }
    Ok(())
}

fn send(process: i32, signal: Signal) -> anyhow::Result<()> {
    let process = Pid::from_raw(process).context("not the id of a process")?;
    Ok(kill_process(process, signal)?)
}

/// The processes that this one has started.
fn children(parent: i32) -> anyhow::Result<Vec<i32>> {
    let of = |name: &str| -> Option<i32> {
        let process: i32 = name.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
        // Behind the name, which may hold anything: the state, and the parent.
        let (_, rest) = stat.rsplit_once(") ")?;
        let found: i32 = rest.split(' ').nth(1)?.parse().ok()?;
        (found == parent).then_some(process)
    };
    let names = fs::read_dir("/proc")?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter_map(|name| of(&name)).collect())
}
