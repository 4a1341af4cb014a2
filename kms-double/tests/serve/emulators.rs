//! The same calls to the double and to emulators by others: each difference is in docs/emulators.md. They are
//! installed by `scripts/setup long`, so these tests run on request.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{project, serve};

/// A busy machine is slow.
const TIMEOUT: Duration = Duration::from_secs(120);

/// An emulator, which ends with this.
struct Emulator {
    child: Child,
    url: String,
}

impl Emulator {
    /// Starts it by what takes a port.
    fn start(command: impl FnOnce(u16) -> Command) -> Self {
        // Free a moment ago: they take no port 0.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = command(port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?}, which scripts/setup long installs: {error}");
        });
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "{command:?} ended");
            assert!(start.elapsed() < TIMEOUT, "{command:?} does not answer");
            thread::sleep(Duration::from_millis(100));
        }
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(name: &str) -> Command {
    let mut command = Command::new(installed(name));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("no_proxy", "127.0.0.1")
        .env("NO_PROXY", "127.0.0.1");
    command
}

fn installed(name: &str) -> PathBuf {
    project().join("target/tools/emulators/bin").join(name)
}

fn compared(partner: &str, double: &str, emulator: &Emulator) {
    let script = project().join("kms-double/tests/emulators/compare.py");
    let output = program("python3")
        .arg(script)
        .args([partner, double, &emulator.url])
        .arg(project().join("docs/emulators.md"))
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
}

#[test]
#[ignore = "needs MiniStack: scripts/test emulators"]
fn the_differences_from_ministack_are_listed() {
    let emulator = Emulator::start(|port| {
        let mut command = program("ministack");
        command
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("SERVICES", "kms");
        command
    });
    let (_program, url) = serve(&[]);
    compared("ministack", &url, &emulator);
}

#[test]
#[ignore = "needs moto: scripts/test emulators"]
fn the_differences_from_moto_are_listed() {
    let emulator = Emulator::start(|port| {
        let mut command = program("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    let users = ["--user", "Carol", "--user", "Dave"];
    let roles = ["--role", "Admins", "--role", "Users"];
    let (_program, url) = serve(&[users, roles].concat());
    compared("moto", &url, &emulator);
}
