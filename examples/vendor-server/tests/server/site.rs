//! A folder with settings and certificates, and the program on them.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};

/// Ends with this, and all that is in it.
pub(crate) struct Site(PathBuf);

impl Site {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("acme-proxy-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// `chain.pem` and `key.pem` for localhost, and `root.pem`, which they chain to.
    pub(crate) fn write_certificates(&self) {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.distinguished_name.push(DnType::CommonName, "A root");
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &root).unwrap();
        self.write("chain.pem", &leaf.pem());
        self.write("key.pem", &key.serialize_pem());
        self.write("root.pem", &root.pem());
    }

    pub(crate) fn check(&self, settings: &str) -> Output {
        self.write("settings.toml", settings);
        program().arg("check").arg(self.path("settings.toml")).output().unwrap()
    }

    pub(crate) fn start(&self) -> Server {
        Server::start(&self.path("settings.toml"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acme-proxy"));
    command.env_remove("RUST_LOG").env_remove("ACME_PROXY_SETTINGS_TOML");
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The program while it serves.
pub(crate) struct Server {
    child: Child,
    log: BufReader<ChildStderr>,
    /// The lines of its summary.
    pub(crate) summary: Vec<String>,
    _out: BufReader<ChildStdout>,
}

impl Server {
    fn start(settings: &Path) -> Self {
        let mut command = program();
        command.arg("--config").arg(settings);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut summary = Vec::new();
        while summary.last().is_none_or(|line: &String| line != "Ready.") {
            let mut line = String::new();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended: {summary:#?}");
            summary.push(line.trim().to_owned());
        }
        Self {
            child,
            log,
            summary,
            _out: out,
        }
    }

    /// What the summary says under this name.
    pub(crate) fn fact(&self, name: &str) -> &str {
        let fact = self.summary.iter().find_map(|line| line.strip_prefix(name));
        fact.unwrap_or_else(|| panic!("{name}: {:#?}", self.summary)).trim()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for a line of the log that has this text.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "it ended before {text:?}");
        }
    }

    /// Ends it, and returns whether it did so well.
    pub(crate) fn stop(mut self) -> bool {
        self.signal(Signal::TERM);
        // What it still writes must not hold it up.
        let _ = std::io::copy(&mut self.log, &mut std::io::sink());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole answer to a GET of a URL over plain HTTP.
pub(crate) fn get(url: &str) -> String {
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
