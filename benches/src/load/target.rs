//! The target of a load: a proxy's address, protocol and credential.

use std::{net::ToSocketAddrs as _, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use xks_core::Credential;
use xks_test_client::{Connection, Http};

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
    pub(super) proxy: xks_test_client::Target,
    pub(super) region: String,
    /// Requests go round.
    pub(super) places: Vec<Place>,
    pub(super) protocol: Protocol,
}

impl Target {
    /// The key store at this URL, with its URI path prefix; `https` needs the certificates (PEM) that are
    /// believed in.
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
            (true, Some(roots)) => Some(believing_in(roots)?),
            (true, None) => bail!("https needs a file with the certificates that are believed in"),
        };
        let mut addresses = (authority.host(), authority.port_u16().unwrap_or(port)).to_socket_addrs()?;
        Ok(Self {
            proxy: xks_test_client::Target {
                address: addresses.next().with_context(|| format!("{url} has no address"))?,
                host: authority.to_string(),
                prefix: String::new(),
                tls,
            },
            region: region.to_owned(),
            places: vec![Place {
                prefix: uri.path().trim_end_matches('/').to_owned(),
                credential,
                key: key.to_owned(),
            }],
            protocol,
        })
    }

    /// Several places, among which requests go round.
    #[must_use]
    pub fn among(self, places: Vec<Place>) -> Self {
        Self { places, ..self }
    }

    /// Opens a connection, with the handshake of TLS.
    ///
    /// # Errors
    /// When that does not succeed.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        let http = match self.protocol {
            Protocol::Http1 => Http::One,
            Protocol::Http2 => Http::Two,
        };
        let connected = Connection::open(&self.proxy, http).await;
        connected.with_context(|| format!("cannot connect to {}", self.proxy.origin()))
    }
}

/// A client that trusts the certificates of a file (PEM) alone.
fn believing_in(roots: &Path) -> anyhow::Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    let unreadable = || format!("cannot read {}", roots.display());
    for root in CertificateDer::pem_file_iter(roots).with_context(unreadable)? {
        store.add(root.with_context(unreadable)?)?;
    }
    Ok(
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth(),
    )
}
