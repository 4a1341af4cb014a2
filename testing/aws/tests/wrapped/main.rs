//! What key managers wrap is imported into AWS KMS, as kms-double plays it, and is the key that they keep: by
//! software keys, on SoftHSM2, and on more modules, which `scripts/modules` gets:
//!
//! ```text
//! bash scripts/modules
//! cargo test -p xks-test-aws --test wrapped -- --ignored
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[allow(dead_code, reason = "the tests of the backend need more of it")]
#[path = "../../../../xks-backend-pkcs11/tests/other_modules/module.rs"]
mod module;
#[allow(dead_code, reason = "the tests of the backend need more of it")]
#[path = "../../../../xks-backend-pkcs11/tests/other_modules/operator.rs"]
mod operator;
#[allow(dead_code, reason = "the tests of the backend need more of it")]
#[path = "../../../../xks-backend-pkcs11/tests/other_modules/token.rs"]
mod token;

/// What the modules above want of the other tests.
mod checks {
    pub(crate) const VALUE: [u8; 32] = *b"what every test of this may know";
}

use std::{
    future::Future,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    cmac,
    encoding::{AsDer as _, PublicKeyX509Der},
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use kms_double::kms::{Caller, ExceptionName, Kms, api};
use xks_backend_pkcs11::{Config, Pin, Pkcs11Backend, Quirks, SlotSelector};
use xks_backend_soft::SoftBackend;
use xks_core::manage::{CreationToken, KeyManager, NewKey, WrappingAlgorithm, WrappingKey};
use xks_pkcs11_fixture::{own_process, softhsm_path};

use self::{
    module::Module,
    token::{Token, with_token},
};

#[test]
fn by_software() {
    run(are_imported(&SoftBackend::new(), &WrappingAlgorithm::ALL));
}

#[test]
fn by_softhsm() {
    own_process("by_softhsm", |hsm| {
        hsm.token("main", "1234");
        let config = Config::new(softhsm_path()).quirks(Quirks::SOFTHSM);
        let config = config
            .slot(SlotSelector::TokenLabel("main".into()))
            .pin(Pin::new("1234"));
        on_a_token(config, &[WrappingAlgorithm::RsaOaepSha1]);
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn by_kryoptic() {
    with_token(Module::Kryoptic, "by_kryoptic", on_another);
}

#[test]
#[ignore = "needs scripts/modules"]
fn by_softoken() {
    with_token(Module::Softoken, "by_softoken", on_another);
}

fn on_another(token: &Token) {
    on_a_token(token.config(), &WrappingAlgorithm::ALL);
}

fn on_a_token(config: Config, algorithms: &[WrappingAlgorithm]) {
    let backend = Pkcs11Backend::open(config).unwrap();
    run(are_imported(&backend, algorithms));
    assert!(backend.shutdown(Duration::from_secs(60)), "calls did not return");
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A KMS key for imported material, and who uses it.
struct Site {
    kms: Kms,
    alice: Caller,
    key_id: String,
}

impl Site {
    async fn new() -> Self {
        let (kms, alice) = (
            Kms::builder().build().unwrap(),
            Caller::new("arn:aws:iam::111122223333:user/Alice"),
        );
        let made = kms.create_key(&alice, api::CreateKeyRequest::external()).await;
        let key_id = made.unwrap().key_metadata.key_id;
        Self { kms, alice, key_id }
    }

    /// Imports a key that its manager wraps: new material, or what the KMS key had already.
    async fn import(
        &self,
        manager: &dyn KeyManager,
        key: &str,
        algorithm: WrappingAlgorithm,
        import_type: api::ImportType,
    ) -> Result<String, ExceptionName> {
        let at_aws = match algorithm {
            WrappingAlgorithm::RsaAesKeyWrapSha256 => api::WrappingAlgorithm::RsaAesKeyWrapSha256,
            WrappingAlgorithm::RsaOaepSha256 => api::WrappingAlgorithm::RsaesOaepSha256,
            WrappingAlgorithm::RsaOaepSha1 => api::WrappingAlgorithm::RsaesOaepSha1,
            other => panic!("{other} is new"),
        };
        let spec = api::WrappingKeySpec::Rsa2048; // the conformance checks have all lengths
        let request = api::GetParametersForImportRequest::new(&self.key_id, at_aws, spec);
        let parameters = self.kms.get_parameters_for_import(&self.alice, request).await.unwrap();
        let wrapping_key = WrappingKey::from_spki_der(&parameters.public_key, algorithm).unwrap();
        let wrapped = manager.wrap_key(&key.parse().unwrap(), &wrapping_key, later()).await;
        let mut request = api::ImportKeyMaterialRequest::new(&self.key_id, parameters.import_token, wrapped.unwrap());
        request.import_type = Some(import_type);
        let imported = self.kms.import_key_material(&self.alice, request).await;
        imported
            .map(|imported| imported.key_material_id.unwrap())
            .map_err(|error| error.name())
    }

    async fn delete(&self) {
        let request = api::DeleteImportedKeyMaterialRequest::new(&self.key_id);
        self.kms
            .delete_imported_key_material(&self.alice, request)
            .await
            .unwrap();
    }

    async fn decrypts(&self, ciphertext: &[u8]) -> Result<Vec<u8>, ExceptionName> {
        let decrypted = self
            .kms
            .decrypt(&self.alice, api::DecryptRequest::new(ciphertext))
            .await;
        decrypted
            .map(|decrypted| decrypted.plaintext.to_vec())
            .map_err(|error| error.name())
    }
}

/// Wrapped in each way the key is the same in KMS: it has one id there, decrypts what it encrypted before,
/// and no other key passes for it. Opened by somebody who may, it has the CMAC that its manager computes
/// under it.
async fn are_imported(manager: &dyn KeyManager, algorithms: &[WrappingAlgorithm]) {
    use api::ImportType::{ExistingKeyMaterial, NewKeyMaterial};
    assert_eq!(manager.capabilities(later()).await.unwrap().wrapping, algorithms);
    for (number, key) in [(1, "imported"), (2, "another")] {
        let new = NewKey::for_import(CreationToken::from([number; 16]), key.parse().unwrap());
        manager.create_key(&new, later()).await.unwrap();
    }
    let site = Site::new().await;
    let id = site.import(manager, "imported", algorithms[0], NewKeyMaterial).await;
    let id = id.unwrap();
    let request = api::EncryptRequest::new(&site.key_id, &b"plaintext"[..]);
    let encrypted = site.kms.encrypt(&site.alice, request).await.unwrap();
    for algorithm in algorithms {
        site.delete().await;
        assert_eq!(
            site.decrypts(&encrypted.ciphertext_blob).await,
            Err(ExceptionName::InvalidState)
        );
        let another = site.import(manager, "another", *algorithm, ExistingKeyMaterial).await;
        assert_eq!(another, Err(ExceptionName::IncorrectKeyMaterial), "{algorithm}");
        let again = site.import(manager, "imported", *algorithm, ExistingKeyMaterial).await;
        assert_eq!(again.as_ref(), Ok(&id), "{algorithm}");
        let decrypted = site.decrypts(&encrypted.ciphertext_blob).await;
        assert_eq!(decrypted.unwrap(), b"plaintext", "{algorithm}");
    }

    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
    let wrapping_key = WrappingKey::from_spki_der(public.as_ref(), WrappingAlgorithm::RsaOaepSha1).unwrap();
    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    let key = "imported".parse().unwrap();
    let wrapped = manager.wrap_key(&key, &wrapping_key, later()).await.unwrap();
    let mut room = vec![0; private.min_output_size()];
    let value = private.decrypt(&OAEP_SHA1_MGF1SHA1, &wrapped, &mut room, None).unwrap();
    let outside = cmac::sign(&cmac::Key::new(cmac::AES_256, value).unwrap(), b"message").unwrap();
    assert_eq!(manager.cmac(&key, b"message", later()).await.unwrap(), outside.as_ref());
}
