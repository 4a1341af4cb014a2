//! One connection, from the socket on.

use std::{error::Error, fmt, future::Future, io, pin::Pin, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Request, Response, Uri, Version, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{CertificateError, CipherSuite, ProtocolVersion, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Answer, CallError, Endpoint, Http, Raw, SignError};

/// Bytes to and from a proxy, through TLS where the endpoint has it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The parameters that a TLS handshake agreed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Handshake {
    /// The version of TLS.
    pub version: Option<ProtocolVersion>,
    /// The cipher suite.
    pub suite: Option<CipherSuite>,
    /// The protocol that the server chose by ALPN.
    pub alpn: Option<Vec<u8>>,
    /// The server's certificates, its own first.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl Endpoint {
    /// Opens a connection, and leaves to the caller what goes over it.
    ///
    /// # Errors
    /// No program takes it, or the TLS handshake fails, or the limit for both has passed.
    pub async fn stream(&self) -> Result<(Box<dyn Stream>, Option<Handshake>), CallError> {
        let opened = timeout(self.connect_timeout, Box::pin(self.opened()));
        opened.await.unwrap_or_else(|_| {
            let limit = self.connect_timeout.as_millis();
            Err(CallError::Connect(format!(
                "{} timed out after {limit} ms",
                self.authority
            )))
        })
    }

    /// Opens a connection for the endpoint's version of HTTP.
    pub(crate) async fn http_stream(&self) -> Result<(Box<dyn Stream>, Option<Handshake>), CallError> {
        let (stream, handshake) = self.stream().await?;
        let alpn = handshake.as_ref().map(|handshake| handshake.alpn.as_deref());
        if self.http == Http::Two && alpn.is_some_and(|alpn| alpn != Some(b"h2")) {
            return Err(CallError::Tls("the server does not offer HTTP/2 by ALPN".into()));
        }
        Ok((stream, handshake))
    }

    async fn opened(&self) -> Result<(Box<dyn Stream>, Option<Handshake>), CallError> {
        let stream = self.socket().await.map_err(|error| CallError::Connect(chain(&error)))?;
        let Some((config, name)) = &self.tls else {
            return Ok((Box::new(stream), None));
        };
        let stream = TlsConnector::from(config.clone()).connect(name.clone(), stream).await;
        let stream = stream.map_err(|error| CallError::Tls(handshake_failure(&error)))?;
        let (_, tls) = stream.get_ref();
        let handshake = Handshake {
            version: tls.protocol_version(),
            suite: tls.negotiated_cipher_suite().map(|suite| suite.suite()),
            alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
            certificates: tls.peer_certificates().unwrap_or_default().to_vec(),
        };
        Ok((Box::new(stream), Some(handshake)))
    }

    /// IPv4 first: KMS uses nothing else (TRN-10).
    async fn socket(&self) -> io::Result<TcpStream> {
        let mut addresses: Vec<_> = lookup_host((&*self.host, self.port)).await?.collect();
        addresses.sort_by_key(|address| !address.is_ipv4());
        let stream = TcpStream::connect(&*addresses).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a connection, and speaks the endpoint's version of HTTP over it. Under HTTP/1.1, header names
    /// are in title case, as AWS sends them: `Content-Length`.
    ///
    /// # Errors
    /// As for [`stream`](Self::stream), and when the server does not speak that version.
    pub async fn connect(&self) -> Result<Connection, CallError> {
        let (stream, handshake) = self.http_stream().await?;
        let stream = TokioIo::new(stream);
        let not_http = |error: hyper::Error| CallError::Http(chain(&error));
        let (sender, driver) = match self.http {
            Http::One => {
                let opened = http1::Builder::new().title_case_headers(true).handshake(stream);
                let (sender, driver) = opened.await.map_err(not_http)?;
                (Sender::One(sender), Driver(tokio::spawn(driver).abort_handle()))
            }
            Http::Two => {
                let opened = timeout(self.connect_timeout, http2::handshake(TokioExecutor::new(), stream));
                let opened = opened.await.map_err(|_| CallError::Timeout(self.connect_timeout))?;
                let (sender, driver) = opened.map_err(not_http)?;
                (Sender::Two(sender), Driver(tokio::spawn(driver).abort_handle()))
            }
        };
        Ok(Connection {
            sender,
            driver: Arc::new(driver),
            endpoint: self.clone(),
            handshake,
        })
    }
}

/// A connection over which HTTP is spoken; HTTP/1.1 one request at a time.
pub struct Connection {
    sender: Sender,
    driver: Arc<Driver>,
    endpoint: Endpoint,
    handshake: Option<Handshake>,
}

/// The task that reads and writes. It ends with the last handle on the connection, whatever the server still
/// sends.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

type Sending = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

impl Connection {
    /// Returns the parameters that the TLS handshake agreed on, where there was one.
    #[must_use]
    pub fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_ref()
    }

    /// Returns whether it is known to be closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// Another handle on the same connection, where it takes several requests at a time.
    pub(super) fn shared(&self) -> Option<Self> {
        match &self.sender {
            Sender::One(_) => None,
            Sender::Two(sender) => Some(Self {
                sender: Sender::Two(sender.clone()),
                driver: self.driver.clone(),
                endpoint: self.endpoint.clone(),
                handshake: self.handshake.clone(),
            }),
        }
    }

    /// Sends a request as it is.
    ///
    /// # Errors
    /// There is no answer, or only a part of one, or not in time.
    pub async fn send(&mut self, request: &Raw) -> Result<Answer, CallError> {
        let limit = self.endpoint.timeout;
        let start = Instant::now();
        match timeout(limit, Box::pin(self.answer(request, start))).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout(limit)),
        }
    }

    async fn answer(&mut self, request: &Raw, start: Instant) -> Result<Answer, CallError> {
        let request = self.request(request)?;
        let sending: Sending = match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await.map_err(|error| closed(&error))?;
                Box::pin(sender.send_request(request))
            }
            Sender::Two(sender) => {
                sender.ready().await.map_err(|error| closed(&error))?;
                Box::pin(sender.send_request(request))
            }
        };
        let (parts, body) = sending.await.map_err(|error| closed(&error))?.into_parts();
        let max = self.endpoint.max_answer;
        let body = Limited::new(body, max).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => CallError::TooLong(max),
            None => CallError::Closed(chain(&*error)),
        })?;
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.to_bytes(),
            took: start.elapsed(),
            version: parts.version,
        })
    }

    /// For HTTP/1.1 with its path alone and `host` as a header, for HTTP/2 with both in the URI.
    fn request(&self, raw: &Raw) -> Result<Request<Full<Bytes>>, SignError> {
        let mut headers = raw.headers.clone();
        let (uri, version) = match self.sender {
            Sender::One(_) => (raw.target.parse::<Uri>(), Version::HTTP_11),
            Sender::Two(_) => {
                let mut hosts = raw.headers.get_all(header::HOST).iter();
                let first = hosts.next().and_then(|host| host.to_str().ok());
                let authority = first.unwrap_or(&self.endpoint.authority);
                headers.remove(header::HOST);
                headers.extend(hosts.map(|host| (header::HOST, host.clone())));
                let scheme = if self.endpoint.is_tls() { "https" } else { "http" };
                (format!("{scheme}://{authority}{}", raw.target).parse(), Version::HTTP_2)
            }
        };
        let mut request = Request::new(Full::new(raw.body.clone()));
        *request.method_mut() = raw.method.clone();
        *request.uri_mut() = uri.map_err(|_| SignError)?;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("endpoint", &self.endpoint)
            .field("handshake", &self.handshake)
            .finish_non_exhaustive()
    }
}

fn closed(error: &hyper::Error) -> CallError {
    match error.is_parse() {
        true => CallError::Http(chain(error)),
        false => CallError::Closed(chain(error)),
    }
}

/// Why a handshake failed; where the certificate is at fault in a way that needs words, with the remedy.
fn handshake_failure(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        // The verifier's own error, which rustls has no name for.
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            if other.0.to_string() == "CaUsedAsEndEntity" =>
        {
            "the server's certificate is a certificate authority (basicConstraints CA:TRUE), which some clients reject, \
             this one too: issue the server's certificate with CA:FALSE"
                .into()
        }
        _ => chain(error),
    }
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let further = error.to_string();
        // Some errors show their cause themselves.
        if !text.ends_with(&further) {
            text = format!("{text}: {further}");
        }
        cause = error.source();
    }
    text
}
