//! A connection to a proxy, by either protocol.

use std::fmt;

use anyhow::Context as _;
use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Prepared, Protocol, Target, http1::Http1};

/// What bytes go over: TCP, or TLS over it.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection, or a share of one over HTTP/2.
pub struct Connection {
    kind: Kind,
    is_closed: bool,
}

enum Kind {
    Http1(Http1),
    Http2(SendRequest<Bytes>, Vec<u8>),
}

impl Connection {
    /// Connects, with the handshake of TLS.
    ///
    /// # Errors
    /// When that does not succeed.
    pub async fn open(target: &Target) -> anyhow::Result<Self> {
        let cannot = || format!("cannot connect to {}", target.origin);
        let stream = TcpStream::connect(target.address).await.with_context(cannot)?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = match &target.tls {
            Some(tls) => Box::new(tls.connect(stream).await.with_context(cannot)?),
            None => Box::new(stream),
        };
        let kind = match target.protocol {
            Protocol::Http1 => Kind::Http1(Http1::new(stream)),
            Protocol::Http2 => {
                let (requests, connection) = h2::client::handshake(stream).await.with_context(cannot)?;
                // How it ends is seen by whoever sends.
                tokio::spawn(connection);
                Kind::Http2(requests, Vec::new())
            }
        };
        Ok(Self { kind, is_closed: false })
    }

    /// The same connection for one more stream.
    pub(super) fn another(&self) -> Option<Self> {
        match &self.kind {
            Kind::Http1(_) => None,
            Kind::Http2(requests, _) => Some(Self {
                kind: Kind::Http2(requests.clone(), Vec::new()),
                is_closed: false,
            }),
        }
    }

    /// Whether another one is needed.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The body of the last answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.kind {
            Kind::Http1(connection) => connection.body(),
            Kind::Http2(_, body) => body,
        }
    }

    /// Sends a request and reads its answer whole.
    ///
    /// # Errors
    /// When the connection ends before that, or the answer is none.
    pub async fn exchange(&mut self, request: &Prepared) -> anyhow::Result<u16> {
        let outcome = match &mut self.kind {
            Kind::Http1(connection) => connection.exchange(&request.written).await,
            Kind::Http2(requests, body) => exchange(requests, request, body).await,
        };
        self.is_closed = match &self.kind {
            Kind::Http1(connection) => outcome.is_err() || connection.is_last(),
            Kind::Http2(..) => outcome.is_err(),
        };
        outcome
    }
}

async fn exchange(requests: &mut SendRequest<Bytes>, request: &Prepared, body: &mut Vec<u8>) -> anyhow::Result<u16> {
    std::future::poll_fn(|context| requests.poll_ready(context)).await?;
    let has_body = !request.body.is_empty();
    let (answer, mut sending) = requests.send_request(request.head.clone(), !has_body)?;
    if has_body {
        sending.send_data(request.body.clone(), true)?;
    }
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut reading = answer.into_body();
    body.clear();
    while let Some(data) = reading.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        reading.flow_control().release_capacity(data.len())?;
    }
    Ok(status)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
