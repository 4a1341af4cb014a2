//! A connection over which one request goes at a time, by either version of HTTP.

use std::{
    error::Error,
    fmt::{self, Display},
    future::poll_fn,
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use rustls::{
    ProtocolVersion, SupportedCipherSuite,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Http, Prepared, Signer, Target, http1::Http1};

/// How long a handshake or an answer may take: a busy machine is slow, and a broken server slower.
const PATIENCE: Duration = Duration::from_secs(60);

/// What bytes go over: TCP, or TLS over it.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// What was agreed on in a TLS handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The version of TLS.
    pub version: ProtocolVersion,
    /// The cipher suite.
    pub suite: SupportedCipherSuite,
    /// The protocol that the server chose by ALPN.
    pub alpn: Option<Vec<u8>>,
    /// The server's certificates, its own first.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// An answer that came whole.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub json: Value,
}

impl Answer {
    /// The status, and the name of the error.
    #[must_use]
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.json["errorName"].as_str().unwrap_or_default())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The connection was closed before anything of the request was sent: the client is free to try again.
    NotSent,
    /// The request went out, or may have, and nothing came back.
    NoAnswer(String),
}

impl Failure {
    pub(crate) fn no_answer(why: impl Display) -> Self {
        Self::NoAnswer(why.to_string())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => f.write_str("the connection was closed before the request was sent"),
            Self::NoAnswer(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl Error for Failure {}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        // The server had said that it takes no more streams, and so has not seen this one (RFC 9113, 6.8).
        match error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR) {
            true => Self::NotSent,
            false => Self::no_answer(error),
        }
    }
}

enum Kind {
    Http1(Http1),
    Http2 {
        requests: SendRequest<Bytes>,
        headers: HeaderMap,
        body: Vec<u8>,
    },
}

/// A connection to a target, or a share of one over HTTP/2.
pub struct Connection {
    kind: Kind,
    target: Arc<Target>,
    /// What was agreed on in the handshake, where there was one.
    pub handshake: Option<Handshake>,
}

