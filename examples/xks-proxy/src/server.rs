//! The server's life: it binds its ports, serves, and ends without losing a request.

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use xks_http::{ResponseBody, XksService};

use crate::{
    app::App,
    connection::{Http, Patience, Phase, Protocol},
    health::{self, Health},
    listener::{Listener, Place},
    metrics::Metrics,
    service_manager,
    settings::{ServerSettings, Settings},
    tls,
};

/// Balancers and Prometheus need few.
const MOST_AUXILIARY_CONNECTIONS: usize = 256;

/// All ports, bound.
pub(crate) struct Server {
    settings: ServerSettings,
    api: Listener,
    health: Option<Listener>,
    metrics: Option<Listener>,
    phase: watch::Sender<Phase>,
}

/// Where it listens.
pub(crate) struct Addresses {
    pub(crate) api: SocketAddr,
    pub(crate) health: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
}

impl Server {
    /// Within a runtime. `listen` is where the API is.
    pub(crate) fn bind(settings: &Settings, listen: SocketAddr) -> anyhow::Result<Self> {
        let server = settings.server.clone();
        let auxiliary = |address: Option<SocketAddr>| {
            let bind = |address| Listener::bind(address, MOST_AUXILIARY_CONNECTIONS, None);
            address.map(bind).transpose()
        };
        Ok(Self {
            api: Listener::bind(listen, server.max_connections, server.tcp_keepalive)?,
            health: auxiliary(settings.health.listen)?,
            metrics: auxiliary(settings.metrics)?,
            settings: server,
            phase: watch::Sender::new(Phase::Serving),
        })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            api: self.api.address(),
            health: self.health.as_ref().map(Listener::address),
            metrics: self.metrics.as_ref().map(Listener::address),
        }
    }

    /// Serves until SIGTERM or SIGINT, and then until requests in flight have ended. `ready` is called when it serves.
    pub(crate) async fn run(self, app: &Arc<App>, health: &Arc<Health>, ready: impl FnOnce()) -> anyhow::Result<()> {
        let Self { settings, phase, .. } = self;
        let mut stop = Stop::catch().context("cannot catch signals")?;
        let patience = Patience {
            header: settings.header_timeout,
            stall: settings.stall_timeout,
            idle: settings.idle_timeout,
        };
        // What serves balancers stays to the end.
        let until_end = watch::Sender::new(Phase::Serving);
        let auxiliary = Arc::new(Http::new(patience, until_end.subscribe()));
        let has_own_health = self.health.is_some();
        if let Some(listener) = self.health {
            let (http, health) = (Arc::clone(&auxiliary), Arc::clone(health));
            let serve = move |stream: TcpStream, place: Place| {
                let (http, health) = (Arc::clone(&http), Arc::clone(&health));
                async move {
                    let answer = move |request: Request<_>| {
                        let answer = health::answer_or_404(&health, &request);
                        std::future::ready(answer)
                    };
                    http.serve(stream, None, answer).await;
                    drop(place);
                }
            };
            tokio::spawn(listener.serve(until_end.subscribe(), serve, || {}));
        }
        if let Some(listener) = self.metrics {
            let (http, metrics) = (auxiliary, Arc::clone(&app.metrics));
            let serve = move |stream: TcpStream, place: Place| {
                let (http, metrics) = (Arc::clone(&http), Arc::clone(&metrics));
                async move {
                    let answer = move |request: Request<_>| std::future::ready(metrics_answer(&metrics, &request));
                    http.serve(stream, None, answer).await;
                    drop(place);
                }
            };
            tokio::spawn(listener.serve(until_end.subscribe(), serve, || {}));
        }

        let service = XksService::new(Arc::clone(&app.proxy))
            .budget(settings.budget)
            .max_body_bytes(settings.max_body_bytes);
        let api = Arc::new(Api {
            app: Arc::clone(app),
            http: Http::new(patience, phase.subscribe()),
            service,
            complaints: RateLimiter::keyed(Quota::per_minute(NonZeroU32::MIN)),
            health: (!has_own_health).then(|| Arc::clone(health)),
        });
        let refusing = Arc::clone(app);
        let refused = move || {
            refusing.metrics.connections_refused.inc();
        };
        let serving = tokio::spawn(self.api.serve(
            phase.subscribe(),
            move |stream, place| Arc::clone(&api).serve(stream, place),
            refused,
        ));

        ready();
        stop.signalled().await;
        tracing::info!("stopping: not ready any more, and still serving");
        service_manager::stopping();
        health.stop();
        phase.send_replace(Phase::Leaving);
        // Whoever is in a hurry says it twice.
        tokio::select! {
            () = tokio::time::sleep(settings.drain_delay) => {}
            () = stop.signalled() => {}
        }
        phase.send_replace(Phase::Stopping);
        tracing::info!("stopping: waiting for requests in flight");
        let connections = serving.await.context("the listener")?;
        if tokio::time::timeout(settings.drain_timeout, connections.ended())
            .await
            .is_err()
        {
            tracing::warn!("stopped before all requests had ended");
        }
        Ok(())
    }
}

/// What a connection to the API needs.
struct Api {
    app: Arc<App>,
    http: Http,
    service: XksService,
    /// One a minute for each reason that a handshake fails for.
    complaints: DefaultKeyedRateLimiter<&'static str>,
    /// Where health has no listener of its own.
    health: Option<Arc<Health>>,
}

impl Api {
    async fn serve(self: Arc<Self>, stream: TcpStream, _place: Place) {
        let _open = Open::new(&self.app.metrics);
        // In boxes, so that no connection holds the room for one of another kind.
        match self.app.tls.load_full() {
            None => Box::pin(self.serve_http(stream, None)).await,
            Some(tls) => Box::pin(self.serve_https(stream, Arc::clone(&tls.config))).await,
        }
    }

    async fn serve_https(self: &Arc<Self>, stream: TcpStream, config: Arc<ServerConfig>) {
        let handshake = TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(self.http.handshake_time(), handshake).await {
            Ok(Ok(stream)) => {
                let protocol = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                self.serve_http(Box::new(stream), Some(protocol)).await;
            }
            Ok(Err(error)) => self.handshake_failed(tls::reason_of(&error), &error),
            Err(elapsed) => self.handshake_failed("timeout", &elapsed),
        }
    }

    /// Counts it, and says it from time to time: strangers knock at every door.
    fn handshake_failed(&self, reason: &'static str, error: &dyn std::error::Error) {
        self.app.metrics.count_handshake_failure(reason);
        match self.complaints.check_key(&reason) {
            Ok(()) => tracing::warn!(
                reason,
                "a TLS handshake failed, and others may in the next minute: {error}"
            ),
            Err(_) => tracing::debug!(reason, "a TLS handshake failed: {error}"),
        }
    }

    async fn serve_http<S>(self: &Arc<Self>, stream: S, protocol: Option<Protocol>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let api = Arc::clone(self);
        let answer = move |request| Arc::clone(&api).answer(request);
        self.http.serve(stream, protocol, answer).await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Either<Full<Bytes>, ResponseBody>> {
        if let Some(answer) = self.health.as_ref().and_then(|health| health.answer(&request)) {
            return answer.map(Either::Left);
        }
        self.service.handle(request).await.map(Either::Right)
    }
}

/// Counts an open connection.
struct Open(Arc<Metrics>);

impl Open {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

fn metrics_answer<B>(metrics: &Metrics, request: &Request<B>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return health::not_found();
    }
    let mut response = health::plain(StatusCode::OK, "");
    *response.body_mut() = Full::from(metrics.text());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The signals that end the server.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    /// From now on.
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn signalled(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
