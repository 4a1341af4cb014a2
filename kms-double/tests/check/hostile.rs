//! Servers that are no proxy, or hostile: a check of one ends, without a panic, with a message.

use std::{future::pending, time::Duration};

use kms_double::{
    check::{CannotRun, Outcome, Report, run},
    wire::{CallError, Http},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use crate::support::{Tcp, runtime, setup};

/// Where each case costs much.
const SOME: &[&str] = &[
    "http/",
    "key-metadata/",
    "load/",
    "destructive/",
    "half-sent/",
    "alive/",
];

/// Checks what answers every request in this way; it must not conform, and every case must have an end.
fn report<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Report
where
    F: Future<Output = ()> + Send + 'static,
{
    report_of(serve, &[])
}

/// The same, of some cases.
fn report_of<F>(serve: impl Fn(TcpStream) -> F + Send + 'static, only: &[&str]) -> Report
where
    F: Future<Output = ()> + Send + 'static,
{
    let server = Tcp::start(serve).0;
    let mut setup = setup(&server.url);
    setup.only = only.iter().map(|name| (*name).to_owned()).collect();
    setup.timeout = Duration::from_millis(200);
    setup.is_destructive = true;
    setup.half_sent = Duration::from_millis(100);
    setup.load = Duration::from_millis(100);
    let report = runtime().block_on(run(&setup)).unwrap();
    assert!(!report.is_conformant(), "{report}");
    let failed = report.named(Outcome::Fail);
    assert!(
        failed.contains(&"key-metadata/spec") || failed.contains(&"alive/at-the-end"),
        "{report}"
    );
    report
}

/// Reads a request, writes an answer, and so on.
async fn always(mut stream: TcpStream, answer: Vec<u8>) {
    let mut buffer = [0; 65_536];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Writes for as long as the client reads, at a pace that leaves this machine something to do.
async fn endless(mut stream: TcpStream, head: &[u8], rest: Vec<u8>) {
    let mut next = head;
    while stream.write_all(next).await.is_ok() {
        next = &rest;
        sleep(Duration::from_millis(2)).await;
    }
}

fn with_head(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), body].concat()
}

#[test]
fn nobody_there() {
    let mut setup = setup("http://127.0.0.1:1");
    setup.timeout = Duration::from_millis(500);
    let error = runtime().block_on(run(&setup)).unwrap_err();
    assert!(
        matches!(error, CannotRun::Unreachable(CallError::Connect(_))),
        "{error}"
    );
}

#[test]
fn no_tls_where_it_is_said_to_be() {
    let server = Tcp::start(|stream| always(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).0;
    let setup = setup(&server.url.replace("http://", "https://"));
    let error = runtime().block_on(run(&setup)).unwrap_err();
    assert!(matches!(error, CannotRun::Unreachable(CallError::Tls(_))), "{error}");
}

#[test]
fn silence() {
    let report = report(|stream| async move {
        let _stream = stream;
        pending::<()>().await;
    });
    // Most cases are given up after a few have timed out.
    assert!(report.summary.not_tried > 150, "{report}");
}

#[test]
fn silence_over_http_2() {
    let server = Tcp::start(|stream| async move {
        let _stream = stream;
        pending::<()>().await;
    })
    .0;
    let mut setup = setup(&server.url);
    setup.timeout = Duration::from_millis(200);
    setup.http = vec![Http::Two];
    let report = runtime().block_on(run(&setup)).unwrap();
    assert!(report.summary.not_tried > 150, "{report}");
    assert!(!report.is_conformant());
}

#[test]
fn connections_that_are_closed_at_once() {
    report(|stream| async move { drop(stream) });
}

#[test]
fn an_answer_and_nothing_behind_it() {
    report(|stream| always(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}".to_vec()));
}

#[test]
fn not_http() {
    report(|stream| always(stream, b"\x15\x03\x01\x00\x02\x02\x28 SSH-2.0-OpenSSH\r\n".to_vec()));
}

#[test]
fn a_body_without_end() {
    report_of(
        |stream| {
            endless(
                stream,
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                with_head("8000\r\n", &[b'x'; 32_770]),
            )
        },
        SOME,
    );
}

#[test]
fn a_large_body_that_is_announced() {
    report(|stream| {
        always(
            stream,
            b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n{".to_vec(),
        )
    });
}

#[test]
fn headers_without_end() {
    report_of(
        |stream| {
            endless(
                stream,
                b"HTTP/1.1 200 OK\r\n",
                b"x-header: that goes on\r\n".repeat(100),
            )
        },
        SOME,
    );
}

#[test]
fn continue_without_end() {
    report_of(
        |stream| endless(stream, b"", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(20)),
        SOME,
    );
}

#[test]
fn a_byte_now_and_then() {
    report(|mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn json_that_is_deeply_nested() {
    let body = b"[".repeat(100_000);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    report(move |stream| always(stream, with_head(&head, &body)));
}

#[test]
fn text_that_would_take_over_a_terminal() {
    let body = "{\"errorName\":\"\\u001b[2J\\u0007Boom\\r\\n\",\"errorMessage\":\"\\u001b]0;title\\u0007\"}";
    let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n", body.len());
    let report = report(move |stream| always(stream, with_head(&head, body.as_bytes())));
    assert!(
        report
            .to_string()
            .chars()
            .all(|char| !char.is_control() || char == '\n')
    );
}

#[test]
fn http_1_1_alone() {
    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let server = Tcp::start(move |mut stream: TcpStream| async move {
        let mut buffer = [0; 65_536];
        while stream
            .read(&mut buffer)
            .await
            .is_ok_and(|read| read > 0 && !buffer.starts_with(b"PRI "))
        {
            let _ = stream.write_all(answer).await;
        }
    })
    .0;
    let mut setup = setup(&server.url);
    setup.only = vec!["key-metadata/spec".into()];
    setup.http = vec![Http::One, Http::Two];
    let report = runtime().block_on(run(&setup)).unwrap();
    let outcomes: Vec<_> = report.cases.iter().map(|case| (case.http, case.outcome)).collect();
    let [one, two] = [(Http::One, Outcome::Fail), (Http::Two, Outcome::NotTried)];
    assert_eq!(outcomes, [one, one, two, two], "{report}");
    setup.http = vec![Http::Two];
    let error = runtime().block_on(run(&setup)).unwrap_err();
    assert!(matches!(error, CannotRun::Unreachable(CallError::Closed(_))), "{error}");
}

/// One that stays open, and answers what it does not understand.
#[test]
fn http_1_1_that_answers_the_preface_of_http_2() {
    let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec();
    let server = Tcp::start(move |stream| always(stream, answer.clone())).0;
    let mut setup = setup(&server.url);
    setup.http = vec![Http::Two];
    let error = runtime().block_on(run(&setup)).unwrap_err();
    assert_eq!(error.to_string(), "not HTTP: no HTTP/2 SETTINGS frame");
}

/// SIG-9: what is taken in without a word, and never closed, is seen.
#[test]
fn one_who_takes_everything_in() {
    let server = Tcp::start(|mut stream: TcpStream| async move {
        let mut buffer = vec![0; 1 << 20];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .0;
    let mut setup = setup(&server.url);
    setup.only = vec!["half-sent/".into(), "destructive/large-body-unsigned".into()];
    setup.half_sent = Duration::from_millis(200);
    setup.is_destructive = true;
    let report = runtime().block_on(run(&setup)).unwrap();
    assert_eq!(report.named(Outcome::Note), ["half-sent/closed"], "{report}");
    assert_eq!(
        report.named(Outcome::Fail),
        ["destructive/large-body-unsigned"],
        "{report}"
    );
}
