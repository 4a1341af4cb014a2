//! Requests to the server's socket.

use std::{fmt::Write as _, io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::UnixStream,
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::failure::Failure;

/// Commands wait for key managers, which have time limits in the server; this is beyond all of them.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A client of the socket. Each request has a connection of its own.
pub(super) struct Client {
    socket: PathBuf,
    runtime: Runtime,
    /// For how many seconds a command waits for the nodes, if not for as many as the server would.
    wait: Option<u64>,
    /// Whether programs read what is printed.
    pub(super) is_json: bool,
}

/// What the server has answered.
#[derive(Debug)]
pub(super) struct Reply {
    /// Null where there is none.
    pub(super) body: Value,
    /// The revision of the object, as `If-Match` takes it.
    pub(super) etag: Option<String>,
}

impl Client {
    pub(super) fn new(socket: PathBuf, wait: Option<u64>, is_json: bool) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Other(format!("cannot start the runtime: {error}")))?;
        Ok(Self {
            socket,
            runtime,
            wait,
            is_json,
        })
    }

    pub(super) fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.send(Method::GET, path, None, None)
    }

    pub(super) fn post(&self, path: &str, body: Value) -> Result<Reply, Failure> {
        self.send(Method::POST, path, None, Some(body))
    }

    /// Sends a request. The path begins after `/admin/v1/`; `seen` is the ETag of the object as it was seen.
    /// An answer that is a problem is a failure.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        seen: Option<&str>,
        body: Option<Value>,
    ) -> Result<Reply, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1/{path}"))
            .header(header::HOST, "localhost");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(seen) = seen {
            request = request.header(header::IF_MATCH, seen);
        }
        if let Some(seconds) = self.wait {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request
            .body(Full::from(body))
            .map_err(|error| Failure::Usage(format!("not a legal request: {error}")))?;
        let exchanged = self.runtime.block_on(async {
            let exchanged = timeout(PATIENCE, exchange(&self.socket, request)).await;
            exchanged.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        });
        let (status, etag, body) = exchanged.map_err(|error| Failure::Unreachable {
            socket: self.socket.clone(),
            error,
        })?;
        let mut body: Value = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&body)
                .map_err(|error| Failure::Other(format!("the server's answer is not JSON: {error}")))?,
        };
        // Whether serde_json keeps the order of fields depends on other crates in the program.
        body.sort_all_objects();
        match status.is_success() {
            true => Ok(Reply { body, etag }),
            false => Err(Failure::Problem(body)),
        }
    }
}

type Exchanged = (StatusCode, Option<String>, Bytes);

async fn exchange(
    socket: &PathBuf,
    request: Request<Full<Bytes>>,
) -> Result<Exchanged, Box<dyn std::error::Error + Send + Sync>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    drop(sender);
    connection.abort();
    let etag = head.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    Ok((head.status, etag.map(str::to_owned), body))
}

/// A text as a part of a path, or as a parameter.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            b'.' if text.bytes().any(|byte| byte != b'.') => encoded.push('.'),
            // Writing to a string cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}
