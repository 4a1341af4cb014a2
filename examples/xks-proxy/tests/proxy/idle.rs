//! Ten thousand connections that do nothing, and what they cost.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    Connection, Http, Leaf, Load, PREFIX, Server, Settings, Site, Style, Target, body, raise_limit_of_files,
    usual_signer,
};

const CONNECTIONS: u16 = 10_000;
/// Loosely.
const MOST_BYTES_PER_CONNECTION: u64 = 30 * 1024;

/// A connection over which one request has been answered. Each thousand of them has a source address of its
/// own, so that the ports are enough.
async fn used(number: u16, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let source = [127, 0, 0, 2 + u8::try_from(number / 1000).unwrap()];
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream
        .write_all(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ready\n") {
        let mut buffer = [0; 512];
        let length = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(length, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..length]);
    }
    stream
}

/// Others are served while they are there, and they are still there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_keep_nobody_from_being_served() {
    if let Err(reason) = raise_limit_of_files(u64::from(CONNECTIONS) + 1000) {
        println!("skipped: {reason}");
        return;
    }
    let settings = Settings::new()
        .server("budget_ms = 30000\nmax_connections = 11000\ndrain_delay_secs = 0")
        .metrics();
    let server = Server::start(&settings);
    let address = server.address();
    let load = Load::start(
        server.target(),
        usual_signer(),
        2,
        &[Style::KeepAlive, Style::Reconnecting],
    );
    load.more(20).await;
    let before = server.resident();
    let mut idle = Vec::new();
    for number in 0..CONNECTIONS {
        idle.push(used(number, address).await);
    }
    load.more(20).await;
    let per_connection = server.resident().saturating_sub(before) / u64::from(CONNECTIONS);
    println!("{per_connection} bytes of resident memory for each of {CONNECTIONS} idle connections");
    let count = tokio::task::block_in_place(|| server.metrics()).sum("xks_connections", &[]);
    assert!(count >= f64::from(CONNECTIONS), "{count}");
    assert!(per_connection < MOST_BYTES_PER_CONNECTION, "{per_connection}");

    load.finish().await.assert_nothing_failed();
    for stream in &idle {
        let mut buffer = [0];
        let nothing = stream.try_read(&mut buffer);
        assert!(
            nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "closed"
        );
    }
    let (status, log) = tokio::task::block_in_place(|| server.stop());
    assert!(status.success(), "{status}: {log}");
}

/// What TLS adds to that.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_tls_cost_little_more() {
    const COUNT: u64 = 500;
    let site = Site::new(&Leaf::SERVER);
    let settings = site.settings();
    let server = Server::start(&settings);
    let target = Target::plain(server.address(), PREFIX).with_tls(site.client());
    let mut idle = Vec::new();
    let mut open = async || {
        let mut connection = Connection::open(&target, Http::One).await.unwrap();
        let answer = connection
            .post(&usual_signer(), "health", &body(&json!({})))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        idle.push(connection);
    };
    for _ in 0..20 {
        open().await;
    }
    let before = server.resident();
    for _ in 0..COUNT {
        open().await;
    }
    let per_connection = server.resident().saturating_sub(before) / COUNT;
    println!("{per_connection} bytes of resident memory for each of {COUNT} idle connections of TLS");
    assert!(per_connection < 3 * MOST_BYTES_PER_CONNECTION, "{per_connection}");
    for connection in &mut idle {
        assert!(connection.is_usable().await);
    }
}
