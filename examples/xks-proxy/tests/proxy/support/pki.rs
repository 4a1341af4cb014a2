//! Certificates made for a test, and a client that trusts them.

use std::{sync::Arc, time::Duration, time::SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// One that issues certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::parameters(name), KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| {})
    }

    /// One whose certificate says something else.
    pub(crate) fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut parameters = Self::parameters(name);
        change(&mut parameters);
        Self(CertifiedIssuer::signed_by(parameters, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn parameters(name: &str) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, leaf: &Leaf<'_>) -> Identity {
        let key = leaf.key();
        Identity {
            certificate: leaf.parameters().signed_by(&key, &self.0).unwrap(),
            key,
        }
    }
}

/// What a certificate says.
#[derive(Clone, Default)]
pub(crate) struct Leaf<'a> {
    pub(crate) common_name: Option<&'a str>,
    /// DNS names and IP addresses of the SAN.
    pub(crate) names: &'a [&'a str],
    pub(crate) is_rsa: bool,
    pub(crate) is_expired: bool,
    /// Not for servers too.
    pub(crate) is_for_clients: bool,
    /// For how long from now on; by default for centuries.
    pub(crate) valid_for: Option<Duration>,
}

impl Leaf<'_> {
    /// A server's, for `localhost`.
    pub(crate) const SERVER: Self = Leaf {
        common_name: None,
        names: &["localhost", "127.0.0.1"],
        is_rsa: false,
        is_expired: false,
        is_for_clients: false,
        valid_for: None,
    };

    pub(crate) fn self_signed(&self) -> Identity {
        let key = self.key();
        Identity {
            certificate: self.parameters().self_signed(&key).unwrap(),
            key,
        }
    }

    fn key(&self) -> KeyPair {
        let algorithm = if self.is_rsa {
            &PKCS_RSA_SHA256
        } else {
            &PKCS_ECDSA_P256_SHA256
        };
        KeyPair::generate_for(algorithm).unwrap()
    }

    fn parameters(&self) -> CertificateParams {
        let names: Vec<_> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        if let Some(name) = self.common_name {
            parameters.distinguished_name.push(DnType::CommonName, name);
        }
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if self.is_for_clients {
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        if self.is_expired {
            parameters.not_after = date_time_ymd(2020, 2, 2);
        }
        if let Some(time) = self.valid_for {
            parameters.not_after = (SystemTime::now() + time).into();
        }
        parameters
    }
}

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: Certificate,
    key: KeyPair,
}

impl Identity {
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }
}

/// A client that trusts a root, and takes these suites and versions alone.
pub(crate) fn client_config(
    root: &Authority,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
    suites: &[SupportedCipherSuite],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.0.der().clone()).unwrap();
    let mut provider = aws_lc_rs::default_provider();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem().as_bytes()).unwrap();
            config.with_client_auth_cert(vec![identity.der().clone()], key).unwrap()
        }
    }
}
