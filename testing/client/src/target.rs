//! Whom to call, and how.

use std::{fmt, net::SocketAddr};

use rustls::ClientConfig;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    #[default]
    One,
    /// HTTP/2; without TLS, with prior knowledge.
    Two,
}

/// A proxy, and the key store of it that is called.
#[derive(Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Name and port that requests are signed for.
    pub host: String,
    /// The URI path prefix of the key store.
    pub prefix: String,
    /// Whom to believe, where there is TLS. ALPN follows from the version of HTTP.
    pub tls: Option<ClientConfig>,
}

impl Target {
    /// Without TLS.
    #[must_use]
    pub fn plain(address: SocketAddr, prefix: &str) -> Self {
        Self {
            address,
            host: address.to_string(),
            prefix: prefix.to_owned(),
            tls: None,
        }
    }

    /// With TLS, as `localhost`.
    #[must_use]
    pub fn with_tls(mut self, tls: ClientConfig) -> Self {
        self.host = format!("localhost:{}", self.address.port());
        self.tls = Some(tls);
        self
    }

    /// Scheme and authority, such as `https://localhost:8443`.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }

    /// The name that the certificate has to have.
    pub(crate) fn name(&self) -> &str {
        self.host.rsplit_once(':').map_or(&*self.host, |(name, _)| name)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, prefix, .. } = self;
        f.debug_struct("Target")
            .field("address", address)
            .field("origin", &self.origin())
            .field("prefix", prefix)
            .finish_non_exhaustive()
    }
}
