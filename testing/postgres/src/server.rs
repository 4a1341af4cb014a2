//! A server, its standbys, and what happens to them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    PASSWORD, USER, VERIFIER, certificates,
    folder::Folder,
    programs::{command, free_port, programs, succeed},
};

/// How a server is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Setup {
    /// Addresses to listen on, `127.0.0.1` by default. Its certificate is valid for `localhost`, and for
    /// those beside `127.0.0.1`.
    pub addresses: Vec<String>,
    /// Networks, such as `10.0.0.0/24`, beside this host from which users may connect.
    pub networks: Vec<String>,
    /// Its port; by default one that is free.
    pub port: Option<u16>,
    /// Further lines of `postgresql.conf`.
    pub settings: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            addresses: vec!["127.0.0.1".to_owned()],
            networks: Vec::new(),
            port: None,
            settings: Vec::new(),
        }
    }
}

/// A server that runs, or has run and can be started again. It ends with this.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    folder: Folder,
    port: u16,
    setup: Setup,
}

impl Server {
    /// One with the user [`USER`] and no database of that user.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// One that is set up so, with the user [`USER`] and no database of that user.
    #[must_use]
    pub fn with(setup: Setup) -> Self {
        let programs = programs();
        let folder = Folder::new(&programs);
        let addresses = setup.addresses.iter().filter(|address| *address != "127.0.0.1");
        let names: Vec<_> = addresses.cloned().chain(["localhost".to_owned()]).collect();
        certificates::write(&folder, &names);
        let password = folder.write("password", PASSWORD);
        succeed(
            command(&programs.join("initdb"))
                .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--username=postgres"])
                .arg("--auth=scram-sha-256")
                .arg("--pwfile")
                .arg(&password)
                .arg("-D")
                .arg(folder.file("data")),
        );
        for network in &setup.networks {
            folder.append(
                "data/pg_hba.conf",
                &format!("host all all {network} scram-sha-256\nhost replication all {network} scram-sha-256\n"),
            );
        }
        let server = Self::configured(programs, folder, setup);
        server.start_again();
        server.sql("postgres", &format!("CREATE ROLE {USER} LOGIN PASSWORD '{VERIFIER}'"));
        server
    }

    /// A server in a folder whose `data` is there, and its certificates.
    fn configured(programs: PathBuf, folder: Folder, setup: Setup) -> Self {
        let port = setup.port.unwrap_or_else(free_port);
        let shown = folder.path().display();
        // What stands last counts: a standby has its primary's lines too.
        let settings = format!(
            "listen_addresses = '{}'\nport = {port}\nunix_socket_directories = '{shown}'\n\
             ssl = on\nssl_cert_file = '{shown}/server.pem'\nssl_key_file = '{shown}/server.key'\n\
             max_connections = 300\nshared_buffers = 32MB\nfsync = on\n{}\n",
            setup.addresses.join(","),
            setup.settings.join("\n"),
        );
        folder.append("data/postgresql.conf", &settings);
        Self {
            programs,
            folder,
            port,
            setup,
        }
    }

