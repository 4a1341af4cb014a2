//! The real server, as a process: built, told what to serve, started, and ended in good order.

use std::{
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use xks_core::Credential;
use xks_pkcs11_fixture::softhsm_path;

use crate::{
    REGION, SECRET_ACCESS_KEY,
    load::{Load, Operation, Place, Process, Protocol, Target, pin, server_core},
    token::{LABEL, PIN, Token},
};

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is served, and how.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the keys are.
    pub keys: Keys,
    /// How many key stores have them, each with a prefix and a credential of its own.
    pub key_stores: usize,
    /// Whether over TLS.
    pub tls: bool,
    /// Whether each request is recorded, as JSON on a standard output that nobody reads.
    pub audit: bool,
    /// The core that the server is kept to.
    pub core: Option<usize>,
}

/// Where the keys are. They are called `key-0` and so on.
#[derive(Clone, Debug)]
pub enum Keys {
    /// In software, so many.
    Soft(usize),
    /// In a token of SoftHSM2.
    Token {
        /// The token.
        token: Token,
        /// Whether the module is called on the server's threads.
        inline: bool,
    },
}

impl Setup {
    /// One key store over these keys; plain, without records, on the first core where there are several.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            key_stores: 1,
            tls: false,
            audit: false,
            core: server_core(),
        }
    }

    fn settings(&self, port: u16) -> anyhow::Result<String> {
        let mut text = String::new();
        if let Keys::Token { token, .. } = &self.keys {
            writeln!(text, "[environment]\nSOFTHSM2_CONF = {:?}", token.config())?;
        }
        writeln!(
            text,
            "[server]\nlisten = \"127.0.0.1:{port}\"\nmax_connections = 15000\ndrain_delay_secs = 0\n\
             [metrics]\nlisten = \"127.0.0.1:{}\"",
            free_port()?
        )?;
        if self.tls {
            text += "[tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"\n";
        }
        text += match self.audit {
            true => "[log]\noutput = \"stdout\"\nformat = \"json\"\n",
            false => "[log]\noutput = \"none\"\n",
        };
        match &self.keys {
            Keys::Soft(count) => {
                let keys = (0..*count).map(|number| format!("{} = \"secret.key\"", key(number)));
                let keys = keys.collect::<Vec<_>>().join(", ");
                writeln!(text, "[backends.keys]\nkind = \"soft\"\nkeys = {{ {keys} }}")?;
            }
            Keys::Token { inline, .. } => writeln!(
                text,
                "[backends.keys]\nkind = \"pkcs11\"\nmodule = {:?}\nvendor = \"softhsm\"\ntoken_label = \"{LABEL}\"\n\
                 pin = \"{PIN}\"\ninline = {inline}",
                softhsm_path()
            )?,
        }
        for number in 0..self.key_stores {
            let Place { prefix, credential, .. } = place(number, 0)?;
            let (id, secret) = (
                credential.access_key_id().as_str(),
                credential.secret_access_key().expose(),
            );
            writeln!(
                text,
                "[[key_stores]]\nuri_path_prefix = \"{prefix}\"\nregions = [\"{REGION}\"]\nall_keys = true\n\
                 [[key_stores.credentials]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\""
            )?;
        }
        Ok(text)
    }
}

/// The name of a key.
#[must_use]
pub fn key(number: usize) -> String {
    format!("key-{number}")
}

/// A key of a key store, and the credential of that.
///
/// # Errors
/// When there are more key stores than access key ids for them.
pub fn place(key_store: usize, number: usize) -> anyhow::Result<Place> {
    // An access key id has letters, and of the digits only some.
    let letters = key_store
        .to_string()
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'A'))
        .collect::<String>();
    let id = format!("BENCHMARKSKEYSTORE{letters:Z>6}");
    Ok(Place {
        prefix: format!("/bench/store-{key_store}"),
        credential: Credential::new(id, SECRET_ACCESS_KEY.to_owned())?,
        key: key(number),
    })
}

