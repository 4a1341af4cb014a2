//! A node that does not reach the database serves nothing of it, and everything again afterwards.

use serde_json::{Value, json};
use xks_test_postgres::Server as Postgres;

use super::{Site, done, key, key_store, site::of_database};
use crate::support::{
    Curl, PREFIX, Server, body, error, fetch, key_store as table_of_key_store, plaintext, usual_credential, wait_until,
};

fn encrypt(curl: &Curl, key: &str) -> (u16, Value) {
    curl.call_once(&format!("keys/{key}/encrypt"), &plaintext(b"a secret"), &[])
}

fn health(curl: &Curl) -> (u16, Value) {
    curl.call_once("health", &body(&json!({})), &[])
}

#[test]
fn without_the_database_keys_of_the_store_are_not_served_and_those_of_the_file_are() {
    let postgres = Postgres::start();
    postgres.create_database("xks");
    let site = Site::at(&of_database(&postgres, "xks"));
    let settings = site.node("one", "lease_secs = 4\n");
    let server = Server::start(&settings);
    let ping = || fetch(&format!("{}/ping", server.url()), &[]).0;
    let livez = server.health_url().replace("/ping", "/livez");
    let store = key_store(&settings, "payroll");
    let key = key(&settings, "payroll", "salaries");
    let curl = store.curl(&server);
    assert_eq!(encrypt(&curl, &key).0, 200);
    assert_eq!((server.readiness(), ping()), (200, 200));
    let metrics = server.metrics();
    for (name, expected) in [
        ("xks_node_has_lease", 1.0),
        ("xks_node_lease_seconds", 4.0),
        ("xks_commands_unconfirmed_total", 0.0),
    ] {
        assert_eq!(metrics.value(name, &[]), expected, "{name}");
    }
    wait_until("the join is counted", || {
        server.metrics().value("xks_node_joins_total", &[]) == 1.0
    });
    let labels = [("node", "one"), ("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(metrics.value("xks_node_info", &labels), 1.0);
    assert_eq!(
        metrics.value("xks_store_head_revision", &[]),
        metrics.value("xks_store_revision", &[])
    );
    let row = postgres.sql("xks", "SELECT body FROM xks.claims WHERE kind = 'node'");
    let facts = serde_json::from_str::<Value>(&row).unwrap()["facts"].clone();
    assert_eq!(facts["version"], env!("CARGO_PKG_VERSION"), "{row}");
    assert_eq!(facts["backend.keys"], "up", "{row}");
    assert_eq!(facts["address"], server.address().to_string(), "{row}");

    postgres.stop();
    let log = server.process.log.wait_for("was not reached for");
    let line = log.lines().find(|line| line.contains("was not reached for")).unwrap();
    let meanwhile = "until the lease ends (lease_secs = 4); commands fail until it is";
    assert!(line.contains("WARN") && line.contains(meanwhile), "{line}");
    wait_until("the lease has ended", || server.readiness() == 503);
    assert_eq!(ping(), 503);
    assert_eq!(fetch(&livez, &[]).0, 200, "a restart is of no use");
    assert_eq!(error(&encrypt(&curl, &key)), (503, "DependencyTimeoutException"));
    assert_eq!(error(&health(&curl)), (503, "DependencyTimeoutException"));
    assert_eq!(encrypt(&server.curl(), "usable").0, 200, "it is of the settings file");
    let log = server.process.log.wait_for("this node has no lease any more");
    assert!(
        log.contains("lease_secs = 4") && log.contains("look at the database"),
        "{log}"
    );
    let metrics = server.metrics();
    assert_eq!(metrics.value("xks_node_has_lease", &[]), 0.0);
    assert_eq!(metrics.value("xks_node_store_lost", &[]), 1.0);
    assert!(metrics.value("xks_node_lease_age_seconds", &[]) >= 4.0);

    postgres.start_again();
    wait_until("it has joined again", || server.readiness() == 200);
    assert_eq!(encrypt(&curl, &key).0, 200);
    server.process.log.wait_for("this node has joined again");
    // Counted before it is said.
    let metrics = server.metrics();
    assert_eq!(metrics.value("xks_node_joins_total", &[]), 2.0);
    assert_eq!(metrics.value("xks_node_store_lost", &[]), 0.0);
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    assert_eq!(
        postgres.sql("xks", "SELECT count(*) FROM xks.claims WHERE kind = 'node'"),
        "0"
    );
}

/// Nothing of the store is asked for: a balancer need not know.
#[test]
fn a_node_without_key_stores_of_the_store_stays_ready() {
    let postgres = Postgres::start();
    postgres.create_database("xks");
    let site = Site::at(&postgres.url("xks"));
    let settings = site.node("one", "lease_secs = 1\n");
    let server = Server::start(&settings);
    assert_eq!(server.readiness(), 200);
    postgres.stop();
    server.process.log.wait_for("this node has no lease any more");
    assert_eq!(server.readiness(), 200);
    assert_eq!(encrypt(&server.curl(), "usable").0, 200);
    // Its row stays, since it cannot be deleted; that takes no longer than it may.
    let (status, log) = server.stop();
    assert!(status.success() && log.contains("did not leave"), "{log}");
}

/// A key of the settings file that came under management is served by nodes with a lease alone: a balancer
/// has to take another one. A key store of the file that leads to no such key goes on.
#[test]
fn a_node_that_serves_an_adopted_key_of_the_file_is_not_ready_without_a_lease() {
    let postgres = Postgres::start();
    postgres.create_database("xks");
    let site = Site::at(&of_database(&postgres, "xks"));
    let mut settings = site.node("one", "lease_secs = 4\nbackends = [\"keys\"]\n");
    settings.folder.write("other.key", "another 32 bytes, also no secret");
    settings.backends = "[backends.keys]\nkind = \"soft\"\ndirectory = \"made\"\n\
                         keys = { usable = \"usable.key\", other = \"other.key\" }\n"
        .to_owned();
    settings.key_stores = [PREFIX, "/of/others"]
        .map(|prefix| {
            let key = if prefix == PREFIX { "usable" } else { "other" };
            table_of_key_store(prefix, &format!("keys = [\"{key}\"]"), &[usual_credential()])
        })
        .concat();
    let server = Server::start(&settings);
    done(&settings, &["tenants", "create", "--name", "payroll"]);
    let create = "key-sets create --tenant payroll --name adopted --source adopted --backend keys";
    done(&settings, &create.split(' ').collect::<Vec<_>>());
    let (curl, other) = (server.curl(), server.curl_of("/of/others"));
    postgres.stop();
    server.process.log.wait_for("this node has no lease any more");
    assert_eq!(
        (server.readiness(), health(&curl).0, encrypt(&curl, "usable").0),
        (200, 200, 200)
    );

    postgres.start_again();
    server.process.log.wait_for("this node has joined again");
    let adopt = "keys adopt --key-set adopted --name of-old --backend-key usable";
    done(&settings, &adopt.split(' ').collect::<Vec<_>>());
    assert_eq!(
        (server.readiness(), health(&curl).0, encrypt(&curl, "usable").0),
        (200, 200, 200)
    );
    postgres.stop();
    wait_until("it is not ready", || server.readiness() == 503);
    for answer in [health(&curl), encrypt(&curl, "usable")] {
        assert_eq!(error(&answer), (503, "DependencyTimeoutException"));
    }
    assert_eq!((health(&other).0, encrypt(&other, "other").0), (200, 200));

    postgres.start_again();
    wait_until("it is ready", || server.readiness() == 200);
    assert_eq!((health(&curl).0, encrypt(&curl, "usable").0), (200, 200));
}
