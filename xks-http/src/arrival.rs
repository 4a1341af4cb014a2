//! What a server knows of a request beside its bytes: extensions, and the [`Arrival`] that holds them all.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use http::Extensions;

macro_rules! extension {
    ($(#[$doc:meta])* $name:ident($value:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(clippy::exhaustive_structs, reason = "a server makes it of one value, and it stays one")]
        pub struct $name(pub $value);
    };
}

extension! {
    /// A request's extension: where its connection comes from. The audit record, authorizers and backends see
    /// it.
    ///
    /// With axum, from its own `ConnectInfo`:
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::{Router, extract::{ConnectInfo, Request}, middleware::{Next, from_fn}};
    /// use xks_http::{PeerAddr, XksService};
    ///
    /// # async fn doc(service: XksService, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    /// let app = Router::new().fallback_service(service).layer(from_fn(async |mut request: Request, next: Next| {
    ///     if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
    ///         let address = PeerAddr(*address);
    ///         request.extensions_mut().insert(address);
    ///     }
    ///     next.run(request).await
    /// }));
    /// axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
    /// # }
    /// ```
    PeerAddr(SocketAddr)
}

extension! {
    /// A request's extension: whom the client's TLS certificate names, where the server has verified one.
    TlsClient(Arc<str>)
}

extension! {
    /// A request's extension: the id under which the server traces it.
    TraceId(Arc<str>)
}

extension! {
    /// A request's extension: when its head came, where it waited in a layer since. The time that it may
    /// take, and the time that is recorded, count from there.
    ReceivedAt(Instant)
}

/// What a server knows of a request: for [`XksService::handle_arrived`](crate::XksService::handle_arrived),
/// which costs no allocation where extensions would.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival<'a> {
    received: Option<Instant>,
    peer_addr: Option<SocketAddr>,
    tls_client: Option<&'a str>,
    trace_id: Option<&'a str>,
}

impl<'a> Arrival<'a> {
    /// Knows nothing yet; the request's head came when the service is called.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets when the request's head came: see [`ReceivedAt`].
    #[must_use]
    pub const fn received_at(mut self, received: Instant) -> Self {
        self.received = Some(received);
        self
    }

    /// Sets the address that the connection comes from: see [`PeerAddr`].
    #[must_use]
    pub const fn peer_addr(mut self, address: SocketAddr) -> Self {
        self.peer_addr = Some(address);
        self
    }

    /// Sets the name in the client's certificate: see [`TlsClient`].
    #[must_use]
    pub const fn tls_client(mut self, name: &'a str) -> Self {
        self.tls_client = Some(name);
        self
    }

    /// Sets the id under which the server traces the request: see [`TraceId`].
    #[must_use]
    pub const fn trace_id(mut self, id: &'a str) -> Self {
        self.trace_id = Some(id);
        self
    }

    /// What the extensions say, where this does not.
    pub(crate) fn or(self, extensions: &'a Extensions) -> Self {
        Self {
            received: self.received.or_else(|| extensions.get().map(|ReceivedAt(at)| *at)),
            peer_addr: self
                .peer_addr
                .or_else(|| extensions.get().map(|PeerAddr(address)| *address)),
            tls_client: self
                .tls_client
                .or_else(|| extensions.get().map(|TlsClient(name)| &**name)),
            trace_id: self.trace_id.or_else(|| extensions.get().map(|TraceId(id)| &**id)),
        }
    }

    /// When the head came, where that is known.
    pub(crate) const fn received(&self) -> Option<Instant> {
        self.received
    }

    /// Tells the core.
    pub(crate) fn of<'r>(&self, mut request: xks_core::Request<'r>) -> xks_core::Request<'r>
    where
        'a: 'r,
    {
        if let Some(received) = self.received {
            request = request.received_at(received);
        }
        if let Some(address) = self.peer_addr {
            request = request.client_address(address);
        }
        if let Some(name) = self.tls_client {
            request = request.tls_client(name);
        }
        if let Some(id) = self.trace_id {
            request = request.trace_id(id);
        }
        request
    }
}
