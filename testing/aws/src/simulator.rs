//! `kms-double serve` as a program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "only tests use it"
)]

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

/// The program: where it is built already, as it is when all of the workspace is tested, that one, and else a
/// new one.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = env::current_exe().unwrap();
        let folder = test.parent().unwrap().parent().unwrap();
        let program = folder.join("kms-double");
        if !program.exists() {
            let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--locked", "-p", "kms-double", "--target-dir"]);
            build.arg(folder.parent().unwrap());
            let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
            assert!(status.success(), "kms-double is not built: {status}");
        }
        program
    })
}

/// The AWS APIs on loopback. It ends when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    child: Child,
    /// The program ends when it cannot write.
    _out: BufReader<ChildStdout>,
    url: String,
}

impl Simulator {
    /// Starts it on a free port, with more arguments.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--allow-http",
            "--timeout-ms",
            "30000",
        ]);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let url = line
            .split_once("Listening on ")
            .and_then(|(_, rest)| rest.split(',').next());
        let url = url
            .unwrap_or_else(|| panic!("kms-double did not start: {line:?}"))
            .to_owned();
        Self { child, _out: out, url }
    }

    /// Returns where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes what goes wrong, as `POST /kms-double/control` takes it. Returns its answer. Not over TLS.
    pub fn control(&self, change: &Value) -> Value {
        let (body, address) = (change.to_string(), self.url.trim_start_matches("http://"));
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /kms-double/control HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    /// Lets something go wrong with the next `times` requests for an operation.
    pub fn inject(&self, operation: &str, times: u64, trouble: &str) {
        let inject = |occurrence| json!({ "Operation": operation, "Occurrence": occurrence, "Trouble": trouble });
        self.control(&json!({ "Inject": (1..=times).map(inject).collect::<Vec<_>>() }));
    }

    /// Returns how often an operation was called.
    #[must_use]
    pub fn calls(&self, operation: &str) -> u64 {
        let status = self.control(&json!({}));
        let calls = status
            .get("Calls")
            .and_then(|calls| calls.get(operation)?.get("Made")?.as_u64());
        calls.unwrap_or_default()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
