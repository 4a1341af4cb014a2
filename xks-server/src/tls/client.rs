//! Client certificates: they have to chain to a root, and to bear a name.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use super::{content::Listed, pem::Fault};

/// A client needs a certificate of one of these roots, with one of these names.
#[derive(Debug)]
pub(super) struct NamedClients {
    chain: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl NamedClients {
    pub(super) fn new(roots: &[Listed], names: &[String], provider: Arc<CryptoProvider>) -> Result<Self, Vec<Fault>> {
        let mut store = RootCertStore::empty();
        let refused = roots.iter().filter_map(|root| {
            let error = store.add(root.der.clone()).err()?;
            Some(Fault::new(
                root.line,
                format!("this certificate cannot be used: {error}"),
            ))
        });
        let refused: Vec<_> = refused.collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
        Ok(Self {
            chain: chain.map_err(|error| vec![Fault::new(1, error.to_string())])?,
            names: names.to_vec(),
        })
    }

    /// Returns the name of the list that a certificate bears, in a CN of the subject or in a DNS name of the
    /// SAN: KMS has its name in either.
    pub(super) fn name_of(&self, certificate: &CertificateDer<'_>) -> Option<&str> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let in_subject = certificate.subject().iter_common_name();
        let in_subject = in_subject.filter_map(|name| name.as_str().ok());
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let alternatives = alternatives.into_iter().flat_map(|names| &names.value.general_names);
        let alternatives = alternatives.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        let known = |name: &str| self.names.iter().find(|known| known.eq_ignore_ascii_case(name));
        in_subject.chain(alternatives).find_map(known).map(String::as_str)
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
        match self.name_of(end_entity) {
            Some(_) => Ok(verified),
            None => Err(CertificateError::NotValidForName.into()),
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
