//! Two nodes share a state.

use rustix::process::Signal;
use serde_json::json;

use super::{Site, done, give, key, key_store};
use crate::support::{Curl, Server, body, ciphertext, decode, error, plaintext, wait_until};

fn metadata(curl: &Curl, key: &str) -> u16 {
    curl.call(&format!("keys/{key}/metadata"), &body(&json!({})), &[]).0
}

/// Key stores, keys and credentials that one node makes are served by the other, and what one encrypts the
/// other decrypts. What one disables, the other refuses.
#[test]
fn what_one_node_commits_is_served_by_all() {
    let site = Site::new();
    let [one, two] = ["one", "two"].map(|name| site.node(name, ""));
    let [first, second] = [&one, &two].map(Server::start);
    assert_eq!((first.readiness(), second.readiness()), (200, 200));
    assert_eq!(site.rows(), 2);
    let store = key_store(&one, "payroll");
    let key = key(&one, "payroll", "salaries");
    let (of_first, of_second) = (store.curl(&first), store.curl(&second));
    assert_eq!(metadata(&of_first, &key), 200);
    wait_until("the other node serves the key", || metadata(&of_second, &key) == 200);
    let (status, encrypted) = of_first.call(&format!("keys/{key}/encrypt"), &plaintext(b"a secret"), &[]);
    assert_eq!(status, 200, "{encrypted}");
    let decrypt = |curl: &Curl| curl.call(&format!("keys/{key}/decrypt"), &ciphertext(&encrypted), &[]);
    let (status, decrypted) = decrypt(&of_second);
    assert_eq!(status, 200, "{decrypted}");
    assert_eq!(decode(&decrypted["plaintext"]), b"a secret");

    done(&two, &["keys", "disable", &key, "--yes", "salaries"]);
    assert_eq!(error(&decrypt(&of_second)), (400, "InvalidStateException"));
    wait_until("the key is disabled on the other node", || {
        error(&decrypt(&of_first)) == (400, "InvalidStateException")
    });

    // A node that goes leaves nothing that others wait for.
    let (status, log) = second.process.stop(Signal::TERM);
    assert!(
        status.success() && log.contains("this node has left the others"),
        "{log}"
    );
    assert_eq!(site.rows(), 1);
    done(&one, &["keys", "enable", &key]);
    assert_eq!(decrypt(&of_first).0, 200);
}

/// What is wrong with the database is said before anything is served, without a password.
#[test]
fn a_database_that_refuses_ends_the_start() {
    let site = Site::new();
    let wrong = site.node("wrong", "");
    wrong.folder.write("password", "guessed and wrong");
    let end = |settings: &crate::support::Settings| {
        let mut command = crate::support::program();
        crate::support::ended(command.arg("--config").arg(settings.write()))
    };
    let (code, out, log) = end(&wrong);
    assert_eq!(code, Some(78), "{out}{log}");
    assert!(
        log.contains("store.url = ") && log.contains("the database refuses this program"),
        "{log}"
    );
    assert!(!log.contains("guessed"), "{log}");

    // One that is away may come back.
    let mut away = site.node("away", "");
    let free = xks_test_postgres::free_port();
    let start = away.tables.find("port=").unwrap() + 5;
    let end_of_port = start + away.tables[start..].find('"').unwrap();
    away.tables.replace_range(start..end_of_port, &free.to_string());
    let (code, out, log) = end(&away);
    assert_eq!(code, Some(1), "{out}{log}");
    assert!(
        log.contains(&format!(":{free}: the database cannot be reached; when it can be")),
        "{log}"
    );
}

/// A state is backed up and restored by the same commands as one in a file.
#[test]
fn a_state_moves_to_another_database_by_a_backup() {
    let site = Site::new();
    let one = site.node("one", "");
    let server = Server::start(&one);
    key_store(&one, "payroll");
    let key = key(&one, "payroll", "salaries");
    let backup = one.file("backup");
    let (path, file) = (backup.to_str().unwrap(), one.path());
    let run = |arguments: &[&str]| {
        let (code, out, log) = give(&one, arguments);
        (code, out + &log)
    };
    let (code, said) = run(&["store", "backup", file.to_str().unwrap(), path]);
    assert_eq!(code, Some(0), "{said}");
    // Its database has a state already.
    let (code, said) = run(&["store", "restore", file.to_str().unwrap(), path]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("it has a state already") && said.contains("name another database"),
        "{said}"
    );
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");

    let other = Site::empty_beside(&site);
    let settings = other.node("one", "");
    let file = settings.write();
    let (code, said) = run(&["store", "restore", file.to_str().unwrap(), path]);
    assert_eq!(code, Some(0), "{said}");
    let server = Server::start(&settings);
    assert_eq!(done(&settings, &["keys", "show", &key])["id"], key.as_str());
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}
