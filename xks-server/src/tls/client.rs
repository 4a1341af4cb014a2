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
