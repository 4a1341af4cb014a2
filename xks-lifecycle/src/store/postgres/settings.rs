//! How to reach the database.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};
use xks_core::Zeroizing;

use super::{StoreError, tls::Tls};

/// How long a connection may be silent before the system asks whether the other end is there, how often it
/// asks, and how many times: a firewall that has forgotten a connection is noticed before a command needs it.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(5), 3);
/// The longest password that is read.
const LONGEST_PASSWORD: u64 = 4096;

/// How a [`PostgresStore`](super::PostgresStore) reaches its database.
///
/// ```
/// use xks_lifecycle::store::PostgresSettings;
///
/// let settings = PostgresSettings::new("postgres://xks@db1.example.com,db2.example.com/xks")?
///     .password_file("/etc/xks/database.password")
///     .ca_file("/etc/xks/database-ca.pem");
/// # let _ = settings;
/// let refused = PostgresSettings::new("postgres://xks:secret@db1.example.com/xks").unwrap_err();
/// assert!(!refused.to_string().contains("secret"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PostgresSettings {
    /// Without a password.
    config: Config,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    pub(super) timeout: Duration,
    pub(super) poll: Duration,
}

fn refused(setting: &'static str, problem: impl Into<String>) -> StoreError {
    let problem = problem.into();
    StoreError::Setting { setting, problem }
}

impl PostgresSettings {
    /// The settings for a database: `postgres://user@host:port/database`, or `key=value` pairs as libpq has
    /// them. Several hosts, separated by commas, are tried in this order; one that is read-only, such as a
    /// standby, is passed over. A host that begins with `/` is the directory of a Unix socket
    /// (`postgres:///database?user=xks&host=/run/postgresql`).
    ///
    /// # Errors
    /// [`StoreError::Setting`] of `url`: not such a URL, or one with a password, which would end in logs.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let refused = |problem: &str| Err(refused("url", problem));
        if url.contains("sslmode") {
            return refused("must not have `sslmode`: TLS is always verified, and goes with `ca_file`");
        }
        // What is wrong is not shown: it may be part of a password.
        let Ok(mut config) = url.parse::<Config>() else {
            return refused("not a URL of PostgreSQL: write `postgres://user@host:5432/database`");
        };
        if config.get_password().is_some() {
            return refused("must not hold a password: put it into a file, and name that with `password_file`");
        }
        if config.get_hosts().is_empty() {
            return refused("names no host: write `postgres://user@host:5432/database`");
        }
        let is_unix = |host: &Host| !matches!(host, Host::Tcp(_));
        if config.get_hosts().iter().any(is_unix) && !config.get_hosts().iter().all(is_unix) {
            return refused("names Unix sockets and hosts of a network: name one kind");
        }
        if config.get_application_name().is_none() {
            config.application_name("xks");
        }
        let (idle, interval, retries) = KEEP_ALIVE;
        config
            .keepalives_idle(idle)
            .keepalives_interval(interval)
            .keepalives_retries(retries)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Ok(Self {
            config,
            password_file: None,
            ca_file: None,
            timeout: Duration::from_secs(5),
            poll: Duration::from_secs(5),
        })
    }

    /// The file that holds the password, and perhaps a line break after it. It is read at each connection, so
    /// that a new password is put into place by a new file.
    #[must_use]
    pub fn password_file(self, path: impl Into<PathBuf>) -> Self {
        Self {
            password_file: Some(path.into()),
            ..self
        }
    }

    /// The certificates, in PEM, that the database's certificate must chain to. It must also be valid for the
    /// host that the URL names. Required unless the database is on this host: a Unix socket, `localhost` or a
    /// loopback address. The file is read at each connection.
    #[must_use]
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self {
            ca_file: Some(path.into()),
            ..self
        }
    }

    /// How long to wait for a connection or for one answer of the database; by default five seconds. A call
    /// that has to connect again takes up to two times as long.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How often to ask for the revision, beside notifications; by default every five seconds.
    #[must_use]
    pub fn poll(self, poll: Duration) -> Self {
        Self { poll, ..self }
    }

    /// Reads the files, as a connection does.
    ///
    /// # Errors
    /// [`StoreError::Setting`] of `password_file` or `ca_file`: cannot be read, does not hold what it should,
    /// can be read by all users, or is missing.
    pub fn check(&self) -> Result<(), StoreError> {
        self.read().map(drop)
    }

    /// What a connection is made with.
    pub(super) fn read(&self) -> Result<(Config, Tls), StoreError> {
        let mut config = self.config.clone();
        config.connect_timeout(self.timeout).tcp_user_timeout(self.timeout);
        if let Some(path) = &self.password_file {
            let password = password(path).map_err(|problem| refused("password_file", format!("{path:?} {problem}")))?;
            config.password(&*password);
        }
        let remote = self.config.get_hosts().iter().find(|host| !is_local(host));
        let is_unix = !matches!(self.config.get_hosts(), [Host::Tcp(_), ..]);
        let remote = remote.is_some() || !self.config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        let tls = match &self.ca_file {
            _ if is_unix => Tls::NONE,
            Some(path) => {
                config.ssl_mode(SslMode::Require);
                Tls::trusting(path).map_err(|problem| refused("ca_file", format!("{path:?}: {problem}")))?
            }
            None if remote => {
                let problem = format!("must be set: {self} is not on this host, and only TLS can tell who it is");
                return Err(refused("ca_file", problem));
            }
            None => {
                config.ssl_mode(SslMode::Disable);
                Tls::NONE
            }
        };
        if is_unix {
            config.ssl_mode(SslMode::Disable);
        }
        Ok((config, tls))
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(host) => host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// The password of a file. The error says what is wrong with the file.
fn password(path: &Path) -> Result<Zeroizing<String>, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().map_err(failed)?.permissions()) & 0o777;
        if mode & 0o007 != 0 {
            return Err(format!(
                "has mode {mode:03o}: all users can read or write it (chmod 600)"
            ));
        }
    }
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_PASSWORD as usize + 1)); // so that it is in one place
    file.take(LONGEST_PASSWORD + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || text.len() as u64 > LONGEST_PASSWORD {
        return Err(format!("must hold a password of 1 to {LONGEST_PASSWORD} bytes"));
    }
    Ok(Zeroizing::new(password.to_owned()))
}

/// Where the database is: its hosts.
impl fmt::Display for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        for (place, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(place).or(ports.first()).unwrap_or(&5432);
            let separator = if place == 0 { "" } else { ", " };
            match host {
                Host::Tcp(host) => write!(f, "{separator}{host}:{port}")?,
                #[cfg(unix)]
                Host::Unix(directory) => write!(f, "{separator}{}:{port}", directory.display())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("hosts", &self.to_string())
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}
