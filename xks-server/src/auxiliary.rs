//! The listeners for balancers and for Prometheus, in plain HTTP. They serve from the first moment to the
//! last.

use std::{net, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::{net::TcpStream, sync::watch};

use crate::{
    connection::{Http, Patience, Phase},
    health::{self, Health},
    listener::{Listener, Place},
    metrics::{Format, Metrics},
};

/// Whoever asks for health asks at once, and not for long.
const PATIENCE: Patience = Patience {
    header: Duration::from_secs(5),
    stall: Duration::from_secs(5),
    idle: Duration::from_secs(10),
};

/// Serves health, and nothing else, for as long as the runtime lives.
pub(crate) fn serve_health(listener: Listener, health: Arc<Health>) {
    serve(listener, move |request| {
        health.answer(request).unwrap_or_else(health::not_found)
    });
}

/// Serves metrics, and nothing else, for as long as the runtime lives.
pub(crate) fn serve_metrics(listener: Listener, metrics: Arc<Metrics>) {
    serve(listener, move |request| match request.uri().path() {
        "/metrics" => health::to_get(request, || metrics_answer(&metrics, request)),
        _ => health::not_found(),
    });
}

fn serve(listener: Listener, answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static) {
    let serving = watch::Sender::new(Phase::Serving);
    let phase = serving.subscribe();
    let http = Arc::new(Http::new(PATIENCE, phase.clone()));
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        let serve = move |stream: net::TcpStream, place: Place| {
            let (http, answer) = (Arc::clone(&http), Arc::clone(&answer));
            tokio::spawn(async move {
                let answer = move |request| std::future::ready(answer(&request));
                match TcpStream::from_std(stream) {
                    Ok(stream) => drop(http.serve(stream, None, answer).await),
                    Err(error) => tracing::debug!("connection failed: {error}"),
                }
                drop(place);
            });
        };
        listener.serve(phase, serve, || {}).await;
        drop(serving); // until here, so that the phase lasts
    });
}

fn metrics_answer<B>(metrics: &Metrics, request: &Request<B>) -> Response<Full<Bytes>> {
    let format = Format::wanted(request.headers());
    let mut response = health::plain(StatusCode::OK, "");
    *response.body_mut() = Full::from(metrics.text(format));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, format.content_type());
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}
