//! The confirmation of a command where several nodes have the state: this process, and one that is a row.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use pollster::block_on;
use serde_json::{Value, json};
use xks_core::timer::{Sleep, Timer};
use xks_lifecycle::{
    Name,
    nodes::{Node, Terms},
    store::{Claim, ClaimKind, Store as _, Swap},
};

use crate::site::{Reply, Site};

/// Waits on the thread that polls.
struct Blocking(Instant);

impl Timer for Blocking {
    fn lease_clock(&self) -> Option<Duration> {
        Some(self.0.elapsed())
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        Some(Box::pin(async move { std::thread::sleep(duration) }))
    }
}

/// Long enough that nothing of a lease happens in a test.
const LEASE: Duration = Duration::from_secs(3600);

fn site() -> Site {
    let name = Name::new("node", "here").unwrap();
    let node = Node::new(&name, Terms::new(LEASE), Arc::new(Blocking(Instant::now()))).unwrap();
    Site::of_node(Some(Arc::new(node)))
}

/// The row of a node that serves this revision.
fn row(counter: u64, served: Option<u64>) -> Claim {
    let body = json!({ "served": served, "lease_ms": LEASE.as_millis() });
    Claim::new(
        ClaimKind::Node,
        "there/process.1",
        "process.1",
        counter,
        &body.to_string(),
    )
}

fn swap(site: &Site, swap: Swap) {
    assert!(block_on(site.store.swap(swap)).unwrap().is_done);
}

fn disable(site: &Site, prefer: &str) -> (Reply, Value) {
    let headers = [("content-type", "application/json"), ("prefer", prefer)];
    let reply = site.send_raw("POST", &site.fill("/admin/v1/keys/{key}/disable"), &headers, "");
    assert_eq!(reply.status, 200, "{}", reply.body);
    let confirmation = reply.body["confirmation"].clone();
    (reply, confirmation)
}

/// The state is committed all the same, and the same command waits again.
#[test]
fn a_node_that_has_not_confirmed_is_named_and_the_same_command_waits_for_it_again() {
    let site = site();
    swap(&site, Swap::Insert(row(1, Some(1))));
    let (reply, confirmation) = disable(&site, "wait=0");
    assert_eq!(reply.text("state"), "disabled");
    assert_eq!(confirmation["confirmed"], false);
    assert_eq!(confirmation["is_one_process"], false);
    assert_eq!(confirmation["nodes"], json!([]));
    let missing = &confirmation["missing"];
    assert_eq!(
        (&missing[0]["node"], &missing[0]["serves"]),
        (&json!("there"), &json!(1))
    );
    assert!(
        missing[0]["reason"].as_str().unwrap().contains("lease has not ended"),
        "{missing}"
    );
    assert_eq!(confirmation["revision"].to_string(), reply.text("revision"));

    let served = confirmation["revision"].as_u64();
    swap(
        &site,
        Swap::Replace {
            seen: row(1, Some(1)),
            next: row(2, served),
        },
    );
    let (again, confirmation) = disable(&site, "wait=0");
    assert_eq!((again.etag(), &confirmation["confirmed"]), (reply.etag(), &json!(true)));
    assert_eq!(confirmation["nodes"], json!(["there"]));
    swap(&site, Swap::Delete(row(2, served)));
    let (_, confirmation) = disable(&site, "wait=0");
    assert_eq!(
        (&confirmation["confirmed"], &confirmation["nodes"]),
        (&json!(true), &json!([]))
    );
}

