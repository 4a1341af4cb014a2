//! What a node tells of the database that it is on, and of its certificate.

use serde_json::{Value, json};
use xks_test_postgres::{PoolMode, Pooler, Server as Postgres};

use super::{
    Site, done, give, key, key_store,
    site::{POSTGRES, new_database, of_database},
};
use crate::support::{Authority, Leaf, Server, Settings, wait_until};

/// The confirmation of a command that disables the key.
fn disabled(settings: &Settings, key: &str) -> Value {
    done(settings, &["keys", "disable", key, "--yes", "salaries"])["confirmation"].clone()
}

fn warning<'l>(log: &'l str, words: &str) -> &'l str {
    let line = log.lines().find(|line| line.contains(words)).unwrap();
    assert!(line.contains(" WARN "), "{line}");
    line
}

/// One node is behind pgbouncer, which passes no notifications on: it says so, and commands are confirmed all
/// the same, since it asks by itself.
#[test]
fn a_node_behind_pgbouncer_says_that_it_is_not_notified() {
    let pooler = Pooler::start(&POSTGRES, PoolMode::Transaction);
    let name = new_database(&POSTGRES);
    let direct = of_database(&POSTGRES, &name);
    let site = Site::at(&direct);
    let (one, mut two) = (site.node("a", "lease_secs = 4\n"), site.node("b", "lease_secs = 4\n"));
    two.tables = two
        .tables
        .replace(&format!("{direct:?}"), &format!("{:?}", pooler.url(&name)));
    assert!(two.tables.contains(&pooler.port().to_string()), "{}", two.tables);
    let [first, second] = [&one, &two].map(Server::start);
    let log = second
        .process
        .log
        .wait_for("notifications of the database do not arrive");
    let line = warning(&log, "notifications of the database do not arrive");
    assert!(line.contains("up to 1000 ms later") && line.contains("`url`"), "{line}");
    key_store(&one, "payroll");
    let key = key(&two, "payroll", "salaries");
    for settings in [&one, &two] {
        let confirmation = disabled(settings, &key);
        assert_eq!(confirmation["nodes"], json!(["a", "b"]), "{confirmation}");
        done(settings, &["keys", "enable", &key]);
    }
    let log = first.process.log.text();
    assert!(!log.contains("notifications of the database do not arrive"), "{log}");
}

/// A standby may lack what was committed last: that is said at the start, and with each command as long as
/// it is so.
#[test]
fn what_an_asynchronous_standby_may_lose_is_said() {
    let primary = Postgres::start();
    primary.create_database("xks");
    let site = Site::at(&of_database(&primary, "xks"));
    let settings = site.node("one", "");
    let server = Server::start(&settings);
    let log = server.process.log.wait_for("is single");
    assert!(!log.contains("standbys that may lack"), "{log}");
    key_store(&settings, "payroll");
    let key = key(&settings, "payroll", "salaries");
    assert_eq!(disabled(&settings, &key)["durable"], "single");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");

    let _standby = primary.standby("second");
    let server = Server::start(&settings);
    let words = "has standbys that may lack what was committed last";
    let log = server.process.log.wait_for(words);
    let line = warning(&log, words);
    assert!(line.contains("synchronous_standby_names"), "{line}");
    assert_eq!(disabled(&settings, &key)["durable"], "asynchronous");
    let (code, _, log) = give(&settings, &["keys", "enable", &key]);
    assert!(code == Some(0) && log.contains("; durable: asynchronous"), "{log}");
    primary.wait_for("second");
    assert_eq!(disabled(&settings, &key)["durable"], "synchronous");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    let server = Server::start(&settings);
    let log = server.process.log.wait_for("is synchronous");
    assert!(!log.contains(words), "{log}");
}

/// The others read it in the node's row, also after a reload.
#[test]
fn a_node_tells_the_others_of_its_certificate() {
    let site = Site::new();
    let root = Authority::root("A root");
    let issuer = root.intermediate("An issuer");
    let own = issuer.issue(&Leaf::SERVER);
    let tls = "[tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"";
    let (one, two) = (site.node("a", ""), site.node("b", "").tables(tls));
    two.folder.write("key.pem", &own.key_pem());
    two.folder.write("chain.pem", &own.pem());
    let [_first, second] = [&one, &two].map(Server::start);
    let facts = || done(&one, &["nodes", "show", "b"])["facts"].clone();
    wait_until("the row tells of it", || facts()["certificate.chain"] == "incomplete");
    let told = facts();
    assert_eq!(told["certificate.names"], "localhost, 127.0.0.1", "{told}");
    assert_eq!(told["certificate.issuer"], "CN=An issuer", "{told}");
    let end = told["certificate.end"].as_str().unwrap_or_default();
    assert!(end.contains("4096"), "{told}");
    assert_eq!(told["address"], second.address().to_string(), "{told}");
    assert!(second.metrics().value("xks_tls_certificate_expiry_seconds", &[]) > 0.0);
    let (code, shown, log) = give(&one, &["nodes", "show", "b"]);
    let chain = shown.lines().find(|line| line.starts_with("certificate.chain "));
    assert!(
        code == Some(0) && chain.is_some_and(|line| line.ends_with(" incomplete")),
        "{shown}{log}"
    );

    two.folder.write("chain.pem", &(own.pem() + &issuer.pem()));
    second.reload();
    wait_until("the row tells of the new chain", || {
        facts()["certificate.chain"] == "complete"
    });
    // A node without TLS has none.
    let told = done(&one, &["nodes", "show", "a"])["facts"].clone();
    assert!(
        told["version"].is_string() && told["certificate.chain"].is_null(),
        "{told}"
    );
}
