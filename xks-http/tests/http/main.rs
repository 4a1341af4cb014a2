//! The service on real sockets: hyper and axum in front, AWS's signer at the other end, over HTTP/1.1 and
//! HTTP/2; and clients that do not keep to the rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

mod arrival;
mod support;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::Router;
use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower::ServiceExt as _;
use xks_test_client::{Connection, Http, Prepared, Signer, Target};

use crate::support::{
    Hangs, health_body, metadata, path, prepared, read, send, serve, service, service_over, signed, soft_backend,
};

/// TRN-1, TRN-2, SIG-2: all four operations over one connection, with `host` and with `:authority`.
#[tokio::test]
async fn all_operations_over_http_1_and_2() {
    let target = Target::plain(serve(service()).await, "/tenant");
    for http in [Http::One, Http::Two] {
        let mut connection = Connection::open(&target, http).await.unwrap();
        let mut call = async |operation: &str, fields: Value| {
            let mut body = json!({ "requestMetadata": metadata(), "encryptionAlgorithm": "AES_GCM" });
            body.as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            let request = prepared(&target, operation, body.to_string().as_bytes());
            send(&mut connection, &request).await
        };
        assert_eq!(call("health", json!({})).await.0, 200);
        assert_eq!(call("keys/key-1/metadata", json!({})).await.1["keySpec"], "AES_256");
        let text = json!({"plaintext": "cGxhaW50ZXh0", "ciphertextDataIntegrityValueAlgorithm": "SHA_256"});
        let (status, encrypted) = call("keys/key-1/encrypt", text).await;
        assert_eq!(status, 200, "{encrypted}");
        assert_eq!(
            call("keys/key-1/decrypt", encrypted).await,
            (200, json!({"plaintext": "cGxhaW50ZXh0"}))
        );
        assert_eq!(
            call("keys/key-2/metadata", json!({})).await.1["errorName"],
            "KeyNotFoundException"
        );
    }
}

/// SIG-2: another authority than the signed one is another request.
#[tokio::test]
async fn the_authority_of_http_2_is_signed() {
    let target = Target::plain(serve(service()).await, "/tenant");
    let other = Target {
        host: "other.example.com".to_owned(),
        ..target.clone()
    };
    let (path, body) = (path("health"), health_body());
    let headers = Signer::at(SystemTime::now()).sign("POST", &target.host, &path, &[], body.as_bytes());
    let mut connection = Connection::open(&target, Http::Two).await.unwrap();
    for (target, status) in [(target, 200), (other, 401)] {
        let request = Prepared::new(&target, "POST", &path, &headers, body.as_bytes());
        assert_eq!(send(&mut connection, &request).await.0, status);
    }
}

/// SIG-2: where a request has both, the authority is the host.
#[tokio::test]
async fn the_authority_counts_before_a_host_header() {
    let body = health_body();
    let call = async |authority: &str, host: &str| {
        let mut request = signed(Version::HTTP_2, "signed.example.com", &path("health"), body.as_bytes());
        *request.uri_mut() = format!("http://{authority}{}", path("health")).parse().unwrap();
        request.headers_mut().insert("host", host.parse().unwrap());
        read(service().handle(request).await).await.0
    };
    assert_eq!(call("signed.example.com", "signed.example.com").await, 200);
    assert_eq!(call("signed.example.com", "other.example.com").await, 200);
    assert_eq!(call("other.example.com", "signed.example.com").await, 401);
}

/// SIG-2: under HTTP/1.1 the header was signed, whatever host a target in absolute form names.
#[tokio::test]
async fn a_target_in_absolute_form_names_no_host() {
    let body = health_body();
    let call = async |authority: &str, host: Option<&str>| {
        let mut request = signed(Version::HTTP_11, "signed.example.com", &path("health"), body.as_bytes());
        *request.uri_mut() = format!("http://{authority}{}", path("health")).parse().unwrap();
        request.headers_mut().remove("host");
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        read(service().handle(request).await).await.0
    };
    assert_eq!(call("signed.example.com", Some("signed.example.com")).await, 200);
    assert_eq!(call("192.0.2.1:8000", Some("signed.example.com")).await, 200);
    assert_eq!(call("signed.example.com", Some("other.example.com")).await, 401);
    // A client of HTTP/1.0 may send no header.
    assert_eq!(call("signed.example.com", None).await, 200);
}

