//! Calls of a backend, as the tests make them.

use std::future::Future;

use xks_backend_pkcs11::{Config, Pkcs11Backend};
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, KeyMetadata},
};

pub(crate) fn open(config: Config) -> Pkcs11Backend {
    Pkcs11Backend::open(config).unwrap_or_else(|error| panic!("{error:?}"))
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build();
    runtime.unwrap().block_on(future)
}

pub(crate) fn id(id: &str) -> KeyId {
    id.parse().unwrap()
}

pub(crate) fn aad(framing: AadFraming, aad: Option<&[u8]>) -> BoundAad {
    BoundAad::new(framing, aad, None).unwrap()
}

pub(crate) async fn encrypt_with(
    backend: &dyn KeyBackend,
    key: &str,
    plaintext: &[u8],
    aad: BoundAad,
) -> Result<Encrypted, BackendError> {
    let mut request = EncryptRequest::new(RequestMetadata::default(), Zeroizing::new(plaintext.to_vec()), aad);
    backend.encrypt(&id(key), &mut request).await
}

pub(crate) async fn encrypt(backend: &dyn KeyBackend, key: &str, plaintext: &[u8]) -> Result<Encrypted, BackendError> {
    encrypt_with(backend, key, plaintext, aad(AadFraming::Spec, Some(b"the aad"))).await
}

pub(crate) async fn decrypt(
    backend: &dyn KeyBackend,
    key: &str,
    encrypted: &Encrypted,
) -> Result<Vec<u8>, BackendError> {
    let request = DecryptRequest::new(RequestMetadata::default(), copy(encrypted));
    let plaintext = backend.decrypt(&id(key), &request).await?;
    Ok(plaintext.to_vec())
}

pub(crate) fn copy(of: &Encrypted) -> Encrypted {
    Encrypted::new(of.ciphertext().to_vec(), *of.iv(), *of.tag(), of.bound_aad().clone())
}

/// Encrypts and decrypts; panics if the plaintexts differ.
pub(crate) async fn round_trip(backend: &dyn KeyBackend, key: &str, plaintext: &[u8]) -> Result<(), BackendError> {
    let encrypted = encrypt(backend, key, plaintext).await?;
    let decrypted = decrypt(backend, key, &encrypted).await?;
    assert_eq!(decrypted, plaintext, "another plaintext came back");
    Ok(())
}

pub(crate) async fn metadata(backend: &dyn KeyBackend, key: &str) -> Result<KeyMetadata, BackendError> {
    let request = GetKeyMetadataRequest::new(RequestMetadata::default());
    backend.key_metadata(&id(key), &request).await
}

#[track_caller]
pub(crate) fn assert_fails<T>(outcome: Result<T, BackendError>, kind: BackendErrorKind) -> String {
    let Err(error) = outcome else {
        panic!("this should have failed: {kind:?}")
    };
    assert_eq!(error.kind(), kind, "{error:?}");
    error.to_string()
}
