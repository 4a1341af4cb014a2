//! From the `http` crate's types to the core's and back.

use std::time::Instant;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request::Parts};
use xks_core::{Request, Response, api::UnreadableBody};

use crate::{Arrival, ResponseBody};

/// What comes before a request's body.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> Head<'a> {
    pub(crate) const fn of_parts(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }

    pub(crate) fn of_request<B>(request: &'a http::Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    pub(crate) const fn extensions(self) -> &'a Extensions {
        self.extensions
    }

    /// The core's view of a request. What the client signed as `host` is the `:authority` under HTTP/2, which
    /// a server puts into the URI, and the header under HTTP/1.1, also where a target in absolute form names
    /// another host.
    pub(crate) fn request(
        self,
        arrival: &Arrival<'a>,
        deadline: Option<Instant>,
        body: Result<&'a [u8], UnreadableBody>,
    ) -> Request<'a> {
        let (method, target) = (self.method.as_str(), self.target());
        let request = match body {
            Ok(body) => {
                // SIG-2
                let authority = self
                    .uri
                    .authority()
                    .filter(|_| self.version >= Version::HTTP_2 || !self.headers.contains_key(header::HOST))
                    .map(|authority| ("host", authority.as_str().as_bytes()));
                let headers = self
                    .headers
                    .iter()
                    .filter(|(name, _)| authority.is_none() || **name != header::HOST)
                    .map(|(name, value)| (name.as_str(), value.as_bytes()));
                Request::new(method, target, body).headers(authority).headers(headers)
            }
            Err(why) => Request::with_unreadable_body(method, target, why),
        };
        let request = arrival.of(request).extensions(self.extensions);
        match deadline {
            Some(deadline) => request.deadline(deadline),
            None => request,
        }
    }

    /// Path and query as the client sent them.
    fn target(self) -> &'a str {
        self.uri
            .path_and_query()
            .map_or_else(|| self.uri.path(), |target| target.as_str())
    }
}

pub(crate) fn response(response: Response, closes_connection: bool) -> http::Response<ResponseBody> {
    // Statuses and headers are constants of the core, all of them legal.
    let status = StatusCode::from_u16(response.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers();
    let mut converted = http::Response::new(ResponseBody::new(response.into_body()));
    *converted.status_mut() = status;
    for (name, value) in headers {
        converted
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if closes_connection {
        converted
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    converted
}
