//! A layer that changes nothing has no effect, whatever the backend inside it does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::sync::Arc;

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        HealthStatus, KeyMetadata, KeySpec, KeyStatus, KeyUsage, Layered, Limits, Verification, VerifiedEncryption,
    },
};

/// Gives answers that no other code gives, and none that could be made of those of another method.
struct Unusual;

#[async_trait]
impl KeyBackend for Unusual {
    async fn key_metadata(&self, key: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        let spec = KeySpec::Other(format!("{key}_SPEC").into());
        Ok(KeyMetadata::new(spec, [KeyUsage::Derive], KeyStatus::Disabled))
    }

    async fn encrypt(&self, key: &KeyId, _: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        Err(BackendError::new(BackendErrorKind::AccessDenied, format!("{key} does not encrypt")).with_source("why"))
    }

    async fn encrypt_verified(
        &self,
        _: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        let (ciphertext, aad) = (request.plaintext().to_vec(), request.bind_aad(None));
        let encrypted = Encrypted::new(ciphertext, [3; 12].into(), [4; 16].into(), aad);
        Verification::begin(encrypted).end(Ok(request.plaintext().to_vec().into()), request.plaintext())
    }

    async fn decrypt(&self, _: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        Ok(request.iv().as_bytes().to_vec().into())
    }

    async fn health(&self) -> Result<Health, BackendError> {
        Ok(Health::new("unusual", EkmStatus::new("1", "2", HealthStatus::Degraded)))
    }

    fn limits(&self) -> Limits {
        Limits::default().with_plaintext(17).with_aad(19)
    }

    fn metadata_length(&self) -> usize {
        11
    }
}

/// Changes nothing.
struct Nothing<B: ?Sized>(Arc<B>);

impl<B: KeyBackend + ?Sized> Layered for Nothing<B> {
    type Inner = B;

    fn inner(&self) -> &B {
        &self.0
    }
}

/// All that can be seen of a backend.
async fn seen(backend: &dyn KeyBackend) -> String {
    let (key, who) = ("a-key".parse().unwrap(), RequestMetadata::default());
    let aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), None).unwrap();
    let mut request = EncryptRequest::new(who.clone(), b"plaintext".to_vec().into(), aad.clone());
    let metadata = backend
        .key_metadata(&key, &GetKeyMetadataRequest::new(who.clone()))
        .await;
    let encrypted = backend.encrypt(&key, &mut request).await;
    let verified = backend.encrypt_verified(&key, &mut request).await;
    let integrity_value = verified.as_ref().map(|verified| *verified.integrity_value());
    let ciphertext = Encrypted::new(vec![5], [6; 12].into(), [7; 16].into(), aad);
    let decrypted = backend.decrypt(&key, &DecryptRequest::new(who, ciphertext)).await;
    let decrypted = decrypted.map(|plaintext| plaintext.to_vec());
    let (health, limits, length) = (backend.health().await, backend.limits(), backend.metadata_length());
    format!("{metadata:?} {encrypted:?} {verified:?} {integrity_value:?} {decrypted:?} {health:?} {limits:?} {length}")
}

#[tokio::test]
async fn a_layer_that_does_nothing_is_not_noticed() {
    let bare = seen(&Unusual).await;
    for part in [
        "a-key_SPEC",
        "does not encrypt",
        "[6, 6, 6",
        "unusual",
        "plaintext: 17, aad: 19 } 11",
    ] {
        assert!(bare.contains(part), "{bare}");
    }
    let shared: Arc<dyn KeyBackend> = Arc::new(Unusual);
    let layers: [Arc<dyn KeyBackend>; 5] = [
        Arc::new(Nothing(Arc::new(Unusual))),
        Arc::new(Nothing(Arc::clone(&shared))),
        Arc::new(Nothing(Arc::new(Nothing(Arc::new(Arc::clone(&shared)))))),
        Arc::new(Arc::new(Unusual)),
        shared,
    ];
    for layer in layers {
        assert_eq!(seen(&*layer).await, bare);
        assert_eq!(seen(&layer).await, bare);
    }
}

/// ENC-10: what a layer makes of a ciphertext is what is verified, when it says so.
#[tokio::test]
async fn a_layer_can_have_its_own_ciphertexts_verified() {
    struct Spoils(Arc<dyn KeyBackend>);

    #[async_trait]
    impl Layered for Spoils {
        type Inner = dyn KeyBackend;

        fn inner(&self) -> &dyn KeyBackend {
            &*self.0
        }

        async fn encrypt(&self, _: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
            let aad = request.bind_aad(None);
            Ok(Encrypted::new(
                request.plaintext().to_vec(),
                [3; 12].into(),
                [4; 16].into(),
                aad,
            ))
        }

        async fn encrypt_verified(
            &self,
            key: &KeyId,
            request: &mut EncryptRequest<'_>,
        ) -> Result<VerifiedEncryption, BackendError> {
            VerifiedEncryption::by_two_calls(self, key, request).await
        }
    }

    let backend: Arc<dyn KeyBackend> = Arc::new(Spoils(Arc::new(Unusual)));
    let aad = BoundAad::new(AadFraming::Spec, None, None).unwrap();
    for (plaintext, is_verified) in [([3; 12], true), ([0; 12], false)] {
        let mut request = EncryptRequest::new(RequestMetadata::default(), plaintext.to_vec().into(), aad.clone());
        let verified = backend.encrypt_verified(&"a-key".parse().unwrap(), &mut request).await;
        assert_eq!(verified.is_ok(), is_verified, "it decrypts to the IV: {verified:?}");
    }
}