/// The program, as it is built for use.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// Builds it, which takes no time where it is built already.
    ///
    /// # Errors
    /// When it does not build.
    pub fn build() -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "build",
                "--release",
                "--locked",
                "-p",
                "xks-proxy",
                "--bin",
                "xks-proxy",
            ])
            .args(["--message-format", "json-render-diagnostics"])
            .stderr(Stdio::inherit())
            .output()
            .context("cargo")?;
        ensure!(output.status.success(), "the server does not build");
        let messages = String::from_utf8(output.stdout)?;
        let executable = messages.lines().rev().find_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            message.get("executable")?.as_str().map(PathBuf::from)
        });
        Ok(Self(executable.context("cargo names no program")?))
    }
}

/// The server while it runs.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: Folder,
    port: u16,
    /// With the token, which has to be there for as long as this is.
    setup: Setup,
    serves: bool,
}

impl Server {
    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(program: &Program, setup: &Setup) -> anyhow::Result<Self> {
        let (folder, port) = (Folder::new()?, free_port()?);
        folder.put("secret.key", &[7; 32])?;
        folder.put("settings.toml", setup.settings(port)?.as_bytes())?;
        if setup.tls {
            let name = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let made = rcgen::generate_simple_self_signed(name)?;
            folder.put("chain.pem", made.cert.pem().as_bytes())?;
            folder.put("key.pem", made.signing_key.serialize_pem().as_bytes())?;
        }
        let mut command = Command::new(&program.0);
        command.arg("--config").arg(folder.0.join("settings.toml"));
        command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // A process begins on the cores of the thread that starts it.
        let core = setup.core;
        let start = move || -> anyhow::Result<Child> {
            core.map_or(Ok(()), pin)?;
            command.spawn().context("the server does not start")
        };
        let child = thread::spawn(start)
            .join()
            .map_err(|_| anyhow::anyhow!("no thread"))??;
        let mut server = Self {
            child,
            folder,
            port,
            setup: setup.clone(),
            serves: false,
        };
        server.wait_until_it_serves()?;
        server.serves = true;
        Ok(server)
    }

    fn wait_until_it_serves(&mut self) -> anyhow::Result<()> {
        let target = self.target(Protocol::Http1)?;
        let ping = Load {
            operation: Operation::Ping,
            connections: 1,
            time: Duration::from_millis(1),
            ..Load::default()
        };
        let start = Instant::now();
        while !ping.put_on(&target, None).is_ok_and(|outcome| outcome.is_all_good()) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at its start: {status}");
            }
            ensure!(start.elapsed() < PATIENCE, "the server does not come to serve");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The first key of the first key store.
    ///
    /// # Errors
    /// When the server's certificate is gone.
    pub fn target(&self, protocol: Protocol) -> anyhow::Result<Target> {
        let (scheme, port) = (if self.setup.tls { "https" } else { "http" }, self.port);
        let Place {
            prefix,
            credential,
            key,
        } = place(0, 0)?;
        let url = format!("{scheme}://127.0.0.1:{port}{prefix}");
        let roots = self.folder.0.join("chain.pem");
        Target::new(&url, REGION, credential, &key, protocol, Some(&roots))
    }

    /// The target over HTTP/1.1, and the process.
    ///
    /// # Errors
    /// As [`target`](Self::target).
    pub fn measured(&self) -> anyhow::Result<(Target, Process)> {
        Ok((self.target(Protocol::Http1)?, self.process()))
    }

    /// For what it takes of the machine.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let id = Pid::from_raw(self.child.id().try_into()?).context("a process has an id")?;
        kill_process(id, Signal::TERM)?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(start.elapsed() < PATIENCE, "the server does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.end();
        if !matches!(&ended, Ok(status) if status.success()) {
            // It has ended badly, or does not end at all: then it must not stay.
            let _ = self.child.kill();
            let _ = self.child.wait();
            assert!(
                !self.serves || thread::panicking(),
                "the server did not end well: {ended:?}"
            );
        }
    }
}

/// A folder of its own, which goes when this does.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("xks-bench-{}-{number}", std::process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self(folder))
    }

    fn put(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        fs::write(self.0.join(name), content).with_context(|| format!("cannot write {name}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind in a temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody had a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
