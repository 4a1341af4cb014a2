//! A store in a file, by SQLite.
//!
//! * **One process owns the file**, by a lock on a file beside it: who follows a revision is told of it
//!   within the process, and two processes would not see each other. Other processes may read the file.
//! * **The connection has a thread of its own**, since SQLite blocks; futures wait for it on any runtime.
//! * **Write-ahead log with `synchronous = FULL`**: a commit is one flush to the disk instead of three, and a
//!   reader, such as the `sqlite3` program or a backup, delays no commit. It needs shared memory, which
//!   network file systems do not have; the file belongs on a local disk anyway.
//! * **The file must stay where it is**: what is written to one that was removed or replaced would be lost,
//!   so each call looks whether it is still the one that was opened.
//! * **`secure_delete`**: what is removed is overwritten, so that destroyed key material does not stay in the
//!   file, not even sealed.

mod error;
mod identity;
mod owner;
mod schema;
mod statements;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use futures_channel::oneshot;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use xks_core::async_trait;

use self::{error::Failure, identity::Identity, owner::Owner};
use super::{
    ChangeSet, Claim, ClaimKind, Head, Revision, RowSink, Scope, Store, StoreError, Swap, Swapped, notifier::Notifier,
    sql,
};
use crate::Event;

/// The oldest SQLite that loses no commit when its write-ahead log begins again (3.51.3).
const OLDEST: i32 = 3_051_003;
/// For how many milliseconds a commit waits for another process that writes to the file.
const BUSY_MS: u64 = 5_000;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A store in a file. It belongs to this process until it is dropped.
///
/// ```
/// use xks_lifecycle::store::SqliteStore;
///
/// # let directory = std::env::temp_dir().join(format!("xks-lifecycle-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let path = directory.join("state.db");
/// let store = SqliteStore::open(&path)?;
/// let second = SqliteStore::open(&path).unwrap_err();
/// assert!(second.to_string().contains("is in use by process"));
/// # drop(store);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteStore {
    path: PathBuf,
    identity: Identity,
    /// Taken when this is dropped, which ends the thread.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    notifier: Arc<Notifier<Revision>>,
}

impl SqliteStore {
    /// The schema version that this program writes, as `PRAGMA user_version` shows it.
    pub const SCHEMA: u32 = sql::VERSION;

