//! The listener: HTTP/1.1 and HTTP/2 without TLS, `/ping` for load balancers, and an orderly end.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::{TcpListener, TcpStream};
use xks_http::{ResponseBody, XksService};

/// A client that has not sent the head of a request by then is let go; so is one on HTTP/2 that no longer answers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may take when the server is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to accept while the system has no descriptors or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound port, not serving yet.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let context = || format!("cannot listen on {address}; choose another address with --listen");
        let listener = TcpListener::bind(address).await.with_context(context)?;
        let address = listener.local_addr().with_context(context)?;
        Ok(Self { listener, address })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` ends, then lets requests in flight end.
    pub(crate) async fn serve(self, service: XksService, stop: impl Future<Output = ()>) {
        let connections = GracefulShutdown::new();
        // TRN-2: a client that speaks HTTP/1.1 alone is served as well as one that speaks HTTP/2.
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HEADER_TIMEOUT);

        let mut stop = std::pin::pin!(stop);
        loop {
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = &mut stop => break,
            };
            serve_connection(stream, &http, &connections, service.clone());
        }

        drop(self.listener);
        tracing::info!("stopping: waiting for requests in flight");
        if tokio::time::timeout(DRAIN_TIMEOUT, connections.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("stopped before all requests had ended");
        }
    }
}

fn serve_connection(
    stream: TcpStream,
    http: &auto::Builder<TokioExecutor>,
    connections: &GracefulShutdown,
    service: XksService,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    let has_begun = Arc::new(AtomicBool::new(false));
    let began = Arc::clone(&has_begun);
    let service = hyper::service::service_fn(move |request| {
        began.store(true, Ordering::Relaxed);
        answer(service.clone(), request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        // hyper's own time limit begins only when it knows the protocol; until then this one holds.
        let mut connection = std::pin::pin!(connection);
        let result = match tokio::time::timeout(HEADER_TIMEOUT, &mut connection).await {
            Ok(result) => result,
            Err(_) if has_begun.load(Ordering::Relaxed) => connection.await,
            Err(_) => return,
        };
        if let Err(error) = result {
            tracing::debug!("a connection ended with: {error}");
        }
    });
}

/// TRN-7: `GET /ping` says that this instance takes traffic. Everything else is the key stores'.
async fn answer(
    service: XksService,
    request: Request<Incoming>,
) -> Result<Response<Either<Full<Bytes>, ResponseBody>>, Infallible> {
    if request.uri().path() != "/ping" {
        return Ok(service.handle(request).await.map(Either::Right));
    }
    let (status, text) = match *request.method() {
        Method::GET | Method::HEAD => (StatusCode::OK, "pong\n"),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "use GET\n"),
    };
    let mut response = Response::new(Either::Left(Full::from(text)));
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    Ok(response)
}

/// Ends on SIGINT or SIGTERM, which are caught from the moment of this call.
pub(crate) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let mut interrupt = tokio::signal::windows::ctrl_c()?;
        Ok(async move {
            interrupt.recv().await;
        })
    }
}
