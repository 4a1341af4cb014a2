//! The thread that writes: one batch after the other, linked, made durable, and now and then a signed head.
//!
//! A log that could not be written, or of which a file could not be made durable, is at its end: what of it
//! is on the disk is not known, and the system would not say it a second time. Another log takes its place,
//! in a new file, and names the last record that is known of it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use xks_audit::{Chain, Origin, Position};

use super::{
    heads::Heads,
    own_files::{LastLog, OwnFile, create, end_of, file_path, last_log, make_folder, origin, own_files},
    queue::{Batch, Queue},
};
use crate::{
    log::is_in_place,
    settings::{AuditSettings, Durability},
};

/// Between two attempts to write.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    settings: AuditSettings,
    log: Log,
    heads: Option<Heads>,
}

/// A log, and the file of it that is written.
struct Log {
    incarnation: u64,
    /// Up to the last record that is written, as durable as it was asked for.
    chain: Chain,
    file: File,
    path: PathBuf,
    bytes: u64,
    /// Nothing is written in this file yet.
    is_fresh: bool,
    /// A write has failed: nothing more is written here.
    is_broken: bool,
    /// Whose place it takes, and why, where that is no restart.
    follows: Option<(Origin, Position)>,
    reason: Option<String>,
}

impl Log {
    /// Makes a log of its own, later than any that is there.
    fn begin(
        settings: &AuditSettings,
        after: u64,
        follows: Option<(Origin, Position)>,
        reason: Option<String>,
    ) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut incarnation = now.max(after.saturating_add(1));
        make_folder(&settings.directory)?;
        let (path, file) = loop {
            let path = file_path(&settings.directory, &settings.name, incarnation, 0);
            match create(&path) {
                Ok(file) => break (path, file),
                // Of another process with this name.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    incarnation = incarnation.checked_add(1).ok_or(error)?;
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Self {
            incarnation,
            chain: Chain::new(origin(&settings.name, incarnation).map_err(io::Error::other)?),
            file,
            path,
            bytes: 0,
            is_fresh: true,
            is_broken: false,
            follows,
            reason,
        })
    }

    /// What the log that takes its place says of it.
    fn known(&self) -> Option<(Origin, Position)> {
        match self.chain.position().size {
            0 => self.follows.clone(),
            _ => Some((self.chain.origin().clone(), self.chain.position())),
        }
    }

    /// Writes lines, which are as durable then as was asked for, as is the file's name.
    fn write(&mut self, lines: &[u8], settings: &AuditSettings) -> io::Result<()> {
        let written = self.file.write_all(lines).and_then(|()| match settings.durability {
            Durability::None => Ok(()),
            Durability::Batched if self.is_fresh => {
                self.file.sync_all()?;
                File::open(&settings.directory)?.sync_all()
            }
            Durability::Batched => self.file.sync_data(),
        });
        self.is_broken |= written.is_err();
        written
    }
}

impl Writer {
    /// Begins a log, which names the last one of before.
    pub(super) fn open(settings: AuditSettings, heads: Option<Heads>, queue: &Queue) -> io::Result<Self> {
        make_folder(&settings.directory)?;
        let files = own_files(&settings.directory, &settings.name)?;
        let LastLog { known, trouble } = last_log(&files, &settings.name);
        let after = files.last().map_or(0, |file| file.incarnation);
        let log = Log::begin(&settings, after, known, trouble)?;
        let mut writer = Self { settings, log, heads };
        writer.commit(&Batch::default(), queue)?;
        writer.sign();
        Ok(writer)
    }

    /// Until the end.
    pub(super) fn run(mut self, queue: &Queue) {
        loop {
            let batch = queue.take(self.heads.as_ref().map(Heads::due));
            self.write(&batch, queue);
            if batch.is_last || self.heads.as_ref().is_some_and(Heads::is_due) {
                self.sign();
            }
            if batch.is_last {
                return;
            }
        }
    }

    /// Writes a batch, however long it takes; meanwhile the queue takes what there is room for.
    pub(super) fn write(&mut self, batch: &Batch, queue: &Queue) {
        let mut attempts = 0_u64;
        while let Err(error) = self.commit(batch, queue) {
            if attempts == 0 {
                let path = self.log.path.display();
                tracing::error!(audit_file = %path, "the audit log cannot be written: {error}; trying another file");
            }
            self.log.reason = Some(error.to_string());
            // At once in another file, and then now and then.
            if attempts > 0 && queue.waits(Instant::now() + RETRY) {
                let lost = batch.lines().count() as u64;
                queue.lose(lost);
                tracing::error!(
                    audit_records_lost = lost,
                    "the audit log could not be written to the end"
                );
                return;
            }
            attempts += 1;
        }
        if attempts > 0 {
            let path = self.log.path.display();
            tracing::warn!(audit_file = %path, "the audit log is being written again, in another file");
        }
    }

