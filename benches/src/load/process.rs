//! A process: its use of processor and memory, and the processors it may run on.

use std::{fs, time::Duration};

use anyhow::Context as _;
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

use crate::measure::processor_time;

/// A process of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

impl Process {
    /// The process of this id.
    #[must_use]
    pub fn new(id: u32) -> Self {
        Self(id)
    }

    /// This one.
    #[must_use]
    pub fn this() -> Self {
        Self(std::process::id())
    }

    /// What it has had of the processors, with all its threads.
    #[must_use]
    pub fn time(self) -> Duration {
        processor_time(Some(self.0))
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn resident(self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.0);
        let status = fs::read_to_string(&path).context(path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes.context("no resident memory")?.parse::<u64>()? * 1024)
    }
}

/// Keeps this thread, and those that it starts from now on, to one core.
///
/// # Errors
/// When there is no such core.
pub fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("core {core}"))
}

/// The core for a server that is measured: the first, where there are several.
#[must_use]
pub fn server_core() -> Option<usize> {
    has_several_cores().then_some(0)
}

/// The core for the client that measures it: the second.
#[must_use]
pub fn client_core() -> Option<usize> {
    has_several_cores().then_some(1)
}

fn has_several_cores() -> bool {
    // Of the machine: this process may have been kept to one already.
    fs::read_to_string("/proc/stat").is_ok_and(|stat| stat.contains("cpu1 "))
}

/// Lets this process, and those that it starts, have as many open files and connections as it may.
///
/// # Errors
/// When the system refuses it.
pub fn raise_descriptor_limit() -> anyhow::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    Ok(maximum.unwrap_or(u64::MAX))
}
