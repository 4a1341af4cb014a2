//! The pipeline of [`xks_core`] as a [`tower_service::Service`], for every server that speaks the [`http`]
//! crate's types: hyper, axum, Lambda, your own.
//!
//! [`XksService`] reads the body up to a limit, hands the request to the [`Proxy`](xks_core::Proxy), and
//! gives back its answer. It never fails: whatever the server hands over, a response with a JSON body goes
//! out. Each request has exactly one audit record, also when its body could not be read or its client went
//! away.
//!
//! # hyper
//! ```
//! use hyper_util::{rt::{TokioExecutor, TokioIo}, server::conn::auto, service::TowerToHyperService};
//! use xks_http::XksService;
//!
//! # async fn doc(proxy: xks_core::Proxy) -> std::io::Result<()> {
//! let service = TowerToHyperService::new(XksService::new(proxy));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
//! loop {
//!     let (stream, _) = listener.accept().await?;
//!     stream.set_nodelay(true)?;
//!     let service = service.clone();
//!     tokio::spawn(async move {
//!         // HTTP/1.1 and HTTP/2.
//!         let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
//!     });
//! }
//! # }
//! ```
//!
//! # axum
//! As the router's fallback, beside routes of your own:
//! ```
//! use axum::{Router, routing::get};
//! use xks_http::XksService;
//!
//! # fn doc(proxy: xks_core::Proxy) -> Router {
//! Router::new().route("/ping", get(|| async { "pong" })).fallback_service(XksService::new(proxy))
//! # }
//! ```
//!
//! **Do not mount it with `nest_service`.** That takes the nested path off the request's URI, and the path is
//! part of what the client signed: every request would be answered 404 or 401. A key store's own
//! [`UriPathPrefix`](xks_core::key_store::UriPathPrefix) does what nesting is for. The same holds for every
//! middleware that rewrites method, path, `host` or body. To keep the service to one prefix, use a route that
//! leaves the path as it is:
//! ```
//! use axum::Router;
//! use xks_http::XksService;
//!
//! # fn doc(proxy: xks_core::Proxy) -> Router {
//! Router::new().route_service("/tenant-a/{*path}", XksService::new(proxy))
//! # }
//! ```
//!
//! # Anything else
//! [`XksService`] is a function from [`http::Request`] to [`http::Response`], with any [`http_body::Body`]:
//! ```
//! use http_body_util::{BodyExt, Full};
//! use xks_http::XksService;
//!
//! # async fn doc(proxy: xks_core::Proxy) -> Result<(), Box<dyn std::error::Error>> {
//! let service = XksService::new(proxy);
//! let request = http::Request::post("/kms/xks/v1/health").body(Full::new(bytes::Bytes::from_static(b"{}")))?;
//! let response = service.handle(request).await;
//! let (status, body) = (response.status(), response.into_body().collect().await?.to_bytes());
//! # let _ = (status, body);
//! # Ok(())
//! # }
//! ```
//! A server without the `http` crate's types calls [`Proxy::handle`](xks_core::Proxy::handle) itself: it
//! takes a method, a path, headers and a body.
//!
//! # Time
//! Without more, a request takes as long as its key manager does. `XksService::timeout`, of the feature
//! `timeout`, sets a limit; KMS itself gives up after 250 ms, so set one:
//! ```
//! # #[cfg(feature = "timeout")]
//! # fn doc(proxy: xks_core::Proxy) -> xks_http::XksService {
//! xks_http::XksService::new(proxy).timeout(std::time::Duration::from_millis(200))
//! # }
//! ```
//!
//! That time begins when the service is called. A layer in front that makes requests wait, such as `buffer`
//! or `rate_limit` of tower, adds to it unseen: KMS has gone long before the answer comes. So let the
//! outermost layer put [`ReceivedAt`] into the request's extensions, from which the time then counts; a
//! request that has waited too long is refused and not begun. Better still, refuse at once what is too much:
//! see the next section.
//!
//! # Limits in front
//! A layer that refuses requests calls [`XksService::refuse`], which makes the answer that the specification
//! wants and records the request. One that answers by itself, such as `RequestBodyLimitLayer` of tower-http
//! (413, in plain text) or `TimeoutLayer` (an empty body), gives KMS no error name and leaves no audit
//! record. Bodies are limited [here](XksService::max_body_bytes) already.
//!
//! In front of the service no client is authenticated: strangers can use up a limit that is meant for KMS.
//! Behind the signature a limit is a [`KeyBackend`](xks_core::KeyBackend) around another one that answers
//! [`Throttled`](xks_core::backend::BackendErrorKind::Throttled).
//!
//! # Who sent it
//! The audit record, authorizers and backends see the client's address, the name in its certificate and a
//! trace id, if the server puts [`PeerAddr`], [`TlsClient`] and [`TraceId`] into the request's extensions, or
//! calls [`XksService::handle_arrived`]. All other extensions reach them too.
//!
//! # What remains for the server
//! TLS and the client's certificate, a limit on connections, time-outs for slow headers, `TCP_NODELAY`, and
//! an end that loses no request: the project's example `embed-tls` has them in a hundred lines.
//!
//! # AWS Lambda
//! The service is what `lambda_http::run` takes: the project's example `embed-lambda` is a whole function,
//! and its test sends it the events of HTTP and REST APIs, load balancers and function URLs. Four things to
//! know:
//! * Behind a stage of API Gateway other than `$default`, `lambda_http` puts the stage before the path. The
//!   path is part of what KMS signed, so set the variable `AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH` to `true`
//!   where KMS calls a path without the stage, as over a custom domain; where KMS calls one with it, the
//!   stage begins the key store's prefix.
//! * KMS waits 250 ms, which a cold start may exceed: keep instances provisioned.
//! * Each instance is a process of its own: load its keys, and generate none.
//! * The audit log needs a `tracing` subscriber here too; what it prints goes to CloudWatch.
//!
//! # Features
//! * `timeout`: `XksService::timeout`, a time limit for each request, kept with tokio's timer. The service
//!   then runs within a tokio runtime.

#![forbid(unsafe_code)]

mod arrival;
mod body;
mod convert;
mod memory;
mod service;

pub use self::{
    arrival::{Arrival, PeerAddr, ReceivedAt, TlsClient, TraceId},
    body::ResponseBody,
    service::XksService,
};

/// The README's example compiles.
#[cfg(all(doctest, feature = "timeout"))]
#[doc = include_str!("../../README.md")]
struct Readme;
