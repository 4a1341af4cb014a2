//! The client that the check and the double call proxies with.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use kms_double::wire::{Answer, CallError, Client, Endpoint, Http};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{PREFIX, Server, Tcp, credential, runtime};

fn client(url: &str, http: Http) -> Client {
    let endpoint = Endpoint::builder(format!("{url}{PREFIX}"), credential()).http(http);
    Client::new(endpoint.timeout(Duration::from_secs(20)).build().unwrap())
}

const HEALTH: &[u8] = br#"{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"1"}}"#;

async fn health(client: &Client) -> Result<Answer, CallError> {
    client.post("health", HEALTH).await
}

/// SIG-1, TRN-2: a proxy takes what the client signs, whatever it speaks.
#[test]
fn requests_are_signed_over_both_versions_of_http() {
    let server = Server::right();
    runtime().block_on(async {
        for (http, version) in [(Http::One, http::Version::HTTP_11), (Http::Two, http::Version::HTTP_2)] {
            let client = client(&server.url, http);
            let all = (0..20).map(|_| {
                let client = client.clone();
                tokio::spawn(async move { health(&client).await.unwrap() })
            });
            for answer in all.collect::<Vec<_>>() {
                let answer = answer.await.unwrap();
                assert_eq!((answer.status, answer.version), (200, version));
                assert_eq!(answer.json().unwrap()["xksProxyFleetSize"], 1);
            }
        }
    });
}

/// SIG-1: header names go out in title case, as AWS sends them, and once each. Some proxies read them in that
/// spelling alone.
#[test]
fn header_names_are_in_title_case() {
    let (heads, head) = mpsc::channel();
    let server = Tcp::start(move |mut stream: TcpStream| {
        let heads = heads.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            heads.send(String::from_utf8(head).unwrap()).unwrap();
        }
    });
    runtime().block_on(async {
        health(&client(&server.0.url, Http::One)).await.unwrap_err();
    });
    let head = head.recv().unwrap();
    let (request_line, fields) = head.split_once("\r\n").unwrap();
    assert_eq!(request_line, format!("POST {PREFIX}/kms/xks/v1/health HTTP/1.1"));
    let mut names: Vec<_> = fields
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["Authorization", "Content-Length", "Content-Type", "Host", "X-Amz-Date"],
        "{head}"
    );
}

/// Answers so many requests over a connection, and counts connections.
fn counting(requests: usize) -> (Server, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let server = Tcp::start(move |mut stream: TcpStream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut buffer = [0; 8192];
            for _ in 0..requests {
                if !stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    return;
                }
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                    .await;
            }
        }
    });
    (server.0, connections)
}

#[test]
fn connections_are_kept() {
    let (server, connections) = counting(100);
    runtime().block_on(async {
        let client = client(&server.url, Http::One);
        for _ in 0..10 {
            assert_eq!(health(&client).await.unwrap().status, 200);
        }
    });
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_kept_connection_that_was_closed_costs_nothing() {
    let (server, connections) = counting(2);
    runtime().block_on(async {
        let client = client(&server.url, Http::One);
        for _ in 0..10 {
            assert_eq!(health(&client).await.unwrap().status, 200);
        }
    });
    assert_eq!(connections.load(Ordering::SeqCst), 5);
}

/// TRN-8: KMS waits 250 ms.
#[test]
fn an_answer_that_does_not_come_ends_the_call_and_its_connection() {
    let ended = Arc::new(AtomicUsize::new(0));
    let seen = ended.clone();
    let server = Tcp::start(move |mut stream: TcpStream| {
        let ended = seen.clone();
        async move {
            let mut buffer = [0; 8192];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            ended.fetch_add(1, Ordering::SeqCst);
        }
    })
    .0;
    runtime().block_on(async {
        let client = Client::new(Endpoint::builder(&server.url, credential()).build().unwrap());
        let start = Instant::now();
        let error = health(&client).await.unwrap_err();
        assert!(
            matches!(error, CallError::Timeout(limit) if limit == Endpoint::TIMEOUT),
            "{error}"
        );
        assert!(start.elapsed() >= Duration::from_millis(250));
        // The server sees that the client has gone.
        while ended.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn what_is_too_long_or_cut_off_is_no_answer() {
    let long = Tcp::start(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 8192]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n")
            .await;
        let _ = stream.write_all(&[b' '; 2_000_000]).await;
    })
    .0;
    let cut = Tcp::start(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 8192]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}")
            .await;
    })
    .0;
    runtime().block_on(async {
        let error = health(&client(&long.url, Http::One)).await.unwrap_err();
        assert!(matches!(error, CallError::TooLong(1_048_576)), "{error}");
        let error = health(&client(&cut.url, Http::One)).await.unwrap_err();
        assert!(matches!(error, CallError::Closed(_)), "{error}");
    });
}
