//! What can only be tried on the connection itself: a full disk and a read-only database.

use std::{path::PathBuf, sync::Arc};

use pollster::block_on;

use super::*;
use crate::store::{Cell, Loaded, Row, Table};

struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xks-lifecycle-{}-{name}", std::process::id()));
        let file = Self(path);
        file.remove();
        file
    }

    fn remove(&self) {
        for end in ["", "-wal", "-shm", ".lock"] {
            let mut path = self.0.clone().into_os_string();
            path.push(end);
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn tenant(expected: Revision, name: &str) -> ChangeSet {
    let mut changes = ChangeSet::new(expected, [1; 32]);
    let cells = vec![Cell::Text(name.to_owned().into()), Cell::Null];
    changes.rows = vec![Row::new(Table::Tenants, "a".into(), expected.next(), [0; 16], cells)];
    changes
}

/// The name of the one tenant, and the revision.
fn found(store: &SqliteStore) -> (Option<String>, Revision) {
    let name = Arc::new(std::sync::Mutex::new(None));
    let sink = Arc::clone(&name);
    let sink = Box::new(move |loaded: Loaded<'_>| {
        if let Loaded::Row(row) = loaded
            && let Some(Cell::Text(text)) = row.cells.first()
        {
            *sink.lock().unwrap() = Some(text.to_string());
        }
    });
    let head = block_on(store.load(Scope::Everything, sink)).unwrap();
    let name = name.lock().unwrap().clone();
    (name, head.revision)
}

fn pragma(store: &SqliteStore, name: &'static str, value: i64) {
    block_on(store.run(move |connection| {
        connection.pragma_update(None, name, value)?;
        Ok(())
    }))
    .unwrap();
}

#[test]
fn a_full_disk_is_said_and_changes_nothing() {
    let file = TempFile::new("full.db");
    let store = SqliteStore::open(&file.0).unwrap();
    block_on(store.commit(tenant(Revision::ZERO, "before"))).unwrap();
    let pages: i64 =
        block_on(store.run(|connection| Ok(connection.pragma_query_value(None, "page_count", |row| row.get(0))?)))
            .unwrap();
    pragma(&store, "max_page_count", pages + 2);
    let long = "x".repeat(1 << 20);
    let error = block_on(store.commit(tenant(Revision::new(1), &long))).unwrap_err();
    assert!(matches!(error, StoreError::Full(_)) && !error.is_unknown(), "{error}");
    assert_eq!(found(&store), (Some("before".to_owned()), Revision::new(1)));
    pragma(&store, "max_page_count", 1 << 30);
    block_on(store.commit(tenant(Revision::new(1), &long))).unwrap();
    assert_eq!(found(&store), (Some(long), Revision::new(2)));
}

#[test]
fn a_read_only_database_is_said_and_changes_nothing() {
    let file = TempFile::new("read-only.db");
    let store = SqliteStore::open(&file.0).unwrap();
    block_on(store.commit(tenant(Revision::ZERO, "before"))).unwrap();
    pragma(&store, "query_only", 1);
    let error = block_on(store.commit(tenant(Revision::new(1), "after"))).unwrap_err();
    assert!(
        matches!(error, StoreError::ReadOnly(_)) && !error.is_unknown(),
        "{error}"
    );
    assert_eq!(found(&store), (Some("before".to_owned()), Revision::new(1)));
}

#[test]
fn the_connection_flushes_every_commit() {
    let file = TempFile::new("flush.db");
    let store = SqliteStore::open(&file.0).unwrap();
    let read = |name: &'static str| {
        block_on(store.run(move |connection| {
            let value = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
            Ok(connection.pragma_query_value(None, name, value)?)
        }))
        .unwrap()
    };
    let text = |text: &str| rusqlite::types::Value::Text(text.to_owned());
    let number = rusqlite::types::Value::Integer;
    assert_eq!(read("journal_mode"), text("wal"));
    assert_eq!(read("synchronous"), number(2));
    assert_eq!(read("secure_delete"), number(1));
    assert_eq!(read("trusted_schema"), number(0));
}

/// The library that is linked is none of those in which commits can be lost.
#[test]
fn an_older_library_is_refused() {
    assert!(check_library(rusqlite::version_number(), rusqlite::version()).is_ok());
    assert!(check_library(3_051_003, "3.51.3").is_ok() && check_library(4_000_000, "4.0.0").is_ok());
    for (number, found) in [(3_051_002, "3.51.2"), (3_050_009, "3.50.9"), (3_007_000, "3.7.0")] {
        let error = check_library(number, found).unwrap_err();
        let expected = format!("SQLite {found} is too old: 3.51.3 or later is required");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

/// A job that panics ends no other.
#[test]
fn a_panic_on_the_thread_is_an_error() {
    let file = TempFile::new("panic.db");
    let store = SqliteStore::open(&file.0).unwrap();
    let panics = block_on(store.run(|_| -> Result<(), Failure> { panic!("as the test wants it") }));
    assert!(matches!(panics, Err(StoreError::Unavailable { .. })));
    block_on(store.commit(tenant(Revision::ZERO, "after"))).unwrap();
    assert_eq!(found(&store), (Some("after".to_owned()), Revision::new(1)));
}
