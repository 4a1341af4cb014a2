//! A database belongs to one process.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::Arc,
};

use xks_lifecycle::store::{SqliteStore, StoreError};

use crate::support::{TempDir, fill, shown};

const HOLD: &str = "XKS_LIFECYCLE_HOLD";

/// Not a test but the other process of one: holds a database until it is killed.
#[test]
fn another_process() {
    let Ok(path) = env::var(HOLD) else { return };
    let directory = std::path::Path::new(&path);
    let store = Arc::new(SqliteStore::open(&directory.join("state.db")).unwrap());
    let root = xks_lifecycle::seal::Root::file("first", &directory.join("first")).unwrap();
    let (_repository, ..) = fill(store, &[root]);
    println!("held");
    loop {
        std::thread::park();
    }
}

/// The second process learns which one has the database; and what that one committed is there when it was
/// killed.
#[test]
fn one_process_owns_the_file() {
    let directory = TempDir::new();
    directory.root("first");
    let mut other = Command::new(env::current_exe().unwrap())
        .args(["--exact", "owner::another_process", "--nocapture"])
        .env(HOLD, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(other.stdout.take().unwrap()).lines();
    let is_held = lines.map_while(Result::ok).any(|line| line.contains("held"));
    let outcome = SqliteStore::open(&directory.database());
    other.kill().unwrap(); // SIGKILL
    other.wait().unwrap();
    assert!(is_held);
    let error = outcome.unwrap_err();
    let expected = format!(
        "{:?} is in use by process {} (",
        fs::canonicalize(directory.database()).unwrap(),
        other.id()
    );
    assert!(matches!(error, StoreError::InUse { .. }));
    assert!(error.to_string().starts_with(&expected), "{error}");
    let (_, snapshot) = directory.open().unwrap();
    assert!(shown(&snapshot).contains("Salaries 2027"));
}
