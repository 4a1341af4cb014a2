//! Backups: the whole state in one file, and its way back into an empty store.
//!
//! A backup is a text of JSON lines, which any tool can read. Secrets in it are sealed as they are in the
//! store, so a reader of it learns no more than a reader of the database: names, ids, states and times.
//! Without one of the roots it cannot be restored.
//!
//! ```text
//! {"backup":{"format":1,"revision":7,"time":1800000000,"code":"6f…"},"mac":"0b…"}
//! {"row":{"table":"roots","id":"recovery","revision":1,"code":"9a…","cells":{"kind":"file", …}},"mac":"51…"}
//! {"row":{"table":"keys","id":"…","revision":7,"code":"c3…","cells":{"name":"payroll", …}},"mac":"e7…"}
//! {"claim":{"kind":"usage","id":"…","owner":"","counter":42,"body":"…"},"mac":"77…"}
//! {"event":{"time":1800000000,"actor":"alice","command":"create", …},"mac":"d0…"}
//! {"end":{"lines":5},"mac":"a2…"}
//! ```
//!
//! Rows come with the columns and codes that they have in the store, bytes as `{"hex":"…"}`, empty columns
//! not at all, times in seconds since 1970. `mac` is the last field of each line: a code under the data key
//! over the code of the line before and all of the line up to `,"mac"`. So a line that is edited, moved,
//! taken away or put in is found, and so is a file that ends too early. The rows are those of one revision.
//! Counts and usage are as they were right after it; events of later revisions are left out.
//!
//! # What a restore changes
//! What happened after the backup is lost, but not undone: keys were made, versions encrypted. A restored
//! state must not do the same again. So a restore
//! * is a commit, with a revision 2^32 above that of the backup: no process can have seen a greater one. A
//!   process that still has the state from before finds that this one [does not
//!   follow](crate::RepositoryError::Forked);
//! * is a [record](crate::Restore) in the state and an event;
//! * **spends the count of every version**. How often a version has encrypted since the backup is not known,
//!   and only the limit of 2^32 is a bound that holds for every backup, however old, and every rate. So no
//!   restored version encrypts; all of them decrypt. A key encrypts again when it is rotated, and
//!   [`versions_near_limit`](crate::commands::Commands::versions_near_limit) names all of these keys;
//! * lets **numbers of new versions** of restored keys begin at 1 000 001 (2 000 001 after the second
//!   restore), so that they are not those of versions that were made after the backup;
//! * answers `DependencyTimeoutException` in place of `InvalidCiphertextException` to a ciphertext of an
//!   **unknown version** of a restored key: it may be valid, and its version may exist in the HSM.
//!
//! External key ids and ids of tenants, key sets and key stores have 120 random bits, so that none is
//! generated twice, known or not. A version id has 32, and is unique among the versions that are known of its
//! key; it equals that of a lost version with a probability of 2^-32.
//!
//! A restore brings back what was taken away after the backup: a revoked credential, a disabled key, a
//! blocked key store. HSM keys that were made after the backup stay in the HSM, unknown to the state:
//! [`Commands::orphans`](crate::commands::Commands::orphans) lists them.
//!
//! # What is not noticed
//! Who puts an older database file in the place of the present one, instead of restoring a backup, has a
//! state that says nothing of it: only a process that has seen a later revision notices.

mod error;
mod line;
mod read;

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use self::line::{First, Line};
pub use self::{
    error::{BackupError, LineProblem},
    read::restore,
};
use crate::{
    Repository, RepositoryError, Timestamp,
    record::{RowError, RowProblem},
    repository::collect,
    seal::{DataKey, Sum},
    store::{ClaimKind, Loaded, Revision, RowCode, Scope},
};

/// The format of the file. One that adds to it, or changes it, gets the next number.
const FORMAT: u64 = 1;
/// How much greater the revision of a restored state is.
const APART: u64 = 1 << 32;

/// The whole state at one revision, as the text of a backup.
///
/// ```
/// use std::{sync::Arc, time::SystemTime};
/// use xks_lifecycle::{Repository, backup, commands::Actor, seal::Root, store::MemoryStore};
///
/// # pollster::block_on(async {
/// # let directory = std::env::temp_dir().join(format!("xks-lifecycle-backup-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("root");
/// # Root::create_file(&path)?;
/// # let root = Root::file("recovery", &path)?;
/// let (now, roots) = (SystemTime::now().into(), [root]);
/// let (repository, _) = Repository::create(Arc::new(MemoryStore::new()), &roots, now).await?;
///
/// let file = directory.join("state.backup");
/// repository.backup(now).await?.write(&file)?;
///
/// let empty = Arc::new(MemoryStore::new());
/// let (_, snapshot) = backup::restore(&file, empty, &roots, &Actor::new("alice")?, now).await?;
/// let restore = snapshot.restores().next().unwrap();
/// assert_eq!(restore.backup_revision.get(), 1);
/// assert_eq!(snapshot.revision().get(), (1 << 32) + 1);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Backup {
    revision: Revision,
    text: Vec<u8>,
}

