//! An HTTP exchange without an HTTP library: what the pipeline takes in and what it gives back.

use std::{any::Any, borrow::Cow, fmt, net::SocketAddr, time::Instant};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::{api::ErrorName, context::Origin, error::Error};

/// A request as it came: method, target, headers and body, all borrowed from the server.
/// Specification: Appendix A.
///
/// The target is the path (and query) exactly as the client sent it, before any router changed it: it is
/// part of what the client signed. Under HTTP/2 the `:authority` pseudo-header is passed as `host`.
///
/// ```
/// use xks_core::Request;
///
/// let request = Request::new("POST", "/kms/xks/v1/health", b"{}")
///     .header("host", b"xks.example.com")
///     .header("x-amz-date", b"20260101T000000Z");
/// # let _ = request;
/// ```
// SIG-2
#[derive(Clone)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    origin: Origin<'a>,
    body: Result<&'a [u8], UnreadableBody>,
}

/// The reason why a server has no body to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnreadableBody {
    /// The client sent more than the server's limit.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The client broke off, or broke the framing.
    Incomplete,
    /// The client did not send it in time.
    TooSlow,
    /// Requests whose bodies are not there yet take all the memory that the server has for them.
    NoMemory,
}

impl<'a> Request<'a> {
    /// Creates a request with its whole body and no headers yet.
    #[must_use]
    pub fn new(method: &'a str, target: &'a str, body: &'a [u8]) -> Self {
        Self {
            method,
            target,
            headers: Vec::with_capacity(16),
            origin: Origin::default(),
            body: Ok(body),
        }
    }

    /// Creates a request whose body could not be read: it gets an answer and an audit record like any other.
    #[must_use]
    pub fn with_unreadable_body(method: &'a str, target: &'a str, why: UnreadableBody) -> Self {
        Self {
            method,
            target,
            headers: Vec::new(),
            origin: Origin::default(),
            body: Err(why),
        }
    }

    /// Adds a header as it was sent; the name in any case, a repeated one once for each time.
    #[must_use]
    pub fn header(mut self, name: &'a str, value: &'a [u8]) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds headers as they were sent.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Says when the request's head came: the audit record counts its time from there. By default that is
    /// when the proxy is handed the request.
    #[must_use]
    pub const fn received_at(mut self, received: Instant) -> Self {
        self.origin.received = Some(received);
        self
    }

    /// Says when the server is going to give the request up, for backends that plan their time. It ends
    /// nothing by itself: see [`Proxy::handle_until`](crate::Proxy::handle_until).
    #[must_use]
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.origin.deadline = Some(deadline);
        self
    }

    /// Says where the connection comes from.
    #[must_use]
    pub const fn client_address(mut self, address: SocketAddr) -> Self {
        self.origin.client_address = Some(address);
        self
    }

    /// Says whom the client's TLS certificate names, if the server has verified one.
    #[must_use]
    pub const fn tls_client(mut self, name: &'a str) -> Self {
        self.origin.tls_client = Some(name);
        self
    }

    /// Says under which id the server traces the request.
    #[must_use]
    pub const fn trace_id(mut self, id: &'a str) -> Self {
        self.origin.trace_id = Some(id);
        self
    }

    /// Passes on whatever else the server knows, to backends, authorizers and audit sinks that know its type.
    #[must_use]
    pub const fn extensions(mut self, extensions: &'a (dyn Any + Send + Sync)) -> Self {
        self.origin.extensions = Some(extensions);
        self
    }

    pub(crate) const fn origin(&self) -> &Origin<'a> {
        &self.origin
    }

    /// Returns the method, such as `POST`.
    #[must_use]
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// Returns path and query as the client sent them.
    #[must_use]
    pub const fn target(&self) -> &'a str {
        self.target
    }

    /// Every value of the header `name`, in the order of their arrival.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            // Nearly every server has them in lower case: the comparison of bytes is faster.
            .filter(move |(candidate, _)| *candidate == name || candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    pub(crate) fn body(&self) -> Result<&'a [u8], Error> {
        self.body.map_err(|why| match why {
            UnreadableBody::TooLarge { limit } => {
                Error::validation(format!("the request body is larger than {limit} bytes"))
            }
            UnreadableBody::Incomplete => Error::validation("the request body is incomplete"),
            UnreadableBody::TooSlow => Error::validation("the request body did not arrive in time"),
            UnreadableBody::NoMemory => Error::from(ErrorName::Throttling)
                .because("unfinished requests of all clients take all the memory for them"),
        })
    }
}

