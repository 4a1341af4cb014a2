//! A node: the program, its settings, its process.

use std::{
    fs::{self, OpenOptions},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{database::Database, network, pooler, pooler::Pooler};

/// How long a start or an end may take: a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// The port of each node.
const PORT: u16 = 8080;

/// Where nodes and their files are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The program.
    pub(crate) proxy: PathBuf,
    /// The folder of the run.
    pub(crate) folder: PathBuf,
    /// The length of leases, in whole seconds.
    pub(crate) lease: Duration,
    /// The database's password and the authority of its certificate.
    pub(crate) database_files: [PathBuf; 2],
}

/// The name of the socket in a node's folder.
const SOCKET: &str = "admin.sock";

/// One node, which may run.
pub(crate) struct Node {
    number: usize,
    proxy: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

/// The name of a node, as it has it in its row.
pub(crate) fn name(node: usize) -> String {
    format!("node-{node}")
}

/// Where a node answers requests.
pub(crate) const fn address(node: usize) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(network::address(node)), PORT)
}

/// Where a node takes commands.
pub(crate) fn socket(folder: &Path, node: usize) -> PathBuf {
    folder.join(name(node)).join(SOCKET)
}

impl Node {
    /// Writes its settings. `is_pooled`: it reaches the database through pgbouncer.
    pub(crate) fn new(place: &Place, number: usize, is_pooled: bool) -> anyhow::Result<Self> {
        let folder = place.folder.join(name(number));
        fs::create_dir_all(&folder)?;
        let url = match is_pooled {
            true => Pooler::url(),
            false => Database::url(),
        };
        let [password, authority] = &place.database_files;
        // Through the pooler the way to the database is on this host.
        let authority = match is_pooled {
            true => String::new(),
            false => format!("ca_file = {authority:?}\n"),
        };
        let (address, name, socket) = (address(number), name(number), socket(&place.folder, number));
        let (lease, root) = (place.lease.as_secs(), place.folder.join("recovery.root"));
        // What is wrong shall be the lease, and not a busy machine: the time of a request is long.
        let settings = format!(
            "[server]\nlisten = \"{address}\"\nbudget_ms = 10000\ndrain_delay_secs = 0\n\
             [log]\naudit = \"off\"\n\
             [store]\nurl = \"{url}\"\npassword_file = {password:?}\n{authority}\
             [[store.roots]]\nname = \"recovery\"\nfile = {root:?}\n\
             [lifecycle]\nnode = \"{name}\"\nlease_secs = {lease}\nadmin_socket = {socket:?}\n"
        );
        fs::write(folder.join("settings.toml"), settings)?;
        Ok(Self {
            number,
            proxy: place.proxy.clone(),
            folder,
            child: None,
        })
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("settings.toml")
    }

    /// Where its log is, of all its starts.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Makes the store and its root. Blocks.
    pub(crate) fn create_store(&self) -> anyhow::Result<()> {
        let mut command = network::command(self.number, &self.proxy);
        network::run(command.args(["store", "create"]).arg(self.settings()))
    }

    /// Starts it, and waits until it takes connections, of clients and for commands. One that ends because it
    /// does not reach the database is started again, as a service manager does. Blocks.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let socket = self.folder.join(SOCKET);
        let mut child = self.spawn()?;
        while !pooler::takes_connections(address(self.number)) || UnixStream::connect(&socket).is_err() {
            if begun.elapsed() > PATIENCE {
                bail!("node {} does not start: see {}", self.number, self.log().display());
            }
            if child.try_wait()?.is_some() {
                child = self.spawn()?;
            }
            sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
        Ok(())
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = || OpenOptions::new().create(true).append(true).open(self.log());
        network::command(self.number, &self.proxy)
            .arg("--config")
            .arg(self.settings())
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .spawn()
            .context("the proxy does not start")
    }

    /// Sends a signal to its process.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("the node does not run")?;
        let process = Pid::from_raw(child.id().try_into()?).context("a process has an id")?;
        Ok(kill_process(process, signal)?)
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Waits for its end after a signal. Blocks.
    pub(crate) fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("the node does not run")?;
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if begun.elapsed() > PATIENCE {
                bail!("node {} does not end", self.number);
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
