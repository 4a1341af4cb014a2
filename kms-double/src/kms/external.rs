//! Encryption with an external key: KMS's own layer within, that of the proxy around it.

use super::{
    binary::Binary,
    blob,
    context::{EncryptionContext, aad},
    exception::{Exception, ExceptionName},
    failure::{Failure, Fault},
    key::Key,
    operation::Operation,
    proxy::{ExternalKey, Proxy},
    seal::{KeyMaterial, Purpose},
};

impl Key {
    pub(crate) async fn encrypt_external(
        &self,
        proxy: &Proxy,
        operation: Operation<'_>,
        plaintext: &[u8],
        context: &EncryptionContext,
    ) -> Result<Binary, Exception> {
        let aad = aad(context)?;
        let (material, external_key) = self.material_and_external_key()?;
        let inner = material.seal(Purpose::Plaintext, plaintext, &[self.arn.as_bytes(), &aad])?;
        let external = proxy.encrypt(operation, external_key, &inner.into(), &aad).await;
        let external = external.map_err(Fault::at_cryptography)?;
        let id = self.id_bytes();
        let body = id
            .and_then(|id| blob::body(&id, &external))
            .ok_or_else(|| Exception::new(ExceptionName::Internal, "the ciphertext does not fit into a blob"))?;
        let seal = material.seal(Purpose::Blob, b"", &[&body, &aad])?;
        Ok([body, seal].concat().into())
    }

    pub(crate) async fn decrypt_external(
        &self,
        proxy: &Proxy,
        operation: Operation<'_>,
        blob: &blob::Blob<'_>,
        context: &EncryptionContext,
    ) -> Result<Binary, Exception> {
        let aad = aad(context)?;
        let (material, external_key) = self.material_and_external_key()?;
        let inner = proxy.decrypt(operation, external_key, &blob.external, &aad).await;
        let inner = inner.map_err(Fault::at_cryptography)?;
        let foreign = |what: &str| Fault::new(Failure::ForeignPlaintext, what).at_cryptography();
        let plaintext = material
            .open(Purpose::Plaintext, &inner, &[self.arn.as_bytes(), &aad])
            .ok_or_else(|| foreign("the inner layer of KMS does not decrypt: the proxy returned a wrong plaintext"))?;
        // Whatever the proxy lets pass, such as metadata that it does not authenticate.
        material
            .open(Purpose::Blob, blob.seal, &[blob.sealed, &aad])
            .ok_or_else(|| foreign("the blob was changed, and the proxy decrypted it"))?;
        Ok(plaintext.into())
    }

    fn material_and_external_key(&self) -> Result<(&KeyMaterial, ExternalKey<'_>), Exception> {
        let external = self.external().zip(self.external_key());
        let external = external.map(|(backing, key)| (&backing.material, key));
        external.ok_or_else(|| {
            let message = format!("{} is in no external key store", self.arn);
            Exception::new(ExceptionName::Internal, message)
        })
    }
}
