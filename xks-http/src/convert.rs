//! From the `http` crate's types to the core's and back.

use http::{HeaderName, HeaderValue, StatusCode, Version, header, request::Parts};
use xks_core::{Request, Response, api::UnreadableBody};

use crate::ResponseBody;

/// The core's view of a request. What the client signed as `host` is the `:authority` under HTTP/2, which a server
/// puts into the URI, and the header under HTTP/1.1, also where a target in absolute form names another host.
pub(crate) fn request<'a>(parts: &'a Parts, body: Result<&'a [u8], UnreadableBody>) -> Request<'a> {
    let (method, target) = (parts.method.as_str(), target(parts));
    let body = match body {
        Ok(body) => body,
        Err(why) => return Request::with_unreadable_body(method, target, why),
    };
    // SIG-2
    let authority = parts
        .uri
        .authority()
        .filter(|_| parts.version >= Version::HTTP_2 || !parts.headers.contains_key(header::HOST))
        .map(|authority| ("host", authority.as_str().as_bytes()));
    let headers = parts
        .headers
        .iter()
        .filter(|(name, _)| authority.is_none() || **name != header::HOST)
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    Request::new(method, target, body).headers(authority).headers(headers)
}

/// Path and query as the client sent them.
fn target(parts: &Parts) -> &str {
    parts
        .uri
        .path_and_query()
        .map_or_else(|| parts.uri.path(), |target| target.as_str())
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
