//! What has to be so for tests that rely on it.

use xks_test_postgres::{Server, Setup};

#[test]
fn a_promoted_standby_has_what_was_committed_and_is_a_server_of_its_own() {
    let primary = Server::start();
    primary.create_database("xks");
    let standby = primary.standby("second");
    primary.wait_for("second");
    primary.sql("xks", "CREATE TABLE told (number INT)");
    primary.sql("xks", "INSERT INTO told VALUES (1), (2)");
    assert_eq!(primary.sql("postgres", "SHOW fsync"), "on");
    primary.stop();
    standby.promote();
    standby.sql("xks", "INSERT INTO told VALUES (3)");
    assert_eq!(
        standby.sql("xks", "SELECT number, -number FROM told"),
        "1|-1\n2|-2\n3|-3"
    );
    assert_eq!(
        standby.sql("postgres", "SHOW synchronous_standby_names"),
        "",
        "it waits for no other"
    );
}

#[test]
fn a_server_that_is_restarted_has_what_was_committed_and_ends_with_its_value() {
    let server = Server::with(Setup::default());
    server.create_database("xks");
    server.sql("xks", "CREATE TABLE told (number INT)");
    server.restart();
    assert_eq!(server.sql("xks", "SELECT count(*) FROM told"), "0");
    let (directory, port) = (server.directory().to_owned(), server.port());
    drop(server);
    assert!(!directory.exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}
