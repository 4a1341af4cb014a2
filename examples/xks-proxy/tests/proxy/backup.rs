//! The store of keys under management, backed up and restored as the guide says.

use std::{
    fs,
    process::{Command, Output},
};

use crate::support::{STORE, Server, Settings, Token, create_store, ended, program};

fn settings() -> Settings {
    let settings = Settings::new().tables(STORE);
    let (code, _, log) = create_store(&settings);
    assert_eq!(code, Some(0), "{log}");
    settings
}

fn store(settings: &Settings, command: &str, files: &[&str]) -> (Option<i32>, String, String) {
    let files = files.iter().map(|file| settings.file(file));
    ended(program().args(["store", command]).arg(settings.write()).args(files))
}

/// The commands of the guide's section.
fn commands() -> Vec<&'static str> {
    let guide = include_str!("../../README.md");
    let section = guide.split("\n### Backup and restore\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .collect()
}

/// Runs a command of the guide, on the files of a test and as its user.
fn run(settings: &Settings, command: &str) -> Output {
    settings.write();
    let command = command
        .replace("/etc/xks-proxy/", "./")
        .replace("/var/lib/xks-proxy", ".")
        .replace("runuser -u xks-proxy -- xks-proxy", "\"$PROGRAM\"")
        .replace("-o xks-proxy -g xks-proxy ", "");
    let output = Command::new("sh")
        .args(["-ec", &command])
        .env("PROGRAM", program().get_program())
        .current_dir(settings.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    output
}

/// A backup beside the running server, and its way back: every command of the guide, in its order.
#[test]
fn the_store_is_backed_up_and_restored_as_the_guide_says() {
    let settings = settings();
    let mut server = Some(Server::start(&settings));
    let commands = commands();
    assert_eq!(commands.len(), 6, "{commands:?}");
    for command in commands {
        match command {
            "systemctl stop xks-proxy" => {
                let (status, log) = server.take().unwrap().stop();
                assert_eq!(status.code(), Some(0), "{log}");
                assert!(!log.contains("restored"), "{log}");
            }
            "systemctl start xks-proxy" => server = Some(Server::start(&settings)),
            command => {
                let printed = String::from_utf8(run(&settings, command).stdout).unwrap();
                let said = if command.contains("store backup") {
                    "monday.backup: backup of revision 1, "
                } else if command.contains("store restore") {
                    "state.db, restored from a backup of 20"
                } else {
                    ""
                };
                assert!(printed.contains(said), "{command}: {printed}");
            }
        }
    }
    let server = server.unwrap();
    server.process.log.wait_for("the state was restored on 20");
    server.process.log.wait_for("what happened in between is not known");
    assert_eq!(server.readiness(), 200);
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn what_is_in_the_way_of_a_backup_is_said_and_kept() {
    let settings = settings();
    let server = Server::start(&settings);
    assert_eq!(store(&settings, "backup", &["first"]).0, Some(0));
    let first = fs::read(settings.file("first")).unwrap();
    let (code, _, log) = store(&settings, "backup", &["first"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("first\" cannot be written: there is a file already; name another one"),
        "{log}"
    );
    assert_eq!(fs::read(settings.file("first")).unwrap(), first);

    // The store belongs to the server, and has a state.
    let (code, _, log) = store(&settings, "restore", &["first"]);
    assert_eq!(code, Some(1), "{log}");
    let owner = format!("is in use by process {} (xks-proxy)", server.process.id());
    assert!(log.contains(&owner), "{log}");
    server.stop();
    let (code, _, log) = store(&settings, "restore", &["first"]);
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("it has a state already, and stays as it is"), "{log}");

    // What is edited or cut off is refused by its line, and nothing is restored of it.
    let state = settings.file("state.db");
    fs::rename(&state, settings.file("former.db")).unwrap();
    let edited = String::from_utf8(first.clone())
        .unwrap()
        .replace("\"kind\":\"file\"", "\"kind\":\"backend\"");
    fs::write(settings.file("edited"), edited).unwrap();
    fs::write(settings.file("cut"), &first[..first.len() - 2]).unwrap();
    for (file, said) in [
        (
            "edited",
            "line 2 of the backup (roots/recovery): it was edited, or lines were moved",
        ),
        ("cut", "the backup was cut off after line 2: its end is missing"),
        ("recovery.root", "is not a backup: its first line is not that of one"),
        ("none", "none\" cannot be read: No such file or directory"),
    ] {
        let (code, out, log) = store(&settings, "restore", &[file]);
        assert_eq!(code, Some(if file == "none" { 1 } else { 78 }), "{log}");
        assert!(log.contains("not restored: ") && log.contains(said), "{said}: {log}");
        assert_eq!(out, "");
        let (code, _, log) = ended(program().arg("--config").arg(settings.write()));
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains("there is no store: make it and its roots"), "{log}");
    }
    let (code, _, log) = store(&settings, "restore", &["first"]);
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(store(&settings, "backup", &["second"]).0, Some(0), "no server runs");
    let second = fs::read_to_string(settings.file("second")).unwrap();
    assert!(
        second.contains("\"table\":\"restores\",\"id\":\"4294967297\""),
        "{second}"
    );
}

/// A root in an HSM is enough, for which the command logs in beside the server.
#[test]
fn a_root_in_an_hsm_opens_a_backup() {
    let token = Token::new();
    let root =
        "[store]\nfile = \"state.db\"\n\n[[store.roots]]\nname = \"hsm\"\nbackend = \"token\"\nkey = \"other\"\n";
    let settings = token.settings_with("", "keys = [\"known\"]").tables(root);
    let run = |command: &str, files: &[&str]| {
        let files = files.iter().map(|file| settings.file(file));
        ended(
            token
                .program()
                .args(["store", command])
                .arg(settings.write())
                .args(files),
        )
    };
    let (code, _, log) = run("create", &[]);
    assert_eq!(code, Some(0), "{log}");
    let server = token.serve(&settings);
    let (code, _, log) = run("backup", &["backup"]);
    assert_eq!(code, Some(0), "{log}");
    server.stop();
    fs::remove_file(settings.file("state.db")).unwrap();
    let (code, _, log) = run("restore", &["backup"]);
    assert_eq!(code, Some(0), "{log}");
    let server = token.serve(&settings);
    server.process.log.wait_for("the state was restored on 20");
    server.stop();
}
