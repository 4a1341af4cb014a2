//! A proxy, and how it is reached.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use http::Uri;
use xks_core::Credential;

use super::tls::Tls;

/// The protocol on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS, with prior knowledge.
    Http2,
}

/// A key of a key store.
#[derive(Clone, Debug)]
pub struct Place {
    /// The URI path prefix of the key store.
    pub prefix: String,
    /// A credential of the key store.
    pub credential: Credential,
    /// The key.
    pub key: String,
}

/// Keys of a proxy, and how it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) address: SocketAddr,
    /// Scheme and authority, for HTTP/2.
    pub(super) origin: String,
    pub(super) host: String,
    pub(super) region: String,
    /// Requests go round.
    pub(super) places: Vec<Place>,
    pub(super) protocol: Protocol,
    pub(super) tls: Option<Tls>,
}

impl Target {
    /// The key store at this URL, with its URI path prefix; `https` needs the certificates (PEM) that are believed in.
    ///
    /// # Errors
    /// When the URL is none, or a certificate cannot be read.
    pub fn new(
        url: &str,
        region: &str,
        credential: Credential,
        key: &str,
        protocol: Protocol,
        roots: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        let authority = uri.authority().with_context(|| format!("{url} has no host"))?;
        let (port, is_tls) = match uri.scheme_str() {
            Some("http") => (80, false),
            Some("https") => (443, true),
            _ => bail!("{url} is neither http nor https"),
        };
        let tls = match (is_tls, roots) {
            (false, _) => None,
            (true, Some(roots)) => Some(Tls::new(roots, authority.host(), protocol)?),
            (true, None) => bail!("https needs a file with the certificates that are believed in"),
        };
        let mut addresses = (authority.host(), authority.port_u16().unwrap_or(port)).to_socket_addrs()?;
        Ok(Self {
            address: addresses.next().with_context(|| format!("{url} has no address"))?,
            origin: format!("{}://{authority}", uri.scheme_str().unwrap_or_default()),
            host: authority.to_string(),
            region: region.to_owned(),
            places: vec![Place {
                prefix: uri.path().trim_end_matches('/').to_owned(),
                credential,
                key: key.to_owned(),
            }],
            protocol,
            tls,
        })
    }

    /// Several places, among which requests go round.
    #[must_use]
    pub fn among(self, places: Vec<Place>) -> Self {
        Self { places, ..self }
    }
}
