//! A backend as a newcomer writes it: each key version has a table of its own behind the key manager's REST
//! API, so the version is read out of the ciphertext metadata before anything is asked about the key. Both
//! judges are content.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use kms_double::check::Outcome;
use xks_backend_soft::{KeyVersion, SoftBackend, SoftKey};
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata,
        KeyStatus,
    },
    testkit::conformance::Fixture,
};

use crate::support::{KEY, Server, checked, missed, setup, software_keys};

const VALUE: [u8; 32] = *b"what every test of this may know";

struct Newcomer {
    key_manager: Arc<SoftBackend>,
    is_down: AtomicBool,
}

impl Newcomer {
    fn over(key_manager: SoftBackend) -> Arc<Self> {
        Arc::new(Self {
            key_manager: Arc::new(key_manager),
            is_down: AtomicBool::new(false),
        })
    }

    /// The key manager, if it is there.
    fn reached(&self) -> Result<&SoftBackend, BackendError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(BackendErrorKind::Unavailable.into());
        }
        Ok(&self.key_manager)
    }
}

#[async_trait]
impl KeyBackend for Newcomer {
    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        self.reached()?.key_metadata(key, request).await
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.reached()?.encrypt(key, request).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let metadata = request
            .bound_aad()
            .metadata()
            .map(|metadata| metadata.as_bytes().to_vec());
        if metadata.as_deref() != Some(b"key_version=1") {
            return Err(BackendError::invalid_ciphertext());
        }
        self.reached()?.decrypt(key, request).await
    }

    async fn health(&self) -> Result<Health, BackendError> {
        self.reached()?.health().await
    }

    fn metadata_length(&self) -> usize {
        self.key_manager.metadata_length()
    }
}

fn backend() -> Arc<Newcomer> {
    let keys = software_keys();
    keys.insert(KEY.parse().unwrap(), SoftKey::new(KeyVersion::new(1, VALUE).unwrap()));
    Newcomer::over(keys)
}

fn fixture() -> Fixture {
    let backend = backend();
    let (operated, broken) = (backend.key_manager.clone(), backend.clone());
    let switch = move |on| {
        let status = if on { KeyStatus::Enabled } else { KeyStatus::Disabled };
        operated.set_status(&"second".parse().unwrap(), status).unwrap();
    };
    Fixture::new(backend, KEY)
        .value(VALUE)
        .other("second")
        .encrypt_only("encrypt-only")
        .decrypt_only("decrypt-only")
        .disabled("disabled")
        .switch("second", switch)
        .break_down(move || broken.is_down.store(true, Ordering::SeqCst))
        .restarted(self::backend())
}

mod conformance {
    xks_core::testkit::conformance!(super::fixture(), all);
}

/// GKM-4, DEC-4: what passes the conformance kit keeps every MUST of the check.
#[test]
fn what_passes_the_kit_passes_the_check() {
    let server = Server::over(backend());
    let report = checked(&setup(&server.url));
    assert_eq!(missed(&report), Vec::<&str>::new(), "{report}");
    for case in ["missing-key/decrypt", "encrypt-only/decrypt", "disabled/decrypt"] {
        assert!(report.named(Outcome::Pass).contains(&case), "{case}");
    }
}
