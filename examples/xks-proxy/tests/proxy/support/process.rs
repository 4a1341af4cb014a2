//! The program as a process: its environment, its output, its end.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Instant,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use super::PATIENCE;

/// The variables of the environment that it reads.
const VARIABLES: [&str; 7] = [
    "RUST_LOG",
    "SOFTHSM2_CONF",
    "XKS_PROXY_ADMIN_SOCKET",
    "XKS_PROXY_SETTINGS_TOML",
    "PKCS11_HSM_MODULE",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
];

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

/// A program that runs. What it writes is read as it comes, so that it never has to wait for a reader.
pub(crate) struct Process {
    child: Child,
    pub(crate) out: Written,
    pub(crate) log: Written,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            out: Written::read(child.stdout.take().unwrap()),
            log: Written::read(child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Waits for its end, and returns how it ended and its whole log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let is_time_up = start.elapsed() >= PATIENCE;
            assert!(!is_time_up, "it does not end: {}{}", self.out.text(), self.log.text());
            thread::sleep(std::time::Duration::from_millis(5));
        };
        (status, self.log.whole())
    }

    /// Sends a signal that should end it, and waits.
    pub(crate) fn stop(self, signal: Signal) -> (ExitStatus, String) {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program has written so far.
#[derive(Clone)]
pub(crate) struct Written(Arc<(Mutex<Text>, Condvar)>);

#[derive(Default)]
struct Text {
    text: String,
    has_ended: bool,
}

impl Written {
    fn read(from: impl Read + Send + 'static) -> Self {
        let written = Self(Arc::default());
        let writing = written.clone();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            loop {
                let mut line = Vec::new();
                let length = from.read_until(b'\n', &mut line).unwrap_or(0);
                let (text, changed) = &*writing.0;
                let mut text = text.lock().unwrap();
                text.text.push_str(&String::from_utf8_lossy(&line));
                text.has_ended = length == 0;
                changed.notify_all();
                if text.has_ended {
                    break;
                }
            }
        });
        written
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap().text.clone()
    }

    /// How often something stands in it.
    pub(crate) fn count(&self, wanted: &str) -> usize {
        self.0.0.lock().unwrap().text.matches(wanted).count()
    }

    /// Waits until something stands in it this often, or until nothing more can come; returns whether it
    /// does.
    pub(crate) fn holds(&self, wanted: &str, times: usize) -> bool {
        self.fulfills(|text| text.matches(wanted).count() >= times)
    }

    pub(crate) fn fulfills(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let (text, changed) = &*self.0;
        let is_missing = |text: &mut Text| !wanted(&text.text) && !text.has_ended;
        let (text, _) = changed
            .wait_timeout_while(text.lock().unwrap(), PATIENCE, is_missing)
            .unwrap();
        wanted(&text.text)
    }

    /// Waits for something to stand in it, and returns all that does.
    pub(crate) fn wait_for(&self, wanted: &str) -> String {
        assert!(self.holds(wanted, 1), "no {wanted:?} in {}", self.text());
        self.text()
    }

    /// All of it, once the program has ended.
    pub(crate) fn whole(&self) -> String {
        let (text, changed) = &*self.0;
        let (text, _) = changed
            .wait_timeout_while(text.lock().unwrap(), PATIENCE, |text| !text.has_ended)
            .unwrap();
        text.text.clone()
    }
}

/// Lets this process, and those that it starts, have so many files.
pub(crate) fn raise_limit_of_files(wanted: u64) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    let is_allowed = maximum.is_none_or(|maximum| maximum >= wanted) && setrlimit(Resource::Nofile, raised).is_ok();
    let reason = || format!("this process may have {maximum:?} files, and needs {wanted}");
    is_allowed.then_some(()).ok_or_else(reason)
}
