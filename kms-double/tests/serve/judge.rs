//! Judges: every answer and error, as AWS's own models of the APIs have it.

use std::{path::PathBuf, process::Command};

use crate::{Folder, key_store, project, proxy, serve};

/// A Python with botocore, which has the model. `scripts/setup` sees to it.
fn python() -> PathBuf {
    let tools = project().join("target/tools");
    let candidates = [
        tools.join("botocore/bin/python3"),
        tools.join("aws-cli/bin/python3"),
        "python3".into(),
    ];
    let has_botocore = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import botocore"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().find(has_botocore);
    found.expect("a Python with botocore, which scripts/setup installs")
}

#[test]
fn every_answer_is_as_botocores_model_says() {
    let folder = Folder::new();
    let (_proxy, url) = proxy(&folder);
    let (_program, address) = serve(&[]);
    let parameters = folder.write("key-store.json", &key_store(&url));
    judged("judge.py", &[&address, parameters.to_str().unwrap()]);
}

#[test]
fn every_answer_of_iam_and_sts_is_as_botocores_model_says() {
    let folder = Folder::new();
    let (id, secret) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let file = folder.write("access-keys", &format!("Carol,{id},{secret}\n"));
    let (_program, url) = serve(&["--user", "ALICE", "--user", "Bob", "--role", "Admins"]);
    let (_verifying, verifying) = serve(&["--verify-callers", file.to_str().unwrap()]);
    judged("judge_identity.py", &[&url, &verifying, id, secret]);
}

/// Runs a script that has to find nothing wrong.
fn judged(script: &str, arguments: &[&str]) {
    let mut judge = Command::new(python());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            judge.env_remove(name);
        }
    }
    let script = project().join("kms-double/tests/serve").join(script);
    let output = judge
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("no_proxy", "127.0.0.1")
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .args(arguments)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{out}{err}");
}
