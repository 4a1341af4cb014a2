//! A client over hyper and rustls that signs with AWS's own crate.

use std::{fmt::Display, io, net::SocketAddr, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, SupportedCipherSuite,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{PATIENCE, Signer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// Whom to call, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// What requests are signed for.
    pub(crate) host: String,
    pub(crate) prefix: String,
    pub(crate) tls: Option<ClientConfig>,
}

impl Target {
    pub(crate) fn plain(address: SocketAddr, prefix: &str) -> Self {
        Self {
            address,
            host: address.to_string(),
            prefix: prefix.to_owned(),
            tls: None,
        }
    }

    pub(crate) fn with_tls(mut self, tls: ClientConfig) -> Self {
        self.host = format!("localhost:{}", self.address.port());
        self.tls = Some(tls);
        self
    }

    /// A signed POST to a path below the key store's.
    fn request(&self, http: Http, signer: &Signer, path: &str, body: &Value) -> Request<Full<Bytes>> {
        let (body, path) = (body.to_string(), format!("{}/kms/xks/v1/{path}", self.prefix));
        let signer = Signer {
            time: SystemTime::now(),
            ..signer.clone()
        };
        let json = [("content-type", "application/json")];
        let headers = signer.sign("POST", &self.host, &path, &json, body.as_bytes());
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut request = Request::post(match http {
            Http::One => path,
            Http::Two => format!("{scheme}://{}{path}", self.host),
        });
        for (name, value) in headers {
            if http == Http::One || name != "host" {
                request = request.header(name, value);
            }
        }
        request.body(Full::from(body)).unwrap()
    }
}

/// An answer that came whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    /// The status, and the name of the error.
    pub(crate) fn error(&self) -> (u16, &str) {
        (self.status, self.json["errorName"].as_str().unwrap_or_default())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection was closed before anything of the request was sent: the client is free to try again.
    NotSent,
    /// The request went out, or may have, and nothing came back.
    NoAnswer(String),
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A connection, over which one request goes at a time.
pub(crate) struct Connection {
    sender: Sender,
    target: Target,
    /// What was agreed on in the handshake, where there was one.
    pub(crate) handshake: Option<Handshake>,
}

pub(crate) struct Handshake {
    pub(crate) version: rustls::ProtocolVersion,
    pub(crate) suite: SupportedCipherSuite,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Connection {
    /// # Errors
    /// Nobody takes the connection.
    pub(crate) async fn open(target: &Target, http: Http) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        Self::over(stream, target, http).await.map_err(io::Error::other)
    }

    /// Over a stream that somebody takes already.
    pub(crate) async fn over(stream: TcpStream, target: &Target, http: Http) -> Result<Self, String> {
        timeout(PATIENCE, Self::hands_shaken(stream, target, http))
            .await
            .unwrap_or(Err("no handshake in time".into()))
    }

    async fn hands_shaken(stream: TcpStream, target: &Target, http: Http) -> Result<Self, String> {
        stream.set_nodelay(true).map_err(text)?;
        let Some(config) = &target.tls else {
            return Self::speaking(stream, target, http).await;
        };
        let mut config = config.clone();
        config.alpn_protocols = match http {
            Http::One => vec![b"http/1.1".to_vec()],
            Http::Two => vec![b"h2".to_vec()],
        };
        let name = target.host.split(':').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(name).map_err(text)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(text)?;
        let (_, tls) = stream.get_ref();
        let handshake = Handshake {
            version: tls.protocol_version().unwrap(),
            suite: tls.negotiated_cipher_suite().unwrap(),
            alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
            certificates: tls.peer_certificates().unwrap_or_default().to_vec(),
        };
        let connection = Self::speaking(stream, target, http).await?;
        Ok(Self {
            handshake: Some(handshake),
            ..connection
        })
    }

    async fn speaking<S>(stream: S, target: &Target, http: Http) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let sender = match http {
            Http::One => {
                let (sender, driver) = http1::handshake(stream).await.map_err(text)?;
                tokio::spawn(driver);
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, driver) = http2::handshake(TokioExecutor::new(), stream).await.map_err(text)?;
                tokio::spawn(driver);
                Sender::Two(sender)
            }
        };
        Ok(Self {
            sender,
            target: target.clone(),
            handshake: None,
        })
    }

    /// Whether another request can be sent over it.
    pub(crate) async fn is_usable(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await.is_ok(),
            Sender::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a signed request.
    ///
    /// # Errors
    /// There is no answer, or only a part of one.
    pub(crate) async fn post(&mut self, signer: &Signer, path: &str, body: &Value) -> Result<Answer, Failure> {
        let http = match self.sender {
            Sender::One(_) => Http::One,
            Sender::Two(_) => Http::Two,
        };
        let request = self.target.request(http, signer, path, body);
        match timeout(PATIENCE, self.send(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::NoAnswer("not in time".into())),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        if !self.is_usable().await {
            return Err(Failure::NotSent);
        }
        let response = match &mut self.sender {
            Sender::One(sender) => sender.send_request(request).await,
            Sender::Two(sender) => sender.send_request(request).await,
        };
        let response = response.map_err(|error| match error.is_canceled() || came_too_late(&error) {
            true => Failure::NotSent,
            false => Failure::NoAnswer(chain(&error)),
        })?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Failure::NoAnswer(chain(&error)))?;
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_slice(&body.to_bytes()).expect("every answer is JSON"),
        })
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// An error and all that it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// HTTP/2: the server had said that it takes no more streams, and so has not seen this one (RFC 9113, 6.8).
fn came_too_late(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR))
}
