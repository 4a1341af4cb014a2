//! The running program, curl, and tokens of SoftHSM2.

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

/// What it may be told by its environment.
const VARIABLES: [&str; 3] = ["RUST_LOG", "SOFTHSM2_CONF", "XKS_SECRET_ACCESS_KEY"];

/// The program, with nothing in its environment that changes what it does.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xks-proxy"));
    without_our_variables(&mut command);
    command
}

pub(crate) fn without_our_variables(command: &mut Command) {
    for variable in VARIABLES {
        command.env_remove(variable);
    }
}

/// The running program and what it printed about itself.
pub(crate) struct Proxy {
    process: Child,
    /// All that it printed.
    pub(crate) text: String,
    pub(crate) facts: HashMap<&'static str, String>,
    pub(crate) curl_command: String,
    /// The console's file, where there is one.
    pub(crate) console_json: Option<Value>,
}

impl Proxy {
    pub(crate) fn demo() -> Self {
        Self::start(&mut program())
    }

    /// Starts it on a free port, with patience for a busy machine, and reads what it prints.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command
            .args(["--listen", "127.0.0.1:0", "--budget", "5000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let is_last = line.starts_with("Press Ctrl-C");
            lines.push(line);
            if is_last {
                break;
            }
        }
        if lines.last().is_none_or(|line| !line.starts_with("Press Ctrl-C")) {
            let output = process.wait_with_output().unwrap();
            panic!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let fact = |name: &'static str| {
            let line = lines
                .iter()
                .find_map(|line| line.trim_start().strip_prefix(name))
                .expect(name);
            (name, line.trim().to_owned())
        };
        let facts = [
            "address",
            "URI path prefix",
            "Region",
            "access key id",
            "secret access key",
        ]
        .map(fact);
        let start = lines.iter().position(|line| line.starts_with("curl -sS")).unwrap();
        let length = lines[start..].iter().position(|line| line.is_empty()).unwrap();
        let console = lines.iter().find(|line| line.starts_with("{\"XksProxyUriPath\""));
        Self {
            process,
            text: lines.join("\n"),
            facts: facts.into_iter().collect(),
            curl_command: lines[start..start + length].join("\n"),
            console_json: console.map(|line| serde_json::from_str(line).unwrap()),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!(
            "{}{}/kms/xks/v1/{path}",
            self.facts["address"], self.facts["URI path prefix"]
        )
    }

    /// A signed call by curl, with these arguments besides.
    pub(crate) fn curl(&self, path: &str, body: &Value, arguments: &[&str]) -> (u16, Value) {
        let user = format!("{}:{}", self.facts["access key id"], self.facts["secret access key"]);
        self.curl_as(&user, path, body, arguments)
    }

    pub(crate) fn curl_as(&self, user: &str, path: &str, body: &Value, arguments: &[&str]) -> (u16, Value) {
        let output = run(self.curl_process(user, path, body).args(arguments));
        let (answer, status) = output.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(answer).expect(answer))
    }

    pub(crate) fn curl_process(&self, user: &str, path: &str, body: &Value) -> Command {
        let signing = format!("aws:amz:{}:kms-xks-proxy", self.facts["Region"]);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", "\n%{http_code}", "--aws-sigv4", &signing, "--user", user])
            .args(["-H", "Content-Type: application/json"])
            .args(["--data-binary", &body.to_string()])
            .arg(self.url(path));
        curl
    }

    /// The printed command, pasted into a shell.
    pub(crate) fn paste(&self) -> Value {
        let answer = run(Command::new("sh").arg("-c").arg(&self.curl_command));
        serde_json::from_str(&answer).expect(&answer)
    }

    /// Sends a signal that should end it, and returns how it ended, and its log.
    #[cfg(unix)]
    pub(crate) fn stop(mut self, signal: &str) -> (ExitStatus, String) {
        run(Command::new("kill").args([signal, &self.process.id().to_string()]));
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.process.wait().unwrap(), log)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("curl 7.75 or later is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn body(fields: &Value) -> Value {
    let mut body = json!({
        "requestMetadata": {
            "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
            "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "kmsOperation": "Encrypt",
            "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        },
        "encryptionAlgorithm": "AES_GCM",
    });
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    body
}

/// The status of an answer and the name of its error.
pub(crate) fn error(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["errorName"].as_str().unwrap_or_default())
}

/// A folder that goes when this does. A space in its name finds those who forget to quote it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("xks proxy {}-{number}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