impl fmt::Debug for Request<'_> {
    /// Bodies may hold plaintext and headers hold signatures: neither is printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("headers", &self.headers.len())
            .field("body", &self.body.map(<[u8]>::len))
            .finish()
    }
}

/// The answer to a request: a status and a JSON body, which is wiped from memory when it is dropped.
pub struct Response {
    status: u16,
    body: Zeroizing<Vec<u8>>,
}

impl Response {
    pub(crate) const fn ok(body: Zeroizing<Vec<u8>>) -> Self {
        Self { status: 200, body }
    }

    /// The message of the 405 response.
    pub(crate) const USE_POST: &'static str = "use POST";

    // TRN-4: the one answer for which the specification has no error name.
    pub(crate) fn method_not_allowed() -> Self {
        let body = format!(r#"{{"errorMessage":"{}"}}"#, Self::USE_POST);
        Self {
            status: 405,
            body: Zeroizing::new(body.into_bytes()),
        }
    }

    // ERR-1
    pub(crate) fn error(name: ErrorName, message: &str) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            error_name: &'static str,
            error_message: &'a str,
        }
        let message = printable(message);
        let body = Body {
            error_name: name.as_str(),
            error_message: &message,
        };
        // Two strings always serialize.
        Self {
            status: name.status(),
            body: Zeroizing::new(serde_json::to_vec(&body).unwrap_or_default()),
        }
    }

    /// Refuses a request in the form that the specification gives an error: for whatever stands in front of a
    /// [`Proxy`](crate::Proxy). [`Proxy::refuse`](crate::Proxy::refuse) records the request too.
    #[must_use]
    pub fn refused(name: ErrorName) -> Self {
        Self::error(name, name.message())
    }

    /// Returns the HTTP status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns the headers that belong to the answer: `content-type` always, `allow` on a 405.
    /// `content-length` is the server's to add. Specification: API content type, API operations.
    // TRN-1, TRN-4
    #[must_use]
    pub const fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.status {
            405 => &[("content-type", "application/json"), ("allow", "POST")],
            _ => &[("content-type", "application/json")],
        }
    }

    /// Returns the body: one JSON object.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the body, still wiped when it is dropped.
    #[must_use]
    pub fn into_body(self) -> Zeroizing<Vec<u8>> {
        self.body
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body", &self.body.len())
            .finish()
    }
}

/// An error message is printable ASCII and shorter than 512 characters.
// ERR-2
fn printable(message: &str) -> Cow<'_, str> {
    // Nearly all are. No way out at the first that is not, so that the bytes are looked at many at a time.
    let is_printable = |all: bool, byte: u8| all & matches!(byte, b' '..=b'~');
    if message.len() < 512 && message.bytes().fold(true, is_printable) {
        return message.into();
    }
    message
        .chars()
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .take(511)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ERR-1, ERR-2: there is a name, and a message of legal characters.
    #[test]
    fn error_messages_are_short_printable_ascii() {
        let response = Response::error(ErrorName::Validation, &format!("a\n\u{7f}ü\"{}", "x".repeat(600)));
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        let message = body["errorMessage"].as_str().unwrap();
        assert!(message.starts_with("a???\"xxx"));
        assert_eq!(message.len(), 511);
        assert_eq!(printable(&"x".repeat(512)), "x".repeat(511));
        assert_eq!(printable(&"x".repeat(511)), "x".repeat(511));
        assert_eq!(body["errorName"], "ValidationException");
        assert_eq!(response.status(), 400);
    }

    /// ENC-12, DEC-5: a printed request or response shows no plaintext.
    #[test]
    fn bodies_are_never_printed() {
        let request = Request::new("POST", "/x", b"secret").header("authorization", b"secret");
        let response = Response::ok(Zeroizing::new(b"secret".to_vec()));
        assert!(!format!("{request:?} {response:?}").contains("secret"));
        assert!(!format!("{request:?}").contains("115, 101"));
    }
}
