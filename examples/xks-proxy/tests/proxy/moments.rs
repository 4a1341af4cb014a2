//! Events at inconvenient moments: signals while a token is opened, clients that do nothing,
//! settings that serve no client.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::{
    Connection, Http, Leaf, Process, REGION, Server, Settings, Site, Token, body, check, fetch, usual_signer,
    wait_until,
};

/// A token whose module is ended in the middle of a login may be gone for good. So a signal during the start
/// waits for the module: whenever it comes, the end is a good one, and the token is there the next time.
#[test]
fn a_token_survives_a_signal_while_it_is_opened() {
    let token = Token::new();
    for delay in 0..12 {
        // A port of an address that no other test listens on or connects from.
        let address = TcpListener::bind("127.3.5.7:0").unwrap().local_addr().unwrap();
        let health = format!("[health]\nlisten = \"{address}\"");
        let settings = token.settings("").tables(&health);
        let process = Process::start(token.program().arg("--config").arg(settings.write()));
        // From here on it heeds signals, and the token is being opened.
        wait_until("liveness is told", || TcpStream::connect(address).is_ok());
        std::thread::sleep(Duration::from_millis(delay));
        let (status, log) = process.stop(Signal::TERM);
        assert!(status.success(), "{status}: {log}");
    }
    let server = token.serve(&token.settings(""));
    assert_eq!(server.curl().call("keys/known/metadata", &body(&json!({})), &[]).0, 200);
}

/// Clients that began something and went on with nothing are not waited for: not for a handshake, not for a
/// head, not for the frames of HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_delays_no_end() {
    let site = Site::new(&Leaf::SERVER);
    let mut over_tls = site.settings();
    over_tls
        .server
        .push_str("drain_timeout_secs = 60\nstall_timeout_secs = 60\nheader_timeout_secs = 60\n");
    let plain = Settings::new().server(
        "budget_ms = 30000\ndrain_delay_secs = 0\ndrain_timeout_secs = 60\nstall_timeout_secs = 60\nheader_timeout_secs = 60",
    );
    for settings in [over_tls, plain] {
        let server = Server::start(&settings);
        let silent = TcpStream::connect(server.address()).unwrap();
        let mut begun = TcpStream::connect(server.address()).unwrap();
        begun.write_all(b"POST /example HTT").unwrap();
        let mut frames = TcpStream::connect(server.address()).unwrap();
        frames.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let told = Instant::now();
        let (status, log) = block_in_place(|| server.stop());
        assert!(
            status.success() && !log.contains("with open connections"),
            "{status}: {log}"
        );
        assert!(told.elapsed() < Duration::from_secs(30), "{:?}", told.elapsed());
        drop((silent, begun, frames));
    }
}

/// A connection of HTTP/2 without a request is idle, not slow, with TLS and without.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_http2_is_not_a_slow_one() {
    let settings = Settings::new().server("budget_ms = 30000\nheader_timeout_secs = 1\nidle_timeout_secs = 60");
    let server = Server::start(&settings);
    let mut connection = Connection::open(&server.target(), Http::Two).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answer = connection
        .post(&usual_signer(), "health", &body(&json!({})))
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}

/// TRN-7: a client that takes all of health's connections, and asks for nothing, keeps balancers away for
/// seconds at most.
#[test]
fn nobody_crowds_out_health() {
    let server = Server::start(&Settings::new().health());
    let (_, address) = server.health_url().trim_end_matches("/ping").split_once("://").unwrap();
    let crowd: Vec<_> = (0..1100).map_while(|_| TcpStream::connect(address).ok()).collect();
    assert!(crowd.len() > 1024, "{}", crowd.len());
    wait_until("health is told again", || fetch(server.health_url(), &[]).0 == 200);
    drop(crowd);
}

/// Settings that would serve no client are an error, at the start and at a reload.
#[test]
fn settings_that_serve_nobody_are_refused() {
    let one = Settings::new().key_stores;
    let without_credential = one.split("[[key_stores.credentials]]").next().unwrap().to_owned();
    let without_region = one.replace(&format!("regions = [\"{REGION}\"]"), "regions = []");
    let settings = Settings::new();
    let server = Server::start(&settings);
    for (key_stores, said) in [
        (String::new(), "no [[key_stores]]"),
        (without_credential, "no [[key_stores.credentials]]"),
        (without_region, "name at least one AWS Region"),
    ] {
        let wrong = Settings::new().key_stores(&key_stores);
        let (code, printed) = check(&wrong);
        assert_eq!(code, Some(78), "{printed}");
        assert!(
            printed.contains(said) && printed.contains("1 error"),
            "{said}: {printed}"
        );

        let before = server.process.log.count("settings not reloaded");
        settings.folder.replace("settings.toml", &wrong.text());
        server.process.signal(Signal::HUP);
        assert!(server.process.log.holds("settings not reloaded", before + 1));
        assert_eq!(
            server.curl().call("keys/usable/metadata", &body(&json!({})), &[]).0,
            200
        );
    }
}
