//! The certificates of a server.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::folder::Folder;

/// Writes `server.pem` and `server.key` for these names, `authority.pem` that issued them, and `another
/// authority.pem`.
pub(crate) fn write(folder: &Folder, names: &[String]) {
    for name in ["authority", "another authority"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        folder.write(&format!("{name}.pem"), &authority.pem());
        if name == "authority" {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(names).unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            folder.write("server.pem", &certificate.pem());
            folder.write("server.key", &key.serialize_pem());
        }
    }
}

/// Writes those of another server, so that clients which trust that one trust this one too.
pub(crate) fn copy(from: &Folder, to: &Folder) {
    for name in ["authority.pem", "another authority.pem", "server.pem", "server.key"] {
        to.write(name, &std::fs::read_to_string(from.file(name)).unwrap());
    }
}
