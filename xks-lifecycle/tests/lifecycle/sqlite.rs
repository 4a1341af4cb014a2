//! The file of a store: who owns it, and what is not opened.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::Arc,
};

use pollster::block_on;
use rusqlite::Connection;
use xks_lifecycle::{
    Changes, Repository, RepositoryError, Snapshot,
    store::{ClaimKind, SqliteStore, Store as _, StoreError},
};

use crate::support::{TempDir, fill, shown};

#[test]
fn one_store_of_a_process_owns_the_file_whatever_it_is_called() {
    let directory = TempDir::new();
    let store = SqliteStore::open(&directory.database()).unwrap();
    let link = directory.path().join("link.db");
    symlink(directory.database(), &link).unwrap();
    for path in [directory.database(), directory.path().join("./state.db"), link] {
        let error = SqliteStore::open(&path).unwrap_err();
        let expected = format!("is in use by process {} (", std::process::id());
        assert!(error.to_string().contains(&expected), "{error}");
    }
    assert!(
        block_on(store.claims(ClaimKind::Node)).unwrap().0.is_empty(),
        "it works as before"
    );
    drop(store);
    SqliteStore::open(&directory.database()).unwrap();
}

#[test]
fn the_files_are_of_their_owner() {
    let directory = TempDir::new();
    let (_repository, ..) = fill(
        Arc::new(SqliteStore::open(&directory.database()).unwrap()),
        &[directory.root("first")],
    );
    let mut files = 0;
    for file in fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            file.path()
        );
        files += 1;
    }
    assert!(files >= 4, "database, log, shared memory, lock, root: {files}");
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = TempDir::new();
    drop(SqliteStore::open(&directory.database()).unwrap());
    let newer = SqliteStore::SCHEMA + 1;
    Connection::open(directory.database())
        .unwrap()
        .pragma_update(None, "user_version", newer)
        .unwrap();
    let error = SqliteStore::open(&directory.database()).unwrap_err();
    let known = SqliteStore::SCHEMA;
    assert!(
        matches!(error, StoreError::NewerSchema { found, known: of } if (found, of) == (newer, known)),
        "{error}"
    );
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let directory = TempDir::new();
    let path = directory.path().join("other.db");
    Connection::open(&path)
        .unwrap()
        .execute("CREATE TABLE other (a)", [])
        .unwrap();
    let text = directory.path().join("notes.txt");
    fs::write(
        &text,
        "no database at all, and longer than the header of one: ".repeat(10),
    )
    .unwrap();
    let application = directory.path().join("application.db");
    Connection::open(&application)
        .unwrap()
        .pragma_update(None, "application_id", 7)
        .unwrap();
    for path in [path, text, application] {
        let before = fs::read(&path).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(
            matches!(&error, StoreError::Foreign { path: of } if of.file_name() == path.file_name()),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    let none = directory.path().join("none").join("state.db");
    assert!(matches!(SqliteStore::open(&none), Err(StoreError::Unavailable { .. })));
    assert!(matches!(
        SqliteStore::open(directory.path()),
        Err(StoreError::Unavailable { .. })
    ));
}

/// For a backup the database is read beside its owner; nothing can be changed so.
#[test]
fn a_database_is_read_beside_its_owner() {
    let directory = TempDir::new();
    let path = directory.database();
    let none = SqliteStore::open_read_only(&path).unwrap_err();
    assert!(matches!(none, StoreError::Unavailable { .. }), "{none}");
    assert!(!path.exists());
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let (repository, mut snapshot, filled) = fill(store, &[directory.root("first")]);
    let beside = Arc::new(SqliteStore::open_read_only(&path).unwrap());
    let (reader, mut seen) = block_on(Repository::open(beside, &[directory.root("first")])).unwrap();
    assert_eq!(shown(&seen), shown(&snapshot));
    let key = (**snapshot.key(&filled.key).unwrap()).clone();
    let error = block_on(reader.commit(&mut seen, Changes::new().update(key.clone()))).unwrap_err();
    assert!(
        matches!(error, RepositoryError::Store(StoreError::ReadOnly(_))),
        "{error}"
    );
    let error = block_on(reader.reserve(&filled.vault, 1, 1 << 32)).unwrap_err();
    assert!(
        matches!(error, RepositoryError::Store(StoreError::ReadOnly(_))),
        "{error}"
    );
    block_on(repository.commit(&mut snapshot, Changes::new().update(key))).unwrap();
    assert!(block_on(reader.refresh(&mut seen)).unwrap());
    assert_eq!(shown(&seen), shown(&snapshot));
    drop((repository, reader));
    // It brings no schema to another version.
    for (version, is_expected) in [
        (
            SqliteStore::SCHEMA - 1,
            (|error| matches!(error, StoreError::OlderSchema { .. })) as fn(&StoreError) -> bool,
        ),
        (SqliteStore::SCHEMA + 1, |error| {
            matches!(error, StoreError::NewerSchema { .. })
        }),
    ] {
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
        drop(connection);
        let error = SqliteStore::open_read_only(&path).unwrap_err();
        assert!(is_expected(&error), "{error}");
    }
}

/// What another program reads meanwhile delays no commit.
#[test]
fn a_reader_delays_no_commit() {
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    let (repository, mut snapshot, filled) = fill(store, &[directory.root("first")]);
    let reader = Connection::open(directory.database()).unwrap();
    let names = "SELECT count(*) FROM keys WHERE name = 'Salaries 2027'";
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(reader.query_row(names, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    let key = (**snapshot.key(&filled.key).unwrap()).clone();
    block_on(repository.commit(&mut snapshot, Changes::new().update(key))).unwrap();
    assert_eq!(reader.query_row(names, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

/// What is written to a file without a name, or beside another one that has it, would be lost.
#[test]
fn a_file_that_was_removed_or_replaced_is_noticed() {
    let directory = TempDir::new();
    let (path, aside) = (directory.database(), directory.path().join("aside.db"));
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let (repository, mut snapshot, filled) = fill(store, &[directory.root("first")]);
    let before = shown(&snapshot);
    let change = |snapshot: &Snapshot| Changes::new().update((**snapshot.key(&filled.key).unwrap()).clone());
    let assert_replaced = |error: RepositoryError| {
        let is_expected =
            matches!(&error, RepositoryError::Store(error @ StoreError::Replaced { .. }) if !error.is_unknown());
        assert!(
            is_expected && error.to_string().contains("put the file back that was there"),
            "{error}"
        );
    };
    fs::rename(&path, &aside).unwrap();
    for is_replaced in [false, true] {
        if is_replaced {
            fs::copy(&aside, &path).unwrap();
        }
        let changes = change(&snapshot);
        assert_replaced(block_on(repository.commit(&mut snapshot, changes)).unwrap_err());
        assert_replaced(block_on(repository.reserve(&filled.vault, 1, 1 << 32)).unwrap_err());
        assert_replaced(
            block_on(repository.record(vec![crate::support::event("a", "b")]))
                .unwrap_err()
                .into(),
        );
        assert_replaced(block_on(repository.load()).unwrap_err());
    }
    assert_eq!(shown(&snapshot), before);
    fs::rename(&aside, &path).unwrap();
    let changes = change(&snapshot);
    block_on(repository.commit(&mut snapshot, changes)).unwrap();
    drop(repository);
    assert_eq!(shown(&directory.open().unwrap().1), shown(&snapshot));
}

/// A damaged file is an error that says so.
#[test]
fn a_damaged_file_is_said() {
    let directory = TempDir::new();
    let (repository, ..) = fill(
        Arc::new(SqliteStore::open(&directory.database()).unwrap()),
        &[directory.root("first")],
    );
    drop(repository);
    let mut content = fs::read(directory.database()).unwrap();
    content[4096..].fill(0xff);
    fs::write(directory.database(), content).unwrap();
    let outcome = SqliteStore::open(&directory.database()).and_then(|store| {
        let sink = Box::new(|_: xks_lifecycle::store::Loaded<'_>| {});
        block_on(store.load(xks_lifecycle::store::Scope::Everything, sink))
    });
    assert!(matches!(outcome, Err(StoreError::Damaged(_))), "{outcome:?}");
}

/// Each page alone: what is needed of it is missed, and nothing else is taken for it.
#[test]
fn a_damaged_page_is_said_or_not_needed() {
    const PAGE: usize = 4096;
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    let (repository, snapshot, _) = fill(store, &[directory.root("first")]);
    drop(repository);
    let original = fs::read(directory.database()).unwrap();
    let mut damaged = 0;
    for page in 0..original.len() / PAGE {
        let mut content = original.clone();
        content[page * PAGE..(page + 1) * PAGE].fill(0xff);
        fs::write(directory.database(), content).unwrap();
        let store = SqliteStore::open(&directory.database());
        let opened = store.map_err(RepositoryError::from);
        let opened = opened.and_then(|store| block_on(Repository::open(Arc::new(store), &[directory.root("first")])));
        match opened {
            Ok((_, found)) => assert_eq!(shown(&found), shown(&snapshot), "page {page}"),
            Err(RepositoryError::Store(StoreError::Damaged(_) | StoreError::Foreign { .. })) => damaged += 1,
            Err(other) => panic!("page {page}: {other}"),
        }
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(directory.path().join(format!("state.db{end}")));
        }
    }
    assert!(damaged > 10, "{damaged} of {} pages", original.len() / PAGE);
}
