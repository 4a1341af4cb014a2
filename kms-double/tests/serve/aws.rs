//! The AWS CLI.

use std::process::Command;

use serde_json::Value;

use crate::project;

/// Calls one KMS.
pub(crate) struct Aws {
    url: String,
    service: &'static str,
    credential: (String, String),
}

impl Aws {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            service: "kms",
            credential: ("ALICE".into(), "any-secret-will-do".into()),
        }
    }

    /// Another service, by another access key.
    pub(crate) fn of(url: &str, service: &'static str, access_key_id: &str, secret: &str) -> Self {
        Self {
            url: url.to_owned(),
            service,
            credential: (access_key_id.to_owned(), secret.to_owned()),
        }
    }

    /// What an operation answers, `null` where it answers nothing.
    pub(crate) fn kms(&self, arguments: &[&str]) -> Value {
        let (succeeded, out, err) = self.run(arguments);
        assert!(succeeded, "{arguments:?}: {err}");
        match out.trim() {
            "" => Value::Null,
            out => serde_json::from_str(out).unwrap(),
        }
    }

    /// The name and the text of the exception that an operation fails with.
    pub(crate) fn refused(&self, arguments: &[&str]) -> (String, String) {
        let (succeeded, out, err) = self.run(arguments);
        assert!(!succeeded, "{arguments:?}: {out}");
        let parts = err
            .split_once("An error occurred (")
            .and_then(|(_, rest)| rest.split_once(") when calling the "));
        let (name, text) = parts.unwrap_or_else(|| panic!("{arguments:?}: {err}"));
        (name.to_owned(), text.to_owned())
    }

    /// Whether an operation succeeds, and what the AWS CLI prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut command = Command::new("aws");
        // Nothing of the user's own configuration, and nothing that leaves this machine.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        let tools = project().join("target/tools/bin");
        let paths = std::env::var_os("PATH").unwrap();
        let paths = std::iter::once(tools).chain(std::env::split_paths(&paths));
        command
            .env("PATH", std::env::join_paths(paths).unwrap())
            .env("AWS_ACCESS_KEY_ID", &self.credential.0)
            .env("AWS_SECRET_ACCESS_KEY", &self.credential.1)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_PAGER", "")
            .env("no_proxy", "127.0.0.1,localhost")
            .env("NO_PROXY", "127.0.0.1,localhost")
            .args(["--output", "json", "--endpoint-url", &self.url, self.service])
            .args(arguments);
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("the AWS CLI, which scripts/setup installs: {error}"));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }
}
