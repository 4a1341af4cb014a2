//! What a key does, at once: for backends and layers that find their keys themselves.

use xks_core::{
    BackendError, KeyId, Zeroizing,
    aad::BoundAad,
    backend::{DecryptRequest, EncryptRequest, Encrypted, Iv, KeyUsage, Tag, Verification, VerifiedEncryption},
};

use crate::SoftKey;

impl SoftKey {
    /// Encrypts under the newest version, as [`KeyBackend::encrypt`](xks_core::KeyBackend::encrypt) does. The
    /// id is for the log.
    ///
    /// # Errors
    /// `KeyDisabled`, also when the version has made all encryptions that it may; `KeyUsage`; `Unavailable`
    /// without random bytes.
    pub fn encrypt(&self, id: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.check(KeyUsage::Encrypt)?;
        let version = self.newest_version();
        let aad = request.bind_aad(Some(*version.metadata()));
        let sealed = version.seal(id, aad.as_bytes(), request.plaintext())?;
        Ok(Encrypted::new(sealed.ciphertext, sealed.iv, sealed.tag, aad))
    }

    /// Encrypts, decrypts the result and compares it, as
    /// [`KeyBackend::encrypt_verified`](xks_core::KeyBackend::encrypt_verified) does.
    ///
    /// # Errors
    /// Those of [`encrypt`](Self::encrypt) and [`decrypt`](Self::decrypt), and that of a verification.
    pub fn encrypt_verified(
        &self,
        id: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        let verification = Verification::begin(self.encrypt(id, request)?);
        let (encrypted, aad) = (verification.encrypted(), verification.encrypted().bound_aad());
        let decrypted = self.open(encrypted.iv(), aad, encrypted.ciphertext(), encrypted.tag());
        verification.end(decrypted, request.plaintext())
    }

    /// Decrypts under the version that the ciphertext's metadata names, as
    /// [`KeyBackend::decrypt`](xks_core::KeyBackend::decrypt) does.
    ///
    /// # Errors
    /// `KeyDisabled`; `KeyUsage`; `InvalidCiphertext`.
    pub fn decrypt(&self, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.open(request.iv(), request.bound_aad(), request.ciphertext(), request.tag())
    }

    fn open(&self, iv: &Iv, aad: &BoundAad, ciphertext: &[u8], tag: &Tag) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.check(KeyUsage::Decrypt)?;
        let version = aad.metadata().and_then(|metadata| self.version_of(metadata));
        let version = version.ok_or_else(BackendError::invalid_ciphertext)?;
        version.cipher().open(iv, aad.as_bytes(), ciphertext, tag)
    }
}