    /// Starts a standby of this server, which has a replication slot of this name, and waits until it
    /// follows. The name is what [`wait_for`](Self::wait_for) takes. Its certificate is that of this server.
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        self.standby_with(name, self.setup.clone())
    }

    /// As [`standby`](Self::standby), set up in another way.
    #[must_use]
    pub fn standby_with(&self, name: &str, setup: Setup) -> Self {
        let primary = format!(
            "host={} port={} user=postgres application_name={name}",
            self.folder.path().display(),
            self.port
        );
        self.standby_by(name, setup, |data| {
            let data = data.display();
            self.shell(&format!(
                "pg_basebackup --no-sync --checkpoint=fast --write-recovery-conf --create-slot --slot {name} \
                 --dbname '{primary}' --pgdata {data}"
            ));
        })
    }

    /// As [`standby_with`](Self::standby_with), by commands of the caller, who gets the path of the data
    /// directory, which is not there yet.
    #[must_use]
    pub fn standby_by(&self, name: &str, setup: Setup, make: impl FnOnce(&Path)) -> Self {
        let folder = Folder::new(&self.programs);
        certificates::copy(&self.folder, &folder);
        folder.write("password", PASSWORD);
        make(&folder.file("data"));
        let standby = Self::configured(self.programs.clone(), folder, setup);
        standby.start_again();
        let follows = format!(
            "SELECT count(*) FROM pg_stat_replication
             WHERE application_name = '{name}' AND state = 'streaming'"
        );
        self.until("the standby follows", &follows, "1");
        standby
    }

    /// Runs a shell command as the server's user, with PostgreSQL's programs on the path, and returns what it
    /// wrote.
    pub fn shell(&self, script: &str) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        succeed(
            command(Path::new("/bin/sh"))
                .args(["-ec", script])
                .env("PATH", format!("{}:{path}", self.programs.display()))
                .env("PGPASSWORD", PASSWORD),
        )
    }

    /// From now on a commit waits until the standby of this name has it on its disk.
    pub fn wait_for(&self, standby: &str) {
        self.sql(
            "postgres",
            &format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'"),
        );
        self.sql("postgres", "SELECT pg_reload_conf()");
        self.until(
            "the standby is synchronous",
            &format!("SELECT sync_state FROM pg_stat_replication WHERE application_name = '{standby}'"),
            "sync",
        );
    }

    /// From now on a commit waits for no standby.
    pub fn wait_for_none(&self) {
        self.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
        self.sql("postgres", "SELECT pg_reload_conf()");
        self.until("no standby is waited for", "SHOW synchronous_standby_names", "");
    }

    /// Makes this standby a server of its own, and waits until it can be written to. Its former primary must
    /// have stopped.
    pub fn promote(&self) {
        self.control(&["promote"]);
        self.until("it is promoted", "SELECT pg_is_in_recovery()", "f");
    }

    fn until(&self, what: &str, sql: &str, expected: &str) {
        let begun = Instant::now();
        loop {
            let found = self.sql("postgres", sql);
            if found == expected {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "not so that {what}: {found}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Runs `pg_ctl`, and waits until it is done.
    fn control(&self, arguments: &[&str]) {
        succeed(
            command(&self.programs.join("pg_ctl"))
                .arg("-D")
                .arg(self.folder.file("data"))
                .arg("-l")
                .arg(self.folder.file("log"))
                .args(["-w", "-t", "60"])
                .args(arguments),
        );
    }

    /// Restarts it as after a crash.
    pub fn restart(&self) {
        self.control(&["restart", "-m", "immediate"]);
    }

    /// Stops it as by a crash.
    pub fn stop(&self) {
        self.control(&["stop", "-m", "immediate"]);
    }

    /// Starts it after [`stop`](Self::stop).
    pub fn start_again(&self) {
        self.control(&["start"]);
    }

    /// Makes an empty database of [`USER`].
    pub fn create_database(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
    }

    /// Runs SQL in a database as the superuser, and returns its last result: a line for each row, `|` between
    /// columns, without the last line break.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let written = succeed(
            Command::new(self.programs.join("psql"))
                .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres"])
                .arg("-h")
                .arg(self.folder.path())
                .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
                .env("PGPASSWORD", PASSWORD),
        );
        written.strip_suffix('\n').unwrap_or(&written).to_owned()
    }

    /// Returns whether it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let mut status = command(&self.programs.join("pg_ctl"));
        let output = status.arg("-D").arg(self.folder.file("data")).arg("status").output();
        output.unwrap().status.success()
    }

    /// Returns its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns its folder, which has its Unix socket, `authority.pem` for its certificate, `another
    /// authority.pem` that has not issued it, and its `log`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the file of its folder with this name.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    /// Returns the file that holds [`PASSWORD`].
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.file("password")
    }

    /// Returns the URL of a database for [`USER`] on the loopback address, without password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the server's log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }
}
