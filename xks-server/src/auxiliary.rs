//! The ports for balancers and for Prometheus. They serve from the first moment to the last, on the threads
//! that requests to the API cannot hold up.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::{
    certificates::Greeting,
    connection::{Http, Patience, Phase},
    health::{self, Health},
    listener::Listener,
    metrics::{Format, Metrics},
    port::{Answers, Client, Port},
};

/// A client that asks for health asks at once, and not for long.
const PATIENCE: Patience = Patience {
    header: Duration::from_secs(5),
    stall: Duration::from_secs(5),
    idle: Duration::from_secs(10),
};

/// Serves these answers, for as long as the runtime lives that this is called in.
pub(crate) fn serve<A: Answers>(listener: Listener, tls: Greeting, answers: &Arc<A>, metrics: &Arc<Metrics>) {
    let serving = watch::Sender::new(Phase::Serving);
    let phase = serving.subscribe();
    let http = Http::new(PATIENCE, phase.clone());
    let port = Arc::new(Port::new(http, tls, Arc::clone(answers), Arc::clone(metrics)));
    tokio::spawn(async move {
        let serve = move |stream, place| {
            tokio::spawn(Arc::clone(&port).serve(stream, place));
        };
        listener.serve(phase, serve, || {}).await;
        drop(serving); // until here, so that the phase lasts
    });
}

/// The paths of health, and nothing else.
impl Answers for Health {
    type Body = Full<Bytes>;

    async fn answer(self: Arc<Self>, request: Request<Incoming>, _: Client) -> Response<Full<Bytes>> {
        self.answer_on_own(&request).unwrap_or_else(health::not_found)
    }
}

/// `/metrics`, and nothing else.
impl Answers for Metrics {
    type Body = Full<Bytes>;

    async fn answer(self: Arc<Self>, request: Request<Incoming>, _: Client) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/metrics" => health::to_get(&request, || metrics_answer(&self, &request)),
            _ => health::not_found(),
        }
    }
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
