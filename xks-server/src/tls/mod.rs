//! TLS 1.2 and 1.3, and client certificates, which have to chain to a root and bear a name.

mod chain;
mod client;
mod content;
pub(crate) mod pem;

use std::{fmt, iter, sync::Arc, time::SystemTime};

use rustls::{
    CertificateError, ServerConfig, ServerConnection,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::PrivateKeyDer,
    server::NoServerSessionStorage,
};

pub(crate) use self::chain::{Ending, OwnCertificate, Stage};
use self::{client::NamedClients, content::Listed, pem::Fault};

/// The content of the TLS files, ready to serve.
#[derive(Clone)]
pub(crate) struct TlsMaterial {
    pub(crate) config: Arc<ServerConfig>,
    /// When the server's own certificate ends.
    pub(crate) expires: SystemTime,
    /// What the server's own certificate says.
    #[cfg_attr(
        not(feature = "lifecycle"),
        allow(dead_code, reason = "other nodes show it, and there are none")
    )]
    pub(crate) own: Option<Arc<OwnCertificate>>,
    /// When each certificate ends that is shown or believed.
    pub(crate) endings: Vec<Ending>,
    /// Reasons for which a client may refuse them.
    pub(crate) warnings: Vec<TlsProblem>,
    /// When it was looked for these.
    pub(crate) looked: SystemTime,
    clients: Option<Arc<NamedClients>>,
}

/// Which of the files it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsPart {
    CertificateChain,
    PrivateKey,
    ClientRoots,
}

/// An error or a warning about one of the files.
#[derive(Clone, Debug)]
pub(crate) struct TlsProblem {
    pub(crate) part: TlsPart,
    /// The line of the file; none where it is all of it.
    pub(crate) line: Option<usize>,
    pub(crate) text: String,
}

impl TlsPart {
    fn problem(self, text: impl Into<String>) -> TlsProblem {
        TlsProblem {
            part: self,
            line: None,
            text: text.into(),
        }
    }

    fn problems(self, faults: impl IntoIterator<Item = Fault>) -> Vec<TlsProblem> {
        let problem = |Fault { line, text }| TlsProblem {
            part: self,
            line: Some(line),
            text,
        };
        faults.into_iter().map(problem).collect()
    }
}

impl TlsMaterial {
    /// From PEM. `client`: root certificates, and the names of which a client has to bear one.
    pub(crate) fn new(chain: &[u8], key: &[u8], client: Option<(&[u8], &[String])>) -> Result<Self, Vec<TlsProblem>> {
        use TlsPart::{CertificateChain, ClientRoots, PrivateKey};

        let now = SystemTime::now();
        let chain = content::certificates(chain).map_err(|faults| CertificateChain.problems(faults));
        let key = content::private_key(key).map_err(|faults| PrivateKey.problems(faults));
        let roots =
            client.map(|(roots, _)| content::certificates(roots).map_err(|faults| ClientRoots.problems(faults)));
        let roots = roots.transpose();
        // All that is wrong at once.
        let (chain, (key, warnings_of_key), roots) = match (chain, key, roots) {
            (Ok(chain), Ok(key), Ok(roots)) => (chain, key, roots),
            (chain, key, roots) => {
                let problems = [chain.err(), key.err(), roots.err()];
                return Err(problems.into_iter().flatten().flatten().collect());
            }
        };
        let inspected = chain::inspect(&chain, now).map_err(|fault| CertificateChain.problems([fault]))?;
        let Some(expires) = inspected.endings.first().map(|own| own.ends) else {
            return Err(vec![CertificateChain.problem("no certificate in this file")]);
        };
        let mut warnings = CertificateChain.problems(inspected.warnings);
        warnings.extend(PrivateKey.problems(warnings_of_key));
        let (mut endings, own) = (inspected.endings, inspected.own.map(Arc::new));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| vec![CertificateChain.problem(error.to_string())])?;
        let (builder, clients) = match (&roots, client) {
            (Some(roots), Some((_, names))) => {
                let inspected = chain::inspect_roots(roots, now);
                warnings.extend(ClientRoots.problems(inspected.warnings));
                endings.extend(inspected.endings);
                let verifier = NamedClients::new(roots, names, Arc::clone(&provider));
                let verifier = verifier.map_err(|faults| ClientRoots.problems(faults))?;
                let clients = Arc::new(verifier);
                (
                    builder.with_client_cert_verifier(Arc::clone(&clients) as _),
                    Some(clients),
                )
            }
            _ => (builder.with_no_client_auth(), None),
        };
        let shown = chain.iter().map(|listed| listed.der.clone()).collect();
        let config = builder.with_single_cert(shown, key.clone_key());
        let mut config = config.map_err(|error| {
            let unservable = unservable(&error, &chain, key, &provider);
            // Another key of the file may be the one.
            let of_key = warnings.iter().filter(|warning| warning.part == PrivateKey);
            iter::once(unservable).chain(of_key.cloned()).collect::<Vec<_>>()
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
            own,
            endings,
            warnings,
            looked: now,
            clients,
        })
    }

    /// Returns the name by which a client was let in, if clients have to bear one.
    pub(crate) fn client_name(&self, connection: &ServerConnection) -> Option<&str> {
        let certificate = connection.peer_certificates()?.first()?;
        self.clients.as_ref()?.name_of(certificate)
    }
}

/// The error of a chain that cannot be served with a key.
fn unservable(
    error: &rustls::Error,
    chain: &[Listed],
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> TlsProblem {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            let public = provider.key_provider.load_private_key(key).ok();
            let public = public.as_ref().and_then(|key| key.public_key());
            let is_its = |listed: &&Listed| {
                let certificate = listed.parsed();
                public
                    .as_ref()
                    .zip(certificate)
                    .is_some_and(|(public, certificate)| public.as_ref() == certificate.public_key().raw)
            };
            match chain.iter().find(is_its) {
                Some(own) => TlsPart::CertificateChain.problem(format!(
                    "the chain is out of order: the private key belongs to the certificate in line {}, which must \
                     come first",
                    own.line
                )),
                None => TlsPart::PrivateKey.problem(
                    "the private key does not belong to the first certificate of the \
                         chain",
                ),
            }
        }
        rustls::Error::InvalidCertificate(_) => {
            TlsPart::CertificateChain.problem(format!("the first certificate cannot be used: {error}"))
        }
        rustls::Error::General(_) => TlsPart::PrivateKey.problem(
            "the private key cannot be used: it must be RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, \
             or Ed25519, and not damaged",
        ),
        error => TlsPart::PrivateKey.problem(format!("the private key cannot be used: {error}")),
    }
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// The reason of a failed handshake, in a word for metrics.
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
