//! Requests in forms that few clients use: answered as all others, or refused with a reason that helps.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use xks_pkcs11_fixture::{Shim, shim_path};

use crate::support::{Leaf, PATIENCE, PREFIX, Raw, Server, Settings, Site, Token, body, plaintext, quoted, wait_until};

/// Sends bytes on a connection of their own; the whole answer.
fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut client = Raw::open(address);
    client.send(bytes.as_bytes()).unwrap();
    client.read_to_end()
}

/// A signed request whose connection ends with the answer. Its target is what `target` makes of the signed
/// one.
fn request(address: SocketAddr, target: impl Fn(&str) -> String) -> String {
    let (head, body) = Raw::request(address, "keys/usable/encrypt", &plaintext(b"x"));
    let path = format!("{PREFIX}/kms/xks/v1/keys/usable/encrypt");
    let head = head.replacen(&path, &target(&path), 1);
    head.replacen("\r\n", "\r\nconnection: close\r\n", 1) + &body
}

/// SIG-2: forward proxies are asked with a target in absolute form. The `Host` header was signed, not its
/// host.
#[test]
fn a_target_in_absolute_form_is_served() {
    let server = Server::start(&Settings::new());
    let address = server.address();
    for host in [
        address.to_string(),
        "other.example.com".to_owned(),
        "192.0.2.1:1".to_owned(),
    ] {
        let answer = exchange(address, &request(address, |path| format!("http://{host}{path}")));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    // The path is signed in this form too.
    let other = |path: &str| format!("http://{address}{}", path.replace("encrypt", "decrypt"));
    let answer = exchange(address, &request(address, other));
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = exchange(
        address,
        &format!("GET http://{address}/ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    );
    assert!(answer.ends_with("ready\n"), "{answer}");
}

/// A client that ends its half of the connection after its request, as `nc -N` and some probes do, is
/// answered, and its request is recorded, however long the answer takes. The connection ends with the answer.
#[test]
fn who_ends_his_half_is_answered() {
    let server = Server::start(&Settings::new().health().metrics());
    let address = server.address();
    let health = server.health_url().split('/').nth(2).unwrap().parse().unwrap();
    for (address, probe) in [
        (health, "GET /ping HTTP/1.0\r\n\r\n"),
        (health, "GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"),
        (address, "GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"),
    ] {
        let mut client = Raw::open(address);
        client.send(probe.as_bytes()).unwrap();
        client.end();
        let answer = client.read_to_end();
        assert!(
            answer.contains(" 200 OK\r\n") && answer.ends_with("ready\n"),
            "{answer}"
        );
    }
    let (head, body) = Raw::request(address, "keys/usable/encrypt", &plaintext(b"x"));
    let whole = head + &body;
    for (request, answers) in [(whole.clone(), 1), (whole.repeat(2), 2)] {
        let mut client = Raw::open(address);
        client.send(request.as_bytes()).unwrap();
        client.end();
        let answer = client.read_to_end();
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), answers, "{answer}");
    }
    // What is not whole is refused at once, and not after the 30 s that the settings give a request.
    let mut client = Raw::open(address);
    client.send(&whole.as_bytes()[..whole.len() - 1]).unwrap();
    client.end();
    let answer = client.read_to_end();
    assert!(answer.contains("the request body is incomplete"), "{answer}");
    let outcome = |outcome| server.metrics().sum("xks_requests_total", &[("outcome", outcome)]);
    assert_eq!([outcome("Success"), outcome("ValidationException")], [3.0, 1.0]);
    wait_until("no connection is left", || {
        server.metrics().sum("xks_connections", &[]) == 0.0
    });
}

/// The same while the key manager takes its time: the connection is not given up meanwhile.
#[test]
fn who_ends_his_half_waits_for_a_slow_key_manager() {
    let token = Token::new();
    let pin = quoted(&token.pin);
    let module = Token::backend_of(&shim_path(), "slow", &format!("vendor = \"softhsm\"\npin_file = {pin}"));
    let settings = Settings::new().backends(&module);
    let mut command = token.program();
    command.arg("--config").arg(settings.write());
    let shim = Shim::elsewhere_with(&mut command, &settings.folder.path().join("shim"), "");
    let server = Server::start_by(&mut command);
    shim.latency_of_operations(Duration::from_millis(100));
    let (head, body) = Raw::request(server.address(), "keys/known/encrypt", &plaintext(b"x"));
    let mut client = Raw::open(server.address());
    client.send((head + &body).as_bytes()).unwrap();
    client.end();
    let answer = client.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// The same over TLS, whose end is a message of its own.
#[tokio::test(flavor = "multi_thread")]
async fn who_ends_his_half_of_tls_is_answered() {
    let site = Site::new(&Leaf::SERVER);
    let server = Server::start(&site.settings());
    let (head, body) = Raw::request(server.address(), "keys/usable/encrypt", &plaintext(b"x"));
    let connector = TlsConnector::from(Arc::new(site.client()));
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let mut stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// What is no request has an answer of HTTP's own, without a body; it is recorded, with its client's address,
/// and counted.
#[test]
fn what_is_no_request_is_recorded() {
    let server = Server::start(&Settings::new().metrics());
    let address = server.address();
    let long = "x".repeat(70_000);
    let count = || server.metrics().sum("xks_requests_total", &[("outcome", "Malformed")]);
    for (number, (bytes, status)) in [
        ("GET /ping\r\n\r\n".to_owned(), 400),
        ("G=T / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n".to_owned(), 400),
        (format!("GET /ping HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), 431),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Raw::open(address);
        let _ = client.send(bytes.as_bytes());
        let said = client.stream.local_addr().unwrap();
        let (answer, is_closed) = client.read_for(PATIENCE);
        assert!(is_closed, "{answer}");
        // What is left unread may cost the client its answer.
        assert!(
            answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {answer}"
        );
        let log = server.process.log.wait_for(&format!("client={said}"));
        let line = log.lines().find(|line| line.contains(&said.to_string())).unwrap();
        assert!(
            line.contains(&format!("status={status}")) && line.contains("xks::audit"),
            "{line}"
        );
        assert_eq!(count(), (number + 1) as f64);
    }
}

/// URI-5: the log blames the query, and not the key or the operation that it spoils.
#[test]
fn a_query_is_blamed_for_itself() {
    let server = Server::start(&Settings::new());
    let address = server.address();
    for (number, target) in ["?x=y", "?", "?a=/keys/b/encrypt"].into_iter().enumerate() {
        let answer = exchange(address, &request(address, |path| path.to_owned() + target));
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.contains("InvalidUriPathException"),
            "{answer}"
        );
        assert!(
            server.process.log.holds("the path must not have a query", number + 1),
            "{}",
            server.process.log.text()
        );
    }
}

/// SIG-3: what a signer for S3 sends has a reason of its own.
#[test]
fn an_unsigned_payload_is_named() {
    let server = Server::start(&Settings::new());
    let unsigned = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];
    let answer = server.curl().call("health", &body(&json!({})), &unsigned);
    assert_eq!(answer.0, 401, "{answer:?}");
    server.process.log.wait_for("x-amz-content-sha256 is UNSIGNED-PAYLOAD");
}
