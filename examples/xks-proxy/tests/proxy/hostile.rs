//! Clients that are slow, silent, or many.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsConnector;

use crate::support::{
    Leaf, PATIENCE, Raw, Server, Settings, Site, Token, body, fetch, plaintext, program, wait_until,
    without_our_variables,
};

/// Sends byte by byte until the server has enough of it; returns what it answered, and after how long it
/// closed.
fn trickle(client: &mut Raw, bytes: &[u8], pause: Duration) -> (String, Duration) {
    let start = Instant::now();
    let mut answer = String::new();
    for byte in bytes.iter().cycle() {
        assert!(start.elapsed() < PATIENCE, "still open after {answer:?}");
        let is_sent = client.send(&[*byte]).is_ok();
        let (text, is_closed) = client.read_for(pause);
        answer += &text;
        if is_closed || !is_sent {
            break;
        }
    }
    (answer, start.elapsed())
}

fn serves(server: &Server) -> bool {
    server.curl().call("health", &body(&json!({})), &[]).0 == 200
}

/// A head that comes a byte a second is not waited for.
#[test]
fn a_slow_head_is_cut_off() {
    let settings = Settings::new().server("budget_ms = 30000\nheader_timeout_secs = 2");
    let server = Server::start(&settings);
    let head = b"POST /example/tenant-a/kms/xks/v1/health HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let mut first = Raw::open(server.address());
    // A connection that was good once is held to the same time.
    let mut second = Raw::open(server.address());
    let ping = b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n";
    second.send(ping).unwrap();
    second.read_until("ready\n");
    thread::scope(|scope| {
        let slow =
            [&mut first, &mut second].map(|client| scope.spawn(|| trickle(client, head, Duration::from_secs(1))));
        for client in slow {
            let (answer, time) = client.join().unwrap();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
            assert!(time > Duration::from_secs(1), "{time:?}: nobody was waited for");
        }
    });
    assert!(serves(&server));
}

/// A head that came behind a request, and does not end, is a slow head, and no idle connection.
#[test]
fn the_rest_of_a_pipelined_head_is_cut_off() {
    let settings = Settings::new().server("budget_ms = 30000\nheader_timeout_secs = 2\nidle_timeout_secs = 600");
    let server = Server::start(&settings);
    let (head, body) = Raw::request(server.address(), "health", &body(&json!({})));
    let ping = "GET /ping HTTP/1.1\r\nhost: x\r\n\r\n".to_owned();
    for (request, answer) in [(ping, "ready\n"), (head + &body, "}")] {
        let mut idle = Raw::open(server.address());
        idle.send(request.as_bytes()).unwrap();
        let mut slow = Raw::open(server.address());
        slow.send((request + "GET /ping HT").as_bytes()).unwrap();
        let text = slow.read_to_end();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(answer),
            "{text}"
        );
        // One without more is idle.
        idle.read_until(answer);
        let (text, is_closed) = idle.read_for(Duration::from_secs(3));
        assert!(text.is_empty() && !is_closed, "{text}");
    }
}

/// A client of HTTP/2 that opens no window for its answers, and is not silent: the connection ends, and so
/// does one that has no request at all.
#[test]
fn pings_hold_no_connection() {
    let no_window: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let small_window: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1];
    // GET http / of stream 1, with END_STREAM and END_HEADERS.
    let request: &[u8] = &[0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84];
    let ping: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    for (idle, window, request) in [
        (600, no_window, request),
        (600, small_window, request),
        (4, small_window, &[]),
    ] {
        let times = format!("header_timeout_secs = 2\nstall_timeout_secs = 2\nidle_timeout_secs = {idle}");
        let server = Server::start(&Settings::new().server(&format!("budget_ms = 30000\n{times}")).metrics());
        let mut client = Raw::open(server.address());
        client
            .send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", window, request].concat())
            .unwrap();
        client
            .stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let start = Instant::now();
        while client.send(ping).is_ok() {
            // What the server asks is answered too: its pings, and its settings.
            let mut buffer = [0; 4096];
            if let Ok(length) = client.stream.read(&mut buffer) {
                let frames = acknowledged(&buffer[..length]);
                if length == 0 || client.send(&frames).is_err() {
                    break;
                }
            }
            assert!(start.elapsed() < PATIENCE, "still open");
        }
        let open = || server.metrics().sum("xks_connections", &[]);
        wait_until("none is left", || open() == 0.0);
    }
}

