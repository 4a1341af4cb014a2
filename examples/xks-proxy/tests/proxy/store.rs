//! The store of keys under management: made by a command, opened at the start, and what is said when it
//! cannot be.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::support::{STORE, Server, Settings, Token, check, create_store, ended, program};

/// Settings with a store and a root in a file, neither of which is made yet.
fn settings() -> Settings {
    Settings::new().tables(STORE)
}

/// Starts the server, which ends by itself; its status and its log.
fn refused(settings: &Settings) -> (Option<i32>, String) {
    let (code, out, log) = ended(program().arg("--config").arg(settings.write()));
    assert!(!out.contains("Ready."), "{out}");
    (code, log)
}

/// A start makes no store and no root; the command does, once, and the server serves.
#[test]
fn a_store_is_made_by_its_command_alone() {
    let settings = settings();
    let (code, log) = refused(&settings);
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("there is no store: make it and its roots with `xks-proxy store create"),
        "{log}"
    );
    assert!(!settings.file("state.db").exists() && !settings.file("recovery.root").exists());
    let (code, printed) = check(&settings);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains(": warning: `file`: there is no "), "{printed}");

    let (code, out, log) = create_store(&settings);
    assert_eq!((code, log.as_str()), (Some(0), ""), "{out}");
    assert!(
        out.contains("root `recovery`: ") && out.contains("recovery.root, made\n"),
        "{out}"
    );
    let root = fs::read(settings.file("recovery.root")).unwrap();
    let mode = |name: &str| settings.file(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (root.len(), mode("recovery.root"), mode("state.db")),
        (32, 0o600, 0o600)
    );
    assert!(!check(&settings).1.contains("`file`: there is no "));

    let server = Server::start(&settings);
    // It belongs to this process, which the other one names.
    let (code, log) = refused(&settings);
    assert_eq!(code, Some(1), "{log}");
    let owner = format!("is in use by process {} (xks-proxy)", server.process.id());
    assert!(log.contains(&owner), "{log}");
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");

    let (code, _, log) = create_store(&settings);
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("it has a state already, and stays as it is"), "{log}");
    assert_eq!(fs::read(settings.file("recovery.root")).unwrap(), root);
    let server = Server::start(&settings);
    assert_eq!(server.readiness(), 200);
}

/// A root that is there is taken as it is, so that a command which was interrupted can be given again.
#[test]
fn a_root_that_is_there_is_kept() {
    let settings = settings();
    let root = settings.folder.path().join("recovery.root");
    fs::write(&root, [7; 32]).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, out, log) = create_store(&settings);
    assert_eq!((code, log.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("recovery.root, as it was\n"), "{out}");
    assert_eq!(fs::read(&root).unwrap(), [7; 32]);
}

/// Makes a store, spoils it, and returns what the start says.
fn spoiled(spoil: impl FnOnce(&Path)) -> (Option<i32>, String) {
    let settings = settings();
    assert_eq!(create_store(&settings).0, Some(0));
    spoil(settings.folder.path());
    refused(&settings)
}

#[test]
fn what_is_wrong_with_a_store_is_said_with_its_remedy() {
    let (code, log) = spoiled(|folder| fs::write(folder.join("recovery.root"), [7; 32]).unwrap());
    assert_eq!(code, Some(78), "{log}");
    let wrong = "no root opens the store: `recovery`: the data key was not wrapped under this root; the store knows \
                 recovery";
    assert!(log.contains(wrong), "{log}");

    // At offset 60 of the file stands its schema version, big-endian.
    let newer = |folder: &Path| {
        let file = folder.join("state.db");
        let mut content = fs::read(&file).unwrap();
        content[60..64].copy_from_slice(&9999_u32.to_be_bytes());
        fs::write(file, content).unwrap();
    };
    let (code, log) = spoiled(newer);
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("the database has schema version 9999"), "{log}");
    assert!(log.contains("use a newer program"), "{log}");

    let foreign = |folder: &Path| {
        fs::write(
            folder.join("state.db"),
            "a text in the place of a database, long enough for a header",
        )
        .unwrap();
    };
    let (code, log) = spoiled(foreign);
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("is a database of another program; name another file"),
        "{log}"
    );

    // What `check` finds, the server does not start with.
    let open = fs::Permissions::from_mode(0o644);
    let (code, log) = spoiled(|folder| fs::set_permissions(folder.join("recovery.root"), open).unwrap());
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("must be accessible by its owner alone (chmod 600)"),
        "{log}"
    );
    let (code, log) = spoiled(|folder| fs::remove_file(folder.join("recovery.root")).unwrap());
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("error: `file`: ") && log.contains("cannot be read"),
        "{log}"
    );
}

