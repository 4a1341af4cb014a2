//! Encryption with key material that KMS has, imported or made by it: by AES-256-GCM, bound to the key, the
//! material and the encryption context.
//!
//! ```text
//! version            1 byte, 2
//! KMS key            16 bytes, its key id
//! key material       64 bytes, its id
//! ciphertext         nonce, ciphertext and tag
//! ```

use super::{
    binary::Binary,
    blob::KeyIdBytes,
    context::{EncryptionContext, aad},
    exception::{Exception, ExceptionName},
    key::Key,
    seal::Purpose,
};

const VERSION: u8 = 2;

/// The length of a material's id.
const MATERIAL_ID: usize = 64;

/// A blob in its parts.
pub(crate) struct Blob<'a> {
    pub(crate) key_id: KeyIdBytes,
    /// All before the ciphertext.
    head: &'a [u8],
    pub(crate) material_id: &'a str,
    sealed: &'a [u8],
}

/// Takes a blob apart that may be anything.
pub(crate) fn parse(blob: &[u8]) -> Option<Blob<'_>> {
    let (head, sealed) = blob.split_at_checked(1 + size_of::<KeyIdBytes>() + MATERIAL_ID)?;
    let (version, rest) = head.split_first()?;
    let (key_id, material_id) = rest.split_first_chunk()?;
    (*version == VERSION).then_some(Blob {
        key_id: *key_id,
        head,
        material_id: std::str::from_utf8(material_id).ok()?,
        sealed,
    })
}

/// A ciphertext or plaintext, and the material that it came of.
pub(crate) struct WithMaterial {
    pub(crate) bytes: Binary,
    pub(crate) material_id: Option<String>,
}

impl Key {
    /// Encrypts with the current material.
    pub(crate) fn encrypt_imported(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
    ) -> Result<WithMaterial, Exception> {
        let materials = self.materials()?;
        let current = materials.current().ok_or_else(|| self.pending_import())?;
        let bytes = current.bytes.as_ref().ok_or_else(|| self.pending_import())?;
        let mut blob = vec![VERSION];
        blob.extend(self.id_bytes().unwrap_or_default());
        blob.extend(current.id.as_bytes());
        let sealed = bytes.seal(Purpose::Imported, plaintext, &[&blob, &aad(context)?])?;
        blob.extend(sealed);
        Ok(WithMaterial {
            bytes: blob.into(),
            material_id: Some(current.id.clone()),
        })
    }

    /// Decrypts with the material that it was encrypted with.
    pub(crate) fn decrypt_imported(
        &self,
        blob: &Blob<'_>,
        context: &EncryptionContext,
    ) -> Result<WithMaterial, Exception> {
        let materials = self.materials()?;
        let material = materials.by_id(blob.material_id).ok_or_else(invalid_ciphertext)?;
        let bytes = material.bytes.as_ref().ok_or_else(|| self.pending_import())?;
        let plaintext = bytes.open(Purpose::Imported, blob.sealed, &[blob.head, &aad(context)?]);
        Ok(WithMaterial {
            bytes: plaintext.ok_or_else(invalid_ciphertext)?.into(),
            material_id: Some(material.id.clone()),
        })
    }

    fn pending_import(&self) -> Exception {
        let message = format!("{} is pending import.", self.arn);
        Exception::new(ExceptionName::InvalidState, message)
    }
}

pub(crate) fn invalid_ciphertext() -> Exception {
    let message = "The ciphertext was not made by this KMS, or its encryption context is another one";
    Exception::new(ExceptionName::InvalidCiphertext, message)
}
