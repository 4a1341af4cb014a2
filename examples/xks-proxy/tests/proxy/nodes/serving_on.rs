//! Nodes with `on_lost_store = "serve"`: they serve on from what they have read last, commands of others name
//! them, and the row of one that was killed stays until a person removes it.

use rustix::process::Signal;
use serde_json::{Value, json};
use xks_test_postgres::{PASSWORD, Server as Postgres, USER};

use super::{
    Site, done, give, key, key_store,
    site::{POSTGRES, of_database},
};
use crate::support::{Curl, Server, body, ciphertext, decode, error, fetch, plaintext, wait_until};

const SERVE: &str = "lease_secs = 4\non_lost_store = \"serve\"\n";
/// Of two nodes, neither of which shall lose its lease since the machine is busy: the one that serves on
/// would leave the row of its former incarnation.
const TWO: [&str; 2] = ["lease_secs = 4\n", "lease_secs = 4\non_lost_store = \"serve\"\n"];

fn encrypt(curl: &Curl, key: &str) -> (u16, Value) {
    curl.call_once(&format!("keys/{key}/encrypt"), &plaintext(b"a secret"), &[])
}

/// The answer of a node to the command that disables a key, which it has committed.
fn disable(settings: &crate::support::Settings, key: &str) -> (Option<i32>, Value) {
    let (code, out, log) = give(settings, &["keys", "disable", key, "--yes", "salaries", "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{log}"));
    assert_eq!(answer["state"], "disabled");
    (code, answer["confirmation"].clone())
}

#[test]
fn keys_are_served_beyond_the_lease_and_the_log_and_metrics_say_so() {
    let postgres = Postgres::start();
    postgres.create_database("xks");
    let site = Site::at(&of_database(&postgres, "xks"));
    let settings = site.node("one", SERVE);
    let server = Server::start(&settings);
    let store = key_store(&settings, "payroll");
    let key = key(&settings, "payroll", "salaries");
    let curl = store.curl(&server);
    let (status, encrypted) = encrypt(&curl, &key);
    assert_eq!(status, 200, "{encrypted}");
    let value = |name| server.metrics().value(name, &[]);
    wait_until("its lease was renewed", || value("xks_node_store_lost") == 0.0);
    let revision = done(&settings, &["keys", "show", &key])["revision"].clone();

    postgres.stop();
    let lost = format!("keys under management are served on as of revision {revision} (on_lost_store = \"serve\")");
    let log = server.process.log.wait_for(&lost);
    let line = log.lines().find(|line| line.contains(&lost)).unwrap();
    assert!(
        line.contains("WARN") && line.contains("within lease_secs = 4"),
        "{line}"
    );
    assert!(line.contains("look at the database"), "{line}");
    assert!(!log.contains("no lease any more"), "{log}");
    let (age, lease) = (value("xks_node_lease_age_seconds"), value("xks_node_lease_seconds"));
    assert!(age >= lease && lease == 4.0, "{age} {lease}");
    assert_eq!((value("xks_node_store_lost"), value("xks_node_has_lease")), (1.0, 1.0));
    assert_eq!(encrypt(&curl, &key).0, 200);
    let decrypted = curl.call_once(&format!("keys/{key}/decrypt"), &ciphertext(&encrypted), &[]);
    assert_eq!(decode(&decrypted.1["plaintext"]), b"a secret", "{decrypted:?}");
    assert_eq!(curl.call_once("health", &body(&json!({})), &[]).0, 200);
    assert_eq!(
        (server.readiness(), fetch(&format!("{}/ping", server.url()), &[]).0),
        (200, 200)
    );
    let (code, out, log) = give(&settings, &["keys", "disable", &key, "--yes", "salaries"]);
    assert_eq!(code, Some(1), "{out}{log}");

    postgres.start_again();
    server.process.log.wait_for("is reached again, after");
    wait_until("its lease is renewed", || value("xks_node_store_lost") == 0.0);
    assert_eq!(encrypt(&curl, &key).0, 200);
    assert_eq!(disable(&settings, &key).1["confirmed"], true);
    assert_eq!(error(&encrypt(&curl, &key)), (400, "InvalidStateException"));
}

