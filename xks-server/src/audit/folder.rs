//! The files of a folder, verified: sorted into logs, plain or compressed, with the heads beside them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;
use xks_audit::{Opening, Origin, Position, Report, SignedHead, Verifier, VerifyingKey};

/// How the names of log files end; compressed ones and those that another program has renamed have more
/// behind it.
pub(crate) const LOG: &str = ".jsonl";
/// How the names of files of heads end.
pub(crate) const HEADS: &str = ".heads";

/// What begins a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// All that was found of some logs, by their names. What belongs to no log has the name "".
pub(crate) struct Found {
    /// Those of heads. Without keys heads are left out.
    keys: Vec<VerifyingKey>,
    logs: BTreeMap<String, Log>,
    has_heads: bool,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Verified {
    /// Of each log.
    pub(crate) reports: Vec<Report>,
    /// The newest head of each log that has one.
    pub(crate) newest: Vec<SignedHead>,
}

#[derive(Default)]
struct Log {
    verifier: Verifier,
    /// By the numbers of their first records.
    files: Vec<(u64, PathBuf)>,
    /// How far it had come at least, as later logs and heads say.
    known: u64,
    /// Of the verified heads that with the most records.
    newest: Option<SignedHead>,
    follows: Option<(Origin, Position)>,
}

/// Opens a file, compressed or not.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(64 * 1024, File::open(path)?);
    Ok(match file.fill_buf()?.starts_with(&GZIP) {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}

impl Found {
    /// Nothing yet. Heads are those of these keys.
    pub(crate) const fn new(keys: Vec<VerifyingKey>) -> Self {
        Self {
            keys,
            logs: BTreeMap::new(),
            has_heads: false,
        }
    }

    /// Takes a file, or the files of a folder that look like those of a log.
    pub(crate) fn take(&mut self, path: &Path) -> anyhow::Result<()> {
        let unreadable = || format!("cannot read {}", path.display());
        if !fs::metadata(path).with_context(unreadable)?.is_dir() {
            return self.take_file(path, true).with_context(unreadable);
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).with_context(unreadable)? {
            entries.push(entry.with_context(unreadable)?.path());
        }
        entries.sort_unstable();
        for path in entries {
            let unreadable = || format!("cannot read {}", path.display());
            if fs::metadata(&path).with_context(unreadable)?.is_file() {
                self.take_file(&path, false).with_context(unreadable)?;
            }
        }
        Ok(())
    }

    fn take_file(&mut self, path: &Path, is_named: bool) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains(HEADS) {
            return self.take_heads(path);
        }
        if !is_named && !name.contains(LOG) {
            return Ok(());
        }
        let Some(Opening {
            origin, seq, follows, ..
        }) = Opening::read(open(path)?)?
        else {
            // It says itself to which log it belonged, or has nothing to say yet.
            if fs::metadata(path)?.len() > 0 {
                self.log("").files.push((0, path.to_owned()));
            }
            return Ok(());
        };
        let log = self.log(origin.as_str());
        log.files.push((seq, path.to_owned()));
        if let Some((former, position)) = follows.filter(|_| seq == 0) {
            log.follows = Some((former.clone(), position));
            let former = self.log(former.as_str());
            former.known = former.known.max(position.size);
            former.verifier.known(&path.display().to_string(), position);
        }
        Ok(())
    }

    /// Takes a file of signed heads, one after the other.
    pub(crate) fn take_heads(&mut self, path: &Path) -> io::Result<()> {
        let (mut file, name) = (open(path)?, path.display().to_string());
        while let Some(head) = SignedHead::read(&mut file)? {
            self.has_heads = true;
            if self.keys.is_empty() {
                return Ok(());
            }
            let verified = head.as_ref().ok().and_then(|head| head.verified(&self.keys)).cloned();
            // Of one without a good signature it is not known which log it belongs to.
            let origin = verified.as_ref().map_or("", |head| head.origin.as_str());
            let log = self.log(origin);
            log.verifier.head(&name, verified.as_ref());
            let (Some(verified), Ok(head)) = (verified, head) else {
                continue;
            };
            let size = verified.position.size;
            log.known = log.known.max(size);
            if log
                .newest
                .as_ref()
                .is_none_or(|newest| newest.unverified().position.size < size)
            {
                log.newest = Some(head);
            }
        }
        Ok(())
    }

    fn log(&mut self, origin: &str) -> &mut Log {
        self.logs.entry(origin.to_owned()).or_default()
    }

    /// Whether there are heads.
    pub(crate) const fn has_heads(&self) -> bool {
        self.has_heads
    }

    /// The files of all logs: log by log, each from its first record on.
    pub(crate) fn into_paths(self) -> impl Iterator<Item = PathBuf> {
        self.logs.into_values().flat_map(|mut log| {
            log.files.sort_unstable();
            log.files.into_iter().map(|(_, path)| path)
        })
    }

    /// Verifies them all, in the order of their names.
    pub(crate) fn verify(self) -> anyhow::Result<Verified> {
        let mut verified = BTreeMap::new();
        for (origin, mut log) in self.logs {
            let mut verifier = std::mem::take(&mut log.verifier);
            log.files.sort_unstable();
            for (_, path) in &log.files {
                let read = open(path).and_then(|file| verifier.file(&path.display().to_string(), file));
                read.with_context(|| format!("cannot read {}", path.display()))?;
            }
            let mut report = verifier.finish();
            if report.origin.is_none() {
                report.origin = origin.parse().ok();
            }
            verified.insert(origin, (log, report));
        }
        anchor(&mut verified);
        Ok(without_deleted(verified))
    }
}

/// What a log says of a former one is anchored when that record is, which is its second.
fn anchor(verified: &mut BTreeMap<String, (Log, Report)>) {
    let mut anchored: Vec<_> = verified.keys().cloned().collect();
    while let Some(origin) = anchored.pop() {
        let follows = match verified.get(&origin) {
            Some((log, report)) if report.anchored >= Some(2) => log.follows.clone(),
            _ => None,
        };
        let Some((former, position)) = follows else { continue };
        let Some((_, report)) = verified.get_mut(former.as_str()) else {
            continue;
        };
        // Each time it is further than before: so this ends.
        if report.anchored.is_none_or(|anchored| anchored < position.size) && report.size >= position.size {
            report.anchor(position.size);
            anchored.push(former.as_str().to_owned());
        }
    }
}

/// Leaves out logs of which nothing is there, and of which another one says that they were deleted, as its
/// writer was told to; and the group of what belongs to no log, if there is nothing to say of it.
fn without_deleted(verified: BTreeMap<String, (Log, Report)>) -> Verified {
    let mut deleted: BTreeMap<String, u64> = BTreeMap::new();
    for (origin, size) in verified.values().flat_map(|(_, report)| &report.deleted) {
        let known = deleted.entry(origin.as_str().to_owned()).or_default();
        *known = (*known).max(*size);
    }
    let is_there = |origin: &str, log: &Log, report: &Report| {
        if origin.is_empty() {
            return !report.is_whole() || !report.torn.is_empty();
        }
        let is_deleted = deleted.get(origin).is_some_and(|size| *size >= log.known);
        !(log.files.is_empty() && is_deleted)
    };
    let mut left = Verified::default();
    for (origin, (log, report)) in verified {
        if is_there(&origin, &log, &report) {
            left.reports.push(report);
            left.newest.extend(log.newest);
        }
    }
    left
}