/// The lines of a backup as they are written, each bound to those before it.
struct Lines<'k> {
    key: &'k DataKey,
    text: Vec<u8>,
    code: RowCode,
    count: u64,
}

impl Lines<'_> {
    /// Adds a line, from its JSON.
    fn add(&mut self, json: &str) {
        let line = json.strip_suffix('}').unwrap_or(json); // an object
        self.code = self.key.line(&self.code, line.as_bytes());
        self.text.extend_from_slice(line.as_bytes());
        self.text.extend_from_slice(line::mac(&self.code).as_bytes());
        self.text.push(b'\n');
        self.count += 1;
    }
}

/// The rows of a load: as lines, and whether they are authentic.
#[derive(Default)]
struct Rows {
    lines: Vec<String>,
    sum: Sum,
    errors: Vec<RowError>,
}

impl Repository {
    /// Reads the whole state at one revision, authenticates it, and returns it as a backup. Commands and
    /// requests go on meanwhile.
    ///
    /// The backup stands in memory: some 800 bytes for a key with one version.
    ///
    /// # Errors
    /// [`RepositoryError::Rows`] or [`RepositoryError::Head`] when the state is not authentic: of such a
    /// state there is no backup. Those of the store.
    pub async fn backup(&self, now: Timestamp) -> Result<Backup, RepositoryError> {
        let key = Arc::clone(self.key());
        let take = move |rows: &mut Rows, loaded: Loaded<'_>| {
            let Loaded::Row(row) = loaded else { return };
            match key.verify(&row) {
                Some(sum) => {
                    rows.sum.toggle(sum);
                    rows.lines.push(Line::row(&row).json());
                }
                None => rows.errors.push(RowError::new(row.table, &row.id, RowProblem::Edited)),
            }
        };
        let (rows, head) = collect::<Rows>(&**self.store(), Scope::Everything, take).await?;
        if !rows.errors.is_empty() {
            return Err(RepositoryError::Rows(rows.errors));
        }
        if head.revision == Revision::ZERO {
            return Err(RepositoryError::Empty);
        }
        if !self.key().is_head(&head, rows.sum) {
            return Err(RepositoryError::Head(head.revision));
        }
        let mut lines = Lines {
            key: self.key(),
            text: Vec::new(),
            code: RowCode::default(),
            count: 0,
        };
        lines.add(&Line::Backup(First::new(&head, now)).json());
        rows.lines.iter().for_each(|line| lines.add(line));
        for kind in [ClaimKind::Count, ClaimKind::Usage, ClaimKind::Credential] {
            let (claims, _) = self.store().claims(kind).await?;
            claims.iter().for_each(|claim| lines.add(&Line::claim(claim).json()));
        }
        let mut after = 0;
        loop {
            let page = self.events(after, 1000).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let is_of_it = |event: &&crate::Event| event.revision.is_none_or(|revision| revision <= head.revision);
            let events = page.iter().map(|(_, event)| event).filter(is_of_it);
            events.for_each(|event| lines.add(&Line::event(event).json()));
        }
        let end = Line::End { lines: lines.count };
        lines.add(&end.json());
        Ok(Backup {
            revision: head.revision,
            text: lines.text,
        })
    }
}

impl Backup {
    /// Returns the revision that it was made at.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Returns the text.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.text
    }

    /// Writes it to a new file, as [`write()`] does.
    ///
    /// # Errors
    /// [`BackupError::File`], also where there is a file already.
    pub fn write(&self, path: &Path) -> Result<(), BackupError> {
        write(path, &self.text)
    }
}

/// Writes the text of a backup to a new file, which this user alone may read. The file is there when all of
/// it is on the disk, and not before.
///
/// # Errors
/// [`BackupError::File`], also where there is a file already.
pub fn write(path: &Path, text: &[u8]) -> Result<(), BackupError> {
    let failed = |reason| BackupError::file(path, "cannot be written", reason);
    if fs::symlink_metadata(path).is_ok() {
        let reason = io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file already; name another one",
        );
        return Err(failed(reason));
    }
    let mut part = OsString::from(path);
    part.push(format!(".part-{}", std::process::id()));
    let part = PathBuf::from(part);
    let written = write_new(&part, text).and_then(|()| fs::rename(&part, path));
    if let Err(reason) = written {
        let _ = fs::remove_file(&part); // perhaps it could not be made
        return Err(failed(reason));
    }
    sync_directory(path).map_err(failed)
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
