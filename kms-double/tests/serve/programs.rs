//! The programs, as processes.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use rustix::process::{Pid, Signal, kill_process};

/// The server, which is a program of another package: where it is built already, as it is when all of the
/// workspace is tested, that one, and else a new one.
pub(crate) fn xks_proxy() -> &'static Path {
    static PROXY: OnceLock<PathBuf> = OnceLock::new();
    PROXY.get_or_init(|| {
        let test = env::current_exe().unwrap();
        let programs = test.parent().unwrap().parent().unwrap();
        let proxy = programs.join("xks-proxy");
        if !proxy.exists() {
            let mut built = Command::new(env!("CARGO"));
            built.args([
                "build",
                "--locked",
                "-p",
                "xks-proxy",
                "--features",
                "cloud",
                "--target-dir",
            ]);
            let status = built.arg(programs.parent().unwrap()).status().unwrap();
            assert!(status.success(), "xks-proxy is not built: {status}");
        }
        proxy
    })
}

/// A program that tells on standard output when it is ready. It ends with this.
pub(crate) struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Waits for a line that begins so, and returns the rest of it.
    pub(crate) fn wait_for(&mut self, beginning: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.out.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "it ended before it said {beginning:?}");
            if let Some(rest) = line.trim().strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it, and returns whether it did so well.
    pub(crate) fn stop(mut self) -> bool {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
