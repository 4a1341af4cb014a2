//! Commands that return when no node serves what is over.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Site, done, give, key, key_store};
use crate::support::{Curl, Server, Settings, body, plaintext, wait_until};

/// Its end is soon there, but not before some commands, on a busy machine too.
const LEASE: &str = "lease_secs = 6\n";

/// Clients of a node, at work until they are told to end.
struct Clients<'c> {
    curl: &'c Curl,
    key: &'c str,
    ends: AtomicBool,
    /// When each request started, and how it was answered.
    answers: Mutex<Vec<(Instant, u16)>>,
}

impl Clients<'_> {
    fn work(&self) {
        while !self.ends.load(Ordering::Relaxed) {
            let start = Instant::now();
            let (status, _) = self
                .curl
                .call(&format!("keys/{}/encrypt", self.key), &plaintext(b"a secret"), &[]);
            self.answers.lock().unwrap().push((start, status));
        }
    }

    /// The statuses of requests that started after this moment; once there are some.
    fn after(&self, moment: Instant) -> Vec<u16> {
        let mut later = Vec::new();
        wait_until("clients get answers", || {
            let answers = self.answers.lock().unwrap();
            later = answers
                .iter()
                .filter(|(start, _)| *start > moment)
                .map(|(_, status)| *status)
                .collect();
            later.len() >= 5
        });
        later
    }
}

fn metadata(curl: &Curl, key: &str) -> (u16, Value) {
    curl.call(&format!("keys/{key}/metadata"), &body(&json!({})), &[])
}

fn disable(settings: &Settings, key: &str, more: &[&str]) -> (Option<i32>, Value) {
    let command = ["keys", "disable", key, "--yes", "salaries", "--json"];
    let (code, out, log) = give(settings, &[&command, more].concat());
    let answer: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{log}"));
    assert_eq!(answer["state"], "disabled");
    (code, answer["confirmation"].clone())
}

/// No request that started after the command had returned is served, on the node that was not asked; and
/// none is refused after it was enabled.
#[test]
fn what_is_disabled_by_one_node_is_served_by_none_when_the_command_returns() {
    let site = Site::new();
    let [one, two] = ["a", "b"].map(|name| site.node(name, ""));
    let [_first, second] = [&one, &two].map(Server::start);
    let store = key_store(&one, "payroll");
    let key = key(&one, "payroll", "salaries");
    let curl = store.curl(&second);
    let clients = Clients {
        curl: &curl,
        key: &key,
        ends: AtomicBool::new(false),
        answers: Mutex::default(),
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| clients.work());
        }
        for _ in 0..5 {
            let enabled = done(&one, &["keys", "enable", &key]);
            assert_eq!(enabled["confirmation"]["confirmed"], true, "{enabled}");
            let served = clients.after(Instant::now());
            assert!(served.iter().all(|status| *status == 200), "{served:?}");
            let (code, confirmation) = disable(&one, &key, &[]);
            let returned = Instant::now();
            assert_eq!(
                (code, &confirmation["confirmed"]),
                (Some(0), &json!(true)),
                "{confirmation}"
            );
            assert_eq!(confirmation["nodes"].as_array().unwrap().len(), 2, "{confirmation}");
            let refused = clients.after(returned);
            assert!(!refused.contains(&200), "{refused:?}");
        }
        clients.ends.store(true, Ordering::Relaxed);
    });
    let (code, out, log) = give(&one, &["keys", "enable", &key]);
    assert_eq!(code, Some(0), "{out}{log}");
    assert!(
        log.starts_with("confirmed by 2 nodes in ") && log.contains("; durable: single"),
        "{log}"
    );
}

