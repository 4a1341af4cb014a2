//! Signed heads: how far the log has come, in a file beside it or elsewhere, also while nothing happens.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use xks_audit::{Chain, Origin, SigningKey};

use super::own_files::{heads_path, make_folder};
use crate::log::FILE_MODE;

pub(super) struct Heads {
    key: SigningKey,
    name: Origin,
    directory: PathBuf,
    interval: Duration,
    due: Instant,
    /// The last one could not be written, and that has been reported.
    is_stuck: bool,
}

impl Heads {
    pub(super) fn new(key: SigningKey, name: Origin, directory: PathBuf, interval: Duration) -> io::Result<Self> {
        make_folder(&directory)?;
        Ok(Self {
            key,
            name,
            directory,
            interval,
            due: Instant::now(),
            is_stuck: false,
        })
    }

    /// When the next one is to be signed.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    /// Lets the time of this one pass.
    pub(super) fn wait(&mut self) {
        self.due = Instant::now() + self.interval;
    }

    /// Signs how far a log has come, which is on the disk.
    pub(super) fn sign(&mut self, incarnation: u64, chain: &Chain) {
        self.wait();
        match self.write(incarnation, chain) {
            Ok(()) if self.is_stuck => {
                self.is_stuck = false;
                tracing::warn!("heads of the audit log are signed again");
            }
            Ok(()) => {}
            Err(error) if !self.is_stuck => {
                self.is_stuck = true;
                let folder = self.directory.display();
                tracing::error!(audit_heads = %folder, "the head of the audit log is not signed: {error}");
            }
            Err(_) => {}
        }
    }

    fn write(&self, incarnation: u64, chain: &Chain) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = chain.head(now.as_secs()).sign(&self.key).map_err(io::Error::other)?;
        make_folder(&self.directory)?;
        let mut options = OpenOptions::new();
        let path = heads_path(&self.directory, &self.name, incarnation);
        let mut file: File = options.append(true).create(true).mode(FILE_MODE).open(path)?;
        let length = file.metadata()?.len();
        let written = file
            .write_all(head.to_string().as_bytes())
            .and_then(|()| file.sync_data());
        if written.is_err() {
            // Half of one would spoil the next.
            file.set_len(length)?;
        }
        written
    }

    /// Deletes those of a log of which no file is left.
    pub(super) fn delete(&self, incarnation: u64) {
        let path = heads_path(&self.directory, &self.name, incarnation);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(audit_heads = %path.display(), "cannot delete heads of the audit log: {error}");
        }
    }
}
