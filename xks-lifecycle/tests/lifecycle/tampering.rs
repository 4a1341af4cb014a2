//! What somebody can do who reads or writes the database, and has no root.

use std::{fs, path::PathBuf, sync::Arc};

use pollster::block_on;
use rusqlite::Connection;
use xks_lifecycle::{
    Changes, Repository, RepositoryError, RowProblem,
    key_state::StoredState,
    store::{Revision, SqliteStore},
};

use crate::support::{MATERIAL, SECRET, TempDir, event, fill, shown};

/// A database with everything in it, closed, after some more commits.
struct Closed {
    directory: TempDir,
    /// The state that it has.
    shown: String,
    /// A copy of the file as of an earlier revision.
    earlier: PathBuf,
}

impl Closed {
    /// The key was enabled, and has been disabled since; a tenant was made and removed since.
    fn new() -> Self {
        let directory = TempDir::new();
        let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
        let (repository, mut snapshot, filled) = fill(store, &[directory.root("first"), directory.root("second")]);
        let gone = xks_lifecycle::Tenant::new(xks_lifecycle::TenantId::generate().unwrap(), "Gone").unwrap();
        let gone_id = gone.id;
        block_on(repository.commit(&mut snapshot, Changes::new().insert(gone))).unwrap();
        drop(repository);
        let copy = directory.path().join("earlier.db");
        fs::copy(directory.database(), &copy).unwrap();
        let (repository, mut snapshot) = directory.open().unwrap();
        let mut key = (**snapshot.key(&filled.key).unwrap()).clone();
        key.state = StoredState::Disabled;
        let changes = Changes::new()
            .update(key)
            .remove(gone_id)
            .event(event("disable", "keys/key-of-salaries"));
        block_on(repository.commit(&mut snapshot, changes)).unwrap();
        Self {
            shown: shown(&snapshot),
            earlier: copy,
            directory,
        }
    }

