//! pgbouncer before a server.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    PASSWORD, USER,
    folder::Folder,
    programs::{command, free_port, programs},
    server::Server,
};

/// What pgbouncer gives a connection of its own to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum PoolMode {
    /// A client, as long as it is connected.
    Session,
    /// A transaction: the next one may have another connection.
    Transaction,
}

/// A pgbouncer before a server, on a loopback address and a Unix socket. It ends with this.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    process: Child,
    folder: Folder,
}

impl Pooler {
    /// Before this server, which may stop and start meanwhile.
    #[must_use]
    pub fn start(server: &Server, mode: PoolMode) -> Self {
        let folder = Folder::new(&programs());
        let port = free_port();
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
        };
        let (directory, shown) = (server.directory().display(), folder.path().display());
        let settings = format!(
            "[databases]\n* = host={directory} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir = {shown}\nauth_type = scram-sha-256\n\
             auth_file = {shown}/users\npool_mode = {mode}\nlogfile = {shown}/pgbouncer.log\n",
            server.port()
        );
        let settings = folder.write("pgbouncer.ini", &settings);
        folder.write("users", &format!("\"{USER}\" \"{PASSWORD}\"\n"));
        // It ends when its input is closed, as by the end of this process.
        let script = "PATH=$PATH:/usr/sbin; pgbouncer -q \"$0\" & cat >/dev/null; kill -KILL $!; wait";
        let process = command(Path::new("/bin/sh"))
            .args(["-c", script])
            .arg(&settings)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(folder.file("pgbouncer.log")).unwrap_or_default();
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "no pgbouncer: install it, as scripts/setup does: {log}"
            );
            sleep(Duration::from_millis(10));
        }
        Self { port, process, folder }
    }

    /// Returns its port, on the loopback address and on the Unix socket.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the directory of its Unix socket.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the URL of a database through it, without password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