/// Requests that wait for their bodies are bounded over all clients; what comes whole is served all the same.
#[tokio::test]
async fn unfinished_bodies_share_a_bound() {
    let backend = soft_backend();
    let (service, outcomes) = service_over(backend);
    let address = serve(service.max_unfinished_bytes(22_000)).await;
    let begin = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n",
            path("health")
        );
        stream.write_all((head + &"x".repeat(8000)).as_bytes()).await.unwrap();
        stream
    };
    let (first, second) = (begin().await, begin().await);
    let mut answer = vec![0; 1000];
    // Whichever came last.
    let length = tokio::select! {
        _ = first.readable() => first.try_read(&mut answer),
        _ = second.readable() => second.try_read(&mut answer),
    };
    answer.truncate(length.unwrap());
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("ThrottlingException"),
        "{answer}"
    );
    assert!(
        answer.contains("connection: close"),
        "the rest of the body is not waited for: {answer}"
    );
    assert!(outcomes.take_outcomes()[0].contains("unfinished requests"));

    let target = Target::plain(address, "/tenant");
    let whole = prepared(&target, "health", health_body().as_bytes());
    for http in [Http::One, Http::Two] {
        let mut connection = Connection::open(&target, http).await.unwrap();
        assert_eq!(send(&mut connection, &whole).await.0, 200);
    }
    // Those that have gone leave room for others.
    drop((first, second));
    let mut next = begin().await;
    next.write_all("x".repeat(1000).as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    next.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

/// TRN-4: the answer to every other method names the right one.
#[tokio::test]
async fn other_methods_are_not_allowed() {
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"] {
        let request = Request::builder()
            .method(method)
            .uri(path("health"))
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = service().handle(request).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "POST");
        assert_eq!(read(response).await.0, 405);
    }
}

/// Sends raw bytes and reads one answer, or what comes before the server closes; nothing if it waits for
/// more.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !is_whole(&answer) {
        let read = stream.read(&mut buffer);
        match tokio::time::timeout(Duration::from_secs(2), read).await {
            Ok(Ok(length @ 1..)) => answer.push_str(&String::from_utf8_lossy(&buffer[..length])),
            _ => break,
        }
    }
    answer
}

fn is_whole(answer: &str) -> bool {
    answer.split_once("\r\n\r\n").is_some_and(|(head, body)| {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        length.is_some_and(|length| body.len() >= length.parse::<usize>().unwrap())
    })
}

/// ERR-1: a body above the limit is answered, whether its length is announced or not, and the client gets to
/// read the answer even if it sends everything first. The connection is usable afterwards, or closed.
#[tokio::test]
async fn bodies_above_the_limit_are_answered() {
    let address = serve(service()).await;
    let target = Target::plain(address, "/tenant");
    for http in [Http::One, Http::Two] {
        let mut connection = Connection::open(&target, http).await.unwrap();
        for length in [256 * 1024 + 1, 10_000_000] {
            let request = prepared(&target, "health", &vec![b' '; length]);
            let (status, answer) = send(&mut connection, &request).await;
            assert_eq!((status, &answer["errorName"]), (400, &json!("ValidationException")));
            assert!(answer["errorMessage"].as_str().unwrap().contains("262144 bytes"));
        }
        let request = prepared(&target, "health", health_body().as_bytes());
        assert_eq!(send(&mut connection, &request).await.0, 200, "still usable");
    }
    let head = format!("POST {} HTTP/1.1\r\nhost: {}\r\n", path("health"), target.host);
    let chunked = format!(
        "{head}transfer-encoding: chunked\r\n\r\n80000\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x80000)
    );
    assert!(raw(address, chunked.as_bytes()).await.starts_with("HTTP/1.1 400"));
    // Announced and never sent, or only to be sent on request: answered at once, and closed.
    for extra in [
        "content-length: 99999999999\r\n",
        "content-length: 300000\r\nexpect: 100-continue\r\n",
    ] {
        let answer = raw(address, format!("{head}{extra}\r\n").as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("connection: close"),
            "{answer}"
        );
        assert!(answer.contains("ValidationException"));
    }
}

/// A limit of one's own.
#[tokio::test]
async fn the_limit_is_configurable() {
    let body = health_body();
    let call = async |limit| {
        let request = signed(Version::HTTP_11, "h", &path("health"), body.as_bytes());
        read(service().max_body_bytes(limit).handle(request).await).await.0
    };
    assert_eq!((call(body.len()).await, call(body.len() - 1).await), (200, 400));
}