/// It alone does not reach the database. What the other one disables it serves, until it reaches it again.
#[test]
fn a_node_that_serves_on_is_named_by_commands_until_it_reaches_the_store_again() {
    // Its connections can be ended and refused without those of the other node.
    let role = "serves_on";
    POSTGRES.sql(
        "postgres",
        &format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' IN ROLE {USER}"),
    );
    let site = Site::new();
    let one = site.node("a", TWO[0]);
    let mut two = site.node("b", TWO[1]);
    two.tables = two.tables.replace(&format!("user={USER}"), &format!("user={role}"));
    // Commands would wait for a node that joins, for no longer than its short lease lasts.
    let first = Server::start(&one);
    let store = key_store(&one, "payroll");
    let key = key(&one, "payroll", "salaries");
    let second = Server::start(&two);
    let [of_first, of_second] = [&first, &second].map(|server| store.curl(server));
    wait_until("the other node serves", || encrypt(&of_second, &key).0 == 200);
    let shown = done(&one, &["nodes", "show", "b"]);
    assert_eq!(shown["serves_on"], true, "{shown}");

    POSTGRES.sql("postgres", &format!("ALTER ROLE {role} NOLOGIN"));
    let connections = format!("FROM pg_stat_activity WHERE usename = '{role}'");
    POSTGRES.sql("postgres", &format!("SELECT pg_terminate_backend(pid) {connections}"));
    second
        .process
        .log
        .wait_for("keys under management are served on as of revision");
    let (code, confirmation) = disable(&one, &key);
    assert_eq!(
        (code, &confirmation["confirmed"]),
        (Some(6), &json!(false)),
        "{confirmation}"
    );
    assert_eq!(confirmation["nodes"], json!(["a"]), "{confirmation}");
    let missing = &confirmation["missing"][0];
    let reason = missing["reason"].as_str().unwrap_or_default();
    assert!(
        missing["node"] == "b" && reason.contains("serves on when its lease has ended"),
        "{confirmation}"
    );
    // So it is, and is why the command is not confirmed.
    assert_eq!(error(&encrypt(&of_first, &key)), (400, "InvalidStateException"));
    assert_eq!(encrypt(&of_second, &key).0, 200);

    POSTGRES.sql("postgres", &format!("ALTER ROLE {role} LOGIN"));
    second.process.log.wait_for("is reached again, after");
    let (code, confirmation) = disable(&one, &key);
    assert_eq!(
        (code, &confirmation["confirmed"]),
        (Some(0), &json!(true)),
        "{confirmation}"
    );
    assert_eq!(confirmation["nodes"], json!(["a", "b"]), "{confirmation}");
    assert_eq!(error(&encrypt(&of_second, &key)), (400, "InvalidStateException"));
}

/// Whether it has ended, the store cannot know: it might serve on.
#[test]
fn the_row_of_a_killed_node_that_would_serve_on_stays_until_a_person_removes_it() {
    let site = Site::new();
    let (one, two) = (site.node("a", TWO[0]), site.node("b", TWO[1]));
    let _first = Server::start(&one);
    let store = key_store(&one, "payroll");
    let key = key(&one, "payroll", "salaries");
    let second = Server::start(&two);
    let of_second = store.curl(&second);
    wait_until("the other node serves", || encrypt(&of_second, &key).0 == 200);
    let (code, out, log) = give(&one, &["nodes", "remove", "b"]);
    assert!(code == Some(3) && log.contains("(node-lives)"), "{code:?} {out}{log}");
    second.process.stop(Signal::KILL);
    // It waits for longer than a lease lasts.
    let (code, confirmation) = disable(&one, &key);
    assert_eq!(
        (code, &confirmation["missing"][0]["node"]),
        (Some(6), &json!("b")),
        "{confirmation}"
    );
    let names = || -> Vec<Value> {
        let nodes = done(&one, &["nodes", "list"]);
        nodes["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["name"].clone())
            .collect()
    };
    assert!(names().contains(&json!("b")) && site.rows() == 2, "{:?}", names());
    let removed = done(&one, &["nodes", "remove", "b"]);
    assert_eq!(removed["confirmation"]["confirmed"], true, "{removed}");
    assert_eq!((names(), site.rows()), (vec![json!("a")], 1));
    let (code, confirmation) = disable(&one, &key);
    assert_eq!(
        (code, &confirmation["nodes"]),
        (Some(0), &json!(["a"])),
        "{confirmation}"
    );
    let events = done(&one, &["events", "--last", "100"]);
    let events = events["items"].as_array().unwrap_or_else(|| panic!("{events}"));
    let outcomes: Vec<_> = events
        .iter()
        .filter(|event| event["command"] == "remove-node")
        .collect();
    let outcomes: Vec<_> = outcomes
        .iter()
        .map(|event| event["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["refused", "done"], "{events:?}");
    let (code, _, log) = give(&one, &["nodes", "remove", "b"]);
    assert_eq!(code, Some(3), "{log}");
}
