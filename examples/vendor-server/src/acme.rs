//! The vendor's key manager: its keys are derived from one master key. It stands for an appliance or a
//! service.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::AeadInOut as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        HealthStatus, KeyMetadata, KeySpec, KeyStatus, KeyUsage,
    },
};
use xks_server::{
    Samples,
    backend::{BackendSettings, OpenBackend, OpenError, Opening, ReadContext},
    settings::{Secret, Table},
};

/// The key of the health check, which is never served.
const TEST_KEY: &str = "acme-test-key";

/// What a `[backends.NAME]` table with `kind = "acme"` says.
#[derive(PartialEq)]
pub(crate) struct AcmeSettings {
    master_key: Secret,
    keys: Vec<KeyId>,
}

impl AcmeSettings {
    /// All that is wrong is reported, each with its line, before this gives up.
    pub(crate) fn read(table: &mut Table<'_, '_>, _: &ReadContext) -> Option<Self> {
        let master_key = table.secret(["master_key_file", "master_key_env", "master_key"]);
        let master_key = table.needed("master_key_file", master_key);
        if master_key.as_ref().is_some_and(|key| key.expose().len() < 32) {
            table.error("the master key has less than 32 characters");
        }
        let keys = table.parsed_list::<KeyId>("keys");
        let keys = table.needed("keys", keys)?;
        for key in keys.iter().filter(|key| key.value.as_str() == TEST_KEY) {
            table.error_at(key, format!("`keys`: {TEST_KEY} is the key of the health check"));
        }
        Some(Self {
            master_key: master_key?,
            keys: keys.into_iter().map(|key| key.value).collect(),
        })
    }
}

impl BackendSettings for AcmeSettings {
    fn open(&self, _: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        Ok(Arc::new(Acme::new(self.master_key.expose(), &self.keys)?))
    }

    fn may_block(&self) -> bool {
        false
    }

    fn shares_keys_with(&self, other: &Self) -> bool {
        self.master_key == other.master_key
    }

    fn is_test_key(&self, key: &KeyId) -> bool {
        key.as_str() == TEST_KEY
    }
}

/// The key manager, open.
pub(crate) struct Acme {
    keys: Vec<(KeyId, Aes256Gcm)>,
    test_key: Aes256Gcm,
    calls: AtomicU64,
}

impl Acme {
    pub(crate) fn new(master_key: &[u8], keys: &[KeyId]) -> Result<Self, OpenError> {
        let derive = |id: &str| -> Result<Aes256Gcm, OpenError> {
            let mut mac = Hmac::<Sha256>::new_from_slice(master_key).map_err(OpenError::permanent)?;
            mac.update(id.as_bytes());
            Ok(Aes256Gcm::new(&mac.finalize().into_bytes()))
        };
        let derived = keys.iter().map(|id| Ok((id.clone(), derive(id.as_str())?)));
        Ok(Self {
            keys: derived.collect::<Result<_, OpenError>>()?,
            test_key: derive(TEST_KEY)?,
            calls: AtomicU64::new(0),
        })
    }

    fn cipher(&self, key: &KeyId) -> Result<&Aes256Gcm, BackendError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let found = self.keys.iter().find(|(id, _)| id == key);
        found
            .map(|(_, cipher)| cipher)
            .ok_or_else(|| BackendErrorKind::KeyNotFound.into())
    }

    // HLT-1: real cryptography, with a key that is never served.
    fn works(&self) -> bool {
        let (key, iv, mut text) = (&self.test_key, [0; 12].into(), *b"probe");
        key.encrypt_inout_detached(&iv, b"", text.as_mut_slice().into())
            .and_then(|tag| key.decrypt_inout_detached(&iv, b"", text.as_mut_slice().into(), &tag))
            .is_ok_and(|()| text == *b"probe")
    }
}

#[async_trait]
impl KeyBackend for Acme {
    async fn key_metadata(&self, key: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        self.cipher(key)?;
        Ok(KeyMetadata::new(
            KeySpec::Aes256,
            [KeyUsage::Encrypt, KeyUsage::Decrypt],
            KeyStatus::Enabled,
        ))
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let failed = |what| BackendError::new(BackendErrorKind::Unavailable, what);
        let cipher = self.cipher(key)?;
        let aad = request.bind_aad(None); // no ciphertext metadata
        let mut iv = [0; 12];
        getrandom::fill(&mut iv).map_err(|error| failed("no random bytes").with_source(error))?;
        let mut text = request.plaintext().to_vec(); // encrypted in place
        let tag = cipher
            .encrypt_inout_detached(&iv.into(), aad.as_bytes(), text.as_mut_slice().into())
            .map_err(|_| failed("AES-GCM refused to encrypt"))?;
        Ok(Encrypted::new(text, iv.into(), <[u8; 16]>::from(tag).into(), aad))
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let invalid = BackendError::invalid_ciphertext;
        let cipher = self.cipher(key)?;
        let iv: [u8; 12] = request.iv().as_bytes().try_into().map_err(|_| invalid())?;
        let mut text = Zeroizing::new(request.ciphertext().to_vec());
        let (aad, tag) = (request.bound_aad().as_bytes(), (*request.tag().as_bytes()).into());
        cipher
            .decrypt_inout_detached(&iv.into(), aad, text.as_mut_slice().into(), &tag)
            .map_err(|_| invalid())?;
        Ok(text)
    }

    async fn health(&self) -> Result<Health, BackendError> {
        let status = match self.works() {
            true => HealthStatus::Active,
            false => HealthStatus::Unavailable,
        };
        Ok(Health::new(
            "Acme Inc.",
            EkmStatus::new("vault-1", "Acme Vault 1.0", status),
        ))
    }
}

/// What the server may know of it while it is open.
impl OpenBackend for Acme {
    fn measure(&self, name: &str, samples: &mut Samples) {
        let calls = self.calls.load(Ordering::Relaxed);
        samples.counter("acme_calls", "Calls of the vault", &[("backend", name)], calls as f64);
    }
}

#[cfg(test)]
mod tests {
    use xks_core::testkit::conformance::Fixture;

    use super::*;

    fn backend() -> Arc<Acme> {
        let keys = ["invoices".parse().unwrap()];
        Arc::new(Acme::new(&[7; 32], &keys).unwrap())
    }

    // One test for each rule of `KeyBackend`.
    xks_core::testkit::conformance!(
        Fixture::new(backend(), "invoices")
            .short_ivs_only()
            .restarted(backend())
    );
}