    /// Edits the file by another connection.
    fn edit(&self, sql: &str) -> usize {
        let connection = Connection::open(self.directory.database()).unwrap();
        connection
            .execute(sql, [])
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Puts a row, or several, back as the earlier copy has them.
    fn put_back(&self, table: &str, condition: &str) {
        let connection = Connection::open(self.directory.database()).unwrap();
        let earlier = self.earlier.to_str().unwrap();
        connection.execute("ATTACH DATABASE ?1 AS earlier", [earlier]).unwrap();
        connection
            .execute(&format!("DELETE FROM main.{table} WHERE {condition}"), [])
            .unwrap();
        let sql = format!("INSERT INTO main.{table} SELECT * FROM earlier.{table} WHERE {condition}");
        assert!(connection.execute(&sql, []).unwrap() > 0, "{sql}");
    }

    fn refused(&self) -> RepositoryError {
        match self.directory.open() {
            Ok((_, snapshot)) => panic!("opened:\n{}\ninstead of\n{}", shown(&snapshot), self.shown),
            Err(error) => error,
        }
    }

    /// The one row that is refused.
    fn refused_row(&self) -> (String, RowProblem) {
        match self.refused() {
            RepositoryError::Rows(rows) if rows.len() == 1 => {
                (format!("{}/{}", rows[0].table, rows[0].id), rows[0].problem.clone())
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_state_is_the_same_when_it_is_opened_again() {
    let closed = Closed::new();
    let (_, snapshot) = closed.directory.open().unwrap();
    assert_eq!(shown(&snapshot), closed.shown);
    assert!(closed.shown.contains("Disabled") && closed.shown.contains("BETWEEN2TENAND3TENCHARACTERS"));
    assert_eq!(closed.shown.matches(" true\n").count(), 2, "{}", closed.shown);
}

#[test]
fn the_files_tell_no_secret() {
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    let (repository, ..) = fill(store, &[directory.root("first")]);
    // While it is open its log is there too.
    let contains = |needle: &[u8]| {
        fs::read_dir(directory.path()).unwrap().any(|file| {
            let path = file.unwrap().path();
            let is_root = path.ends_with("first");
            !is_root
                && fs::read(path)
                    .unwrap()
                    .windows(needle.len())
                    .any(|window| window == needle)
        })
    };
    assert!(
        contains(b"BETWEEN2TENAND3TENCHARACTERS") && contains(b"label-in-the-hsm"),
        "the search finds names"
    );
    let root = fs::read(directory.path().join("first")).unwrap();
    for secret in [SECRET.as_bytes(), &MATERIAL, &root] {
        assert!(!contains(secret));
        // Nor a part of it, nor in hexadecimal digits.
        for part in secret.windows(8) {
            let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!contains(part) && !contains(hex.as_bytes()) && !contains(hex.to_uppercase().as_bytes()));
        }
    }
    drop(repository);
    assert!(!contains(SECRET.as_bytes()) && !contains(&MATERIAL));
}

/// Each cell of each table, edited alone.
#[test]
fn every_edited_cell_is_found() {
    let closed = Closed::new();
    let mut edits = 0;
    let columns: Vec<(String, String, String)> = {
        let connection = Connection::open(closed.directory.database()).unwrap();
        let mut statement = connection
            .prepare(
                "SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c
                 WHERE t.type = 'table' AND t.name NOT IN
                 ('head', 'changes', 'claims', 'events', 'restores', 'sqlite_sequence')",
            )
            .unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    };
    let original = fs::read(closed.directory.database()).unwrap();
    for (table, column, kind) in columns {
        let value = match (&*column, &*kind) {
            ("is_blocked" | "is_revoked" | "keeps_decryption" | "needs_two", _) => format!("1 - {column}"),
            (_, "INTEGER") => format!("coalesce({column}, 0) + 1"),
            (_, "TEXT") => format!("coalesce({column}, '') || 'x'"),
            (_, "BLOB") => "randomblob(40)".to_owned(),
            other => panic!("{other:?}"),
        };
        let sql = format!("UPDATE {table} SET {column} = {value} WHERE id = (SELECT min(id) FROM {table})");
        assert_eq!(closed.edit(&sql), 1, "{sql}");
        match closed.refused() {
            RepositoryError::Rows(rows) => {
                assert!(rows.iter().all(|row| row.table.as_str() == table), "{sql}: {rows:?}");
            }
            // What opens a store is read before anything else.
            RepositoryError::NoRoot { .. } if table == "roots" => {}
            other => panic!("{sql}: {other}"),
        }
        edits += 1;
        fs::write(closed.directory.database(), &original).unwrap();
    }
    assert!(edits > 50, "{edits}");
    assert_eq!(shown(&closed.directory.open().unwrap().1), closed.shown);
}

#[test]
fn an_enabled_key_is_refused_that_a_person_disabled() {
    let closed = Closed::new();
    assert_eq!(closed.edit("UPDATE keys SET state = 'enabled'"), 1);
    assert_eq!(
        closed.refused_row(),
        ("keys/key-of-salaries".into(), RowProblem::Edited)
    );
    let message = closed.refused().to_string();
    let expected = "1 row of the store cannot be trusted: row `key-of-salaries` of table `keys`: it was edited, or \
                    moved from another place";
    assert_eq!(message, expected);
}

#[test]
fn a_row_that_was_put_back_from_an_older_copy_is_named() {
    let closed = Closed::new();
    closed.put_back("keys", "id = 'key-of-salaries'");
    let (found, recorded) = (2, 4);
    let problem = RowProblem::PutBack { found, recorded };
    assert_eq!(closed.refused_row(), ("keys/key-of-salaries".into(), problem));
}

#[test]
fn a_row_that_was_removed_and_is_put_back_is_named() {
    let closed = Closed::new();
    closed.put_back("tenants", "name = 'Gone'");
    assert_eq!(closed.refused_row().1, RowProblem::Unexpected);
}

#[test]
fn a_row_that_was_taken_away_is_named() {
    let closed = Closed::new();
    assert_eq!(closed.edit("DELETE FROM versions WHERE number = 1"), 1);
    assert_eq!(
        closed.refused_row(),
        ("versions/key-of-salaries/00000001".into(), RowProblem::Missing(2))
    );
}

/// With its line in the list of changes a row that was put back has no name any more, and is refused all the
/// same.
#[test]
fn a_row_that_was_put_back_with_its_change_is_refused() {
    let closed = Closed::new();
    closed.put_back("keys", "id = 'key-of-salaries'");
    closed.put_back("changes", "row_id = 'key-of-salaries'");
    assert!(matches!(closed.refused(), RepositoryError::Head(head) if head == Revision::new(4)));
}

#[test]
fn a_head_that_was_put_back_is_refused() {
    let closed = Closed::new();
    closed.put_back("head", "one = 1");
    assert!(matches!(closed.refused(), RepositoryError::Head(head) if head == Revision::new(3)));
}

#[test]
fn rows_and_sealed_cells_that_were_moved_are_found() {
    let closed = Closed::new();
    let version = "key-of-salaries/00000003";
    assert_eq!(
        closed.edit(&format!("UPDATE versions SET id = '{version}' WHERE number = 2")),
        1
    );
    assert_eq!(
        closed.refused_row(),
        (format!("versions/{version}"), RowProblem::Edited)
    );

    let closed = Closed::new();
    let sql = "UPDATE versions SET material = (SELECT secret FROM credentials) WHERE number = 2";
    assert_eq!(closed.edit(sql), 1);
    assert_eq!(closed.refused_row().1, RowProblem::Edited);
}

/// Who restores the whole database is not found out by the database alone, and not let through by a process
/// that has seen more.
#[test]
fn a_whole_older_copy_is_noticed_by_who_has_seen_more() {
    let directory = TempDir::new();
    let store = Arc::new(xks_lifecycle::store::MemoryStore::new());
    let root = directory.root("first");
    let (repository, mut snapshot, _) = fill(store, std::slice::from_ref(&root));
    let other = Arc::new(xks_lifecycle::store::MemoryStore::new());
    let (older, _) = block_on(Repository::create(other, &[root], crate::support::at(0))).unwrap();
    let before = shown(&snapshot);
    let error = block_on(older.refresh(&mut snapshot)).unwrap_err();
    let expected = (Revision::new(2), Revision::new(1));
    assert!(matches!(error, RepositoryError::WentBack { known, found } if (known, found) == expected));
    assert_eq!(shown(&snapshot), before);
    assert!(!block_on(repository.refresh(&mut snapshot)).unwrap());
}

/// An older copy that was restored and changed is noticed too, whatever revision it has reached.
#[test]
fn another_history_is_noticed_by_who_has_seen_the_first() {
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    let (repository, snapshot, filled) = fill(store, &[directory.root("first")]);
    drop(repository);
    let copy = fs::read(directory.database()).unwrap();
    let rename = |snapshot: &xks_lifecycle::Snapshot, name: &str| {
        let mut tenant = (**snapshot.tenant(filled.tenant).unwrap()).clone();
        tenant.name = xks_lifecycle::Name::new("name", name).unwrap();
        Changes::new().update(tenant)
    };
    let (repository, mut seen) = directory.open().unwrap();
    block_on(repository.commit(&mut seen, rename(&snapshot, "One"))).unwrap();
    drop(repository);
    fs::write(directory.database(), copy).unwrap();
    let (repository, mut other) = directory.open().unwrap();
    let before = shown(&seen);
    let key = (**snapshot.key(&filled.key).unwrap()).clone();
    for (changes, revision) in [(rename(&other, "Two"), 3), (Changes::new().update(key), 4)] {
        block_on(repository.commit(&mut other, changes)).unwrap();
        let error = block_on(repository.refresh(&mut seen)).unwrap_err();
        let expected = (Revision::new(3), Revision::new(revision));
        let is_expected = matches!(error, RepositoryError::Forked { known, found } if (known, found) == expected);
        assert!(is_expected, "{error}");
        assert_eq!(shown(&seen), before);
    }
}

/// A process that follows sees what was done to the rows that it reads.
#[test]
fn a_refresh_authenticates_what_it_reads() {
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    let (repository, mut snapshot, filled) = fill(store, &[directory.root("first")]);
    let mut old = snapshot.clone();
    let mut key = (**snapshot.key(&filled.key).unwrap()).clone();
    key.state = StoredState::Disabled;
    let connection = Connection::open(directory.database()).unwrap();
    let run = |sql: &str| connection.execute_batch(sql).unwrap();
    run("CREATE TEMP TABLE former AS SELECT * FROM keys");
    block_on(repository.commit(&mut snapshot, Changes::new().update(key))).unwrap();
    run("CREATE TEMP TABLE latter AS SELECT * FROM keys");
    for (sql, problem) in [
        ("", RowProblem::Missing(3)),
        (
            "INSERT INTO keys SELECT * FROM former",
            RowProblem::PutBack { found: 2, recorded: 3 },
        ),
    ] {
        run("DELETE FROM keys");
        run(sql);
        match block_on(repository.refresh(&mut old)).unwrap_err() {
            RepositoryError::Rows(rows) if rows.len() == 1 => assert_eq!(rows[0].problem, problem),
            other => panic!("{other}"),
        }
    }
    run("DELETE FROM keys");
    run("INSERT INTO keys SELECT * FROM latter");
    connection.execute("UPDATE keys SET state = 'enabled'", []).unwrap();
    let before = shown(&old);
    let error = block_on(repository.refresh(&mut old)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("row `key-of-salaries` of table `keys`: it was edited"),
        "{error}"
    );
    assert_eq!(shown(&old), before);
    connection.execute("UPDATE keys SET state = 'disabled'", []).unwrap();
    assert!(block_on(repository.refresh(&mut old)).unwrap());
    assert_eq!(shown(&old), shown(&snapshot));
}