/// The acknowledgements of settings and pings among these frames of HTTP/2.
fn acknowledged(mut frames: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    while let [high, middle, low, kind, flags, rest @ ..] = frames {
        let length = 4 + (usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low));
        let Some(payload) = rest.get(..length) else { break };
        match (kind, flags & 1) {
            (4, 0) => sent.extend_from_slice(&[0, 0, 0, 4, 1, 0, 0, 0, 0]),
            (6, 0) => sent.extend([&[0, 0, 8, 6, 1], payload].concat()),
            _ => {}
        }
        frames = &rest[length..];
    }
    sent
}

/// A body that comes too late is answered, so that KMS knows whose fault it was.
#[test]
fn a_slow_body_is_answered_after_the_budget() {
    let settings = Settings::new().server("budget_ms = 1000");
    let server = Server::start(&settings);
    let (head, body) = Raw::request(server.address(), "health", &body(&json!({})));
    let mut client = Raw::open(server.address());
    client.send(head.as_bytes()).unwrap();
    let (answer, time) = trickle(&mut client, body.as_bytes(), Duration::from_millis(200));
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("ValidationException"),
        "{answer}"
    );
    assert!(time >= Duration::from_millis(900), "{time:?}");
    assert!(serves(&server));
}

/// Who says nothing at all is let go: at once after the idle time, with or without a request before.
#[test]
fn a_silent_client_is_let_go() {
    let settings = Settings::new().server("idle_timeout_secs = 2\nbudget_ms = 30000");
    let server = Server::start(&settings);
    let mut clients = [Raw::open(server.address()), Raw::open(server.address())];
    clients[1].send(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let answers = clients.each_mut().map(Raw::read_to_end);
    assert!(answers[0].is_empty() && answers[1].ends_with("ready\n"), "{answers:?}");
    assert!(serves(&server));
}

/// A client that stops in the middle of a head, as one does whose machine is gone.
#[test]
fn a_client_that_vanishes_is_let_go() {
    let settings = Settings::new()
        .server("budget_ms = 1000\nheader_timeout_secs = 2")
        .metrics();
    let server = Server::start(&settings);
    let (head, _) = Raw::request(server.address(), "health", &body(&json!({})));
    let connections = || server.metrics().sum("xks_connections", &[]);
    let before = connections();
    let mut clients: Vec<_> = (0..20).map(|_| Raw::open(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // Half a head, or a whole one without a body.
        client.send(&head.as_bytes()[..head.len() / (1 + number % 2)]).unwrap();
    }
    wait_until("they are seen", || connections() >= before + 1.0);
    wait_until("they are gone", || connections() <= before);
    drop(clients);
    assert!(serves(&server));
}

/// A connection of a client that reads little at a time, and the same requests again and again.
fn glutton(server: &Server) -> (TcpStream, Vec<u8>) {
    let (head, body) = Raw::request(server.address(), "keys/usable/encrypt", &plaintext(&[7; 4096]));
    let requests = [head.as_bytes(), body.as_bytes()].concat().repeat(20);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    (stream, requests)
}

const STALL: &str = "budget_ms = 30000\nstall_timeout_secs = 2";

/// A client that asks and asks and never takes an answer: the server waits no longer than it has to.
#[test]
fn a_client_that_never_reads_is_let_go() {
    let settings = Settings::new().server(STALL);
    let server = Server::start(&settings);
    let (mut stream, requests) = glutton(&server);
    let start = Instant::now();
    let error = loop {
        assert!(start.elapsed() < PATIENCE, "it takes all that comes");
        if let Err(error) = stream.write_all(&requests) {
            break error;
        }
    };
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    assert!([BrokenPipe, ConnectionReset].contains(&error.kind()), "{error}");
    assert!(serves(&server));
    println!("a client that never reads was closed after {:?}", start.elapsed());
}

/// The same, over TLS.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_tls_that_never_reads_is_let_go() {
    let site = Site::new(&Leaf::SERVER);
    let settings = site.settings().metrics();
    let settings = Settings {
        server: format!("listen = \"127.0.0.1:0\"\n{STALL}\n"),
        ..settings
    };
    let server = Server::start(&settings);
    let (stream, requests) = glutton(&server);
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let connector = TlsConnector::from(Arc::new(site.client()));
    let mut stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    let ask_for_ever = async {
        let (_, mut writing) = tokio::io::split(&mut stream);
        while writing.write_all(&requests).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, ask_for_ever)
        .await
        .expect("it waits for ever");
    let open = || server.metrics().sum("xks_connections", &[]);
    tokio::task::block_in_place(|| wait_until("the connection is gone", || open() == 0.0));
}

/// The state of the server's sockets, as the kernel tells it, by what their timer does.
fn timers(server: &Server) -> Vec<String> {
    let port = format!(":{:04X}", server.address().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let established = table.lines().filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, _, state) = (columns.next()?, columns.next()?, columns.next()?);
        let timer = columns.nth(1)?;
        (local.ends_with(&port) && state == "01").then(|| timer[..2].to_owned())
    });
    established.collect()
}

