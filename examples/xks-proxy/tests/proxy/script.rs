//! The script that runs the program on a SoftHSM2 token of its own, in a copy of the project's folders.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Curl, Folder, Server, body, ciphertext, run, without_our_variables};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/softhsm");

/// Runs the program that was built for this test, and writes down the arguments before `--` and after.
const CARGO: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do printf '%s ' "$1"; shift; done >"$0.arguments"
shift
printf '%s\n' "$@" >"$0.of-the-program"
exec "$XKS_PROXY" "$@"
"#;

struct Project {
    folder: Folder,
    script: PathBuf,
}

impl Project {
    fn new() -> Self {
        let folder = Folder::new();
        let example = folder.path().join("examples/xks-proxy");
        fs::create_dir_all(&example).unwrap();
        let script = example.join("softhsm");
        fs::copy(SCRIPT, &script).unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        let cargo = folder.write("bin/cargo", CARGO);
        fs::set_permissions(cargo, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, script }
    }

    /// The script, on a free port.
    fn start(&self) -> (Server, Curl) {
        let mut path = self.folder.path().join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut command = Command::new("bash");
        without_our_variables(&mut command);
        command
            .arg(&self.script)
            .args(["--listen", "127.0.0.1:0"])
            .env("PATH", path)
            .env("XKS_PROXY", env!("CARGO_BIN_EXE_xks-proxy"));
        let server = Server::start_by(&mut command);
        let curl = self.client(&server);
        (server, curl)
    }

    /// One who calls as the settings say that the script has written.
    fn client(&self, server: &Server) -> Curl {
        let arguments = fs::read_to_string(self.folder.path().join("bin/cargo.of-the-program")).unwrap();
        let mut arguments = arguments.lines().skip_while(|argument| *argument != "--config");
        let file = PathBuf::from(arguments.nth(1).unwrap());
        let settings: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
        let store = &settings["key_stores"][0];
        let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
        let credential = &store["credentials"][0];
        let secret = match credential.get("secret_access_key") {
            Some(secret) => text(secret),
            None => {
                let path = file.parent().unwrap().join(text(&credential["secret_access_key_file"]));
                fs::read_to_string(path).unwrap().trim().to_owned()
            }
        };
        Curl {
            base: format!("{}{}", server.url(), text(&store["uri_path_prefix"])),
            region: text(&store["regions"][0]),
            user: format!("{}:{secret}", text(&credential["access_key_id"])),
        }
    }

    fn mode(&self, name: &str) -> u32 {
        let path = self.folder.path().join("target/softhsm-demo").join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }
}

/// It makes a token, runs the program on it, and keeps the token for the next run.
#[test]
fn it_runs_the_program_on_a_token_that_it_keeps() {
    run(Command::new("bash").args(["-n", SCRIPT]));
    let project = Project::new();
    let (server, curl) = project.start();
    let arguments = fs::read_to_string(project.folder.path().join("bin/cargo.arguments")).unwrap();
    assert_eq!(arguments, "run --locked -p xks-proxy ");
    assert_eq!((project.mode("pin"), project.mode(".")), (0o600, 0o700));
    assert!(!project.folder.path().join("target/softhsm-demo/key").exists());

    let plaintext = body(&json!({"plaintext": "SGVsbG8gV29ybGQh"}));
    let (status, encrypted) = curl.call("keys/usable/encrypt", &plaintext, &[]);
    assert_eq!(status, 200, "{encrypted}");
    let (_, metadata) = curl.call("keys/usable/metadata", &body(&json!({})), &[]);
    assert_eq!(metadata["keySpec"], "AES_256");
    let (status, log) = server.process.stop(Signal::INT);
    assert!(status.success(), "{status}: {log}");

    let (_server, curl) = project.start();
    let decrypted = curl.call("keys/usable/decrypt", &ciphertext(&encrypted), &[]);
    assert_eq!(decrypted, (200, json!({"plaintext": "SGVsbG8gV29ybGQh"})));
}

/// Without SoftHSM2 it says how to get it.
#[test]
fn it_says_how_to_get_softhsm() {
    let project = Project::new();
    let tools = project.folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let dirname = run(Command::new("sh").args(["-c", "command -v dirname"]));
    symlink(Path::new(dirname.trim()), tools.join("dirname")).unwrap();
    let bash = run(Command::new("sh").args(["-c", "command -v bash"]));
    let output = Command::new(bash.trim())
        .arg(&project.script)
        .env("PATH", tools)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("apt-get install softhsm2"), "{error}");
}
