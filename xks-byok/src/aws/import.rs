//! Requests and responses about imported key material.

use xks_lifecycle::Timestamp;

use super::{PageRequest, open_enum::open_enum};

open_enum! {
    /// How material is wrapped for its import.
    WrappingAlgorithm {
        /// RSA-OAEP with SHA-256 for hash and MGF1.
        RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
        /// RSA-OAEP with SHA-1.
        RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSA-OAEP with SHA-256 of an AES key, and that key's RFC 5649 wrap of the material.
        RsaAesKeyWrapSha256 = "RSA_AES_KEY_WRAP_SHA_256",
        /// The same with SHA-1.
        RsaAesKeyWrapSha1 = "RSA_AES_KEY_WRAP_SHA_1",
        /// In China Regions.
        Sm2pke = "SM2PKE",
    }
}

open_enum! {
    /// The key that wraps material.
    WrappingKeySpec {
        Rsa2048 = "RSA_2048",
        Rsa3072 = "RSA_3072",
        Rsa4096 = "RSA_4096",
        Sm2 = "SM2",
    }
}

open_enum! {
    /// Whether imported material expires.
    ExpirationModel {
        Expires = "KEY_MATERIAL_EXPIRES",
        DoesNotExpire = "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
}

open_enum! {
    /// Whether the material belongs to the key already.
    ImportType {
        New = "NEW_KEY_MATERIAL",
        Existing = "EXISTING_KEY_MATERIAL",
    }
}

open_enum! {
    /// Whether AWS KMS has the material.
    ImportState {
        Imported = "IMPORTED",
        PendingImport = "PENDING_IMPORT",
    }
}

open_enum! {
    /// The part that a material has in its key.
    KeyMaterialState {
        /// Encrypts.
        Current = "CURRENT",
        /// Decrypts.
        NonCurrent = "NON_CURRENT",
        /// Waits for RotateKeyOnDemand.
        PendingRotation = "PENDING_ROTATION",
        /// Waits for its import in the other Regions.
        PendingMultiRegionImportAndRotation = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION",
    }
}

open_enum! {
    /// How a rotation came about.
    RotationType {
        Automatic = "AUTOMATIC",
        OnDemand = "ON_DEMAND",
    }
}

/// What ListKeyRotations lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IncludeKeyMaterial {
    /// `ALL_KEY_MATERIAL`.
    #[default]
    All,
    /// `ROTATIONS_ONLY`.
    RotationsOnly,
}

/// Asks for a wrapping key and an import token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetParametersForImportRequest {
    /// The key, by id or ARN.
    pub key_id: String,
    /// How the material will be wrapped.
    pub wrapping_algorithm: WrappingAlgorithm,
    /// With which kind of key.
    pub wrapping_key_spec: WrappingKeySpec,
}

impl GetParametersForImportRequest {
    /// Creates a request.
    pub fn new(key_id: impl Into<String>, algorithm: WrappingAlgorithm, spec: WrappingKeySpec) -> Self {
        Self {
            key_id: key_id.into(),
            wrapping_algorithm: algorithm,
            wrapping_key_spec: spec,
        }
    }
}

/// A wrapping key and the import token that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportParameters {
    /// The wrapping key, a SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// The token.
    pub import_token: Vec<u8>,
    /// Until when both are good: 24 hours.
    pub parameters_valid_to: Option<Timestamp>,
}

impl ImportParameters {
    /// Creates them.
    pub fn new(
        public_key: impl Into<Vec<u8>>,
        import_token: impl Into<Vec<u8>>,
        parameters_valid_to: Option<Timestamp>,
    ) -> Self {
        Self {
            public_key: public_key.into(),
            import_token: import_token.into(),
            parameters_valid_to,
        }
    }
}

/// Imports wrapped material.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportKeyMaterialRequest {
    /// The key, by id or ARN.
    pub key_id: String,
    /// The token that belongs to the wrapping key.
    pub import_token: Vec<u8>,
    /// The wrapped material.
    pub encrypted_key_material: Vec<u8>,
    /// When the material expires, at most 365 days from now; never where it is missing.
    ///
    /// AWS's own default is that material expires; so the implementation always sends `ExpirationModel`.
    pub valid_to: Option<Timestamp>,
    /// Whether the material belongs to the key already; AWS decides where it is missing.
    pub import_type: Option<ImportType>,
    /// At most 256 characters; ListKeyRotations returns it.
    pub key_material_description: Option<String>,
    /// Which material it must be; not with [`ImportType::New`].
    pub key_material_id: Option<String>,
}

impl ImportKeyMaterialRequest {
    /// Creates a request for material that does not expire.
    pub fn new(
        key_id: impl Into<String>,
        import_token: impl Into<Vec<u8>>,
        encrypted_key_material: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            key_id: key_id.into(),
            import_token: import_token.into(),
            encrypted_key_material: encrypted_key_material.into(),
            valid_to: None,
            import_type: None,
            key_material_description: None,
            key_material_id: None,
        }
    }

    /// Returns what `ExpirationModel` says.
    #[must_use]
    pub const fn expiration_model(&self) -> ExpirationModel {
        match self.valid_to {
            Some(_) => ExpirationModel::Expires,
            None => ExpirationModel::DoesNotExpire,
        }
    }
}

/// Asks for the materials of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListKeyRotationsRequest {
    /// The key, by id or ARN.
    pub key_id: String,
    /// Which of them.
    pub include_key_material: IncludeKeyMaterial,
    /// The page.
    pub page: PageRequest,
}

impl ListKeyRotationsRequest {
    /// All materials of a key.
    pub fn all(key_id: impl Into<String>, page: PageRequest) -> Self {
        Self {
            key_id: key_id.into(),
            include_key_material: IncludeKeyMaterial::All,
            page,
        }
    }
}

/// A material of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationsListEntry {
    /// Its id: 64 hexadecimal digits.
    pub key_material_id: Option<String>,
    /// The description of its last import.
    pub key_material_description: Option<String>,
    /// Whether AWS KMS has it.
    pub import_state: Option<ImportState>,
    /// Its part in the key.
    pub key_material_state: Option<KeyMaterialState>,
    /// Whether it expires.
    pub expiration_model: Option<ExpirationModel>,
    /// When it expires.
    pub valid_to: Option<Timestamp>,
    /// When it became the current one.
    pub rotation_date: Option<Timestamp>,
    /// How it did.
    pub rotation_type: Option<RotationType>,
}

impl RotationsListEntry {
    /// Creates one, with the other fields empty.
    #[must_use]
    pub const fn new(key_material_id: Option<String>, key_material_state: Option<KeyMaterialState>) -> Self {
        Self {
            key_material_id,
            key_material_description: None,
            import_state: None,
            key_material_state,
            expiration_model: None,
            valid_to: None,
            rotation_date: None,
            rotation_type: None,
        }
    }
}
