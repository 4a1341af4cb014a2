//! Key material on its way out, by AWS-LC: wrapped for the import into AWS KMS, or known by its CMAC.
//!
//! AWS-LC and not the crate `rsa`: the server has AWS-LC already for TLS, and AWS KMS unwraps with it.

use aws_lc_rs::{
    cmac,
    error::Unspecified,
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use xks_core::manage::{ManageError, ManageErrorKind, WrappingAlgorithm, WrappingKey};

use crate::material::KeyMaterial;

pub(crate) fn wrap(material: &KeyMaterial, key: &WrappingKey) -> Result<Vec<u8>, ManageError> {
    match key.algorithm() {
        WrappingAlgorithm::RsaOaepSha256 => oaep(&OAEP_SHA256_MGF1SHA256, key, material),
        WrappingAlgorithm::RsaOaepSha1 => oaep(&OAEP_SHA1_MGF1SHA1, key, material),
        WrappingAlgorithm::RsaAesKeyWrapSha256 => {
            let ephemeral = KeyMaterial::generate()
                .map_err(|error| ManageError::from(ManageErrorKind::Unavailable).with_source(error))?;
            let mut wrapped = oaep(&OAEP_SHA256_MGF1SHA256, key, &ephemeral)?;
            let mut padded = [0; 40];
            AesKek::new(&AES_256, ephemeral.as_bytes())
                .and_then(|kek| kek.wrap_with_padding(material.as_bytes(), &mut padded).map(|_| ()))
                .map_err(failed)?;
            wrapped.extend_from_slice(&padded);
            Ok(wrapped)
        }
        other => Err(ManageError::new(
            ManageErrorKind::Unsupported,
            format!("the soft backend does not wrap with {other}"),
        )),
    }
}

fn oaep(algorithm: &'static OaepAlgorithm, key: &WrappingKey, material: &KeyMaterial) -> Result<Vec<u8>, ManageError> {
    let key = PublicEncryptingKey::from_der(key.spki_der()).map_err(|error| {
        ManageError::new(ManageErrorKind::Unsupported, "AWS-LC refuses the wrapping key").with_source(error)
    })?;
    let key = OaepPublicEncryptingKey::new(key).map_err(failed)?;
    let mut wrapped = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(algorithm, material.as_bytes(), &mut wrapped, None)
        .map_err(failed)?
        .len();
    wrapped.truncate(length);
    Ok(wrapped)
}

/// AES-CMAC (NIST SP 800-38B).
pub(crate) fn cmac(material: &KeyMaterial, message: &[u8]) -> Result<[u8; 16], ManageError> {
    let tag = cmac::Key::new(cmac::AES_256, material.as_bytes()).and_then(|key| cmac::sign(&key, message));
    let tag = tag.map_err(failed)?;
    tag.as_ref().try_into().map_err(|_| ManageErrorKind::Other.into())
}

fn failed(_: Unspecified) -> ManageError {
    ManageError::new(
        ManageErrorKind::Other,
        "AWS-LC failed; look for what takes up the memory",
    )
}
