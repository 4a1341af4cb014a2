//! The audit log that shows tampering: `[audit]` of the settings, and the commands that need no server.
//!
//! ```text
//! requests, events ──▶ Queue ──▶ thread: Writer ──▶ files of chained records, and signed Heads
//!                                                      └──▶ a folder, verified by a command
//! ```

#[cfg(feature = "lifecycle")]
mod administration;
mod command;
mod export;
mod folder;
mod heads;
mod own_files;
mod queue;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

#[cfg(feature = "lifecycle")]
pub(crate) use self::administration::AuditedStore;
pub(crate) use self::{
    command::{AuditCommand, run},
    queue::Queue,
};
use self::{heads::Heads, writer::Writer};
use crate::settings::AuditSettings;

/// The time limit at the end for a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes what is left when it is dropped.
pub(crate) struct Audit {
    queue: Queue,
}

impl Audit {
    /// Begins a log, and a thread that writes it.
    pub(crate) fn start(settings: &AuditSettings) -> anyhow::Result<Self> {
        let key = settings.signing_key().context("`key_file` of [audit]")?;
        let heads = match (key, &settings.heads) {
            (Some(key), Some(heads)) => {
                let made = Heads::new(key, settings.name.clone(), heads.directory.clone(), heads.interval);
                let folder = heads.directory.display();
                Some(made.with_context(|| format!("cannot write heads of the audit log to {folder}"))?)
            }
            _ => None,
        };
        let queue = Queue::default();
        let writer = Writer::open(settings.clone(), heads, &queue).with_context(|| {
            format!(
                "cannot write the audit log to {}: check `directory` of [audit], and that the user of this process \
                 may read and write there",
                settings.directory.display()
            )
        })?;
        let of_thread = queue.clone();
        let thread = thread::Builder::new().name("xks-audit".into());
        let spawned = thread.spawn(move || {
            tracing::info!(audit_file = %writer.path().display(), "audit log");
            writer.run(&of_thread);
            of_thread.end();
        });
        spawned.context("cannot start a thread for the audit log")?;
        Ok(Self { queue })
    }

    /// The way in.
    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.queue.close();
        if !self.queue.wait_for_end(Instant::now() + PATIENCE) {
            let secs = PATIENCE.as_secs();
            tracing::error!(
                "the audit log was not written to its end within {secs} s: its last records may be missing"
            );
        }
    }
}