    fn commit(&mut self, batch: &Batch, queue: &Queue) -> io::Result<()> {
        self.choose_file()?;
        let (mut chain, mut lines) = (self.log.chain.clone(), Vec::with_capacity(batch.records.len() * 2));
        let mut old = Vec::new();
        if self.log.is_fresh {
            let is_first = chain.position().size == 0;
            chain.begin_file(&mut lines);
            if let Some((former, position)) = self.log.follows.as_ref().filter(|_| is_first) {
                chain.follow(former, *position, &mut lines);
            }
            if let Some(reason) = self.log.reason.as_ref().filter(|_| is_first) {
                let reason = serde_json::json!({ "audit_trouble": reason }).to_string();
                chain.append(&reason, &mut lines).map_err(io::Error::other)?;
            }
            old = self.old_files();
            for (file, size) in &old {
                let of = origin(&self.settings.name, file.incarnation).map_err(io::Error::other)?;
                chain.delete(&of, *size, &mut lines);
            }
        }
        let mut refused = 0;
        for record in batch.lines() {
            let appended = std::str::from_utf8(record).map(|record| chain.append(record, &mut lines).is_ok());
            refused += u64::from(!appended.unwrap_or(false));
        }
        if batch.lost + refused > 0 {
            chain.lose(batch.lost + refused, &mut lines);
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.log.write(&lines, &self.settings)?;
        self.log.bytes += lines.len() as u64;
        (self.log.chain, self.log.is_fresh) = (chain, false);
        queue.lose(refused);
        self.delete(old);
        Ok(())
    }

    /// Goes over to another file, where the present one is full, or was renamed, deleted or replaced; to
    /// another log, where it could not be written.
    fn choose_file(&mut self) -> io::Result<()> {
        if self.log.is_broken {
            let follows = self.log.known();
            let log = Log::begin(&self.settings, self.log.incarnation, follows, self.log.reason.take())?;
            let former = std::mem::replace(&mut self.log, log);
            if former.is_fresh {
                // Nothing in it is known. If it stays, it is a file of a log that nothing names.
                drop(fs::remove_file(&former.path));
            }
            return Ok(());
        }
        if self.log.is_fresh {
            return Ok(());
        }
        let is_in_place = is_in_place(&self.log.file, &self.log.path);
        if is_in_place && self.log.bytes < self.settings.max_file_bytes {
            return Ok(());
        }
        if !is_in_place {
            let path = self.log.path.display();
            tracing::warn!(audit_file = %path, "the audit log was moved or deleted: going on in another file");
        }
        match self.next_file() {
            Err(error) if is_in_place => {
                let path = self.log.path.display();
                tracing::error!(audit_file = %path, "the next file of the audit log cannot be made: {error}");
                self.log.bytes = 0; // after as much again
                Ok(())
            }
            // Nor may it be possible the next time, if something has that name: but another log has another.
            result => result.inspect_err(|_| self.log.is_broken = true),
        }
    }

    fn next_file(&mut self) -> io::Result<()> {
        // By which those before it may be deleted.
        self.sign();
        let first = self.log.chain.position().size;
        let path = file_path(
            &self.settings.directory,
            &self.settings.name,
            self.log.incarnation,
            first,
        );
        make_folder(&self.settings.directory)?;
        self.log.file = create(&path)?;
        (self.log.path, self.log.bytes, self.log.is_fresh) = (path, 0, true);
        Ok(())
    }

    /// The files that are too many, each with how far its log had come at its end.
    fn old_files(&self) -> Vec<(OwnFile, u64)> {
        let Some(keep) = self.settings.keep else {
            return Vec::new();
        };
        let files = match own_files(&self.settings.directory, &self.settings.name) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!("cannot list old files of the audit log: {error}");
                return Vec::new();
            }
        };
        let many = files.len().saturating_sub(keep);
        let mut old = Vec::new();
        for file in files.into_iter().take(many).filter(|file| file.path != self.log.path) {
            match end_of(&file.path) {
                Ok(end) => old.push((file, end.map_or(0, |end| end.size))),
                Err(error) => {
                    let path = file.path.display();
                    tracing::warn!(audit_file = %path, "an old file of the audit log is kept: {error}");
                }
            }
        }
        old
    }

    /// Deletes files of which the log says so, and the heads of logs that have no file left.
    fn delete(&self, old: Vec<(OwnFile, u64)>) {
        for (file, _) in old {
            if let Err(error) = fs::remove_file(&file.path) {
                let path = file.path.display();
                tracing::warn!(audit_file = %path, "cannot delete an old file of the audit log: {error}");
                continue;
            }
            let left = own_files(&self.settings.directory, &self.settings.name);
            let is_last = left.is_ok_and(|left| left.iter().all(|other| other.incarnation != file.incarnation));
            if let Some(heads) = self.heads.as_ref().filter(|_| is_last) {
                heads.delete(file.incarnation);
            }
        }
    }

    /// Signs how far the log has come, once that is on the disk.
    pub(super) fn sign(&mut self) {
        let Some(heads) = &mut self.heads else { return };
        if self.log.is_broken || self.log.chain.position().size == 0 {
            heads.wait();
            return;
        }
        if self.settings.durability == Durability::None
            && let Err(error) = self.log.file.sync_data()
        {
            self.log.is_broken = true;
            self.log.reason = Some(error.to_string());
            let path = self.log.path.display();
            tracing::error!(audit_file = %path, "the audit log cannot be made durable: {error}; going on in another file");
            heads.wait();
            return;
        }
        heads.sign(self.log.incarnation, &self.log.chain);
    }

    /// Takes another file for the present one.
    #[cfg(test)]
    pub(super) fn write_to(&mut self, file: File, path: &Path) {
        (self.log.file, self.log.path) = (file, path.to_owned());
    }

    /// The file that is written.
    pub(super) fn path(&self) -> &Path {
        &self.log.path
    }
}
