//! A database of each earlier schema version is opened, with all that is in it.
//!
//! `schema/N.sql` is a database as schema version N had it. It is written once, by the last program that has
//! that version, and never again: `cargo test -p xks-lifecycle --test lifecycle write_the_dump -- --ignored`.

use std::{fmt::Write as _, fs, path::PathBuf, sync::Arc};

use pollster::block_on;
use rusqlite::Connection;
use xks_lifecycle::{Changes, Repository, seal::Root, store::SqliteStore};

use crate::support::{COUNT, TempDir, event, fill, shown};

fn dump_of(version: u32) -> PathBuf {
    PathBuf::from(format!(
        "{}/tests/lifecycle/schema/{version}.sql",
        env!("CARGO_MANIFEST_DIR")
    ))
}

/// The root of the dumps.
fn root(directory: &TempDir) -> Root {
    let path = directory.path().join("dumps");
    fs::write(&path, [7; 32]).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Root::file("dumps", &path).unwrap()
}

#[test]
#[ignore = "writes a file of the project"]
fn write_the_dump_of_this_version() {
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    drop(fill(store, &[root(&directory)]));
    let path = dump_of(SqliteStore::SCHEMA);
    assert!(
        !path.exists(),
        "{path:?} is there already, and programs have written databases of it"
    );
    fs::write(path, dump(&Connection::open(directory.database()).unwrap())).unwrap();
}

/// The database as SQL.
fn dump(connection: &Connection) -> String {
    let mut text = String::new();
    for pragma in ["application_id", "user_version"] {
        let value: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
        writeln!(text, "PRAGMA {pragma} = {value};").unwrap();
    }
    let sql =
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    let mut statement = connection.prepare(sql).unwrap();
    let objects = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    for (kind, name, sql) in objects.map(Result::<(String, String, String), _>::unwrap) {
        writeln!(text, "{sql};").unwrap();
        if kind != "table" {
            continue;
        }
        let mut columns = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        let columns = columns
            .query_map([&name], |row| Ok(format!("quote({})", row.get::<_, String>(0)?)))
            .unwrap();
        let columns: Vec<_> = columns.map(Result::unwrap).collect();
        let sql = format!("SELECT concat_ws(', ', {}) FROM {name}", columns.join(", "));
        let mut rows = connection.prepare(&sql).unwrap();
        for row in rows.query_map([], |row| row.get::<_, String>(0)).unwrap() {
            writeln!(text, "INSERT INTO {name} VALUES ({});", row.unwrap()).unwrap();
        }
    }
    text
}

#[test]
fn databases_of_every_version_are_opened() {
    for version in 1..=SqliteStore::SCHEMA {
        let path = dump_of(version);
        let dump = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}; write it first"));
        let directory = TempDir::new();
        Connection::open(directory.database())
            .unwrap()
            .execute_batch(&dump)
            .unwrap();
        let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
        let (repository, mut snapshot) = block_on(Repository::open(store, &[root(&directory)])).unwrap();
        let state = shown(&snapshot);
        for expected in [
            "Payroll",
            "eu-central-1",
            "Salaries 2027",
            "label-in-the-hsm",
            "2147483648",
            "[\"dumps\"]",
        ] {
            assert!(state.contains(expected), "{expected} of version {version}:\n{state}");
        }
        let has_schedules = version >= 2;
        assert_eq!(
            state.contains("30 2 1 */3 *"),
            has_schedules,
            "version {version}:\n{state}"
        );
        let rotates_credentials = version >= 4;
        for expected in ["overlap: OverlapMinutes(90)", "is_untaken: true"] {
            assert_eq!(
                state.contains(expected),
                rotates_credentials,
                "{expected} of version {version}:\n{state}"
            );
        }
        let has_cloud = version >= 5;
        for expected in [
            "payroll-in-aws",
            "cks-1234567890abcdef0",
            "alias/salaries",
            "opens: true",
        ] {
            assert_eq!(
                state.contains(expected),
                has_cloud,
                "{expected} of version {version}:\n{state}"
            );
        }
        let has_materials = version >= 6;
        for expected in [
            "alias/imported",
            "keep_days: Some(KeepDays(60))",
            "CheckValue(cacaca)",
            "material-in-the-hsm",
            "unsealed: true",
        ] {
            assert_eq!(
                state.contains(expected),
                has_materials,
                "{expected} of version {version}:\n{state}"
            );
        }
        let has_ends = version >= 7;
        for expected in ["EndingWithinDays(45)", "kept_until: Some(Timestamp(1815184000))"] {
            assert_eq!(
                state.contains(expected),
                has_ends,
                "{expected} of version {version}:\n{state}"
            );
        }
        // Secret and material open.
        assert_eq!(state.matches(" true\n").count(), 2, "version {version}:\n{state}");
        let key = "key-of-salaries".parse().unwrap();
        let current = snapshot.versions(&key).last().unwrap().id.clone();
        assert_eq!(
            block_on(repository.reserve(&current, 1, u64::MAX)).unwrap(),
            COUNT..COUNT + 1
        );
        assert_eq!(block_on(repository.events(0, 10)).unwrap().len(), 1);
        let key = (**snapshot.key(&key).unwrap()).clone();
        let changes = Changes::new()
            .update(key)
            .event(event("rename", "keys/key-of-salaries"));
        block_on(repository.commit(&mut snapshot, changes)).unwrap();
        assert_eq!(shown(&block_on(repository.load()).unwrap()), shown(&snapshot));
        drop(repository);
        let connection = Connection::open(directory.database()).unwrap();
        let found: u32 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(found, SqliteStore::SCHEMA);
    }
}
