//! The real server, as a process: built, started, and ended in good order.

use std::{
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

use crate::{
    REGION, Setup,
    load::{Load, Operation, Place, Process, Protocol, Target, pin},
    setup::place,
};

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, as it is built for use.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// Another build of it, where it lies.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

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
        // What is left behind in a temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
