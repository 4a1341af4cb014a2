//! TLS parameters: roots, the client's certificate, versions and suites.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::EndpointError;

/// TLS parameters. By default: the machine's roots, no client certificate, TLS 1.2 and 1.3 with every
/// suite that is safe.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    roots: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
    is_insecure: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<SupportedCipherSuite>,
}

impl Tls {
    /// Believes in the root certificates of this PEM file alone, instead of the machine's.
    #[must_use]
    pub fn roots(mut self, file: impl Into<PathBuf>) -> Self {
        self.roots = Some(file.into());
        self
    }

    /// Presents the certificate chain and key of these PEM files: mutual TLS.
    #[must_use]
    pub fn identity(mut self, certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((certificates.into(), key.into()));
        self
    }

    /// Presents no certificate.
    #[must_use]
    pub fn without_identity(mut self) -> Self {
        self.identity = None;
        self
    }

    /// Returns whether a client certificate is presented.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Sets the name that the server's certificate has to have, where it is not that of the URL.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Takes any certificate of the server. Whoever is on the way can then read along.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.is_insecure = true;
        self
    }

    /// Takes only certificates that can be trusted, after all.
    #[must_use]
    pub fn secure(mut self) -> Self {
        self.is_insecure = false;
        self
    }

    /// Takes these versions alone.
    #[must_use]
    pub fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        versions.clone_into(&mut self.versions);
        self
    }

    /// Offers these suites alone.
    #[must_use]
    pub fn suites(mut self, suites: &[SupportedCipherSuite]) -> Self {
        suites.clone_into(&mut self.suites);
        self
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    pub(super) fn config(&self, alpn: &[u8]) -> Result<ClientConfig, EndpointError> {
        let mut provider = aws_lc_rs::default_provider();
        if !self.suites.is_empty() {
            provider.cipher_suites.clone_from(&self.suites);
        }
        let provider = Arc::new(provider);
        let versions = if self.versions.is_empty() {
            rustls::ALL_VERSIONS
        } else {
            &self.versions
        };
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
        let builder = match self.is_insecure {
            true => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider))),
            false => builder.with_root_certificates(self.root_store()?),
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(certificates(chain)?, private_key(key)?)?,
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    fn root_store(&self) -> Result<RootCertStore, EndpointError> {
        let mut store = RootCertStore::empty();
        match &self.roots {
            Some(file) => {
                for root in certificates(file)? {
                    store.add(root).map_err(|error| unusable(file, &error))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(found.certs);
                if store.is_empty() {
                    let why = found.errors.first().map(ToString::to_string);
                    return Err(EndpointError::NoRoots(
                        why.unwrap_or_else(|| "the system has none".into()),
                    ));
                }
            }
        }
        Ok(store)
    }
}

/// TLS parameters of a server: the certificate chain and the key of these PEM files. It speaks HTTP/1.1.
///
/// # Errors
/// A file cannot be read, or the two do not belong together.
pub(crate) fn server_config(chain: &Path, key: &Path) -> Result<ServerConfig, EndpointError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let (certificates, key) = (certificates(chain)?, private_key(key)?);
    let mut config = builder.with_no_client_auth().with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, EndpointError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| unusable(file, &error))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().map_err(|error| unusable(file, &error))?;
    if certificates.is_empty() {
        return Err(unusable(file, &"the file has no certificate"));
    }
    Ok(certificates)
}

fn unusable(file: &Path, why: &dyn ToString) -> EndpointError {
    EndpointError::File(file.display().to_string(), why.to_string())
}

/// Trusts any certificate, but checks that the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
