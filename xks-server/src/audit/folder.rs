//! The files of a folder, verified: sorted into logs, plain or compressed, with the heads beside them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _},
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

/// The greatest length of a file of heads: those of a century.
const MOST_HEADS: u64 = 1 << 30;

/// What begins a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// All that was found of some logs, by their names. What belongs to no log has the name "".
#[derive(Default)]
pub(crate) struct Found {
    logs: BTreeMap<String, Log>,
}

#[derive(Default)]
struct Log {
    /// By the numbers of their first records.
    files: Vec<(u64, PathBuf)>,
    /// With the names of the files that they are in.
    heads: Vec<(String, String)>,
    /// What later logs say of it.
    known: Vec<(String, Position)>,
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
            let known = (path.display().to_string(), position);
            self.log(former.as_str()).known.push(known);
        }
        Ok(())
    }

    /// Takes a file of signed heads, one after the other.
    pub(crate) fn take_heads(&mut self, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        open(path)?.take(MOST_HEADS).read_to_string(&mut text)?;
        let name = path.display().to_string();
        for head in SignedHead::split(&text) {
            match head.parse::<SignedHead>() {
                Ok(signed) => {
                    let log = self.log(signed.unverified().origin.as_str());
                    log.heads.push((name.clone(), head.to_owned()));
                }
                // The last one was being written when the machine stopped.
                Err(_) if !head.ends_with('\n') => {}
                Err(_) => self.log("").heads.push((name.clone(), head.to_owned())),
            }
        }
        Ok(())
    }

    fn log(&mut self, origin: &str) -> &mut Log {
        self.logs.entry(origin.to_owned()).or_default()
    }

    /// Whether there are heads.
    pub(crate) fn has_heads(&self) -> bool {
        self.logs.values().any(|log| !log.heads.is_empty())
    }

    /// Verifies them all, in the order of their names. Without keys heads are left out.
    pub(crate) fn verify(self, keys: &[VerifyingKey]) -> anyhow::Result<Vec<Report>> {
        let mut verified = Vec::new();
        for (origin, mut log) in self.logs {
            let mut verifier = Verifier::new();
            for (name, head) in log.heads.iter().filter(|_| !keys.is_empty()) {
                verifier.head(name, head, keys);
            }
            for (name, position) in &log.known {
                verifier.known(name, *position);
            }
            log.files.sort_unstable();
            for (_, path) in &log.files {
                let read = open(path).and_then(|file| verifier.file(&path.display().to_string(), file));
                read.with_context(|| format!("cannot read {}", path.display()))?;
            }
            let mut report = verifier.finish();
            if report.origin.is_none() {
                report.origin = origin.parse().ok();
            }
            verified.push((log, report));
        }
        anchor(&mut verified);
        Ok(without_deleted(verified))
    }
}

/// What a log says of a former one is anchored when that record is, which is its second.
fn anchor(verified: &mut [(Log, Report)]) {
    // Of a chain of logs, each is looked at once for each later one at most.
    for _ in 0..verified.len() {
        let mut found = false;
        let said: Vec<_> = verified
            .iter()
            .filter(|(_, report)| report.anchored >= Some(2))
            .filter_map(|(log, _)| log.follows.clone())
            .collect();
        for (former, position) in said {
            for (_, report) in verified.iter_mut() {
                let is_behind = report.anchored.is_none_or(|anchored| anchored < position.size);
                if report.origin.as_ref() == Some(&former) && is_behind && report.size >= position.size {
                    report.anchor(position.size);
                    found = true;
                }
            }
        }
        if !found {
            return;
        }
    }
}

/// Leaves out logs of which nothing is there, and of which another one says that they were deleted, as its
/// writer was told to; and the group of what belongs to no log, if there is nothing to say of it.
fn without_deleted(verified: Vec<(Log, Report)>) -> Vec<Report> {
    let deleted: Vec<_> = verified.iter().flat_map(|(_, report)| report.deleted.clone()).collect();
    let is_there = |(log, report): &(Log, Report)| {
        let Some(origin) = &report.origin else {
            return !report.is_whole() || !report.torn.is_empty();
        };
        let last = log.known.iter().map(|(_, position)| position.size).max().unwrap_or(0);
        let is_deleted = deleted.iter().any(|(of, size)| of == origin && *size >= last);
        !(log.files.is_empty() && is_deleted)
    };
    verified
        .into_iter()
        .filter(is_there)
        .map(|(_, report)| report)
        .collect()
}