    /// Opens a database, which is made if there is none: readable and writable by this user alone. Brings an
    /// older schema to that of this version. Blocks.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::OldSqlite`], [`StoreError::NewerSchema`],
    /// [`StoreError::Foreign`], and those of a store that cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        check_library(rusqlite::version_number(), rusqlite::version())?;
        let path = create(path)?;
        let owner = Owner::lock(&path)?;
        let (connection, head) = connect(&path)?;
        Self::start(path, Some(owner), connection, head)
    }

    /// Opens a database to read it beside the process that owns it, such as for a backup. Whatever changes it
    /// is refused as [`StoreError::ReadOnly`], and followers learn of nothing. Blocks.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for [`StoreError::InUse`]; also where there is no database, and
    /// [`StoreError::OlderSchema`].
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        check_library(rusqlite::version_number(), rusqlite::version())?;
        let failed = |error| StoreError::unavailable(format!("{path:?} cannot be opened"), error);
        let path = fs::canonicalize(path).map_err(failed)?;
        let (connection, head) = connect_read_only(&path)?;
        Self::start(path, None, connection, head)
    }

    /// Starts the thread of a connection.
    fn start(path: PathBuf, owner: Option<Owner>, connection: Connection, head: Head) -> Result<Self, StoreError> {
        let identity = Identity::of(&path)?;
        let notifier = Arc::new(Notifier::default());
        notifier.announce(head.revision);
        let (jobs, queue) = mpsc::channel::<Job>();
        let work = move || {
            let (owner, mut connection) = (owner, connection);
            for job in queue {
                // A panic drops the sender of the answer, which says so; a transaction is rolled back.
                let _ = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
            }
            drop(connection);
            drop(owner); // the file is free when it is closed
        };
        let thread = thread::Builder::new()
            .name("xks-store".to_owned())
            .spawn(work)
            .map_err(|error| StoreError::unavailable("no thread could be started", error))?;
        Ok(Self {
            path,
            identity,
            jobs: Some(jobs),
            thread: Some(thread),
            notifier,
        })
    }

    /// Returns the path of the database, without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `job` on the thread of the connection.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ended = || StoreError::unavailable("the database cannot be used", "its thread has ended, or panicked");
        let (sender, answer) = oneshot::channel();
        let identity = self.identity.clone();
        let job = move |connection: &mut Connection| {
            let outcome = identity.check().and_then(|()| Ok(job(connection)?));
            let _ = sender.send(outcome); // who waited may have gone
        };
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(Box::new(job)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // The file can be opened again when this returns. A panic of the thread was seen by the caller that
        // waited.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Makes the file if there is none, and returns its path without symbolic links.
///
/// A file that is there is not opened: closing it again would end the locks that SQLite has on it in this
/// process.
fn create(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |error: io::Error| {
        let detail = format!("{path:?} cannot be opened");
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(format!("{detail}: {error}")),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(format!("{detail}: {error}")),
            _ => StoreError::unavailable(detail, error),
        }
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(file) => {
            file.sync_all().map_err(failed)?;
            let path = fs::canonicalize(path).map_err(failed)?;
            if let Some(directory) = path.parent().filter(|_| cfg!(unix)) {
                File::open(directory)
                    .and_then(|directory| directory.sync_all())
                    .map_err(failed)?;
            }
            Ok(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::canonicalize(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Refuses a library in which commits can be lost.
const fn check_library(number: i32, found: &'static str) -> Result<(), StoreError> {
    if number < OLDEST {
        return Err(StoreError::OldSqlite { found });
    }
    Ok(())
}

/// Opens the database and changes nothing of it.
fn connect_read_only(path: &Path) -> Result<(Connection, Head), Failure> {
    // The write-ahead log has an index, to which readers write too.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    if is_foreign(&connection)? {
        return Err(StoreError::Foreign { path: path.into() }.into());
    }
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "query_only", true)?;
    let transaction = connection.transaction()?;
    schema::check(&transaction)?;
    let head = statements::head(&transaction)?;
    drop(transaction);
    Ok((connection, head))
}

/// Opens the database and brings it to the schema of this version.
fn connect(path: &Path) -> Result<(Connection, Head), Failure> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    if is_foreign(&connection)? {
        return Err(StoreError::Foreign { path: path.into() }.into());
    }
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "fullfsync", true)?; // macOS flushes no further than the drive without it
    connection.pragma_update(None, "synchronous", "FULL")?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let reason = format!("SQLite keeps journal mode `{mode}` instead of a write-ahead log");
        return Err(StoreError::unavailable(format!("{path:?} cannot be used"), reason).into());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::migrate(&transaction)?;
    let head = statements::head(&transaction)?;
    transaction.commit()?;
    Ok((connection, head))
}

fn is_foreign(connection: &Connection) -> Result<bool, Failure> {
    let read = || {
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok(application != schema::APPLICATION && (application != 0 || objects != 0))
    };
    match read() {
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == rusqlite::ErrorCode::NotADatabase => Ok(true),
        outcome => Ok(outcome?),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self, scope: Scope, sink: RowSink) -> Result<Head, StoreError> {
        self.run(move |connection| statements::load(connection, scope, sink))
            .await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError> {
        let notifier = Arc::clone(&self.notifier);
        // Followers are woken even if the caller no longer waits for the commit.
        self.run(move |connection| {
            let head = statements::commit(connection, &changes)?;
            notifier.announce(head.revision);
            Ok(())
        })
        .await
    }

    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        Ok(self.notifier.follow(after).await)
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        self.run(move |connection| statements::swap(connection, &swap)).await
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        self.run(move |connection| statements::claims(connection, kind)).await
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.run(move |connection| statements::record(connection, &events))
            .await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.run(move |connection| statements::events(connection, after, limit))
            .await
    }
}
