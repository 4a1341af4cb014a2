//! A request in all its parts, and AWS's own signer, which signs as KMS does.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use thiserror::Error;

use super::Endpoint;

/// The service that requests to a proxy are signed for.
pub const SERVICE: &str = "kms-xks-proxy";

/// A request in all its parts, as it is sent: a change after signing breaks the signature.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Raw {
    /// The method.
    pub method: Method,
    /// The request target: path, and query where there is one.
    pub target: String,
    /// All headers, `host` too; under HTTP/2 its first value becomes `:authority`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Raw {
    /// Creates a request without a signature to a path below the endpoint's `/kms/xks/v1`.
    ///
    /// # Errors
    /// The endpoint's name cannot stand in a header.
    pub fn unsigned(endpoint: &Endpoint, method: Method, path: &str, body: &[u8]) -> Result<Self, SignError> {
        let host = HeaderValue::try_from(endpoint.authority()).map_err(|_| SignError)?;
        let json = HeaderValue::from_static("application/json");
        Ok(Self {
            method,
            target: format!("{}/{path}", endpoint.uri_path()),
            headers: HeaderMap::from_iter([(header::HOST, host), (header::CONTENT_TYPE, json)]),
            body: Bytes::copy_from_slice(body),
        })
    }

    /// Creates a request as KMS signs it.
    ///
    /// # Errors
    /// AWS's signer refuses it.
    pub fn signed(
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        body: &[u8],
        time: SystemTime,
    ) -> Result<Self, SignError> {
        let mut request = Self::unsigned(endpoint, method, path, body)?;
        request.sign(endpoint, time)?;
        Ok(request)
    }

    /// Signs it as it is, with all its headers.
    fn sign(&mut self, endpoint: &Endpoint, time: SystemTime) -> Result<(), SignError> {
        let credential = endpoint.credential();
        let identity = Credentials::from_keys(credential.access_key_id(), credential.secret(), None).into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(credential.region())
            .name(SERVICE)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| SignError)?
            .into();
        let url = format!("https://{}{}", endpoint.authority(), self.target);
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.to_str()));
        let headers: Vec<_> = headers.filter_map(|(name, value)| Some((name, value.ok()?))).collect();
        let body = SignableBody::Bytes(&self.body);
        let signable = SignableRequest::new(self.method.as_str(), &url, headers.into_iter(), body);
        let (instructions, _) = sign(signable.map_err(|_| SignError)?, &parameters)
            .map_err(|_| SignError)?
            .into_parts();
        for (name, value) in instructions.headers() {
            let name = HeaderName::try_from(name).map_err(|_| SignError)?;
            let mut value = HeaderValue::try_from(value).map_err(|_| SignError)?;
            value.set_sensitive(name == header::AUTHORIZATION);
            self.headers.insert(name, value);
        }
        Ok(())
    }
}

/// A request cannot be signed, or cannot be written as HTTP.
#[derive(Debug, Error)]
#[error("the request cannot be signed or written")]
#[non_exhaustive]
pub struct SignError;
