//! pgbouncer between a node and the database, on the node's own host: one before each server.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::bail;
use xks_test_postgres::{PASSWORD, USER};

use crate::{
    database::{Database, NAME},
    network::{self, HUB},
};

/// What it gives a connection of its own to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Session,
    Transaction,
}

/// The poolers of one node.
pub(crate) struct Pooler {
    node: usize,
    folder: PathBuf,
    processes: Vec<Child>,
}

/// Where those before the two servers listen, on the node's loopback address.
const PORTS: [u16; 2] = [7431, 7432];

impl Pooler {
    /// Writes the settings, to a folder in this one.
    pub(crate) fn new(node: usize, mode: Mode, folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("pgbouncer");
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        fs::write(folder.join("users"), format!("\"{USER}\" \"{PASSWORD}\"\n"))?;
        let shown = folder.display();
        let mode = match mode {
            Mode::Session => "session",
            Mode::Transaction => "transaction",
        };
        for (listen, port) in PORTS.iter().zip(Database::PORTS) {
            let settings = format!(
                "[databases]\n* = host={HUB} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {listen}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {shown}/users\n\
                 pool_mode = {mode}\nserver_tls_sslmode = require\n\
                 server_login_retry = 0.1\nserver_connect_timeout = 1\n\
                 logfile = {shown}/{listen}.log\npidfile = {shown}/{listen}.pid\n"
            );
            fs::write(folder.join(format!("{listen}.ini")), settings)?;
        }
        for file in fs::read_dir(&folder)? {
            fs::set_permissions(file?.path(), fs::Permissions::from_mode(0o644))?;
        }
        Ok(Self {
            node,
            folder,
            processes: Vec::new(),
        })
    }

    /// The URL of the database through them.
    pub(crate) fn url() -> String {
        let hosts = PORTS.map(|port| format!("127.0.0.1:{port}"));
        format!("postgres://{USER}@{}/{NAME}", hosts.join(","))
    }

    /// Starts them, and waits until they listen. Blocks.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        for port in PORTS {
            let process = network::command(self.node, "setpriv")
                .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
                .args(["/usr/sbin/pgbouncer", "-q"])
                .arg(self.folder.join(format!("{port}.ini")))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            self.processes.push(process);
        }
        let begun = Instant::now();
        for (process, port) in self.processes.iter_mut().zip(PORTS) {
            while !is_listening(self.node, port) {
                let log = || fs::read_to_string(self.folder.join(format!("{port}.log"))).unwrap_or_default();
                if let Some(status) = process.try_wait()? {
                    bail!("pgbouncer ends with {status}: {}", log());
                }
                if begun.elapsed() > Duration::from_secs(30) {
                    bail!("pgbouncer does not listen: {}", log());
                }
                sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// Ends them with SIGKILL. Blocks.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        for mut process in self.processes.drain(..) {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }
}

/// Whether there is a listener in the namespace of a node.
fn is_listening(node: usize, port: u16) -> bool {
    // The table of the namespace: state 0A is that of a listener.
    let table = network::command(node, "cat").arg("/proc/net/tcp").output();
    let wanted = format!("0100007F:{port:04X} 00000000:0000 0A");
    table.is_ok_and(|table| String::from_utf8_lossy(&table.stdout).contains(&wanted))
}

/// Whether somebody takes connections there.
pub(crate) fn takes_connections(address: std::net::SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}
