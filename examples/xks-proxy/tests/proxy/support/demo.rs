//! The demo, and what it printed about itself.

use std::{
    collections::HashMap,
    process::{Command, ExitStatus},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{Curl, Process, curl::patiently, program, run};

pub(crate) struct Demo {
    process: Process,
    pub(crate) facts: HashMap<&'static str, String>,
    pub(crate) curl: Curl,
    pub(crate) curl_command: String,
    pub(crate) decrypt_command: String,
    pub(crate) console_json: Value,
}

impl Demo {
    /// Starts it on a free port and reads what it prints.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--listen", "127.0.0.1:0"])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let process = Process::start(program().args(arguments));
        if !process.out.holds("\nPress Ctrl-C to stop.\n", 1) {
            let (status, log) = process.wait();
            panic!("{status}: {log}");
        }
        let text = process.out.text();
        let lines: Vec<&str> = text.lines().collect();
        let fact = |name: &'static str| {
            let line = lines.iter().find_map(|line| line.trim_start().strip_prefix(name));
            (name, line.expect(name).trim().to_owned())
        };
        let facts: HashMap<_, _> = [
            "address",
            "URI path prefix",
            "Region",
            "access key id",
            "secret access key",
        ]
        .map(fact)
        .into();
        let mut commands = lines.split(|line| line.is_empty()).filter(|lines| {
            let first = lines.first();
            first.is_some_and(|line| line.starts_with("curl -sS"))
        });
        let mut command = || commands.next().unwrap().join("\n");
        let console = lines.iter().find(|line| line.starts_with("{\"XksProxyUriPath\""));
        Self {
            process,
            curl: Curl {
                base: format!("{}{}", facts["address"], facts["URI path prefix"]),
                region: facts["Region"].clone(),
                user: format!("{}:{}", facts["access key id"], facts["secret access key"]),
            },
            facts,
            curl_command: command(),
            decrypt_command: command(),
            console_json: serde_json::from_str(console.unwrap()).unwrap(),
        }
    }

    /// A printed command, pasted into a shell.
    pub(crate) fn paste(&self, command: &str) -> Value {
        let paste = || {
            let answer = run(Command::new("sh").arg("-c").arg(command));
            (0, serde_json::from_str(&answer).expect(&answer))
        };
        patiently(paste).1
    }

    pub(crate) fn stop(self, signal: Signal) -> (ExitStatus, String) {
        self.process.stop(signal)
    }
}
