//! Start and stop, as clients see them.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::{
    Connection, Http, Leaf, Load, PREFIX, Raw, Server, Settings, Site, Style, Target, body, ciphertext, encode, ended,
    fetch, plaintext, program, usual_signer, wait_until,
};

/// Clients of all kinds work while it stops: every request that had a connection gets its answer.
async fn stopped_under_load(settings: &Settings, target: impl FnOnce(&Server) -> Target) {
    let server = Server::start(settings);
    let styles = [Style::KeepAlive, Style::Reconnecting, Style::Http2, Style::KeepAlive];
    let load = Load::start(target(&server), usual_signer(), 32, &styles);
    load.more(64).await;
    server.process.signal(Signal::TERM);
    block_in_place(|| server.process.log.wait_for("still serving"));
    // The first that is right may have been answered before; the second says that the connection ends.
    load.more_of_each(2).await;
    server.process.signal(Signal::TERM); // which ends the delay
    let (status, log) = block_in_place(|| server.process.wait());
    assert!(status.success(), "{status}: {log}");
    assert!(!log.contains("with open connections"), "requests were cut off: {log}");
    let tally = load.finish().await;
    tally.assert_nothing_failed();
    assert!(tally.refused > 0, "it never stopped listening: {tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing() {
    let settings = Settings::new().server("budget_ms = 30000\ndrain_delay_secs = 3600\ndrain_timeout_secs = 60");
    stopped_under_load(&settings, Server::target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_over_tls() {
    let site = Site::new(&Leaf::SERVER);
    let mut settings = site.settings();
    settings.server =
        "listen = \"127.0.0.1:0\"\nbudget_ms = 30000\ndrain_delay_secs = 3600\ndrain_timeout_secs = 60\n".into();
    stopped_under_load(&settings, |server| {
        Target::plain(server.address(), PREFIX).with_tls(site.client())
    })
    .await;
}

/// TRN-7: the balancer learns it first. Then requests are served for a while, and each client learns that
/// its connection ends: in HTTP/1.1 with its answer, in HTTP/2 at once. Then the listener is closed.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_down_first() {
    let settings = Settings::new()
        .server("budget_ms = 30000\ndrain_delay_secs = 4")
        .health();
    let server = Server::start(&settings);
    let health = async |connection: &mut Connection| {
        let answer = connection
            .post(&usual_signer(), "health", &body(&json!({})))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.headers.get("connection").cloned()
    };
    let open = async |http| Connection::open(&server.target(), http).await.unwrap();
    let (mut kept, mut multiplexed) = (open(Http::One).await, open(Http::Two).await);
    assert_eq!(health(&mut kept).await, None);
    health(&mut multiplexed).await;
    assert_eq!(block_in_place(|| server.readiness()), 200);

    server.process.signal(Signal::TERM);
    block_in_place(|| wait_until("readiness goes down", || server.readiness() == 503));
    let liveness = server.health_url().replace("/ping", "/livez");
    assert_eq!(block_in_place(|| fetch(&liveness, &[])).0, 200);
    for mut connection in [kept, open(Http::One).await] {
        assert_eq!(health(&mut connection).await.unwrap(), "close");
        assert!(!connection.is_usable().await);
    }
    while multiplexed.is_usable().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut late = open(Http::Two).await;
    health(&mut late).await;
    assert!(
        block_in_place(|| server.readiness()) == 503,
        "all of that was before the end"
    );

    let address = server.address();
    let (status, log) = block_in_place(|| server.process.wait());
    assert!(status.success(), "{status}: {log}");
    assert!(std::net::TcpStream::connect(address).is_err());
    assert!(!late.is_usable().await);
}

/// A request that is under way when the time to stop has come is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered() {
    let settings = Settings::new();
    let server = Server::start(&settings);
    let (head, body) = Raw::request(server.address(), "health", &body(&json!({})));
    let mut client = Raw::open(server.address());
    client.send(head.as_bytes()).unwrap();
    client.send(&body.as_bytes()[..10]).unwrap();
    // The head has to be read before the signal is.
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.process.signal(Signal::TERM);
    block_in_place(|| {
        wait_until("the listener is closed", || {
            std::net::TcpStream::connect(server.address()).is_err()
        });
        client.send(&body.as_bytes()[10..]).unwrap();
        let answer = client.read_to_end();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (status, log) = server.process.wait();
        assert!(status.success(), "{status}: {log}");
    });
}

/// A client that connected before the end and is slow, as on a busy machine, still makes its handshake and
/// its first request.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_just_come_is_answered() {
    let site = Site::new(&Leaf::SERVER);
    let (over_tls, plain) = (site.settings(), Settings::new());
    for (settings, is_tls) in [(over_tls, true), (plain, false)] {
        let server = Server::start(&settings);
        let target = match is_tls {
            true => Target::plain(server.address(), PREFIX).with_tls(site.client()),
            false => server.target(),
        };
        let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        server.process.signal(Signal::TERM);
        block_in_place(|| {
            wait_until("the listener is closed", || {
                std::net::TcpStream::connect(server.address()).is_err()
            });
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut connection = Connection::over(stream, &target, Http::One).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let answer = connection.post(&usual_signer(), "health", &body(&json!({}))).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["connection"], "close");
        let (status, log) = block_in_place(|| server.process.wait());
        assert!(
            status.success() && !log.contains("with open connections"),
            "{status}: {log}"
        );
    }
}

/// One that does not end is waited for as long as the settings say, and no longer.
#[test]
fn a_client_that_dawdles_does_not_keep_it_from_stopping() {
    let settings = Settings::new().server("budget_ms = 600000\ndrain_delay_secs = 0\ndrain_timeout_secs = 1");
    let server = Server::start(&settings);
    let (head, body) = Raw::request(server.address(), "health", &body(&json!({})));
    let mut client = Raw::open(server.address());
    client.send(head.as_bytes()).unwrap();
    client.send(&body.as_bytes()[..10]).unwrap();
    thread::sleep(Duration::from_secs(1));
    let (status, log) = server.stop();
    assert!(
        status.success() && log.contains("with open connections"),
        "{status}: {log}"
    );
    client.read_to_end();
}

/// Whoever is in a hurry says it twice.
#[test]
fn a_second_signal_ends_the_delay() {
    let settings = Settings::new().server("drain_delay_secs = 3600").health();
    let server = Server::start(&settings);
    server.process.signal(Signal::TERM);
    wait_until("readiness goes down", || server.readiness() == 503);
    let (status, log) = server.stop();
    assert!(status.success(), "{status}: {log}");
}

/// After a kill without a warning the port is free at once, and what was encrypted before decrypts.
#[test]
fn it_starts_again_after_a_kill() {
    // An address that no client of another test has.
    let mut settings = Settings::new();
    settings.server = "listen = \"127.0.0.77:0\"\nbudget_ms = 30000\n".into();
    let server = Server::start(&settings);
    let address = server.address();
    let (status, encrypted) = server.curl().call("keys/usable/encrypt", &plaintext(b"before"), &[]);
    assert_eq!(status, 200, "{encrypted}");
    let (status, _) = server.process.stop(Signal::KILL);
    assert!(!status.success());

    settings.server = format!("listen = \"{address}\"\nbudget_ms = 30000\n");
    let server = Server::start(&settings);
    assert_eq!(server.address(), address);
    let answer = server.curl().call("keys/usable/decrypt", &ciphertext(&encrypted), &[]);
    assert_eq!(answer, (200, json!({"plaintext": encode(b"before")})));
}

/// Each listener whose port is taken is reported in one line, with its address.
#[test]
fn a_taken_port_is_said_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut api = Settings::new().server("");
    api.server = format!("listen = \"{address}\"");
    let health = Settings::new()
        .server("")
        .tables(&format!("[health]\nlisten = \"{address}\""));
    let metrics = Settings::new()
        .server("")
        .tables(&format!("[metrics]\nlisten = \"{address}\""));
    for settings in [api, health, metrics] {
        let (code, _, log) = ended(program().arg("--config").arg(settings.write()));
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(&address) && log.lines().count() == 1, "{log}");
    }
}

/// The argument goes before the file.
#[test]
fn the_address_of_the_command_line_goes_first() {
    let mut settings = Settings::new();
    settings.server = "listen = \"127.0.0.1:1\"".into();
    let mut command = program();
    let server = Server::start_by(
        command
            .arg("--config")
            .arg(settings.write())
            .args(["--listen", "127.0.0.78:0"]),
    );
    assert_eq!(server.address().ip().to_string(), "127.0.0.78");
}

/// SIGINT and SIGTERM end it with success, and quickly without clients.
#[test]
fn it_stops_when_told_to() {
    for signal in [Signal::INT, Signal::TERM] {
        let settings = Settings::new();
        let start = Instant::now();
        let server = Server::start(&settings);
        println!("from start to ready: {:?}", start.elapsed());
        let (status, log) = server.process.stop(signal);
        assert!(status.success(), "{status}: {log}");
    }
}
