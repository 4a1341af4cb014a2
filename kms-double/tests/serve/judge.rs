//! Judges: every answer and error, as AWS's own model of the API has it.

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
    let mut judge = Command::new(python());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            judge.env_remove(name);
        }
    }
    let script = project().join("kms-double/tests/serve/judge.py");
    let output = judge
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("no_proxy", "127.0.0.1")
        .env("NO_PROXY", "127.0.0.1")
        .arg(script)
        .arg(&address)
        .arg(&parameters)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{out}{err}");
}
