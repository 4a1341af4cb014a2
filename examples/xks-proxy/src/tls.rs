//! TLS 1.2 and 1.3 (TRN-3), and client certificates, which have to chain to a root and bear a name (TRN-6).

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use thiserror::Error;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

/// A certificate that ends sooner is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What the TLS files hold, ready to serve.
#[derive(Clone)]
pub(crate) struct TlsMaterial {
    pub(crate) config: Arc<ServerConfig>,
    /// When the server's own certificate ends.
    pub(crate) expires: SystemTime,
    /// What a client may well object to.
    doubts: Vec<String>,
}

/// Which of the files it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsPart {
    CertificateChain,
    PrivateKey,
    ClientRoots,
}

/// What is wrong with one of the files.
#[derive(Debug, Error)]
#[error("{text}")]
pub(crate) struct TlsError {
    pub(crate) part: TlsPart,
    text: String,
}

impl TlsError {
    fn new(part: TlsPart, text: impl Into<String>) -> Self {
        Self {
            part,
            text: text.into(),
        }
    }
}

impl TlsMaterial {
    /// From PEM. `client`: root certificates, and the names of which a client has to bear one.
    pub(crate) fn new(chain: &[u8], key: &[u8], client: Option<(&[u8], &[String])>) -> Result<Self, TlsError> {
        let of_chain = |text: &str| TlsError::new(TlsPart::CertificateChain, text);
        let chain = certificates(chain).map_err(|text| of_chain(&text))?;
        let (expires, doubts) = inspect(&chain).map_err(|text| of_chain(&text))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            TlsError::new(
                TlsPart::PrivateKey,
                "it holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)",
            )
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| of_chain(&error.to_string()))?;
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some((roots, names)) => {
                let verifier = NamedClients::new(roots, names, provider);
                let verifier = verifier.map_err(|text| TlsError::new(TlsPart::ClientRoots, text))?;
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::new(
                TlsPart::PrivateKey,
                "the private key is not that of the first certificate of the chain",
            ),
            error => TlsError::new(TlsPart::PrivateKey, error.to_string()),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if client.is_some() {
            // A session that is resumed does not show its certificate again, which may have ended meanwhile.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self {
            config: Arc::new(config),
            expires,
            doubts,
        })
    }

    pub(crate) fn doubts(&self) -> impl Iterator<Item = &str> {
        self.doubts.iter().map(String::as_str)
    }
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("it holds no certificate in PEM".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it is not readable as PEM: {error}")),
    }
}

/// When the first certificate ends, and what a client may object to.
fn inspect(chain: &[CertificateDer<'_>]) -> Result<(SystemTime, Vec<String>), String> {
    let mut parsed = Vec::with_capacity(chain.len());
    for (place, certificate) in (1..).zip(chain) {
        let certificate = X509Certificate::from_der(certificate);
        parsed.push(
            certificate
                .map_err(|_| format!("certificate {place} is no X.509 certificate"))?
                .1,
        );
    }
    let Some(own) = parsed.first() else {
        return Err("it holds no certificate".to_owned());
    };
    let seconds = |time: i64| UNIX_EPOCH + Duration::from_secs(time.try_into().unwrap_or(0));
    let begins = seconds(own.validity().not_before.timestamp());
    let expires = seconds(own.validity().not_after.timestamp());
    let now = SystemTime::now();
    let mut doubts = Vec::new();
    if expires < now {
        doubts.push(format!("the certificate has expired: {}", own.validity().not_after));
    } else if expires < now + SOON {
        doubts.push(format!("the certificate expires soon: {}", own.validity().not_after));
    }
    if begins > now {
        doubts.push(format!(
            "the certificate is not valid before {}",
            own.validity().not_before
        ));
    }
    if own.subject_alternative_name().ok().flatten().is_none() {
        doubts.push("the certificate names no host: it has no subject alternative name".to_owned());
    }
    if parsed
        .windows(2)
        .any(|pair| matches!(pair, [lower, upper] if lower.issuer() != upper.subject()))
    {
        doubts.push("the chain is out of order: each certificate is to be followed by its issuer's".to_owned());
    }
    Ok((expires, doubts))
}

/// A client needs a certificate of one of these roots, with one of these names.
#[derive(Debug)]
struct NamedClients {
    chain: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl NamedClients {
    fn new(roots: &[u8], names: &[String], provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for root in certificates(roots)? {
            store
                .add(root)
                .map_err(|error| format!("one of the root certificates cannot be used: {error}"))?;
        }
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
        Ok(Self {
            chain: chain.map_err(|error| error.to_string())?,
            names: names.to_vec(),
        })
    }

    /// In a DNS name of the SAN, or in a CN of the subject, as KMS has it.
    fn are_borne_by(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return false;
        };
        let is_known = |name: &str| self.names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let in_subject = certificate
            .subject()
            .iter_common_name()
            .any(|name| name.as_str().is_ok_and(is_known));
        in_subject
            || certificate
                .subject_alternative_name()
                .ok()
                .flatten()
                .is_some_and(|names| {
                    let mut names = names.value.general_names.iter();
                    names.any(|name| matches!(name, GeneralName::DNSName(name) if is_known(name)))
                })
    }
}

impl ClientCertVerifier for NamedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        if self.are_borne_by(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Why a handshake failed, in a word for metrics.
pub(crate) fn reason_of(error: &std::io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::NoCertificatesPresented) => "no_client_certificate",
        Some(rustls::Error::InvalidCertificate(problem)) => match problem {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "client_name",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "client_certificate_expired",
            CertificateError::UnknownIssuer => "client_certificate_issuer",
            _ => "client_certificate",
        },
        Some(rustls::Error::AlertReceived(_)) => "refused_by_client",
        Some(rustls::Error::PeerIncompatible(_)) => "incompatible",
        Some(_) => "protocol",
        None if error.kind() == std::io::ErrorKind::TimedOut => "timeout",
        None => "connection",
    }
}