/// A root in an HSM opens the store alone, and its key is there before the store is.
#[test]
fn a_root_may_be_a_key_of_an_hsm() {
    let token = Token::new();
    let root = |key: &str| {
        let store = "[store]\nfile = \"state.db\"\n\n[[store.roots]]\nname = \"hsm\"\nbackend = \"token\"\n";
        token.settings_with("", "keys = [\"known\"]").tables(&format!(
            "{store}key = \"{key}\"\n\n[lifecycle]\nbackends = [\"token\"]"
        ))
    };
    let run = |settings: &Settings, arguments: &[&str]| ended(token.program().args(arguments).arg(settings.write()));
    let missing = root("missing");
    let (code, _, log) = run(&missing, &["store", "create"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("root `hsm`: key missing of the backend: "), "{log}");

    let settings = root("other");
    let (code, out, log) = run(&settings, &["store", "create"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(out.contains("root `hsm`: key other of [backends.token]\n"), "{out}");
    let server = token.serve(&settings);
    assert_eq!(server.readiness(), 200);
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A server may have keys under management alone.
#[test]
fn a_file_with_a_store_needs_neither_backends_nor_key_stores() {
    let settings = settings().backends("").key_stores("");
    assert_eq!(create_store(&settings).0, Some(0));
    let server = Server::start(&settings);
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    let (code, printed) = check(&Settings::new().backends("").key_stores(""));
    assert_eq!(code, Some(78), "{printed}");
}

/// Each mistake has its line, with the setting and what to do.
#[test]
fn mistakes_in_the_tables_have_their_lines() {
    let fleet = "[backends.both]\nkind = \"fleet\"\nmembers = [\"keys\"]\n";
    for (tables, said) in [
        (
            "[lifecycle]\ndeployment = \"a\"\n",
            "[lifecycle] requires a [store], in which its keys are kept",
        ),
        (
            "[store]\nfile = \"state.db\"\n",
            "no [[store.roots]]: add at least one, a file or a key of a backend",
        ),
        (
            "[store]\n[[store.roots]]\nname = \"a\"\nfile = \"b\"\n",
            "`file` is missing in [store], or `url` of a database that several nodes share",
        ),
        (
            "[store]\nfile = \"s\"\nurl = \"postgres:///xks\"\n[[store.roots]]\nname = \"a\"\nfile = \"b\"\n",
            "`file` and `url` are both set",
        ),
        (
            "[store]\nfile = \"s\"\npassword_file = \"p\"\n[[store.roots]]\nname = \"a\"\nfile = \"b\"\n",
            "`password_file` goes with `url`, a database: remove it",
        ),
        (
            "[store]\nfile = \"s\"\nca_file = \"p\"\n[[store.roots]]\nname = \"a\"\nfile = \"b\"\n",
            "`ca_file` goes with `url`, a database: remove it",
        ),
        (
            &format!("{STORE}[lifecycle]\nnode = \"a\"\n"),
            "`node` goes with `store.url`",
        ),
        (
            &format!("{STORE}[lifecycle]\nlease_secs = 30\n"),
            "`lease_secs` goes with `store.url`",
        ),
        (
            "[store]\nfile = \"s\"\n[[store.roots]]\nname = \"a\"\n",
            "a root is either a `file`, or a `key` of a `backend`: set one of them",
        ),
        (
            "[store]\nfile = \"s\"\n[[store.roots]]\nname = \"a\"\nbackend = \"keyz\"\nkey = \"k\"\n",
            "`backend`: [backends.keyz] does not exist",
        ),
        (
            &format!("{STORE}[[store.roots]]\nname = \"recovery\"\nfile = \"other\"\n"),
            "another root has the name \"recovery\"",
        ),
        (
            &format!("{STORE}[lifecycle]\nbackends = [\"keys\"]\n"),
            "`backends`: [backends.keys]: software keys are made in a `directory`: set one",
        ),
        (
            &format!("{STORE}{fleet}[lifecycle]\nbackends = [\"both\"]\n"),
            "`backends`: [backends.both]: a fleet makes no keys: name one of its members",
        ),
        (
            &format!("{STORE}[lifecycle]\nbackends = [\"keyz\"]\n"),
            "`backends`: [backends.keyz] does not exist",
        ),
        (
            &format!("{STORE}[lifecycle]\ndeployment = \"a.b\"\n"),
            "a deployment's name has the characters A-Z a-z 0-9 - _",
        ),
        (
            &format!("{STORE}[lifecycle]\nadmin_socket = \"{}\"\n", "a".repeat(108)),
            "the path of a socket must not exceed 107 bytes; name a shorter one",
        ),
        (
            &format!("{STORE}[lifecycle]\ndeploymint = \"a\"\n"),
            "did you mean `deployment`?",
        ),
    ] {
        let settings = Settings::new().tables(tables);
        let (code, printed) = check(&settings);
        assert_eq!(code, Some(78), "{tables}: {printed}");
        let is_error = |line: &&str| line.contains(": error: ") && line.contains(said);
        let line = printed
            .lines()
            .find(is_error)
            .unwrap_or_else(|| panic!("{said}: {printed}"));
        let number: usize = line.split(':').nth(1).unwrap().parse().unwrap();
        let text = settings.text();
        let first = 1 + text[..text.find(tables).unwrap()].lines().count();
        let range = first..=first + tables.lines().count();
        // What is missing as a whole is reported at the table that should have it.
        assert!(range.contains(&number), "{number} is not in {range:?}: {printed}");
    }
}

/// What is wrong with a database's settings, as far as they tell. No password is shown.
#[cfg(feature = "postgres")]
#[test]
fn mistakes_about_a_database_have_their_lines() {
    for (keys, said) in [
        (
            "url = \"postgres://xks:hunter2@db/xks\"\n",
            "2: error: `url` must not hold a password",
        ),
        (
            "url = \"mysql://xks@db/xks\"\n",
            "2: error: `url` not a URL of PostgreSQL",
        ),
        ("url = \"postgres://xks@db/xks\"\n", "1: error: `ca_file` must be set"),
        (
            "url = \"postgres://xks@localhost/xks\"\npassword_file = \"nothing\"\n",
            "3: error: `password_file` \"",
        ),
        (
            "url = \"postgres://xks@db/xks\"\nca_file = \"usable.key\"\n",
            "3: error: `ca_file` \"",
        ),
        (
            "url = \"postgres://xks@localhost/xks\"\n[lifecycle]\nnode = \"\"\n",
            "4: error: `node`",
        ),
        (
            "url = \"postgres://xks@localhost/xks\"\n[lifecycle]\nlease_secs = 0\n",
            "4: error: `lease_secs` must be a whole number from 1 to 3600",
        ),
    ] {
        // First of all, so that lines count from it; with a root, which comes behind the keys.
        let settings = Settings::new();
        let text = format!("[store]\n{keys}");
        let root = "[[store.roots]]\nname = \"a\"\nfile = \"b\"\n";
        let file = settings
            .folder
            .write("settings.toml", &format!("{text}{root}{}", settings.text()));
        let (code, printed, _) = ended(program().arg("check").arg(file));
        assert_eq!(code, Some(78), "{text}: {printed}");
        assert!(printed.contains(&format!("settings.toml:{said}")), "{said}: {printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

/// What stands in the file is changed by a reload; `[store]` and `[lifecycle]` take a restart.
#[test]
fn a_reload_leaves_the_store_as_it_is() {
    let mut settings = settings();
    settings.backends.push_str("directory = \"made\"\n");
    let settings = settings.tables("[lifecycle]\nbackends = [\"keys\"]");
    assert_eq!(create_store(&settings).0, Some(0));
    let server = Server::start(&settings);
    let tables = settings.tables.replace("name = \"recovery\"", "name = \"other\"");
    let changed = Settings { tables, ..settings }.tables("deployment = \"other\"");
    changed.write();
    server.reload();
    let log = server.process.log.text();
    for table in ["[store]", "[lifecycle]"] {
        assert!(log.contains(table), "{table}: {log}");
    }
    // Its keys would be lost on the way.
    let tables = changed.tables.replace("backends = [\"keys\"]", "");
    let removed = Settings { tables, ..changed };
    let removed = Settings {
        backends: removed.backends.replace("[backends.keys]", "[backends.others]"),
        ..removed
    };
    removed.write();
    server.process.signal(rustix::process::Signal::HUP);
    server
        .process
        .log
        .wait_for("[backends.keys] has keys under management until the server is restarted: keep it");
    assert_eq!(server.readiness(), 200);
}