/// What is committed is felt or not, whatever became of the command then.
#[test]
fn a_command_that_fails_after_its_commit_says_who_serves_what_it_has_committed() {
    let site = site();
    let key = site.send(
        "POST",
        "/admin/v1/keys",
        Some(json!({"key_set": site.fill("{hsm}"), "name": "made"})),
    );
    let path = format!("/admin/v1/keys/{}", key.text("id"));
    let rotated = site.send("POST", &format!("{path}/rotate"), None);
    let version = rotated.body["versions"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("{path}/versions/{version}");
    assert_eq!(site.send("POST", &format!("{path}/revoke"), None).status, 200);
    swap(&site, Swap::Insert(row(1, Some(1))));
    site.manager.is_away.store(true, Ordering::Relaxed);
    let headers = [("content-type", "application/json"), ("prefer", "wait=0")];
    let destroy = || {
        let body = json!({"typed_name": "made"}).to_string();
        site.send_raw("POST", &format!("{path}/destroy-version"), &headers, body)
    };
    let before = site.commands.revision();
    let failed = destroy();
    assert_eq!(
        (failed.status.as_u16(), &*failed.text("code")),
        (503, "key-manager-unavailable"),
        "{}",
        failed.body
    );
    let committed = site.commands.revision();
    assert!(committed > before);
    let confirmation = &failed.body["confirmation"];
    assert_eq!(
        (&confirmation["confirmed"], &confirmation["missing"][0]["node"]),
        (&json!(false), &json!("there")),
        "{confirmation}"
    );
    assert_eq!(confirmation["revision"], committed.get());

    // Given again it fails as it did, and by now every node serves what it wants.
    let next = row(2, Some(committed.get()));
    swap(
        &site,
        Swap::Replace {
            seen: row(1, Some(1)),
            next,
        },
    );
    let failed = destroy();
    let confirmation = &failed.body["confirmation"];
    assert_eq!(
        (
            failed.status.as_u16(),
            &confirmation["confirmed"],
            &confirmation["nodes"]
        ),
        (503, &json!(true), &json!(["there"])),
        "{}",
        failed.body
    );
    // One that is refused has committed nothing.
    let refused = site.send("POST", &format!("{path}/promote"), None);
    assert!(
        refused.status.is_client_error() && refused.body["confirmation"].is_null(),
        "{}",
        refused.body
    );
    site.manager.is_away.store(false, Ordering::Relaxed);
    assert_eq!(destroy().status, 200);
}

#[test]
fn a_node_that_leaves_while_a_command_waits_has_ended() {
    let site = site();
    swap(&site, Swap::Insert(row(1, None)));
    let store = Arc::clone(&site.store);
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        assert!(block_on(store.swap(Swap::Delete(row(1, None)))).unwrap().is_done);
    });
    let (_, confirmation) = disable(&site, "wait=30");
    leaving.join().unwrap();
    assert_eq!(
        (&confirmation["confirmed"], &confirmation["ended"]),
        (&json!(true), &json!(["there"]))
    );
    assert!(confirmation["seconds"].as_f64().unwrap() > 0.0);
}

/// What is no row of a node may be that of one which serves.
#[test]
fn a_row_that_cannot_be_read_leaves_a_command_unconfirmed() {
    let site = site();
    swap(
        &site,
        Swap::Insert(Claim::new(ClaimKind::Node, "there/process.1", "process.1", 1, "later")),
    );
    let (_, confirmation) = disable(&site, "wait=0");
    assert_eq!(confirmation["confirmed"], false);
    let why = confirmation["missing"][0]["reason"].as_str().unwrap();
    assert!(
        why.contains("the claim of node `there/process.1` cannot be read"),
        "{why}"
    );
}

#[test]
fn nodes_are_listed_with_what_they_say_of_themselves() {
    let site = site();
    let body = json!({
        "served": 3, "lease_ms": 1500, "facts": {"version": "1.2"},
        "usable": {"tried": 3, "failed": [["key/01020304", "it is not there"]], "more": 2},
    });
    let claim = Claim::new(ClaimKind::Node, "there/process.1", "process.1", 1, &body.to_string());
    swap(&site, Swap::Insert(claim));
    let list = site.send("GET", "/admin/v1/nodes?name=there", None).body;
    let head = site.commands.revision().get();
    assert_eq!(
        (&list["is_one_process"], &list["head"], &list["unreadable"]),
        (&json!(false), &json!(head), &json!([]))
    );
    let mut node = list["items"][0].clone();
    assert_eq!(
        site.send("GET", "/admin/v1/nodes/process.1", None).body["name"],
        "there"
    );
    assert!(node["seconds_since_renewal"].take().as_f64().unwrap() >= 0.0);
    let expected = json!({
        "id": "process.1", "name": "there", "is_this": false, "lease_seconds": 1.5, "serves_on": false, "seconds_since_renewal": null,
        "serves": 3, "head": head, "usable_through": null, "unusable_more": 2,
        "unusable": [{"version": "key/01020304", "reason": "it is not there"}], "facts": {"version": "1.2"},
    });
    assert_eq!(node, expected);
    assert_eq!(
        site.send("GET", "/admin/v1/nodes?name=here", None).body["items"],
        json!([]),
        "it has not joined"
    );
    swap(
        &site,
        Swap::Insert(Claim::new(ClaimKind::Node, "odd", "odd", 1, "later")),
    );
    let list = site.send("GET", "/admin/v1/nodes", None).body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert!(
        list["unreadable"][0].as_str().unwrap().contains("`odd` cannot be read"),
        "{list}"
    );
    let alone = Site::new().send("GET", "/admin/v1/nodes", None).body;
    assert_eq!((&alone["is_one_process"], &alone["items"]), (&json!(true), &json!([])));
}
