//! Log files: one for each minute, hour or day in UTC, or a single one, of which only the newest stay.
//!
//! A file is this log's own only by its whole name: the prefix, a dot, and a date of the rotation's form.
//! Everything else in the folder is left alone.
//!
//! The clock at the time of writing chooses the file of each batch of lines, and the file's path is checked
//! each time: a changed clock or a moved file needs no signal.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime as _, SystemTime},
};

use crate::settings::{LogFile, Rotation};

/// Records name principals and keys: the owner writes, the group reads.
pub(crate) const FILE_MODE: u32 = 0o640;
pub(crate) const DIRECTORY_MODE: u32 = 0o750;

/// Writes whole lines to the file of the present time.
pub(super) struct Files {
    settings: LogFile,
    open: OpenFile,
    /// Old files are looked for when a file was opened.
    has_to_prune: bool,
    /// The file of the present time could not be opened, and that has been reported.
    is_stuck: bool,
}

struct OpenFile {
    file: File,
    path: PathBuf,
    /// Whether it may end within a line: after a failed write, and when it was there before.
    may_be_torn: bool,
    is_shared: bool,
}

impl Files {
    /// Opens the file of the present time, and makes the folder if it is missing.
    pub(super) fn open(settings: &LogFile) -> anyhow::Result<Self> {
        let path = present_path(settings);
        let open = OpenFile::open(&path).with_context(|| {
            format!(
                "cannot open the log file {}: check `directory` and `prefix` of [log.file], and that the user of \
                 this process may write there",
                path.display()
            )
        })?;
        Ok(Self {
            settings: settings.clone(),
            open,
            has_to_prune: true,
            is_stuck: false,
        })
    }

    /// Goes over to the file of the present time; the same one again where it was renamed, deleted or
    /// replaced. Where that cannot be opened, the former one is better than none, as long as it can be found
    /// in some folder.
    fn go_with_the_time(&mut self) -> io::Result<()> {
        let path = present_path(&self.settings);
        if self.open.path != path || !is_in_place(&self.open.file, &self.open.path) {
            match OpenFile::open(&path) {
                Ok(open) => {
                    (self.open, self.has_to_prune, self.is_stuck) = (open, true, false);
                }
                Err(error) if self.open.file.metadata().is_ok_and(|file| file.nlink() > 0) => {
                    if !self.is_stuck {
                        self.is_stuck = true;
                        tracing::error!(
                            log_file = %path.display(),
                            "cannot open the log file, writing to the former one: {error}"
                        );
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.has_to_prune) {
            if self.open.is_shared {
                tracing::warn!(
                    log_file = %self.open.path.display(),
                    "another process writes to this log file: give each instance its own `prefix` or `directory`"
                );
            }
            self.prune();
        }
        Ok(())
    }

    /// Deletes all files of this log but the newest ones. What is dated later than now comes from a clock
    /// that was wrong: it is neither deleted nor counted.
    fn prune(&self) {
        let (Some(keep), Some(present)) = (self.settings.keep, self.open.path.file_name()) else {
            return;
        };
        let directory = &self.settings.directory;
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(log_directory = %directory.display(), "cannot list old log files: {error}");
                return;
            }
        };
        let mut former: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .map(|entry| entry.file_name())
            .filter(|name| name.as_os_str() < present)
            .filter(|name| name.to_str().is_some_and(|name| is_of(&self.settings, name)))
            .collect();
        former.sort_unstable_by(|one, other| other.cmp(one));
        for name in former.into_iter().skip(keep.saturating_sub(1)) {
            let path = directory.join(name);
            if is_of_another(&path) {
                continue;
            }
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(log_file = %path.display(), "cannot delete an old log file: {error}");
            }
        }
    }
}

impl Write for Files {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.go_with_the_time()?;
        self.open.write(lines)
    }

    /// Nothing is held back; but what became of the file is looked at.
    fn flush(&mut self) -> io::Result<()> {
        self.go_with_the_time()
    }
}

impl OpenFile {
    fn open(path: &Path) -> io::Result<Self> {
        // To be read too, for how it ends.
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .read(true)
                .mode(FILE_MODE)
                .open(path)
        };
        let mut file = open();
        if file
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            && let Some(directory) = path.parent()
        {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)?;
            file = open();
        }
        let file = file?;
        // Held until it is closed. A file system that knows no locks has none to respect.
        let is_shared = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        Ok(Self {
            file,
            path: path.to_owned(),
            may_be_torn: true,
            is_shared,
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.may_be_torn && self.ends_within_a_line() {
            self.file.write_all(b"\n")?;
        }
        let written = self.file.write(lines);
        self.may_be_torn = written.is_err();
        written
    }

    fn ends_within_a_line(&self) -> bool {
        let length = self.file.metadata().map_or(0, |file| match file.is_file() {
            true => file.len(),
            false => 0,
        });
        let mut last = [b'\n'];
        let read = length
            .checked_sub(1)
            .is_some_and(|last_at| self.file.read_exact_at(&mut last, last_at).is_ok());
        read && last != *b"\n"
    }
}

/// Whether a path still leads to this file.
pub(crate) fn is_in_place(file: &File, path: &Path) -> bool {
    let id = |file: Metadata| (file.dev(), file.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(there)) => id(file) == id(there),
        _ => false,
    }
}

/// The file for lines of this moment.
fn present_path(settings: &LogFile) -> PathBuf {
    let name = match settings.rotation.date_length() {
        0 => settings.prefix.clone(),
        length => format!("{}.{}", settings.prefix, &date(length)),
    };
    settings.directory.join(name)
}

/// As many characters of the date and time in UTC, by the clock that the lines have.
fn date(length: usize) -> String {
    let mut time = String::new();
    // Writing to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time.chars()
        .take(length)
        .map(|c| if c.is_ascii_digit() { c } else { '-' })
        .collect()
}

/// Whether a file of this name is one of this log's.
fn is_of(settings: &LogFile, name: &str) -> bool {
    let date = name
        .strip_prefix(&settings.prefix)
        .and_then(|date| date.strip_prefix('.'));
    let length = settings.rotation.date_length();
    date.is_some_and(|date| length > 0 && date.len() == length && is_date(date))
}

/// Whether this is a date, or the beginning of one with a time, as file names have it: `2026-11-29-23-59`.
fn is_date(text: &str) -> bool {
    let has_form = text.bytes().zip(*b"dddd-dd-dd-dd-dd").all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    let mut numbers = text.split('-').map(|number| number.parse::<u32>().unwrap_or(u32::MAX));
    let (Some(year), Some(month), Some(day)) = (numbers.next(), numbers.next(), numbers.next()) else {
        return false;
    };
    let days = match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let (hour, minute) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    has_form && (1..=days).contains(&day) && hour < 24 && minute < 60
}

/// Whether another process has it open as its log, or it is another user's, of which that cannot be known.
fn is_of_another(path: &Path) -> bool {
    File::open(path).map_or(true, |file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

impl Rotation {
    /// The length of the part of `2026-11-29-23-59` in a file's name.
    const fn date_length(self) -> usize {
        match self {
            Self::Minutely => 16,
            Self::Hourly => 13,
            Self::Daily => 10,
            Self::Never => 0,
        }
    }
}
