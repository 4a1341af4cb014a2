//! The content of TLS files: certificates and a private key. A block of another kind is passed over where
//! it does no harm, as in a file that holds both, and is a fault everywhere else.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pem::{self, Block, Fault};

/// A certificate, and where it begins in its file.
pub(super) struct Listed {
    pub(super) line: usize,
    pub(super) der: CertificateDer<'static>,
}

impl Listed {
    /// It was parsed when it was read; none never comes.
    pub(super) fn parsed(&self) -> Option<X509Certificate<'_>> {
        X509Certificate::from_der(&self.der)
            .ok()
            .map(|(_, certificate)| certificate)
    }
}

/// All certificates of a file, in its order, or all that is wrong with it.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<Listed>, Vec<Fault>> {
    let (blocks, mut faults) = pem::read(file);
    let others = labels(&blocks);
    let mut certificates = Vec::new();
    for Block { label, line, content } in blocks {
        match &*label {
            "CERTIFICATE" | "X509 CERTIFICATE" if is_certificate(&content) => certificates.push(Listed {
                line,
                der: CertificateDer::from(content.to_vec()),
            }),
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                faults.push(Fault::new(line, "not a valid X.509 certificate"));
            }
            "TRUSTED CERTIFICATE" => faults.push(Fault::new(
                line,
                "TRUSTED CERTIFICATE is an OpenSSL format: convert it with `openssl x509`",
            )),
            "PRIVATE KEY"
            | "RSA PRIVATE KEY"
            | "EC PRIVATE KEY"
            | "ENCRYPTED PRIVATE KEY"
            | "EC PARAMETERS"
            | "DH PARAMETERS" => {}
            "PKCS7" | "CMS" => faults.push(Fault::new(
                line,
                format!("{label} is a container of certificates: convert it with `openssl pkcs7 -print_certs`"),
            )),
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => faults.push(Fault::new(
                line,
                format!("{label} is a certificate request: use the certificate"),
            )),
            label => faults.push(Fault::new(
                line,
                format!("{label} is not supported: keep only CERTIFICATE blocks"),
            )),
        }
    }
    if certificates.is_empty() && faults.is_empty() {
        let wrong = format!("no certificate in PEM (-----BEGIN CERTIFICATE-----){others}");
        faults.push(Fault::new(1, wrong));
    }
    if faults.is_empty() {
        Ok(certificates)
    } else {
        Err(faults)
    }
}

/// Describes what a file holds instead.
fn labels(blocks: &[Block]) -> String {
    let mut labels: Vec<_> = blocks.iter().map(|block| block.label.to_lowercase()).collect();
    labels.dedup();
    match labels.is_empty() {
        true => String::new(),
        false => format!(", but {}", labels.join(", ")),
    }
}

fn is_certificate(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(rest, _)| rest.is_empty())
}

/// The first private key of a file, with what else should be known of it, or all that is wrong with the file.
pub(super) fn private_key(file: &[u8]) -> Result<(PrivateKeyDer<'static>, Vec<Fault>), Vec<Fault>> {
    let (blocks, mut faults) = pem::read(file);
    let others = labels(&blocks);
    let (mut found, mut warnings) = (None, Vec::new());
    for Block { label, line, content } in blocks {
        let key: PrivateKeyDer<'static> = match &*label {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(content.to_vec()).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(content.to_vec()).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(content.to_vec()).into(),
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" | "EC PARAMETERS" | "DH PARAMETERS" => continue,
            "ENCRYPTED PRIVATE KEY" => {
                let wrong = "the private key is encrypted with a passphrase, which is not supported: decrypt it \
                             with `openssl pkey`";
                faults.push(Fault::new(line, wrong));
                continue;
            }
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                faults.push(Fault::new(line, format!("{label} is not a private key")));
                continue;
            }
            "OPENSSH PRIVATE KEY" => {
                let wrong = "OPENSSH PRIVATE KEY is not supported: convert a copy of it with `ssh-keygen -p -m \
                             PKCS8`";
                faults.push(Fault::new(line, wrong));
                continue;
            }
            label => {
                let wrong = format!("{label} is not supported: convert the key with `openssl pkey` to PRIVATE KEY");
                faults.push(Fault::new(line, wrong));
                continue;
            }
        };
        if found.is_none() {
            found = Some(key);
        } else {
            warnings.push(Fault::new(
                line,
                "a second private key is ignored: the first one is used",
            ));
        }
    }
    match found {
        _ if !faults.is_empty() => Err(faults),
        Some(key) => Ok((key, warnings)),
        None => {
            let wrong = format!("no private key in PEM (PKCS#8, PKCS#1 or SEC1){others}");
            Err(vec![Fault::new(1, wrong)])
        }
    }
}