/// What is no HTTP at all ends the connection; what is HTTP gets JSON.
#[tokio::test]
async fn odd_http_is_answered_or_closed() {
    let address = serve(service()).await;
    for (request, expected) in [
        (
            "POST /tenant/kms/xks/v1/health HTTP/1.1\r\nhost: h\r\n\r\n",
            "HTTP/1.1 401",
        ),
        (
            "POST /tenant/kms/xks/v1/health HTTP/1.0\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.0 401",
        ),
        (
            "POST http://h/tenant/kms/xks/v1/health HTTP/1.1\r\nhost: h\r\n\r\n",
            "HTTP/1.1 401",
        ),
        ("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 404"),
        ("GET / HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 404"),
        (
            "GET /tenant/kms/xks/v1/health HTTP/1.1\r\nhost: h\r\n\r\n",
            "HTTP/1.1 405",
        ),
        ("nonsense\r\n\r\n", "HTTP/1.1 400"),
        (
            "POST /tenant/kms/xks/v1/health HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nab",
            "",
        ),
    ] {
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with(expected), "{request:?}: {answer}");
        if answer.contains("application/json") {
            assert!(answer.contains("{\"error"), "{answer}");
        }
    }
}

/// In axum: as the fallback or on a wildcard route the signature verifies; nested it does not, as the
/// documentation says.
#[tokio::test]
async fn axum_mounts_it_but_not_nested() {
    let body = health_body();
    let call = async |router: Router| {
        let request = signed(Version::HTTP_11, "h", &path("health"), body.as_bytes());
        read(router.oneshot(request.map(axum::body::Body::new)).await.unwrap())
            .await
            .0
    };
    assert_eq!(call(Router::new().fallback_service(service())).await, 200);
    assert_eq!(
        call(Router::new().route_service("/tenant/{*path}", service())).await,
        200
    );
    assert_eq!(
        call(Router::new().nest_service("/tenant", service())).await,
        404,
        "the prefix is gone"
    );
}

/// The future of a request is small enough to be moved about.
#[tokio::test]
async fn the_future_of_a_request_is_small() {
    let service = service();
    let size = size_of_val(&service.handle(Request::new(Full::<Bytes>::default())));
    assert!(size < 8 * 1024, "{size} bytes");
}

/// LOG-1: a client that goes away before it is answered leaves its one record.
#[tokio::test]
async fn clients_that_go_away_leave_a_record() {
    let (service, outcomes) = service_over(Arc::new(Hangs));
    let target = Target::plain(serve(service).await, "/tenant");
    let mut connection = Connection::open(&target, Http::Two).await.unwrap();
    let request = prepared(&target, "health", health_body().as_bytes());
    let call = connection.send(&request);
    assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    drop(connection);
    for _ in 0..100 {
        let recorded = outcomes.take_outcomes();
        if !recorded.is_empty() {
            return assert_eq!(recorded, ["Cancelled"]);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("there is no record");
}

/// LOG-1: so does one that the server itself drops, while its body is being read or later, and never two.
#[tokio::test]
async fn dropped_requests_leave_one_record() {
    let (service, outcomes) = service_over(Arc::new(Hangs));
    let unread = Request::post(path("health")).body(Never).unwrap();
    let wait = Duration::from_millis(20);
    assert!(tokio::time::timeout(wait, service.handle(unread)).await.is_err());
    assert_eq!(outcomes.take_outcomes(), ["Cancelled"]);
    let read = signed(Version::HTTP_11, "h", &path("health"), health_body().as_bytes());
    assert!(tokio::time::timeout(wait, service.handle(read)).await.is_err());
    assert_eq!(outcomes.take_outcomes(), ["Cancelled"]);
}

/// A body of which nothing ever comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

/// TRN-8: when the time is up, a slow backend is a dependency time-out and a slow client is a bad
/// request.
#[cfg(feature = "timeout")]
#[tokio::test]
async fn requests_keep_to_their_timeout() {
    let request = signed(Version::HTTP_11, "h", &path("health"), health_body().as_bytes());
    let endless = service().timeout(Duration::MAX);
    assert_eq!(read(endless.handle(request).await).await.0, 200);

    let (service, outcomes) = service_over(Arc::new(Hangs));
    let service = service.timeout(Duration::from_millis(50));
    let request = signed(Version::HTTP_11, "h", &path("health"), health_body().as_bytes());
    let (status, answer) = read(service.handle(request).await).await;
    assert_eq!(
        (status, &answer["errorName"]),
        (503, &json!("DependencyTimeoutException"))
    );
    assert_eq!(outcomes.take_outcomes().len(), 1);

    let address = serve(service).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nab",
        path("health")
    );
    let answer = raw(address, head.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("in time"),
        "{answer}"
    );
    assert_eq!(outcomes.take_outcomes().len(), 1);
}
