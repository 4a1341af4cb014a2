//! The server on a settings file, and what it printed about itself.

use std::{fs, net::SocketAddr, process::Command, process::ExitStatus};

use rustix::process::Signal;

use super::{
    ACCESS_KEY_ID, Curl, Metrics, PREFIX, Process, REGION, SECRET_ACCESS_KEY, Settings, Target, fetch, program,
};

pub(crate) struct Server {
    pub(crate) process: Process,
    /// All that it printed until it was ready.
    pub(crate) summary: String,
}

impl Server {
    /// Writes the settings and serves them.
    pub(crate) fn start(settings: &Settings) -> Self {
        Self::start_by(program().arg("--config").arg(settings.write()))
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start_by(command: &mut Command) -> Self {
        let process = Process::start(command);
        // Where the log has standard output for itself, the summary is in the log.
        let is_ready = |text: &str| text.contains("\nReady.\n") || text.contains(": ready\n");
        if !process.out.fulfills(is_ready) {
            let out = process.out.text();
            let (status, log) = process.wait();
            panic!("{status}: {log}{out}");
        }
        Self {
            summary: process.out.text(),
            process,
        }
    }

    /// The value of a line of the summary.
    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        let name = format!("  {name}  ");
        let mut values = self.summary.lines().filter_map(|line| line.split_once(&name));
        values.next().map(|(_, value)| value.trim())
    }

    /// Such as `https://127.0.0.1:41234`.
    pub(crate) fn url(&self) -> &str {
        self.fact("address").expect(&self.summary)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let (_, address) = self.url().split_once("://").unwrap();
        address.parse().unwrap()
    }

    pub(crate) fn health_url(&self) -> &str {
        self.fact("health").expect(&self.summary)
    }

    /// The status of the readiness check; 0 without an answer.
    pub(crate) fn readiness(&self) -> u16 {
        fetch(self.health_url(), &[]).0
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let (status, text) = fetch(self.fact("metrics").expect(&self.summary), &[]);
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }

    /// Who calls the usual key store.
    pub(crate) fn curl(&self) -> Curl {
        self.curl_of(PREFIX)
    }

    pub(crate) fn curl_of(&self, prefix: &str) -> Curl {
        Curl {
            base: format!("{}{prefix}", self.url()),
            region: REGION.to_owned(),
            user: format!("{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}"),
        }
    }

    /// The usual key store, without TLS.
    pub(crate) fn target(&self) -> Target {
        Target::plain(self.address(), PREFIX)
    }

    /// Asks for the settings to be read again, and waits until that has been done.
    pub(crate) fn reload(&self) {
        let before = self.process.log.count("settings reloaded");
        self.process.signal(Signal::HUP);
        assert!(
            self.process.log.holds("settings reloaded", before + 1),
            "{}",
            self.process.log.text()
        );
    }

    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.process.stop(Signal::TERM)
    }

    /// Bytes of memory that it has.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// What the program does with arguments under which it ends by itself: its exit code, and what it wrote to
/// standard output and to standard error.
pub(crate) fn ended(command: &mut Command) -> (Option<i32>, String, String) {
    let process = Process::start(command);
    let out = process.out.clone();
    let (status, log) = process.wait();
    (status.code(), out.whole(), log)
}

/// `xks-proxy check` on a text: its exit code, and what it printed.
pub(crate) fn check(settings: &Settings) -> (Option<i32>, String) {
    let (code, out, err) = ended(program().arg("check").arg(settings.write()));
    assert_eq!(err, "", "{out}");
    (code, out)
}