impl Connection {
    /// Connects, with the handshake of TLS.
    ///
    /// # Errors
    /// Nobody takes the connection, or the handshake fails.
    pub async fn open(target: &Target, http: Http) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        Self::over(stream, target, http).await.map_err(io::Error::other)
    }

    /// Connects to a Unix socket, by HTTP/1.1 without TLS.
    ///
    /// # Errors
    /// Nobody takes the connection.
    pub async fn unix(socket: &Path, target: &Target) -> io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        Ok(Self {
            kind: Kind::Http1(Http1::new(Box::new(stream))),
            target: Arc::new(target.clone()),
            handshake: None,
        })
    }

    /// Over a stream that is connected already.
    ///
    /// # Errors
    /// The handshake fails.
    pub async fn over(stream: TcpStream, target: &Target, http: Http) -> Result<Self, String> {
        timeout(PATIENCE, Self::hands_shaken(stream, target, http))
            .await
            .unwrap_or(Err("no handshake in time".into()))
    }

    async fn hands_shaken(stream: TcpStream, target: &Target, http: Http) -> Result<Self, String> {
        fn text(error: impl Display) -> String {
            error.to_string()
        }
        stream.set_nodelay(true).map_err(text)?;
        let (stream, handshake): (Box<dyn Duplex>, _) = match target.tls.clone() {
            None => (Box::new(stream), None),
            Some(mut config) => {
                config.alpn_protocols = vec![match http {
                    Http::One => b"http/1.1".to_vec(),
                    Http::Two => b"h2".to_vec(),
                }];
                let name = ServerName::try_from(target.name().to_owned()).map_err(text)?;
                let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
                let stream = stream.map_err(text)?;
                let (_, tls) = stream.get_ref();
                let handshake = Handshake {
                    version: tls.protocol_version().unwrap(),
                    suite: tls.negotiated_cipher_suite().unwrap(),
                    alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
                    certificates: tls.peer_certificates().unwrap_or_default().to_vec(),
                };
                (Box::new(stream), Some(handshake))
            }
        };
        let kind = match http {
            Http::One => Kind::Http1(Http1::new(stream)),
            Http::Two => {
                let (requests, connection) = h2::client::handshake(stream).await.map_err(text)?;
                // The senders see how it ends.
                tokio::spawn(connection);
                Kind::Http2 {
                    requests,
                    headers: HeaderMap::new(),
                    body: Vec::new(),
                }
            }
        };
        Ok(Self {
            kind,
            target: Arc::new(target.clone()),
            handshake,
        })
    }

    /// The same connection for one more stream, where there are streams.
    #[must_use]
    pub fn another(&self) -> Option<Self> {
        match &self.kind {
            Kind::Http1(_) => None,
            Kind::Http2 { requests, .. } => Some(Self {
                kind: Kind::Http2 {
                    requests: requests.clone(),
                    headers: HeaderMap::new(),
                    body: Vec::new(),
                },
                target: Arc::clone(&self.target),
                handshake: self.handshake.clone(),
            }),
        }
    }

    /// Whether another request can be sent over it.
    pub async fn is_usable(&mut self) -> bool {
        match &mut self.kind {
            Kind::Http1(connection) => connection.is_open().await,
            Kind::Http2 { requests, .. } => poll_fn(|context| requests.poll_ready(context)).await.is_ok(),
        }
    }

    /// Whether the last answer, or its failure, was the last of an HTTP/1.1 connection. Sends nothing, and so
    /// costs nothing.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.kind {
            Kind::Http1(connection) => connection.is_done(),
            Kind::Http2 { .. } => false,
        }
    }

    /// The headers of the last answer.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        match &self.kind {
            Kind::Http1(connection) => connection.headers(),
            Kind::Http2 { headers, .. } => headers.clone(),
        }
    }

    /// The body of the last answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.kind {
            Kind::Http1(connection) => connection.body(),
            Kind::Http2 { body, .. } => body,
        }
    }

    /// Sends a request as it is and reads its answer whole; returns the status.
    ///
    /// # Errors
    /// There is no answer, or only a part of one.
    pub async fn exchange(&mut self, request: &Prepared) -> Result<u16, Failure> {
        match &mut self.kind {
            Kind::Http1(connection) => connection.exchange(&request.written).await,
            Kind::Http2 {
                requests,
                headers,
                body,
            } => streamed(requests, request, headers, body).await,
        }
    }

    /// Sends a request as it is, to which the answer is JSON.
    ///
    /// # Errors
    /// There is no answer in time, or only a part of one.
    pub async fn send(&mut self, request: &Prepared) -> Result<Answer, Failure> {
        let status = match timeout(PATIENCE, self.checked(request)).await {
            Ok(status) => status?,
            Err(_) => return Err(Failure::no_answer("not in time")),
        };
        Ok(Answer {
            status,
            headers: self.headers(),
            json: serde_json::from_slice(self.body()).expect("every answer is JSON"),
        })
    }

    async fn checked(&mut self, request: &Prepared) -> Result<u16, Failure> {
        match self.is_usable().await {
            true => self.exchange(request).await,
            false => Err(Failure::NotSent),
        }
    }

    /// Sends a request to a path below the key store's, such as `keys/my-key/encrypt`, signed at this moment.
    ///
    /// # Errors
    /// There is no answer in time, or only a part of one.
    pub async fn post(&mut self, signer: &Signer, path: &str, body: &Value) -> Result<Answer, Failure> {
        let request = Prepared::operation(&self.target, signer, path, body);
        self.send(&request).await
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Over a stream of HTTP/2.
async fn streamed(
    requests: &mut SendRequest<Bytes>,
    request: &Prepared,
    headers: &mut HeaderMap,
    body: &mut Vec<u8>,
) -> Result<u16, Failure> {
    poll_fn(|context| requests.poll_ready(context)).await?;
    let has_body = !request.body.is_empty();
    let (answer, mut sending) = requests.send_request(request.head.clone(), !has_body)?;
    if has_body {
        // What the server refuses without reading it is seen in its answer.
        let _ = sending.send_data(request.body.clone(), true);
    }
    let (head, mut reading) = answer.await?.into_parts();
    body.clear();
    while let Some(data) = reading.data().await {
        let data = data.map_err(Failure::no_answer)?;
        body.extend_from_slice(&data);
        reading
            .flow_control()
            .release_capacity(data.len())
            .map_err(Failure::no_answer)?;
    }
    *headers = head.headers;
    Ok(head.status.as_u16())
}
