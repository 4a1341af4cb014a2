//! A port: what happens to a connection from the moment that its listener has it, in plain HTTP or over TLS.
//! The API, health and metrics have one each, and differ in what they answer.

use std::{
    error::Error,
    io,
    net::{self, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use xks_http::Arrival;

use crate::{
    certificates::Greeting,
    connection::{Http, Malformed, Protocol},
    listener::Place,
    metrics::Metrics,
    tls::{self, TlsMaterial},
};

/// What a port answers.
pub(crate) trait Answers: Send + Sync + 'static {
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static;

    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: Client,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;

    /// Learns that a client sent no HTTP, which has been answered.
    fn malformed(&self, _: Malformed, _client: SocketAddr) {}
}

pub(crate) struct Port<A> {
    http: Http,
    tls: Greeting,
    answers: Arc<A>,
    metrics: Arc<Metrics>,
    /// One a minute for each reason that a handshake fails for.
    complaints: DefaultKeyedRateLimiter<&'static str>,
}

impl<A: Answers> Port<A> {
    pub(crate) fn new(http: Http, tls: Greeting, answers: Arc<A>, metrics: Arc<Metrics>) -> Self {
        Self {
            http,
            tls,
            answers,
            metrics,
            complaints: RateLimiter::keyed(Quota::per_minute(NonZeroU32::MIN)),
        }
    }

    /// Serves one connection, which does not block, in the runtime that this is called in.
    pub(crate) async fn serve(self: Arc<Self>, stream: net::TcpStream, _place: Place) {
        let stream = stream
            .peer_addr()
            .and_then(|client| Ok((TcpStream::from_std(stream)?, client)));
        let (stream, client) = match stream {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!("connection failed: {error}"),
        };
        // In boxes, so that no connection holds the room for one of another kind.
        let malformed = match self.tls.load_full() {
            None => Box::pin(self.serve_http(stream, None, Client::at(client))).await,
            Some(tls) => Box::pin(self.serve_https(stream, tls, client)).await,
        };
        if let Some(malformed) = malformed {
            self.answers.malformed(malformed, client);
        }
    }

    async fn serve_https(
        &self,
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
            biased; // what has come before the end is taken
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
    fn handshake_failed(&self, reason: &'static str, error: &dyn Error) {
        self.metrics.count_handshake_failure(reason);
        match self.complaints.check_key(&reason) {
            Ok(()) => tracing::warn!(reason, "TLS handshake failed (logged once a minute): {error}"),
            Err(_) => tracing::debug!(reason, "TLS handshake failed: {error}"),
        }
    }

    async fn serve_http<S>(&self, stream: S, protocol: Option<Protocol>, client: Client) -> Option<Malformed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answers = Arc::clone(&self.answers);
        let answer = move |request| Arc::clone(&answers).answer(request, client.clone());
        self.http.serve(stream, protocol, answer).await
    }
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    /// Whom its certificate names.
    name: Option<Arc<str>>,
}

impl Client {
    const fn at(address: SocketAddr) -> Self {
        Self { address, name: None }
    }

    pub(crate) fn arrival(&self) -> Arrival<'_> {
        let arrival = Arrival::new().peer_addr(self.address);
        match &self.name {
            Some(name) => arrival.tls_client(name),
            None => arrival,
        }
    }
}