/// A node that is stopped may go on: until its lease has ended a command is not confirmed. Then it is, and
/// the node serves nothing from before when it goes on.
#[test]
fn a_stopped_node_is_waited_for_until_its_lease_has_ended() {
    let site = Site::new();
    let [one, two] = ["a", "b"].map(|name| site.node(name, LEASE));
    let [first, second] = [&one, &two].map(Server::start);
    let store = key_store(&one, "payroll");
    let key = key(&one, "payroll", "salaries");
    let curl = store.curl(&second);
    wait_until("the other node serves", || metadata(&curl, &key).0 == 200);
    let nodes = done(&one, &["nodes", "list"]);
    let of = |name: &str| {
        let mut items = nodes["items"].as_array().unwrap().iter();
        items.find(|item| item["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&of("a")["is_this"], &of("b")["is_this"]),
        (&json!(true), &json!(false)),
        "{nodes}"
    );
    assert_eq!(
        (&of("b")["lease_seconds"], &of("b")["head"]),
        (&json!(6.0), &nodes["head"]),
        "{nodes}"
    );
    let shown = done(&two, &["nodes", "show", "b"]);
    assert_eq!(
        (&shown["id"], &shown["is_this"]),
        (&of("b")["id"], &json!(true)),
        "{shown}"
    );
    let (code, table, log) = give(&one, &["nodes", "list", "--name", "b"]);
    let head = table.lines().next().unwrap_or_default();
    assert_eq!(code, Some(0), "{table}{log}");
    assert!(
        head.starts_with("NAME  ID ") && head.contains("  SERVES  HEAD"),
        "{table}"
    );

    second.process.signal(Signal::STOP);
    let (code, confirmation) = disable(&one, &key, &["--wait", "0"]);
    assert_eq!(
        (code, &confirmation["confirmed"]),
        (Some(6), &json!(false)),
        "{confirmation}"
    );
    let waiting = "it has not said that it serves the revision, and its lease has not ended";
    let missing = &confirmation["missing"];
    assert_eq!(
        (
            &missing[0]["node"],
            &missing[0]["reason"],
            missing.as_array().map(Vec::len)
        ),
        (&json!("b"), &json!(waiting), Some(1)),
        "{confirmation}"
    );
    // It is committed in any case.
    assert_eq!(done(&one, &["keys", "show", &key])["state"], "disabled");
    let (code, shown, log) = give(&one, &["keys", "show", &key]);
    let state = shown.lines().find(|line| line.starts_with("state "));
    assert!(
        code == Some(0) && state.is_some_and(|line| line.ends_with(" disabled")),
        "{shown}{log}"
    );
    let (code, _, log) = give(&one, &["keys", "disable", &key, "--yes", "salaries", "--wait", "0"]);
    assert_eq!(code, Some(6), "{log}");
    assert!(
        log.starts_with("NOT confirmed after ") && log.contains(&format!("but committed: node b: {waiting}")),
        "{log}"
    );
    assert!(log.contains("S3 bucket keys"), "{log}");
    // Nothing is left to do but to wait.
    let (code, confirmation) = disable(&one, &key, &[]);
    assert_eq!(
        (code, &confirmation["ended"]),
        (Some(0), &json!(["b"])),
        "{confirmation}"
    );
    assert_eq!(site.rows(), 1);
    second.process.signal(Signal::CONT);
    wait_until("the node that goes on has joined again", || {
        let answer = metadata(&curl, &key);
        assert_ne!(
            (answer.0, &answer.1["keyStatus"]),
            (200, &json!("ENABLED")),
            "{answer:?}"
        );
        answer.0 == 200
    });

    // One that was killed is dead after its lease, and the command then is confirmed.
    second.process.stop(Signal::KILL);
    let enabled = done(&one, &["keys", "enable", &key]);
    assert_eq!(enabled["confirmation"]["ended"], json!(["b"]), "{enabled}");
    wait_until("the node that is left serves", || {
        metadata(&store.curl(&first), &key).0 == 200
    });
}

/// The version is destroyed for KMS, on all nodes, though its key manager could not be reached: the command
/// fails, and says both. Given again when that works, it is done.
#[test]
fn a_command_whose_key_manager_fails_after_its_commit_says_who_has_confirmed_that() {
    let site = Site::new();
    let mut settings = site.node("one", "backends = [\"keys\"]\n");
    settings.backends = "[backends.keys]\nkind = \"soft\"\ndirectory = \"made\"\n".to_owned();
    settings.key_stores.clear();
    let _server = Server::start(&settings);
    done(&settings, &["tenants", "create", "--name", "payroll"]);
    let create = "key-sets create --tenant payroll --name hsm --source hsm --backend keys";
    done(&settings, &create.split(' ').collect::<Vec<_>>());
    let key = key(&settings, "hsm", "salaries");
    done(&settings, &["keys", "rotate", &key]);
    done(&settings, &["keys", "revoke-version", &key, "1", "--yes", "salaries"]);
    let (made, away) = (settings.file("made"), settings.file("away"));
    fs::rename(&made, &away).unwrap();
    settings.folder.write("made", "not a directory");
    let destroy = ["keys", "destroy-version", &key, "1", "--yes", "salaries"];
    let (code, out, log) = give(&settings, &destroy);
    let lines: Vec<_> = log.lines().collect();
    assert_eq!((code, out.as_str(), lines.len()), (Some(1), "", 2), "{log}");
    assert!(
        lines[0].contains("key manager `keys`: a key could not be destroyed"),
        "{log}"
    );
    assert!(
        lines[1].starts_with("confirmed by 1 node in ") && lines[1].ends_with("durable: single"),
        "{log}"
    );
    let (code, _, log) = give(&settings, &[&destroy[..], &["--json"]].concat());
    let problem: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(
        (code, &problem["confirmation"]["nodes"]),
        (Some(1), &json!(["one"])),
        "{problem}"
    );

    fs::remove_file(&made).unwrap();
    fs::rename(&away, &made).unwrap();
    let destroyed = done(&settings, &destroy);
    assert_eq!(destroyed["versions"][0]["state"], "destroyed", "{destroyed}");
}
