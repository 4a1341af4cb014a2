//! Connections and requests.

use std::{io, io::Write as _, net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    caller::{caller, region, service},
    control, query, signature,
};
use crate::{
    call::{Service, dispatched, error_body, json::json, status_and_code},
    kms::{Exception, ExceptionName, Kms, uuid},
};

/// More than any operation takes.
const MAX_BODY: usize = 1 << 20;

/// The content type of IAM's and STS's protocol.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The state that requests are answered with.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) kms: Kms,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) account: String,
    /// Whether signatures are verified, by the access keys of the account's users.
    pub(super) verifies: bool,
    /// Whether others than this machine's users may call.
    pub(super) is_open: bool,
}

impl Server {
    pub(super) async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, for instance: that may pass.
                    log(&format!("cannot accept a connection: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            stream.set_nodelay(true)?;
            let server = self.clone();
            tokio::spawn(async move {
                let Some(tls) = &server.tls else {
                    return server.converse(stream).await;
                };
                match timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => server.converse(stream).await,
                    Ok(Err(error)) => log(&format!("TLS handshake failed: {error}")),
                    Err(_) => log(&format!("TLS handshake failed: not finished within {HANDSHAKE:?}")),
                }
            });
        }
    }

    /// Answers the requests of one connection. Header names are in title case, as clients know them from AWS:
    /// some read `Content-Length` in that spelling alone.
    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        // An answer that is lost closes the connection.
        let service = service_fn(async |request| self.response(request).await.ok_or(Lost));
        // A client that goes away in the middle of a request needs no reason why that failed.
        let _ = http1::Builder::new()
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    /// The answer; none where it is lost on purpose.
    async fn response(&self, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let request_id = uuid().unwrap_or_default();
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let is_form = content_type.is_some_and(|value| value.as_bytes().starts_with(FORM));
        let is_query =
            is_form && request.uri().path() != control::PATH && !request.headers().contains_key("x-amz-target");
        let service = service(request.headers()).map(str::to_owned);
        let (status, body) = match self.answer(request, is_query, &request_id).await {
            Ok(body) => (StatusCode::OK, body),
            Err(exception) if exception.name() == ExceptionName::AnswerLost => {
                log(&format!("{request_id} {}", exception.message()));
                return None;
            }
            Err(exception) => {
                let detail = exception.detail().map(|detail| format!("; {detail}"));
                log(&format!(
                    "{request_id} {}: {:?}{}",
                    exception.name(),
                    exception.message(),
                    detail.unwrap_or_default()
                ));
                let (status, body) = match is_query {
                    true => query::told(&exception, service.as_deref(), &request_id),
                    false => {
                        let (status, code) = status_and_code(&exception, Service::Kms);
                        (status, error_body(code, exception.message()).to_string().into_bytes())
                    }
                };
                let status = StatusCode::from_u16(status);
                (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.into())
            }
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let content_type = if is_query {
            "text/xml"
        } else {
            "application/x-amz-json-1.1"
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(id) = HeaderValue::try_from(request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        Some(response)
    }

    async fn answer(&self, request: Request<Incoming>, is_query: bool, request_id: &str) -> Result<Bytes, Exception> {
        let (parts, body) = request.into_parts();
        let headers = &parts.headers;
        let is_control = parts.uri.path() == control::PATH;
        if parts.method != Method::POST || (parts.uri.path() != "/" && !is_control) {
            return Err(Exception::new(ExceptionName::UnknownOperation, "only POST / is served"));
        }
        // A web page whose host name leads here cannot call, though its browser can.
        if !self.is_open && !is_local(headers) {
            return Err(Exception::new(
                ExceptionName::MissingAuthenticationToken,
                "the Host of the request is not loopback",
            ));
        }
        if is_control {
            let body = collected(body).await?;
            let status = control::change(&self.kms, &body)?;
            return Ok(Bytes::copy_from_slice(&json(&status)?));
        }
        // Who signs is looked at before the body is read, where that is possible.
        let claimed = caller(headers, &self.account).ok_or_else(|| {
            Exception::new(
                ExceptionName::MissingAuthenticationToken,
                "the request is not signed: use any credential",
            )
        })?;
        let body = collected(body).await?;
        let caller = match self.verifies {
            true => {
                let services: &[_] = if is_query { &["iam", "sts"] } else { &["kms"] };
                signature::verified(&self.kms, &parts, &body, services)?
            }
            false => claimed,
        };
        let caller = caller.request_id(request_id);
        if is_query {
            return Ok(query::answer(&self.kms, &caller, request_id, &body).await?.into());
        }
        // Each Region has keys of its own; clients reach all of them at this address.
        let kms = self.kms.in_region(region(headers).unwrap_or_default())?;
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.strip_prefix("TrentService."));
        // IAM and STS have another protocol.
        let operation = operation.filter(|operation| Service::of(operation) == Service::Kms);
        let body = dispatched(&kms, &caller, operation.unwrap_or_default(), &body).await?;
        // hyper's buffers are not wiped, so neither does it help to wipe this one any longer.
        Ok(Bytes::copy_from_slice(&body))
    }
}

/// Closes the connection: an answer is lost on purpose.
#[derive(Clone, Copy, Debug, Error)]
#[error("the answer is lost on purpose")]
struct Lost;

async fn collected(body: Incoming) -> Result<Bytes, Exception> {
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|error| {
        let message = format!("the body cannot be read, or exceeds {MAX_BODY} bytes: {error}");
        Exception::new(ExceptionName::Serialization, message)
    })?;
    Ok(body.to_bytes())
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<http::uri::Authority>().ok()) else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn log(line: &str) {
    // Without a log that can be written, requests are answered all the same.
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_are_local() {
        let of = |host: &str| is_local(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for local in ["127.0.0.1:8200", "localhost", "LOCALHOST:1", "[::1]:8200"] {
            assert!(of(local), "{local}");
        }
        for other in [
            "example.com",
            "127.0.0.1.example.com",
            "192.0.2.1:8200",
            "localhost.example.com",
            "",
        ] {
            assert!(!of(other), "{other}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}
