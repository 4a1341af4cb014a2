//! A state with many keys: resident memory, the start, and one change.

use std::{
    env, fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use pollster::block_on;
use rusqlite::Connection;
use xks_backend_soft::SoftBackend;
use xks_benches::{
    Row,
    measure::{consume, ratio},
};
use xks_core::KeyId;
use xks_lifecycle::{
    Changes, Key, KeySetId, KeyVersion, KeyVersionId, Material, Repository, VersionId, VersionState,
    commands::Commands,
    generate_key_id,
    key_state::{KeyCommand, StoredState},
    store::SqliteStore,
};

use super::{Folder, actor, backends, deployment, key_set, processor_time, root};

/// Names the folder of the state to a process that is to load it.
const FOLDER: &str = "XKS_BENCHES_LIFECYCLE";
/// Keys in one commit.
const AT_ONCE: usize = 20_000;

/// Makes a state with so many keys, and has a new process load it.
pub(crate) fn measure(keys: usize) {
    let folder = Folder::new("many");
    fill(&folder.0, keys);
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(env::args().skip(1)).env(FOLDER, &folder.0);
    assert!(child.status().unwrap().success());
}

fn open(folder: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap())
}

fn commands(repository: Repository, snapshot: xks_lifecycle::Snapshot) -> Commands {
    Commands::new(
        repository,
        snapshot,
        backends(Arc::new(SoftBackend::new())),
        deployment(),
    )
}

fn fill(folder: &Path, keys: usize) {
    let now = std::time::SystemTime::now().into();
    let (repository, snapshot) = block_on(Repository::create(open(folder), &[root(folder)], now)).unwrap();
    let set = key_set(&commands(repository, snapshot));
    let (repository, mut snapshot) = block_on(Repository::open(open(folder), &[root(folder)])).unwrap();
    let mut left = keys;
    while left > 0 {
        let count = left.min(AT_ONCE);
        let changes = (0..count).fold(Changes::new(), |changes, number| {
            let (key, version) = key(set, left - number);
            changes.insert(key).insert(version)
        });
        block_on(repository.commit(&mut snapshot, changes)).unwrap();
        left -= count;
    }
}

/// As a command makes it: an enabled key whose one version is a key of the HSM.
fn key(set: KeySetId, number: usize) -> (Key, KeyVersion) {
    let now = std::time::SystemTime::now().into();
    let mut key = Key::new(generate_key_id().unwrap(), set, &format!("Key {number}")).unwrap();
    key.state = StoredState::Enabled;
    let id = KeyVersionId::new(key.id.clone(), VersionId::generate().unwrap());
    let label = format!("{}.{}.{}", deployment(), key.id, id.version);
    let mut token = [0; 16];
    getrandom::fill(&mut token).unwrap();
    let material = Material::Backend {
        key: Some(label.parse().unwrap()),
        token: Some(token.into()),
    };
    let mut version = KeyVersion::new(id, 1, material, now).unwrap();
    (version.state, version.promoted) = (VersionState::Current, Some(now));
    (key, version)
}

/// In the process that was started for it: loads the state and prints what that takes.
pub(crate) fn load_if_asked() -> bool {
    let Some(folder) = env::var_os(FOLDER) else {
        return false;
    };
    let folder = Path::new(&folder);
    let driver = (0..2).map(|_| step_through(folder)).min().unwrap();
    let (before, start) = (resident(), Instant::now());
    let (repository, snapshot) = block_on(Repository::open(open(folder), &[root(folder)])).unwrap();
    let commands = commands(repository, snapshot);
    let (took, after) = (start.elapsed(), resident());
    let ids: Vec<_> = commands.read(|snapshot| snapshot.keys().map(|key| key.id.clone()).collect());
    let count = ids.len();
    let what = format!("resident memory of each of {count} keys in an HSM, state and view, bytes");
    println!("{}", Row::at_most(&what, 300.0, (after - before) as f64 / count as f64));
    let what = format!(
        "ready with {count} keys: times as long as SQLite takes to step through their rows ({:.2} s, {:.2} s)",
        took.as_secs_f64(),
        driver.as_secs_f64()
    );
    println!("{}", Row::at_most(&what, 2.0, ratio(took, driver)));
    let (change, copy) = (one_change(&commands, &ids), copy(&commands));
    let what = format!("one change of {count} keys, times as cheap as a copy of all ({change:.0?}, {copy:.0?})");
    println!("{}", Row::at_least(&what, 1000.0, ratio(copy, change)));
    true
}

/// How long SQLite takes to hand out all rows of keys and versions.
fn step_through(folder: &Path) -> Duration {
    let connection = Connection::open(folder.join("state.db")).unwrap();
    let start = Instant::now();
    for table in ["keys", "versions"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            (0..columns).for_each(|column| consume(row.get_ref(column).unwrap()));
        }
    }
    start.elapsed()
}

/// Processor time of a command that changes one key, with all that it writes.
fn one_change(commands: &Commands, ids: &[KeyId]) -> Duration {
    let changed: Vec<_> = ids.iter().step_by(ids.len().div_ceil(100)).collect();
    let start = processor_time();
    for id in &changed {
        block_on(commands.change_key(&actor(), id, None, KeyCommand::Disable)).unwrap();
    }
    (processor_time() - start) / u32::try_from(changed.len()).unwrap()
}

/// Processor time of a copy of all keys.
fn copy(commands: &Commands) -> Duration {
    let start = processor_time();
    let copy = commands.read(Clone::clone);
    let took = processor_time() - start;
    consume(copy);
    took
}

/// Bytes that are resident.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * u64::try_from(rustix::param::page_size()).unwrap()
}
