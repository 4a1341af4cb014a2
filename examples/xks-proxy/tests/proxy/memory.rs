//! The memory that clients without authentication can make the server hold, and its release.
//!
//! These take minutes and thousands of descriptors: `scripts/test memory` runs them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinSet, block_in_place},
};
use tokio_rustls::TlsConnector;

use crate::support::{
    Connection, Http, Leaf, PATIENCE, PREFIX, Raw, Server, Settings, Site, Target, body, raise_limit_of_files,
    usual_signer, wait_until,
};

/// Bytes of resident memory, whatever clients do.
const MOST: u64 = 256 * 1024 * 1024;

/// So that nothing ends by itself while it is measured.
const PATIENT: &str = "budget_ms = 600000\nheader_timeout_secs = 600\nidle_timeout_secs = 600\ndrain_delay_secs = 0";

/// A server, and what it has when it has served.
struct Measured {
    server: Server,
    start: u64,
}

impl Measured {
    async fn start(settings: &Settings, target: impl Fn(&Server) -> Target) -> Self {
        raise_limit_of_files(15_000).unwrap();
        let server = block_in_place(|| Server::start(settings));
        for http in [Http::One, Http::Two] {
            let mut connection = Connection::open(&target(&server), http).await.unwrap();
            for _ in 0..100 {
                let answer = connection.post(&usual_signer(), "health", &body(&json!({}))).await;
                assert_eq!(answer.unwrap().status, 200);
            }
        }
        let connections = || server.metrics().sum("xks_connections", &[]);
        block_in_place(|| wait_until("these are gone", || connections() == 0.0));
        // What the start itself left is given back.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let start = server.resident();
        Self { server, start }
    }

    fn connections(&self) -> f64 {
        block_in_place(|| self.server.metrics()).sum("xks_connections", &[])
    }

    fn assert_bounded(&self) {
        let held = self.server.resident();
        assert!(held <= MOST, "{held} bytes held, {} at the start", self.start);
    }

    /// Once the clients have gone.
    fn assert_given_back(&self) {
        block_in_place(|| {
            wait_until("the connections are gone", || self.connections() == 0.0);
            wait_until("memory is given back", || self.server.resident() <= self.start * 3 / 2);
        });
    }
}

/// Opens as many streams as the server lets it, with large heads, and sends bodies on all of them that never
/// end, for as long as the server takes anything.
async fn streams_without_end(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.unwrap();
    let Ok((sender, connection)) = h2::client::handshake(stream).await else {
        return;
    };
    let mut streams = JoinSet::new();
    streams.spawn(async move { drop(connection.await) });
    for _ in 0..100 {
        let request = http::Request::post(format!("http://x{PREFIX}/kms/xks/v1/health"))
            .header("content-length", "262144")
            .header("x-large", "x".repeat(4000))
            .body(())
            .unwrap();
        let Ok(mut sender) = sender.clone().ready().await else {
            break;
        };
        let Ok((answer, mut body)) = sender.send_request(request, false) else {
            break;
        };
        streams.spawn(async move {
            let _answer = answer;
            for _ in 0..20 {
                body.reserve_capacity(10_000);
                let capacity = std::future::poll_fn(|context| body.poll_capacity(context)).await;
                let Some(Ok(capacity)) = capacity else { return };
                if body.send_data(Bytes::from(vec![b'x'; capacity]), false).is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
    }
    while streams.join_next().await.is_some() {}
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test memory"]
async fn unfinished_bodies_of_a_thousand_connections() {
    let settings = Settings::new().server(PATIENT).metrics();
    let measured = Measured::start(&settings, Server::target).await;
    let address = measured.server.address();
    let clients: Vec<_> = (0..1000).map(|_| tokio::spawn(streams_without_end(address))).collect();
    block_in_place(|| {
        let refused = || {
            let metrics = measured.server.metrics();
            metrics.sum("xks_requests_total", &[("outcome", "ThrottlingException")])
        };
        wait_until("they are there", || measured.connections() >= 1000.0);
        wait_until("memory for requests has been spent many times", || {
            measured.assert_bounded();
            refused() >= 1000.0
        });
    });
    clients.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test memory"]
async fn unfinished_heads_of_three_thousand_connections() {
    let settings = Settings::new().server(PATIENT).metrics();
    let measured = Measured::start(&settings, Server::target).await;
    let address = measured.server.address();
    // As large as is taken.
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nx-large: {}", "x".repeat(16_000));
    let open = |_| {
        let mut client = Raw::open(address);
        client.send(head.as_bytes()).unwrap();
        client
    };
    let mut clients: Vec<_> = (0..3000).map(open).collect();
    wait_until("they are there", || measured.connections() >= 3000.0);
    measured.assert_bounded();
    let (answer, is_closed) = clients[0].read_for(Duration::from_millis(100));
    assert!(answer.is_empty() && !is_closed, "{answer}");
    drop(clients);
    measured.assert_given_back();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/test memory"]
async fn ten_thousand_idle_connections_of_tls() {
    const COUNT: usize = 10_000;
    let site = Site::new(&Leaf::SERVER);
    let settings = site.settings().metrics();
    let settings = Settings {
        server: format!("listen = \"127.0.0.1:0\"\n{PATIENT}\n"),
        ..settings
    };
    let of_site = |server: &Server| Target::plain(server.address(), PREFIX).with_tls(site.client());
    let measured = Measured::start(&settings, of_site).await;
    let address = measured.server.address();
    let connector = TlsConnector::from(Arc::new(site.client()));
    let mut clients = Vec::new();
    for _ in 0..COUNT {
        let stream = TcpStream::connect(address).await.unwrap();
        let handshake = connector.connect("localhost".try_into().unwrap(), stream);
        clients.push(handshake.await.unwrap());
    }
    wait_until("they are there", || measured.connections() >= COUNT as f64);
    measured.assert_bounded();
    // The last is served, and so is the first.
    for client in [0, COUNT - 1] {
        let stream = &mut clients[client];
        stream
            .write_all(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = vec![0; 15];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK");
    }
    drop(clients);
    measured.assert_given_back();
}
