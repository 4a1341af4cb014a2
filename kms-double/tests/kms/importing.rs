//! A KMS with a clock that can be moved, and the other side of an import: wraps key material by AWS-LC.

use std::time::Duration;

use aws_lc_rs::{
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey,
        PublicEncryptingKey,
    },
};
use kms_double::kms::{Clock, Exception, Kms, api::*};

use crate::site::alice;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Key material for tests.
pub(crate) fn material(number: u8) -> [u8; 32] {
    [number; 32]
}

pub(crate) struct Importing {
    pub(crate) kms: Kms,
    pub(crate) clock: Clock,
    pub(crate) key_id: String,
}

impl Importing {
    /// With a key that has no material yet.
    pub(crate) async fn new() -> Self {
        let clock = Clock::default();
        let kms = Kms::builder().clock(clock.clone()).build().unwrap();
        let key_id = new_key(&kms).await;
        Self { kms, clock, key_id }
    }

    /// The key of the same id in another Region.
    pub(crate) fn in_region(&self, region: &str) -> Self {
        Self {
            kms: self.kms.in_region(region).unwrap(),
            clock: self.clock.clone(),
            key_id: self.key_id.clone(),
        }
    }

    pub(crate) fn id(&self) -> KeyIdRequest {
        KeyIdRequest::new(&self.key_id)
    }

    pub(crate) async fn described(&self) -> KeyMetadata {
        let described = self.kms.describe_key(&alice(), self.id()).await;
        described.unwrap().key_metadata
    }

    pub(crate) async fn state(&self) -> KeyState {
        self.described().await.key_state
    }

    pub(crate) async fn parameters(
        &self,
        algorithm: WrappingAlgorithm,
        spec: WrappingKeySpec,
    ) -> Result<GetParametersForImportResponse, Exception> {
        let request = GetParametersForImportRequest::new(&self.key_id, algorithm, spec);
        self.kms.get_parameters_for_import(&alice(), request).await
    }

    /// A request to import this material, wrapped as most do.
    pub(crate) async fn request(&self, material: &[u8]) -> ImportKeyMaterialRequest {
        let algorithm = WrappingAlgorithm::RsaesOaepSha256;
        let parameters = self.parameters(algorithm, WrappingKeySpec::Rsa2048).await.unwrap();
        let wrapped = wrap(&parameters.public_key, algorithm, material);
        ImportKeyMaterialRequest::new(&self.key_id, parameters.import_token, wrapped)
    }

    pub(crate) async fn import_request(&self, request: ImportKeyMaterialRequest) -> Result<String, Exception> {
        let imported = self.kms.import_key_material(&alice(), request).await;
        imported.map(|imported| imported.key_material_id.unwrap())
    }

    /// Imports this material. Returns its id.
    pub(crate) async fn import(
        &self,
        material: &[u8],
        change: impl FnOnce(&mut ImportKeyMaterialRequest),
    ) -> Result<String, Exception> {
        let mut request = self.request(material).await;
        change(&mut request);
        self.import_request(request).await
    }

    pub(crate) async fn import_new(&self, material: &[u8]) -> Result<String, Exception> {
        let new = Some(ImportType::NewKeyMaterial);
        self.import(material, |request| request.import_type = new).await
    }

    pub(crate) async fn rotate(&self) -> Result<KeyIdResponse, Exception> {
        self.kms.rotate_key_on_demand(&alice(), self.id()).await
    }

    pub(crate) async fn delete(&self, material_id: Option<&str>) -> Result<KeyMaterialResponse, Exception> {
        let mut request = DeleteImportedKeyMaterialRequest::new(&self.key_id);
        request.key_material_id = material_id.map(str::to_owned);
        self.kms.delete_imported_key_material(&alice(), request).await
    }

    pub(crate) async fn all_material(&self) -> Vec<RotationsListEntry> {
        let request = ListKeyRotationsRequest::all(&self.key_id);
        self.kms.list_key_rotations(&alice(), request).await.unwrap().rotations
    }

    pub(crate) async fn encrypt(&self, plaintext: &[u8]) -> Result<EncryptResponse, Exception> {
        let request = EncryptRequest::new(&self.key_id, plaintext);
        self.kms.encrypt(&alice(), request).await
    }

    pub(crate) async fn decrypt(&self, blob: &[u8]) -> Result<DecryptResponse, Exception> {
        self.kms.decrypt(&alice(), DecryptRequest::new(blob)).await
    }
}

/// A key without material.
pub(crate) async fn new_key(kms: &Kms) -> String {
    let made = kms.create_key(&alice(), CreateKeyRequest::external()).await;
    made.unwrap().key_metadata.key_id
}

pub(crate) fn wrap(public: &[u8], algorithm: WrappingAlgorithm, material: &[u8]) -> Vec<u8> {
    let public = PublicEncryptingKey::from_der(public).unwrap();
    let by_oaep = |oaep, plaintext: &[u8]| {
        let key = OaepPublicEncryptingKey::new(public.clone()).unwrap();
        let mut out = vec![0; key.ciphertext_size()];
        key.encrypt(oaep, plaintext, &mut out, None).unwrap().to_vec()
    };
    let hybrid = |oaep| {
        let kek = [0xeb; 32];
        let mut out = vec![0; material.len() + 15];
        let kek_of = AesKek::new(&AES_256, &kek).unwrap();
        let by_aes = kek_of.wrap_with_padding(material, &mut out).unwrap();
        [&by_oaep(oaep, &kek), &*by_aes].concat()
    };
    match algorithm {
        WrappingAlgorithm::RsaesOaepSha1 => by_oaep(&OAEP_SHA1_MGF1SHA1, material),
        WrappingAlgorithm::RsaesOaepSha256 => by_oaep(&OAEP_SHA256_MGF1SHA256, material),
        WrappingAlgorithm::RsaAesKeyWrapSha1 => hybrid(&OAEP_SHA1_MGF1SHA1),
        WrappingAlgorithm::RsaAesKeyWrapSha256 => hybrid(&OAEP_SHA256_MGF1SHA256),
        _ => {
            let key = Pkcs1PublicEncryptingKey::new(public).unwrap();
            let mut out = vec![0; key.ciphertext_size()];
            key.encrypt(material, &mut out).unwrap().to_vec()
        }
    }
}
