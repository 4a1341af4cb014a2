//! The endpoint of a proxy: URL, credential, HTTP version, TLS, time limits.

use std::{fmt, sync::Arc, time::Duration};

use http::{Uri, uri::Scheme};
use rustls::{ClientConfig, pki_types::ServerName};
use thiserror::Error;

use super::{Credential, Tls};

/// The version of HTTP to speak: under TLS asked for by ALPN, without TLS by prior knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

impl Http {
    pub(super) fn alpn(self) -> &'static [u8] {
        match self {
            Self::One => b"http/1.1",
            Self::Two => b"h2",
        }
    }
}

/// A key store's proxy: its address, its path and how it is called.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authority: String,
    pub(super) prefix: String,
    pub(super) credential: Credential,
    pub(super) http: Http,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) max_answer: usize,
}

impl Endpoint {
    /// KMS's own limit for an answer (TRN-8).
    pub const TIMEOUT: Duration = Duration::from_millis(250);

    /// Starts with what every endpoint has.
    ///
    /// `url` is `http[s]://host[:port][/prefix]`; `/kms/xks/v1` is put behind it, unless it is there already.
    pub fn builder(url: impl Into<String>, credential: Credential) -> EndpointBuilder {
        EndpointBuilder {
            url: url.into(),
            credential,
            http: Http::One,
            tls: Tls::default(),
            timeout: Self::TIMEOUT,
            connect_timeout: Duration::from_secs(2),
            max_answer: 1 << 20,
        }
    }

    /// Returns what stands before every path: `[/prefix]/kms/xks/v1`, KMS's *XksProxyUriPath*.
    #[must_use]
    pub fn uri_path(&self) -> String {
        format!("{}/kms/xks/v1", self.prefix)
    }

    /// Returns the prefix alone, empty or with a `/` in front.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the value of `host`: the name, and the port where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The port that is connected to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The same proxy, called with another credential.
    pub(crate) fn with_credential(&self, credential: Credential) -> Self {
        Self {
            credential,
            ..self.clone()
        }
    }

    /// The same proxy, with another `host` in what is signed.
    pub(crate) fn with_authority(&self, authority: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            ..self.clone()
        }
    }

    /// Returns whether it is called over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the version of HTTP.
    #[must_use]
    pub fn http(&self) -> Http {
        self.http
    }

    /// Returns the credential that requests are signed with.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Returns the limit for an answer.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("authority", &self.authority)
            .field("prefix", &self.prefix)
            .field("credential", &self.credential)
            .field("http", &self.http)
            .field("is_tls", &self.is_tls())
            .finish_non_exhaustive()
    }
}

/// Makes an [`Endpoint`].
#[derive(Clone, Debug)]
pub struct EndpointBuilder {
    url: String,
    credential: Credential,
    http: Http,
    tls: Tls,
    timeout: Duration,
    connect_timeout: Duration,
    max_answer: usize,
}

impl EndpointBuilder {
    /// Sets the version of HTTP, by default HTTP/1.1.
    #[must_use]
    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }

    /// Sets the TLS parameters; of no effect on an `http` URL.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Sets the limit for an answer on an open connection, by default [`Endpoint::TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the limit for opening a connection with its TLS handshake, by default 2 seconds.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many bytes of an answer's body are read, by default 1 MiB.
    #[must_use]
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
        self
    }

    /// # Errors
    /// The URL is none, or a file of TLS cannot be used.
    pub fn build(self) -> Result<Endpoint, EndpointError> {
        let not_usable = |why: &str| EndpointError::Url(self.url.clone(), why.to_owned());
        let uri: Uri = self.url.parse().map_err(|_| not_usable("it cannot be parsed"))?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(not_usable("it must begin with http:// or https://")),
        };
        let host = uri.host().ok_or_else(|| not_usable("it has no host"))?;
        if uri.query().is_some()
            || uri
                .authority()
                .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(not_usable("it must not have a query or user"));
        }
        let usual_port = if is_tls { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(usual_port);
        let path = uri.path().trim_end_matches('/');
        let host_alone = host.trim_start_matches('[').trim_end_matches(']');
        let tls = match is_tls {
            false => None,
            true => {
                let name = self.tls.name().unwrap_or(host_alone).to_owned();
                let name = ServerName::try_from(name).map_err(|_| {
                    not_usable(
                        "its host cannot be the name of a \
                     certificate",
                    )
                })?;
                Some((Arc::new(self.tls.config(self.http.alpn())?), name))
            }
        };
        Ok(Endpoint {
            host: host_alone.to_owned(),
            port,
            authority: if port == usual_port {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            },
            prefix: path.strip_suffix("/kms/xks/v1").unwrap_or(path).to_owned(),
            credential: self.credential,
            http: self.http,
            tls,
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            max_answer: self.max_answer,
        })
    }
}

/// The error of an endpoint that cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The URL cannot be used: the URL, and why.
    #[error("invalid URL {0:?}: {1}")]
    Url(String, String),
    /// A file with certificates or a key cannot be used: its name, and why.
    #[error("{0}: {1}")]
    File(String, String),
    /// These settings of TLS cannot go together.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No root certificates were given, and the machine has none.
    #[error("no root certificates: {0}")]
    NoRoots(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, EndpointError> {
        let credential = Credential::new("AN-ID", "a secret", "us-east-1");
        Endpoint::builder(url, credential)
            .tls(Tls::default().insecure())
            .build()
    }

    #[test]
    fn a_url_says_host_port_and_prefix() {
        for (url, host, port, authority, uri_path) in [
            (
                "https://xks.example.com",
                "xks.example.com",
                443,
                "xks.example.com",
                "/kms/xks/v1",
            ),
            (
                "https://xks.example.com:443/",
                "xks.example.com",
                443,
                "xks.example.com",
                "/kms/xks/v1",
            ),
            (
                "http://127.0.0.1:8000/a/b",
                "127.0.0.1",
                8000,
                "127.0.0.1:8000",
                "/a/b/kms/xks/v1",
            ),
            ("http://[::1]:80/a/", "::1", 80, "[::1]", "/a/kms/xks/v1"),
            ("https://x:8443/a/kms/xks/v1", "x", 8443, "x:8443", "/a/kms/xks/v1"),
        ] {
            let endpoint = endpoint(url).unwrap();
            assert_eq!((&*endpoint.host, endpoint.port), (host, port), "{url}");
            assert_eq!(
                (endpoint.authority(), &*endpoint.uri_path()),
                (authority, uri_path),
                "{url}"
            );
            assert_eq!(endpoint.is_tls(), url.starts_with("https"));
        }
        for url in [
            "",
            "xks.example.com",
            "ftp://x/",
            "https://",
            "https://x/?a=b",
            "https://me@x/",
            "https://a b/",
        ] {
            assert!(matches!(endpoint(url), Err(EndpointError::Url(..))), "{url}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let endpoint = endpoint("https://x").unwrap();
        assert!(!format!("{endpoint:?}").contains("a secret"));
        assert!(format!("{endpoint:?}").contains("AN-ID"));
    }
}
