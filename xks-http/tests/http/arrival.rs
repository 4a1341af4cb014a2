//! What a server knows of a request, and refusals in front of the service.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    middleware::{Next, from_fn},
};
use bytes::Bytes;
use http::Version;
use http_body_util::Full;
use serde_json::json;
use tokio::net::TcpListener;
use xks_core::api::ErrorName;
use xks_http::{Arrival, PeerAddr, ReceivedAt, ResponseBody, TlsClient, TraceId};
use xks_test_client::{ACCESS_KEY_ID, Connection, Http, REGION, Target};

use crate::support::{health_body, path, prepared, read, send, service_over, signed, soft_backend};

const PEER: &str = "192.0.2.1:4711";

fn health() -> http::Request<Full<Bytes>> {
    signed(Version::HTTP_11, "h", &path("health"), health_body().as_bytes())
}

/// LOG-1: who sent a request is in its record, whether the server says so in extensions or directly.
#[tokio::test]
async fn what_the_server_knows_is_recorded() {
    #[derive(Clone, Debug, PartialEq)]
    struct Rack(u32);

    let (service, records) = service_over(soft_backend());
    let received = Instant::now().checked_sub(Duration::from_secs(7)).unwrap();
    let peer: SocketAddr = PEER.parse().unwrap();
    let mut request = health();
    let extensions = request.extensions_mut();
    extensions.insert(PeerAddr(peer));
    extensions.insert(TlsClient("kms.example".into()));
    extensions.insert(TraceId("trace-1".into()));
    extensions.insert(ReceivedAt(received));
    extensions.insert(Rack(7));
    assert_eq!(read(service.handle(request).await).await.0, 200);
    let arrival = Arrival::new()
        .peer_addr(peer)
        .tls_client("kms.example")
        .trace_id("trace-1")
        .received_at(received);
    assert_eq!(read(service.handle_arrived(health(), arrival).await).await.0, 200);
    let records = records.take();
    assert_eq!(records.len(), 2);
    for record in &records {
        let record = record.record();
        assert_eq!(record.client_address, Some(peer));
        assert_eq!(
            (record.tls_client, record.trace_id),
            (Some("kms.example"), Some("trace-1"))
        );
        assert!(record.duration >= Duration::from_secs(7), "{:?}", record.duration);
    }
}

/// Sinks, authorizers and backends find whatever else a server put into the request's extensions.
#[tokio::test]
async fn extensions_reach_the_sink() {
    use xks_core::{
        KeyStore, KeyStores, Proxy,
        audit::{AuditRecord, AuditSink},
    };

    struct Sink(std::sync::mpsc::Sender<Option<u32>>);
    impl AuditSink for Sink {
        fn record(&self, record: &AuditRecord<'_>) {
            let extensions = record.extension::<http::Extensions>();
            self.0.send(extensions.and_then(|known| known.get().copied())).unwrap();
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let none: [KeyStore; 0] = [];
    let proxy = Proxy::builder(KeyStores::new(none).unwrap())
        .audit(Sink(sender))
        .build();
    let service = xks_http::XksService::new(proxy);
    let mut request = health();
    request.extensions_mut().insert(7_u32);
    assert_eq!(read(service.handle(request).await).await.0, 404);
    assert_eq!(receiver.recv().unwrap(), Some(7));
}

/// With axum, by the layer that the documentation shows.
#[tokio::test]
async fn axum_tells_the_peer() {
    let (service, records) = service_over(soft_backend());
    let app = Router::new()
        .fallback_service(service)
        .layer(from_fn(async |mut request: Request, next: Next| {
            if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
                let address = PeerAddr(*address);
                request.extensions_mut().insert(address);
            }
            next.run(request).await
        }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let target = Target::plain(address, "/tenant");
    let mut connection = Connection::open(&target, Http::One).await.unwrap();
    let request = prepared(&target, "health", health_body().as_bytes());
    assert_eq!(send(&mut connection, &request).await.0, 200);
    let client = records.take()[0].record().client_address.unwrap();
    assert!(client.ip().is_loopback() && client.port() != address.port(), "{client}");
}

/// A layer in front refuses in the form of the specification, and the record says who was refused, and why.
#[tokio::test]
async fn a_layer_refuses_and_leaves_a_record() {
    let (service, records) = service_over(soft_backend());
    let mut request = health();
    request.extensions_mut().insert(PeerAddr(PEER.parse().unwrap()));
    let answer = service.refuse(&request, ErrorName::Throttling, "more than 100 a second");
    assert_eq!(
        read(answer).await,
        (
            429,
            json!({"errorName": "ThrottlingException", "errorMessage": "too many requests"})
        )
    );
    let records = records.take();
    assert_eq!(records.len(), 1);
    let record = records[0].record();
    assert_eq!(record.outcome.reason(), Some("more than 100 a second"));
    assert_eq!(record.client_address, Some(PEER.parse().unwrap()));
    assert_eq!(record.key_store.unwrap().as_str(), "/tenant");
    assert_eq!(record.claimed_access_key_id, Some(ACCESS_KEY_ID));
    assert_eq!(record.claimed_signing_region, Some(REGION));
}

/// Layers that make answers of their own, such as those for time limits, have an empty body for them.
#[test]
fn an_empty_answer_can_be_made() {
    let body = ResponseBody::default();
    assert!(http_body::Body::is_end_stream(&body));
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(0));
}

/// TRN-8: a request that waited in a layer for longer than it may take is not begun: KMS has gone.
#[cfg(feature = "timeout")]
#[tokio::test]
async fn time_in_front_of_the_service_counts() {
    let (service, records) = service_over(soft_backend());
    let service = service.timeout(Duration::from_secs(60));
    let waited = |seconds| {
        let mut request = health();
        let received = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        request.extensions_mut().insert(ReceivedAt(received));
        request
    };
    assert_eq!(read(service.handle(waited(30)).await).await.0, 200);
    let (status, answer) = read(service.handle(waited(61)).await).await;
    assert_eq!(
        (status, &answer["errorName"]),
        (503, &json!("DependencyTimeoutException"))
    );
    let reasons: Vec<_> = records
        .take()
        .iter()
        .map(|record| record.record().outcome.reason().map(str::to_owned))
        .collect();
    let [None, Some(reason)] = &reasons[..] else {
        panic!("{reasons:?}")
    };
    assert!(reason.starts_with("the request had waited for 61"), "{reason}");
}
