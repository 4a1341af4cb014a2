//! The answer of a proxy, or the error of a call without one.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};
use serde_json::Value;
use thiserror::Error;

use super::request::SignError;

/// An answer that came whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// From the request's first byte to the answer's last; opening a connection is not in it.
    pub took: Duration,
    /// The version of HTTP that the answer was sent in.
    pub version: Version,
}

impl Answer {
    /// Returns the body, where it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Returns the `errorName` of the body, where there is one.
    #[must_use]
    pub fn error_name(&self) -> Option<String> {
        let name = self.json()?.get("errorName")?.as_str()?.to_owned();
        Some(name)
    }
}

/// The error of a call without an answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The answer, or what of it was missing, did not come in time.
    #[error("no response within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Nobody takes the connection, or not in time.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection ended before the answer had come whole.
    #[error("the connection was closed: {0}")]
    Closed(String),
    /// The answer is not HTTP.
    #[error("not HTTP: {0}")]
    Http(String),
    /// The answer's body is larger than this client reads.
    #[error("the response exceeds {0} bytes")]
    TooLong(usize),
    /// The request cannot be signed or written.
    #[error(transparent)]
    Request(#[from] SignError),
}
