//! Requests and responses about imported key material and its rotation.

use serde::{Deserialize, Serialize};

use crate::kms::binary::Binary;

/// How key material is wrapped for an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WrappingAlgorithm {
    /// Refused, as by AWS KMS since October 10, 2023.
    #[serde(rename = "RSAES_PKCS1_V1_5")]
    RsaesPkcs1V15,
    /// RSA-OAEP, SHA-1 for hash and MGF1.
    #[serde(rename = "RSAES_OAEP_SHA_1")]
    RsaesOaepSha1,
    /// RSA-OAEP, SHA-256 for hash and MGF1.
    #[serde(rename = "RSAES_OAEP_SHA_256")]
    RsaesOaepSha256,
    /// RSA-OAEP of an AES-256 key with SHA-1, and behind it AES key wrap with padding (RFC 5649) of the
    /// material.
    #[serde(rename = "RSA_AES_KEY_WRAP_SHA_1")]
    RsaAesKeyWrapSha1,
    /// The same with SHA-256.
    #[serde(rename = "RSA_AES_KEY_WRAP_SHA_256")]
    RsaAesKeyWrapSha256,
    /// Refused, as outside of China.
    #[serde(rename = "SM2PKE")]
    Sm2pke,
}

/// The length of a wrapping key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WrappingKeySpec {
    /// 2048 bits.
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    /// 3072 bits.
    #[serde(rename = "RSA_3072")]
    Rsa3072,
    /// 4096 bits.
    #[serde(rename = "RSA_4096")]
    Rsa4096,
    /// Refused, as outside of China.
    #[serde(rename = "SM2")]
    Sm2,
}

/// Asks for a wrapping key and an import token, good for 24 hours.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct GetParametersForImportRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// How the material is going to be wrapped.
    pub wrapping_algorithm: WrappingAlgorithm,
    /// The length of the wrapping key.
    pub wrapping_key_spec: WrappingKeySpec,
}

impl GetParametersForImportRequest {
    /// Creates a request for a wrapping key of this length.
    pub fn new(key_id: impl Into<String>, algorithm: WrappingAlgorithm, spec: WrappingKeySpec) -> Self {
        Self {
            key_id: key_id.into(),
            wrapping_algorithm: algorithm,
            wrapping_key_spec: spec,
        }
    }
}

/// A wrapping key, and the token that belongs to it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct GetParametersForImportResponse {
    /// The ARN of the key.
    pub key_id: String,
    /// For ImportKeyMaterial.
    pub import_token: Binary,
    /// The wrapping key: SubjectPublicKeyInfo in DER.
    pub public_key: Binary,
    /// When both end, in seconds since 1970.
    pub parameters_valid_to: f64,
}

/// Whether imported key material expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ExpirationModel {
    /// At `ValidTo`.
    KeyMaterialExpires,
    /// Never.
    KeyMaterialDoesNotExpire,
}

/// Whether key material belongs to its key already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ImportType {
    /// It does not: the first one, or one to rotate to.
    NewKeyMaterial,
    /// It does: it was deleted, has expired, or gets another end.
    ExistingKeyMaterial,
}

/// Brings key material into a key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ImportKeyMaterialRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// The token that came with the wrapping key.
    pub import_token: Binary,
    /// The wrapped material: 32 bytes.
    pub encrypted_key_material: Binary,
    /// The end, in seconds since 1970; with `KEY_MATERIAL_EXPIRES` alone.
    pub valid_to: Option<f64>,
    /// Whether it expires; `KEY_MATERIAL_EXPIRES` by default.
    pub expiration_model: Option<ExpirationModel>,
    /// By default new where nothing was ever imported, existing otherwise.
    pub import_type: Option<ImportType>,
    /// Any text of `a-z A-Z 0-9 : / _ . -` and white space; what the same material had before by default.
    pub key_material_description: Option<String>,
    /// The id that the material has to have; not with new material.
    pub key_material_id: Option<String>,
}

impl ImportKeyMaterialRequest {
    /// Creates a request for material that does not expire.
    pub fn new(
        key_id: impl Into<String>,
        import_token: impl Into<Binary>,
        encrypted_key_material: impl Into<Binary>,
    ) -> Self {
        Self {
            key_id: key_id.into(),
            import_token: import_token.into(),
            encrypted_key_material: encrypted_key_material.into(),
            valid_to: None,
            expiration_model: Some(ExpirationModel::KeyMaterialDoesNotExpire),
            import_type: None,
            key_material_description: None,
            key_material_id: None,
        }
    }
}

/// The material that was imported or deleted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct KeyMaterialResponse {
    /// The ARN of the key.
    pub key_id: String,
    /// The id of the material; none where nothing was there to delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_material_id: Option<String>,
}

/// Deletes imported key material.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct DeleteImportedKeyMaterialRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// Which material; the current one by default.
    pub key_material_id: Option<String>,
}

impl DeleteImportedKeyMaterialRequest {
    /// Creates a request to delete the current material.
    pub fn new(key_id: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            key_material_id: None,
        }
    }
}

/// What GetKeyRotationStatus returns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct GetKeyRotationStatusResponse {
    /// The ARN of the key.
    pub key_id: String,
    /// Whether KMS rotates it by itself: imported key material is rotated on demand alone.
    pub key_rotation_enabled: bool,
    /// The period, where it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_period_in_days: Option<u32>,
    /// When the period ends, where it is on, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation_date: Option<f64>,
}

/// Which material ListKeyRotations lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum IncludeKeyMaterial {
    /// The first one, and one in PENDING_ROTATION, too.
    AllKeyMaterial,
    /// What a rotation made current.
    RotationsOnly,
}

/// Asks for the material of a key, oldest first.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ListKeyRotationsRequest {
    /// Which key, by id or ARN.
    pub key_id: String,
    /// Which material; rotations only by default.
    pub include_key_material: Option<IncludeKeyMaterial>,
    /// The number of items at a time, 1 to 1000.
    pub limit: Option<usize>,
    /// The start of this part: a former answer's `NextMarker`.
    pub marker: Option<String>,
}

impl ListKeyRotationsRequest {
    /// Creates a request for all material of a key.
    pub fn all(key_id: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            include_key_material: Some(IncludeKeyMaterial::AllKeyMaterial),
            limit: None,
            marker: None,
        }
    }
}

/// The material of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ListKeyRotationsResponse {
    /// The material.
    pub rotations: Vec<RotationsListEntry>,
    /// The start of the next part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// Whether there are more.
    pub truncated: bool,
}

/// Whether key material is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ImportState {
    /// It is.
    Imported,
    /// It was, and was deleted or has expired.
    PendingImport,
}

/// What key material is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum KeyMaterialState {
    /// Encryption and decryption.
    Current,
    /// Decryption.
    NonCurrent,
    /// Nothing, before RotateKeyOnDemand.
    PendingRotation,
    /// Nothing, before it is imported into all replica keys.
    PendingMultiRegionImportAndRotation,
}

/// One material of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct RotationsListEntry {
    /// The id of the key.
    pub key_id: String,
    /// The id of the material.
    pub key_material_id: String,
    /// Its description, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_material_description: Option<String>,
    /// Whether it is there, of imported material.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_state: Option<ImportState>,
    /// What it is used for.
    pub key_material_state: KeyMaterialState,
    /// Whether it expires; none while it waits for its import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_model: Option<ExpirationModel>,
    /// Its end, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<f64>,
    /// When it became current, in seconds since 1970; not of the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_date: Option<f64>,
    /// `ON_DEMAND`; not of the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_type: Option<&'static str>,
}
