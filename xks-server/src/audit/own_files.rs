//! The files of this server's logs: `NAME.INCARNATION.FIRST.jsonl`, and `NAME.INCARNATION.heads`, where a
//! slash of the name is a plus sign. An incarnation is the time of its beginning, in milliseconds.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use xks_audit::{Line, Lines, Origin, OriginError, Position};

use super::folder::{HEADS, LOG, open};
use crate::log::{DIRECTORY_MODE, FILE_MODE};

/// A log file, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OwnFile {
    pub(super) incarnation: u64,
    /// The number of its first record.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

/// The name of a log.
pub(super) fn origin(name: &Origin, incarnation: u64) -> Result<Origin, OriginError> {
    Origin::new(format!("{name}/{incarnation}"))
}

fn stem(name: &Origin) -> String {
    name.as_str().replace('/', "+")
}

pub(super) fn file_path(directory: &Path, name: &Origin, incarnation: u64, first: u64) -> PathBuf {
    directory.join(format!("{}.{incarnation}.{first:012}{LOG}", stem(name)))
}

pub(super) fn heads_path(directory: &Path, name: &Origin, incarnation: u64) -> PathBuf {
    directory.join(format!("{}.{incarnation}{HEADS}", stem(name)))
}

/// Makes a folder, if it is missing.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Opens a file that is not there yet.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true).mode(FILE_MODE).open(path)
}

/// The log files of this name, oldest first, compressed ones too.
pub(super) fn own_files(directory: &Path, name: &Origin) -> io::Result<Vec<OwnFile>> {
    let stem = stem(name);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let parts = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
            let rest = name.strip_prefix(&*stem)?.strip_prefix('.')?;
            let numbers = rest.strip_suffix(".gz").unwrap_or(rest).strip_suffix(LOG)?;
            let (incarnation, first) = numbers.split_once('.')?;
            Some((incarnation.parse().ok()?, first.parse().ok()?))
        });
        // A folder or a pipe of that name would be none.
        if let Some((incarnation, first)) = parts.filter(|_| path.is_file()) {
            files.push(OwnFile {
                incarnation,
                first,
                path,
            });
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The position behind the last whole record of a file; none if it has none.
pub(super) fn end_of(path: &Path) -> io::Result<Option<Position>> {
    let (mut lines, mut last) = (Lines::new(open(path)?), Vec::new());
    while let Some(line) = lines.read()? {
        match line {
            Line::Whole(line) => line.clone_into(&mut last),
            Line::Torn => {}
            _ => last.clear(),
        }
    }
    Ok(Position::behind(&last))
}

/// How far this server's last log had come.
#[derive(Default)]
pub(super) struct LastLog {
    pub(super) known: Option<(Origin, Position)>,
    /// Why it is the one before that, if it cannot be read: no start fails by that.
    pub(super) trouble: Option<String>,
}

/// Looks for the end of the last one of these files.
pub(super) fn last_log(files: &[OwnFile], name: &Origin) -> LastLog {
    let mut last = LastLog::default();
    for file in files.iter().rev() {
        let origin = origin(name, file.incarnation).map_err(io::Error::other);
        match origin.and_then(|origin| Ok((origin, end_of(&file.path)?))) {
            Ok((origin, Some(position))) => {
                last.known = Some((origin, position));
                break;
            }
            Ok((_, None)) => {}
            Err(error) => {
                let trouble = || format!("cannot read {}: {error}", file.path.display());
                last.trouble.get_or_insert_with(trouble);
            }
        }
    }
    last
}
