//! The proxy as a process: its start and end, its log, its use of processor and memory.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read, Write as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Process {
    child: Child,
    pub(crate) said: Arc<Said>,
    /// What it printed until it was ready.
    summary: String,
}

/// How often something stood in the log.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) reloaded: AtomicU64,
    pub(crate) not_reloaded: AtomicU64,
    pub(crate) panics: AtomicU64,
}

/// What it takes of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resources {
    pub(crate) threads: u64,
    pub(crate) descriptors: u64,
    pub(crate) resident: u64,
}

impl Process {
    /// Starts it, and waits until it is ready. It logs to the file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        for variable in [
            "RUST_LOG",
            "XKS_PROXY_SETTINGS_TOML",
            "PKCS11_HSM_MODULE",
            "NOTIFY_SOCKET",
        ] {
            command.env_remove(variable);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("the proxy does not start")?;
        let said = Arc::<Said>::default();
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("the proxy has no output");
        };
        let (writing, mut file) = (Arc::clone(&said), File::create(log)?);
        thread::spawn(move || {
            for line in BufReader::new(err).split(b'\n').map_while(Result::ok) {
                writing.count(&String::from_utf8_lossy(&line));
                if file.write_all(&[line.as_slice(), b"\n"].concat()).is_err() {
                    return;
                }
            }
        });
        let mut out = BufReader::new(out);
        let mut summary = String::new();
        while !summary.ends_with("Ready.\n") {
            if out.read_line(&mut summary)? == 0 {
                bail!("the proxy ended before it was ready; its log is {}", log.display());
            }
        }
        // Nobody reads on, but it may write on.
        thread::spawn(move || out.read_to_end(&mut Vec::new()));
        Ok(Self { child, said, summary })
    }

    /// The value of a line of what it printed.
    pub(crate) fn fact(&self, name: &str) -> anyhow::Result<&str> {
        let name = format!("  {name}  ");
        let mut values = self.summary.lines().filter_map(|line| line.split_once(&name));
        let value = values.next().with_context(|| format!("no{name}in {}", self.summary))?;
        Ok(value.1.trim())
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = Pid::from_raw(self.child.id().try_into()?).context("a process has an id")?;
        Ok(kill_process(id, signal)?)
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Tells it to stop, and waits for its end.
    pub(crate) async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        if self.has_ended()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        let start = Instant::now();
        loop {
            if let Some(status) = self.has_ended()? {
                return Ok(status);
            }
            if start.elapsed() > PATIENCE {
                bail!("the proxy does not end");
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn resources(&self) -> anyhow::Result<Resources> {
        let folder = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let number = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Ok(Resources {
            threads: number("Threads:").context("threads")?,
            descriptors: fs::read_dir(format!("{folder}/fd"))?.count() as u64,
            resident: number("VmRSS:").context("resident memory")? * 1024,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or is not waited for any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn count(&self, line: &str) {
        for (what, counter) in [
            (" settings reloaded", &self.reloaded),
            (" settings not reloaded", &self.not_reloaded),
            (" panicked at ", &self.panics),
        ] {
            if line.contains(what) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_counted() {
        let said = Said::default();
        said.count("2026-11-25T16:44:33Z  INFO xks_server::reload: settings reloaded key_stores=3");
        said.count(
            "2026-11-25T16:44:33Z ERROR xks_server::reload: settings not reloaded, the former ones stay in force",
        );
        said.count("thread 'tokio-rt-worker' panicked at src/lib.rs:1:1:");
        let counts = [&said.reloaded, &said.not_reloaded, &said.panics].map(|counter| counter.load(Ordering::SeqCst));
        assert_eq!(counts, [1, 1, 1]);
    }
}
