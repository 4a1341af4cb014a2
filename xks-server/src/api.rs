//! The API on one connection: TLS, if there is any, and the answers.

use std::{
    io,
    net::{self, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use governor::DefaultKeyedRateLimiter;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use xks_http::{Arrival, ResponseBody, XksService};

use crate::{
    app::App,
    connection::{Http, Malformed, Protocol},
    health::Health,
    listener::Place,
    metrics::Metrics,
    tls::{self, TlsMaterial},
};

/// What a connection to the API needs.
pub(crate) struct Api {
    pub(crate) app: Arc<App>,
    pub(crate) http: Http,
    pub(crate) service: XksService,
    /// One a minute for each reason that a handshake fails for.
    pub(crate) complaints: DefaultKeyedRateLimiter<&'static str>,
    pub(crate) health: Arc<Health>,
}

impl Api {
    /// Serves one connection, which does not block, in the runtime that this is called in.
    pub(crate) async fn serve(self: Arc<Self>, stream: net::TcpStream, _place: Place) {
        let _open = Open::new(&self.app.metrics);
        let stream = stream
            .peer_addr()
            .and_then(|client| Ok((TcpStream::from_std(stream)?, client)));
        let (stream, client) = match stream {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!("connection failed: {error}"),
        };
        // In boxes, so that no connection holds the room for one of another kind.
        let malformed = match self.app.tls.load_full() {
            None => Box::pin(self.serve_http(stream, None, Client::at(client))).await,
            Some(tls) => Box::pin(self.serve_https(stream, tls, client)).await,
        };
        if let Some(malformed) = malformed {
            self.app.metrics.count_malformed();
            tracing::warn!(
                target: "xks::audit",
                status = malformed.status.as_u16(),
                reason = malformed.reason,
                client = %client,
                "not an HTTP request"
            );
        }
    }

    async fn serve_https(
        self: &Arc<Self>,
        stream: TcpStream,
        material: Arc<TlsMaterial>,
        address: SocketAddr,
    ) -> Option<Malformed> {
        let handshake = async {
            // Balancers that check the port alone connect and go.
            match stream.peek(&mut [0]).await {
                Ok(1..) => TlsAcceptor::from(Arc::clone(&material.config))
                    .accept(stream)
                    .await
                    .map(Some),
                Ok(0) | Err(_) => Ok(None),
            }
        };
        let stream = tokio::select! {
            stream = handshake => stream,
            () = self.http.end_of_handshake() => Err(io::ErrorKind::TimedOut.into()),
        };
        match stream {
            Ok(None) => {
                tracing::debug!("a client disconnected before the TLS handshake");
                None
            }
            Ok(Some(stream)) => {
                let protocol = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                let name = material.client_name(stream.get_ref().1).map(Arc::from);
                self.serve_http(Box::new(stream), Some(protocol), Client { address, name })
                    .await
            }
            Err(error) => {
                self.handshake_failed(tls::reason_of(&error), &error);
                None
            }
        }
    }

    /// Counts it, and says it from time to time: strangers knock at every door.
    fn handshake_failed(&self, reason: &'static str, error: &dyn std::error::Error) {
        self.app.metrics.count_handshake_failure(reason);
        match self.complaints.check_key(&reason) {
            Ok(()) => tracing::warn!(reason, "TLS handshake failed (logged once a minute): {error}"),
            Err(_) => tracing::debug!(reason, "TLS handshake failed: {error}"),
        }
    }

    async fn serve_http<S>(self: &Arc<Self>, stream: S, protocol: Option<Protocol>, client: Client) -> Option<Malformed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let api = Arc::clone(self);
        let answer = move |request| Arc::clone(&api).answer(request, client.clone());
        self.http.serve(stream, protocol, answer).await
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: Client,
    ) -> Response<Either<Full<Bytes>, ResponseBody>> {
        if let Some(answer) = self.health.answer_on_api(&request) {
            return answer.map(Either::Left);
        }
        let answer = self.service.handle_arrived(request, client.arrival()).await;
        answer.map(Either::Right)
    }
}

/// Who is at the other end of a connection.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    /// Whom its certificate names.
    name: Option<Arc<str>>,
}

impl Client {
    const fn at(address: SocketAddr) -> Self {
        Self { address, name: None }
    }

    fn arrival(&self) -> Arrival<'_> {
        let arrival = Arrival::new().peer_addr(self.address);
        match &self.name {
            Some(name) => arrival.tls_client(name),
            None => arrival,
        }
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
