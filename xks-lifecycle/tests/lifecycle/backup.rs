//! Backups: what they hold, what is refused of them, and what a restored state does not do again.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use pollster::block_on;
use rusqlite::Connection;
use xks_core::{
    backend::{BackendErrorKind, KeyStatus},
    manage::ManageErrorKind,
};
use xks_lifecycle::{
    Changes, Description, Material, Outcome, Repository, RepositoryError, Snapshot,
    backup::{self, BackupError, LineProblem},
    commands::{Adopt, Commands, CreateKey, MadeFor},
    store::{ClaimKind, Loaded, MemoryStore, Revision, Scope, SqliteStore, Store as _},
};

use crate::{
    commands::{
        cloud_material::{cloud_key, imported},
        world::{Fault, World, alice},
    },
    managed::Store,
    support::{COUNT, MATERIAL, SECRET, TempDir, at, fill, shown},
};

const NOW: u64 = 1_800_000_100;
const APART: u64 = 1 << 32;

/// A filled state, its backup, and what the state holds.
struct Backed {
    directory: TempDir,
    file: PathBuf,
    shown: String,
}

impl Backed {
    fn new() -> Self {
        let directory = TempDir::new();
        let root = directory.root("first");
        let (repository, snapshot, _) = fill(Arc::new(MemoryStore::new()), &[root]);
        let file = directory.path().join("state.backup");
        let made = block_on(repository.backup(at(NOW))).unwrap();
        assert_eq!(made.revision(), Revision::new(2));
        made.write(&file).unwrap();
        Self {
            shown: shown(&snapshot),
            directory,
            file,
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Restores another text, which must be refused and leave the store empty.
    fn refused(&self, text: &[u8]) -> BackupError {
        let path = self.directory.path().join("edited");
        fs::write(&path, text).unwrap();
        let store = Arc::new(MemoryStore::new());
        let roots = [self.directory.root("first")];
        let restored = backup::restore(&path, Arc::clone(&store) as _, &roots, alice(), at(NOW));
        let error = block_on(restored).unwrap_err();
        let sink = Box::new(|_: Loaded<'_>| panic!("a row was restored"));
        let head = block_on(store.load(Scope::Everything, sink)).unwrap();
        assert_eq!(head.revision, Revision::ZERO);
        error
    }

    fn refused_lines(&self, lines: &[String]) -> BackupError {
        self.refused((lines.join("\n") + "\n").as_bytes())
    }
}

fn restore(
    file: &Path,
    store: Arc<dyn xks_lifecycle::store::Store>,
    directory: &TempDir,
) -> Result<(Repository, Snapshot), BackupError> {
    block_on(backup::restore(
        file,
        store,
        &[directory.root("first")],
        alice(),
        at(NOW),
    ))
}

#[test]
fn everything_comes_back_from_a_backup() {
    let backed = Backed::new();
    let memory: Arc<dyn xks_lifecycle::store::Store> = Arc::new(MemoryStore::new());
    let file = SqliteStore::open(&backed.directory.database()).unwrap();
    for store in [memory, Arc::new(file)] {
        let (repository, mut snapshot) = restore(&backed.file, store, &backed.directory).unwrap();
        // Secrets and material open, rows keep their revisions; that of the state is another.
        let (_, before) = backed.shown.split_once('\n').unwrap();
        let now = shown(&snapshot);
        let (revision, after) = now.split_once('\n').unwrap();
        assert_eq!(after, before);
        assert_eq!(revision, format!("Revision({})", APART + 2));
        let restore = **snapshot.restores().next().unwrap();
        assert_eq!(
            (restore.backup_revision, restore.backup_time),
            (Revision::new(2), at(NOW))
        );
        let events = block_on(repository.events(0, 10)).unwrap();
        let [(_, made), (_, restored)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(
            (made.command.as_str(), made.revision),
            ("create", Some(Revision::new(2)))
        );
        assert_eq!(
            (restored.command.as_str(), restored.actor.as_str(), restored.outcome),
            ("restore", "alice", Outcome::Done)
        );
        assert_eq!(restored.revision, Some(restore.revision));
        assert!(
            restored
                .after
                .as_ref()
                .unwrap()
                .as_str()
                .contains("\"backup_revision\":2")
        );
        // It is a state like any other.
        let key = (**snapshot.keys().next().unwrap()).clone();
        block_on(repository.commit(&mut snapshot, Changes::new().update(key))).unwrap();
        assert_eq!(shown(&block_on(repository.load()).unwrap()), shown(&snapshot));
    }
    let (_, snapshot) = backed.directory.open().unwrap();
    assert_eq!(snapshot.restores().len(), 1, "kept in the file");
}

#[test]
fn nothing_secret_is_in_a_backup() {
    let backed = Backed::new();
    let text = fs::read(&backed.file).unwrap();
    let contains = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
    assert!(contains(b"Salaries 2027") && contains(b"label-in-the-hsm"), "names are");
    let root = fs::read(backed.directory.path().join("first")).unwrap();
    for secret in [SECRET.as_bytes(), &MATERIAL, &root] {
        for part in secret.windows(8) {
            let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!contains(part) && !contains(hex.as_bytes()));
        }
    }
}

#[test]
fn the_file_is_of_its_owner_and_replaces_no_other() {
    let backed = Backed::new();
    let mode = fs::metadata(&backed.file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(&backed.file).unwrap();
    let error = backup::write(&backed.file, b"another").unwrap_err();
    assert!(
        error.to_string().ends_with("there is a file already; name another one"),
        "{error}"
    );
    assert_eq!(fs::read(&backed.file).unwrap(), before);
    let none = backed.directory.path().join("none").join("state.backup");
    assert!(matches!(backup::write(&none, b""), Err(BackupError::File { .. })));
    let names = fs::read_dir(backed.directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    assert_eq!(names, ["first", "state.backup"], "no part is left");
}

/// Any tool can read it.
#[test]
fn a_backup_is_lines_of_json() {
    let lines = Backed::new().lines();
    let parsed = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let parsed: Vec<_> = parsed.collect();
    assert_eq!(parsed[0]["backup"]["format"], 1);
    let of_key = |line: &&serde_json::Value| line["row"]["table"] == "keys";
    let key = parsed.iter().find(of_key).unwrap();
    assert_eq!(
        (&key["row"]["revision"], &key["row"]["cells"]["state"]),
        (&2.into(), &"enabled".into())
    );
    assert_eq!(parsed.last().unwrap()["end"]["lines"], parsed.len() - 1);
}

#[test]
fn a_backup_that_was_cut_off_is_refused() {
    let backed = Backed::new();
    let text = fs::read(&backed.file).unwrap();
    let second = backed.lines()[..2].iter().map(|line| line.len() + 1).sum::<usize>();
    let ends = (second..text.len()).filter(|length| text[length - 1] == b'\n');
    for length in ends.chain((second..text.len()).step_by(97)).chain([text.len() - 1]) {
        let lines = text[..length].iter().filter(|byte| **byte == b'\n').count() as u64;
        match backed.refused(&text[..length]) {
            BackupError::CutOff { lines: found } => assert_eq!(found, lines),
            other => panic!("{length}: {other}"),
        }
    }
    // What opens it is not there.
    for length in (0..second).step_by(19) {
        let error = backed.refused(&text[..length]);
        let is_expected = matches!(
            error,
            BackupError::NotABackup { .. } | BackupError::Repository(RepositoryError::NoRoot { .. })
        );
        assert!(is_expected, "{length}: {error}");
    }
}

/// Each line, with each of its parts edited, moved, taken away, or twice.
#[test]
fn every_edited_line_is_named() {
    let backed = Backed::new();
    let lines = backed.lines();
    let named = |number: usize, edited: &[String]| match backed.refused_lines(edited) {
        BackupError::Line {
            number: found, problem, ..
        } => {
            assert_eq!((found, problem), (number as u64 + 1, LineProblem::Edited), "{edited:?}");
        }
        // Without it, or with another one, no root opens the backup.
        BackupError::Repository(RepositoryError::NoRoot { .. }) if number <= 1 => {}
        BackupError::NotABackup { .. } if number == 0 => {}
        BackupError::CutOff { .. } if number == lines.len() - 1 => {}
        other => panic!("{number}: {other}"),
    };
    for (number, line) in lines.iter().enumerate() {
        let edit = |line: String| {
            let mut edited = lines.clone();
            edited[number] = line;
            named(number, &edited);
        };
        // One byte of it.
        for place in (number % 5..line.len()).step_by(23) {
            let mut bytes = line.clone().into_bytes();
            bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
            if line.as_bytes()[place] == bytes[place] {
                continue;
            }
            if number == 0 && line.as_bytes()[..place].ends_with(b"\"format\":") {
                continue;
            }
            edit(String::from_utf8(bytes).unwrap());
        }
        edit(String::new());
        let mut without = lines.clone();
        without.remove(number);
        named(number, &without);
        let mut twice = lines.clone();
        twice.insert(number, line.clone());
        if number + 1 < lines.len() {
            named(number + 1, &twice);
            let mut swapped = lines.clone();
            swapped.swap(number, number + 1);
            named(number, &swapped);
        }
    }
    let error = backed.refused_lines(&[&lines[..], &lines[..1]].concat());
    let after = LineProblem::AfterTheEnd;
    assert!(
        matches!(error, BackupError::Line { problem, .. } if problem == after),
        "{error}"
    );
}

#[test]
fn a_line_is_named_with_what_it_is_about() {
    let backed = Backed::new();
    let edited: Vec<_> = backed
        .lines()
        .iter()
        .map(|line| line.replace("\"enabled\"", "\"disabled\""))
        .collect();
    let number = edited.iter().position(|line| line.contains("\"disabled\"")).unwrap() + 1;
    let expected = format!(
        "line {number} of the backup (keys/key-of-salaries): it was edited, or lines were moved, taken away or put in \
         before it; use another copy of the backup"
    );
    assert_eq!(backed.refused_lines(&edited).to_string(), expected);
}

/// Lines of two backups do not make one, although each is authentic.
#[test]
fn lines_of_another_backup_are_refused() {
    let directory = TempDir::new();
    let (repository, mut snapshot, filled) = fill(Arc::new(MemoryStore::new()), &[directory.root("first")]);
    let first = block_on(repository.backup(at(NOW))).unwrap().into_bytes();
    let mut key = (**snapshot.key(&filled.key).unwrap()).clone();
    key.description = Description::new("description", "other").unwrap();
    block_on(repository.commit(&mut snapshot, Changes::new().update(key))).unwrap();
    let second = block_on(repository.backup(at(NOW))).unwrap().into_bytes();
    let lines = |text: Vec<u8>| {
        String::from_utf8(text)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (first, second) = (lines(first), lines(second));
    let other = first
        .iter()
        .position(|line| !second.contains(line) && line.contains("\"keys\""))
        .unwrap();
    let mixed = [&second[..other], &first[other..]].concat();
    let file = directory.path().join("mixed");
    fs::write(&file, mixed.join("\n") + "\n").unwrap();
    let error = restore(&file, Arc::new(MemoryStore::new()), &directory).unwrap_err();
    assert!(
        matches!(
            error,
            BackupError::Line {
                problem: LineProblem::Edited,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_is_no_backup_of_this_version_is_refused() {
    let backed = Backed::new();
    let newer = fs::read_to_string(&backed.file)
        .unwrap()
        .replacen("\"format\":1", "\"format\":2", 1);
    let error = backed.refused(newer.as_bytes());
    assert!(
        matches!(error, BackupError::NewerFormat { found: 2, known: 1 }),
        "{error}"
    );
    for other in [&b""[..], b"{}\n", b"SQLite format 3\0", &[0xff; 5000]] {
        assert!(matches!(backed.refused(other), BackupError::NotABackup { .. }));
    }
    let none = backed.directory.path().join("none");
    let error = restore(&none, Arc::new(MemoryStore::new()), &backed.directory).unwrap_err();
    assert!(matches!(error, BackupError::File { .. }), "{error}");
    // Another root.
    let roots = [backed.directory.root("second")];
    let store = Arc::new(MemoryStore::new());
    let error = block_on(backup::restore(&backed.file, store, &roots, alice(), at(NOW))).unwrap_err();
    assert!(
        matches!(error, BackupError::Repository(RepositoryError::NoRoot { .. })),
        "{error}"
    );
}

#[test]
fn a_store_that_is_not_empty_is_left_alone() {
    let backed = Backed::new();
    let store = Arc::new(MemoryStore::new());
    let (repository, snapshot, _) = fill(Arc::clone(&store) as _, &[backed.directory.root("first")]);
    let error = restore(&backed.file, store, &backed.directory).unwrap_err();
    let is_expected = matches!(&error, BackupError::Repository(RepositoryError::Exists(found)) if found.get() == 2);
    assert!(is_expected, "{error}");
    assert_eq!(shown(&block_on(repository.load()).unwrap()), shown(&snapshot));
}

/// Of a state that is not authentic there is no backup.
#[test]
fn a_tampered_state_is_not_backed_up() {
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    let (repository, ..) = fill(store, &[directory.root("first")]);
    let connection = Connection::open(directory.database()).unwrap();
    let run = |sql: &str| connection.execute_batch(sql).unwrap();
    run("CREATE TEMP TABLE former AS SELECT * FROM versions");
    run("DELETE FROM versions WHERE number = 1");
    let error = block_on(repository.backup(at(NOW))).unwrap_err();
    assert!(matches!(error, RepositoryError::Head(_)), "{error}");
    run("DELETE FROM versions");
    run("INSERT INTO versions SELECT * FROM former");
    run("UPDATE keys SET state = 'disabled'");
    let error = block_on(repository.backup(at(NOW))).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("row `key-of-salaries` of table `keys`: it was edited"),
        "{error}"
    );
}

/// A writer of the database cannot let it forget that it was restored.
#[test]
fn the_record_of_a_restore_is_authenticated() {
    let backed = Backed::new();
    drop(restore(
        &backed.file,
        Arc::new(SqliteStore::open(&backed.directory.database()).unwrap()),
        &backed.directory,
    ));
    let original = fs::read(backed.directory.database()).unwrap();
    for sql in [
        "DELETE FROM restores",
        "UPDATE restores SET time = 0",
        "UPDATE restores SET backup_revision = 1",
        "UPDATE restores SET id = '7'",
    ] {
        Connection::open(backed.directory.database())
            .unwrap()
            .execute(sql, [])
            .unwrap();
        match backed.directory.open().unwrap_err() {
            RepositoryError::Rows(rows) if rows.len() == 1 => assert_eq!(rows[0].table.as_str(), "restores"),
            other => panic!("{sql}: {other}"),
        }
        fs::write(backed.directory.database(), &original).unwrap();
    }
}

/// While others commit and encrypt, every backup is that of one revision.
#[test]
fn a_backup_is_of_one_revision() {
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    let (repository, mut snapshot, filled) = fill(store, &[directory.root("first")]);
    let repository = &repository;
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for number in 0..60 {
                let mut key = (**snapshot.key(&filled.key).unwrap()).clone();
                let mut tenant = (**snapshot.tenant(filled.tenant).unwrap()).clone();
                key.description = Description::new("description", number.to_string()).unwrap();
                tenant.description = key.description.clone();
                let changes = Changes::new().update(key).update(tenant);
                block_on(repository.commit(&mut snapshot, changes)).unwrap();
            }
        });
        let mut number = 0;
        while !writer.is_finished() || number == 0 {
            let file = directory.path().join(format!("{number}.backup"));
            block_on(repository.backup(at(NOW))).unwrap().write(&file).unwrap();
            let (_, snapshot) = restore(&file, Arc::new(MemoryStore::new()), &directory).unwrap();
            let (key, tenant) = (snapshot.keys().next().unwrap(), snapshot.tenants().next().unwrap());
            assert_eq!(key.description, tenant.description);
            assert_eq!(key.revision(), tenant.revision());
            number += 1;
        }
        writer.join().unwrap();
    });
}

/// A process that goes on with the state from before the restore is not taken back.
#[test]
fn a_process_that_has_seen_the_state_before_notices() {
    let directory = TempDir::new();
    let (repository, mut snapshot, filled) = fill(Arc::new(MemoryStore::new()), &[directory.root("first")]);
    let file = directory.path().join("state.backup");
    block_on(repository.backup(at(NOW))).unwrap().write(&file).unwrap();
    let (restored, _) = restore(&file, Arc::new(MemoryStore::new()), &directory).unwrap();
    for _ in 0..3 {
        let key = (**snapshot.key(&filled.key).unwrap()).clone();
        block_on(repository.commit(&mut snapshot, Changes::new().update(key))).unwrap();
        let before = shown(&snapshot);
        let (known, found) = (snapshot.revision(), Revision::new(APART + 2));
        let error = block_on(restored.refresh(&mut snapshot)).unwrap_err();
        let is_expected =
            matches!(error, RepositoryError::Forked { known: of, found: at } if (of, at) == (known, found));
        assert!(is_expected, "{error}");
        assert_eq!(shown(&snapshot), before);
    }
}

/// Every version is spent, whatever it has encrypted before the backup and since.
#[test]
fn no_count_is_handed_out_twice() {
    let directory = TempDir::new();
    let store: Arc<dyn xks_lifecycle::store::Store> = Arc::new(MemoryStore::new());
    let (repository, snapshot, filled) = fill(Arc::clone(&store), &[directory.root("first")]);
    let file = directory.path().join("state.backup");
    block_on(repository.backup(at(NOW))).unwrap().write(&file).unwrap();
    assert_eq!(
        block_on(repository.reserve(&filled.vault, 7, 1 << 32)).unwrap().start,
        COUNT
    );
    let restored: Arc<dyn xks_lifecycle::store::Store> = Arc::new(MemoryStore::new());
    let (repository, _) = restore(&file, Arc::clone(&restored), &directory).unwrap();
    let (claims, _) = block_on(restored.claims(ClaimKind::Count)).unwrap();
    let claims: Vec<_> = claims
        .iter()
        .map(|claim| (claim.id.to_string(), claim.counter))
        .collect();
    let versions = snapshot
        .versions(&filled.key)
        .map(|version| (version.id.to_string(), 1 << 32));
    assert_eq!(claims, versions.collect::<Vec<_>>());
    for version in snapshot.versions(&filled.key) {
        let error = block_on(repository.reserve(&version.id, 1, 1 << 32)).unwrap_err();
        assert!(matches!(error, RepositoryError::Exhausted { .. }), "{error}");
    }
}

fn back_up(commands: &Commands, directory: &TempDir, name: &str) -> PathBuf {
    let file = directory.path().join(name);
    block_on(commands.backup(alice())).unwrap().write(&file).unwrap();
    file
}

/// A key of each source: what it encrypted before the backup decrypts; what it did after it is unknown, and
/// not called invalid; and it encrypts again when it is rotated, with a number that no version had.
#[test]
fn a_restored_key_decrypts_and_encrypts_when_it_is_rotated() {
    let directory = TempDir::new();
    let mut store = Store::new();
    let keys = store.sets().map(|set| store.world.create(set, "Name").key.id);
    let before = keys.each_ref().map(|id| store.encrypt(id).unwrap());
    let file = back_up(&store.world.commands, &directory, "first.backup");
    let lost = keys.each_ref().map(|id| {
        store.world.rotate(id).unwrap();
        store.encrypt(id).unwrap()
    });
    let state: Arc<MemoryStore> = Arc::new(MemoryStore::new());
    let restored = store.world.restored(&file, Arc::clone(&state) as _);
    store.of(restored);
    block_on(store.world.commands.load_counts()).unwrap();
    assert_eq!(store.world.commands.versions_near_limit().len(), 2);
    for ((id, before), lost) in keys.iter().zip(&before).zip(&lost) {
        let refused = store.encrypt(id).unwrap_err();
        assert_eq!(refused.kind(), BackendErrorKind::KeyDisabled);
        assert!(refused.to_string().contains("rotate the key"), "{refused}");
        assert_eq!(store.status(id), Ok(KeyStatus::Disabled));
        assert_eq!(store.decrypt(id, before), Ok(()));
        assert_eq!(store.decrypt(id, lost), Err(BackendErrorKind::Timeout));
        let rotated = store.world.rotate(id).unwrap();
        let numbers: Vec<_> = rotated.versions.iter().map(|version| version.number).collect();
        assert_eq!(numbers, [1, 1_000_001]);
        let after = store.encrypt(id).unwrap();
        assert_eq!(store.status(id), Ok(KeyStatus::Enabled));
        assert_eq!((store.decrypt(id, &after), store.decrypt(id, before)), (Ok(()), Ok(())));
        assert_eq!(store.decrypt(id, lost), Err(BackendErrorKind::Timeout), "it stays so");
        assert_eq!(store.world.rotate(id).unwrap().versions[2].number, 1_000_002);
    }
    // A key that was made since has no unknown versions.
    store.world.wait_seconds(1);
    for set in store.sets() {
        let new = store.world.create(set, "New").key.id;
        store.encrypt(&new).unwrap();
        assert_eq!(store.decrypt(&new, &lost[0]), Err(BackendErrorKind::InvalidCiphertext));
        assert_eq!(store.world.rotate(&new).unwrap().versions[1].number, 2);
    }
    // The second restore goes on above the first.
    let file = back_up(&store.world.commands, &directory, "second.backup");
    let restored = store.world.restored(&file, Arc::new(MemoryStore::new()));
    store.of(restored);
    let numbers = store
        .world
        .rotate(&keys[0])
        .unwrap()
        .versions
        .iter()
        .map(|version| version.number)
        .collect::<Vec<_>>();
    assert_eq!(numbers, [1, 1_000_001, 1_000_002, 2_000_001]);
    let revision = store.world.commands.revision().get();
    assert!(revision > 2 * APART && revision < 2 * APART + 100, "{revision}");
}

/// How much a key was used, and when last, is known after a restore too.
#[test]
fn usage_comes_back_from_a_backup() {
    let directory = TempDir::new();
    let mut store = Store::new();
    let key = store.world.create(store.world.vault, "Name").key.id;
    let encrypted = store.encrypt(&key).unwrap();
    store.decrypt(&key, &encrypted).unwrap();
    let before = block_on(store.world.commands.usage(&key)).unwrap()[0].usage;
    assert_eq!((before.encryptions, before.decryptions), (1, 1));
    let file = back_up(&store.world.commands, &directory, "state.backup");
    let restored = store.world.restored(&file, Arc::new(MemoryStore::new()));
    store.of(restored);
    let after = &block_on(store.world.commands.usage(&key)).unwrap()[0];
    assert_eq!((after.usage, after.most_encryptions), (before, 1 << 32));
}

/// HSM keys that were made after the backup are found by their labels, those of materials too, and those of
/// others are not.
#[test]
fn keys_that_the_restored_state_does_not_have_are_listed() {
    let directory = TempDir::new();
    let world = World::new();
    let kept = world.create(world.hsm, "Kept");
    world.manager.soft.insert(
        "other.key.00000001".parse().unwrap(),
        xks_backend_soft::SoftKey::generate().unwrap(),
    );
    world.manager.soft.insert(
        "test.adopted".parse().unwrap(),
        xks_backend_soft::SoftKey::generate().unwrap(),
    );
    // Another program has given this one a label like those of this deployment; it was adopted since.
    let alike: xks_core::KeyId = "test.key.00000001".parse().unwrap();
    world
        .manager
        .soft
        .insert(alike.clone(), xks_backend_soft::SoftKey::generate().unwrap());
    assert_eq!(block_on(world.commands.orphans()).unwrap()[0].backend_key, alike);
    let adopt = Adopt::new(CreateKey::new(world.adopted, "Adopted").unwrap(), alike);
    block_on(world.commands.adopt(alice(), adopt)).unwrap();
    // The state has the token of a key that was made, and not its name.
    world.manager.fail(Fault::After(ManageErrorKind::Timeout));
    let spec = CreateKey::new(world.hsm, "Pending").unwrap();
    block_on(world.commands.create_key(alice(), spec)).unwrap_err();
    let cloud_key = cloud_key(&world, world.hsm);
    let material = |number: u32| {
        let added = block_on(world.commands.add_material(alice(), cloud_key)).unwrap();
        assert_eq!(added.number, number);
        let made = block_on(world.commands.make_material(alice(), added.id)).unwrap();
        imported(&world, &made)
    };
    material(1);
    assert_eq!(block_on(world.commands.orphans()).unwrap(), []);
    let file = back_up(&world.commands, &directory, "state.backup");
    let rotated = world.rotate(&kept.key.id).unwrap();
    let made = world.create(world.hsm, "Made since");
    let lost = material(2);
    assert_eq!(block_on(world.commands.orphans()).unwrap(), []);
    let restored = world.restored(&file, Arc::new(MemoryStore::new()));
    let mut expected: Vec<_> = [(&rotated.versions[1], true), (&made.versions[0], false)]
        .map(|(version, is_of_known_key)| {
            let Material::Backend { key: Some(key), .. } = &version.material else {
                panic!("{version:?}")
            };
            let made_for = MadeFor::Version(version.id.clone());
            ("hsm".to_owned(), key.clone(), made_for, is_of_known_key)
        })
        .into();
    expected.push((
        "hsm".to_owned(),
        lost.material.backend_key().unwrap().clone(),
        MadeFor::Material(lost.id),
        false,
    ));
    expected.sort_by(|one, other| one.1.cmp(&other.1));
    let found = block_on(restored.orphans()).unwrap().into_iter();
    let found: Vec<_> = found
        .map(|orphan| {
            (
                orphan.backend,
                orphan.backend_key,
                orphan.made_for,
                orphan.is_of_known_key,
            )
        })
        .collect();
    assert_eq!(found, expected);
}

/// The command is an event, and one that fails too.
#[test]
fn a_backup_is_an_event() {
    let world = World::new();
    block_on(world.commands.backup(alice())).unwrap();
    let events = world.events();
    let event = events.last().unwrap();
    assert_eq!((event.command.as_str(), event.object.as_str()), ("backup", "store"));
    assert_eq!((event.actor.as_str(), event.outcome), ("alice", Outcome::Done));
}