/// With keepalive the system asks a silent peer whether it is there: the socket has a timer for it.
#[test]
fn keepalive_is_asked_of_the_system() {
    const KEEPALIVE: &str = "02";
    for (keepalive, timer) in [
        ("", "00"),
        (
            "[server.tcp_keepalive]\nidle_secs = 60\ninterval_secs = 5\nretries = 2",
            KEEPALIVE,
        ),
    ] {
        let settings = Settings::new().tables(keepalive);
        let server = Server::start(&settings);
        let mut client = Raw::open(server.address());
        client.send(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        client.read_until("ready\n");
        wait_until("the timer is the right one", || timers(&server) == [timer]);
    }
}

/// A balancer that checks whether the port is open connects and goes. That is no handshake that failed; half
/// a handshake is.
#[test]
fn a_check_of_the_port_is_no_failed_handshake() {
    let server = Server::start(&Site::new(&Leaf::SERVER).settings().metrics());
    let failures = || server.metrics().sum("xks_tls_handshake_failures_total", &[]);
    for end in [Shutdown::Both, Shutdown::Write] {
        for _ in 0..3 {
            let mut probe = TcpStream::connect(server.address()).unwrap();
            probe.shutdown(end).unwrap();
            // The server ends it too, which it does last of all.
            assert_eq!(probe.read(&mut [0]).unwrap_or(0), 0);
        }
    }
    assert_eq!(failures(), 0.0);
    let log = server.process.log.text();
    assert!(!log.contains("handshake"), "{log}");
    let mut half = TcpStream::connect(server.address()).unwrap();
    half.write_all(b"\x16\x03\x01").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    wait_until("it is counted", || failures() == 1.0);
}

/// A handshake that is not begun, or not ended, is not waited for, and delays no other client.
#[test]
fn a_silent_client_of_tls_is_let_go() {
    let settings = Site::new(&Leaf::SERVER).settings();
    let settings = Settings {
        server: "listen = \"127.0.0.1:0\"\nbudget_ms = 30000\nheader_timeout_secs = 2\n".to_owned(),
        ..settings
    }
    .metrics();
    let server = Server::start(&settings);
    let mut clients: Vec<_> = (0..20).map(|_| Raw::open(server.address())).collect();
    for client in clients.iter_mut().skip(10) {
        client.send(&[22, 3, 1, 2, 0, 1, 0]).unwrap(); // the beginning of a ClientHello of 512 bytes
    }
    let root = settings.file("root.pem");
    let answer = server
        .curl()
        .call("health", &body(&json!({})), &["--cacert", root.to_str().unwrap()]);
    assert_eq!(answer.0, 200, "{answer:?}");
    for mut client in clients {
        client.read_to_end();
    }
    let failures = server.metrics().sum("xks_tls_handshake_failures_total", &[]);
    assert!(failures >= 10.0, "{failures}");
}

/// Beyond the limit connections are closed at once, and taken again as soon as one has gone. Health has a
/// listener of its own, which clients of the API cannot fill.
#[test]
fn connections_beyond_the_limit_are_closed() {
    let settings = Settings::new()
        .server("budget_ms = 30000\nmax_connections = 5")
        .health()
        .metrics();
    let server = Server::start(&settings);
    let mut held: Vec<_> = (0..5).map(|_| Raw::open(server.address())).collect();
    wait_until("they are taken", || server.metrics().sum("xks_connections", &[]) >= 5.0);
    for _ in 0..3 {
        assert_eq!(Raw::open(server.address()).read_to_end(), "");
    }
    let metrics = server.metrics();
    assert_eq!(metrics.value("xks_connections_refused_total", &[]), 3.0);
    assert_eq!(server.readiness(), 200);
    for client in &mut held {
        let (text, is_closed) = client.read_for(Duration::from_millis(10));
        assert!(text.is_empty() && !is_closed);
    }
    held.pop();
    wait_until("a place is free", || {
        fetch(&format!("{}/livez", server.url()), &[]).0 != 0
    });
    drop(held);
    wait_until("all places are free", || {
        server.metrics().sum("xks_connections", &[]) == 0.0
    });
    assert!(serves(&server));
}

/// Where there are few descriptors, connections of all listeners together leave enough for requests on those
/// that are open: here SoftHSM2 opens files for each. Health and metrics are answered while the API's
/// connections are all taken.
#[test]
fn connections_of_all_listeners_leave_descriptors() {
    let token = Token::new();
    let settings = token.settings("").health().metrics();
    let mut command = Command::new("sh");
    without_our_variables(&mut command);
    command
        .env("SOFTHSM2_CONF", &token.config)
        .args(["-c", "ulimit -n 300 && exec \"$@\"", "sh"])
        .arg(program().get_program())
        .arg("--config")
        .arg(settings.write());
    let server = Server::start_by(&mut command);
    let mut honest = Raw::open(server.address());
    let mut is_served = || {
        let (head, body) = Raw::request(server.address(), "keys/known/encrypt", &plaintext(b"x"));
        honest.send((head + &body).as_bytes()).unwrap();
        let answer = honest.read_until("}");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    is_served();
    let address = |url: &str| url.split('/').nth(2).unwrap().parse::<SocketAddr>().unwrap();
    let crowd = |address: SocketAddr| -> Vec<_> { (0..400).map(|_| Raw::open(address)).collect() };
    let on_api = crowd(server.address());
    wait_until("some are refused", || {
        server.metrics().value("xks_connections_refused_total", &[]) > 0.0
    });
    assert_eq!(server.readiness(), 200);
    is_served();
    let (health, metrics) = (address(server.health_url()), address(server.fact("metrics").unwrap()));
    let on_others = [crowd(health), crowd(metrics)];
    for _ in 0..20 {
        is_served();
    }
    drop((on_api, on_others));
    wait_until("health is told again", || server.readiness() == 200);
    let log = server.process.log.text();
    assert!(!log.contains("cannot accept"), "{log}");
}

/// What is no HTTP costs one connection.
#[test]
fn garbage_is_refused() {
    let settings = Settings::new();
    let server = Server::start(&settings);
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    for bytes in [
        &b"\x16\x03\x01\x00\x05hello\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nno frames at all",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let mut client = Raw::open(server.address());
        let _ = client.send(bytes);
        let answer = client.read_to_end();
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(serves(&server));
    }
}
