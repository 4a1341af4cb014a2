//! Requests and responses of the operations that use a key.

use serde::{Deserialize, Serialize};

use super::null_is_absent;
use crate::kms::{binary::Binary, context::EncryptionContext};

/// How a request is only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum DryRunModifier {
    /// Without a ciphertext.
    IgnoreCiphertext,
}

/// Encrypts up to 4096 bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct EncryptRequest {
    /// Which key.
    pub key_id: String,
    /// 1 to 4096 bytes.
    pub plaintext: Binary,
    /// The encryption context that it is bound to besides the key.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub encryption_context: EncryptionContext,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub encryption_algorithm: Option<String>,
    /// Taken and not used: there are no grants.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub grant_tokens: Vec<String>,
    /// Whether the request is only tried: one that would succeed ends in `DryRunOperationException`.
    pub dry_run: Option<bool>,
}

impl EncryptRequest {
    /// Creates a request without an encryption context.
    pub fn new(key_id: impl Into<String>, plaintext: impl Into<Binary>) -> Self {
        Self {
            key_id: key_id.into(),
            plaintext: plaintext.into(),
            encryption_context: EncryptionContext::new(),
            encryption_algorithm: None,
            grant_tokens: Vec::new(),
            dry_run: None,
        }
    }
}

/// The response of Encrypt.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct EncryptResponse {
    /// The ciphertext, as Decrypt takes it.
    pub ciphertext_blob: Binary,
    /// The ARN of the key.
    pub key_id: String,
    /// `SYMMETRIC_DEFAULT`.
    pub encryption_algorithm: &'static str,
}

/// Decrypts a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct DecryptRequest {
    /// The ciphertext that Encrypt or GenerateDataKey returned.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub ciphertext_blob: Binary,
    /// The encryption context that it was encrypted with.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub encryption_context: EncryptionContext,
    /// The key that it must have been encrypted with, if that matters.
    pub key_id: Option<String>,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub encryption_algorithm: Option<String>,
    /// Taken and not used: there are no grants.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub grant_tokens: Vec<String>,
    /// Whether the request is only tried: one that would succeed ends in `DryRunOperationException`.
    pub dry_run: Option<bool>,
    /// How it is tried: a proxy is never asked.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub dry_run_modifiers: Vec<DryRunModifier>,
}

impl DecryptRequest {
    /// Creates a request with the key that the blob names, and without an encryption context.
    pub fn new(ciphertext_blob: impl Into<Binary>) -> Self {
        Self {
            ciphertext_blob: ciphertext_blob.into(),
            encryption_context: EncryptionContext::new(),
            key_id: None,
            encryption_algorithm: None,
            grant_tokens: Vec::new(),
            dry_run: None,
            dry_run_modifiers: Vec::new(),
        }
    }
}

/// The response of Decrypt.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct DecryptResponse {
    /// The plaintext.
    pub plaintext: Binary,
    /// The id of the imported material; none of an external key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_material_id: Option<String>,
    /// The ARN of the key.
    pub key_id: String,
    /// `SYMMETRIC_DEFAULT`.
    pub encryption_algorithm: &'static str,
}

/// Decrypts a blob, and encrypts what was in it with another key or context. The caller never sees the
/// plaintext.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ReEncryptRequest {
    /// The ciphertext that Encrypt or GenerateDataKey returned.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub ciphertext_blob: Binary,
    /// The encryption context that it was encrypted with.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub source_encryption_context: EncryptionContext,
    /// The key that it must have been encrypted with, if that matters.
    pub source_key_id: Option<String>,
    /// The key to encrypt with.
    pub destination_key_id: String,
    /// The encryption context to encrypt with.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub destination_encryption_context: EncryptionContext,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub source_encryption_algorithm: Option<String>,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub destination_encryption_algorithm: Option<String>,
    /// Taken and not used: there are no grants.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub grant_tokens: Vec<String>,
    /// Whether the request is only tried: one that would succeed ends in `DryRunOperationException`.
    pub dry_run: Option<bool>,
    /// How it is tried: a proxy is never asked.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub dry_run_modifiers: Vec<DryRunModifier>,
}

impl ReEncryptRequest {
    /// Creates a request without encryption contexts.
    pub fn new(ciphertext_blob: impl Into<Binary>, destination_key_id: impl Into<String>) -> Self {
        Self {
            ciphertext_blob: ciphertext_blob.into(),
            source_encryption_context: EncryptionContext::new(),
            source_key_id: None,
            destination_key_id: destination_key_id.into(),
            destination_encryption_context: EncryptionContext::new(),
            source_encryption_algorithm: None,
            destination_encryption_algorithm: None,
            grant_tokens: Vec::new(),
            dry_run: None,
            dry_run_modifiers: Vec::new(),
        }
    }
}

/// The response of ReEncrypt.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ReEncryptResponse {
    /// The ciphertext, as Decrypt takes it.
    pub ciphertext_blob: Binary,
    /// The id of the source key's imported material; none of an external key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_key_material_id: Option<String>,
    /// The id of the destination key's imported material; none of an external key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_key_material_id: Option<String>,
    /// The ARN of the key that it was encrypted with before.
    pub source_key_id: String,
    /// The ARN of the key that it is encrypted with now.
    pub key_id: String,
    /// `SYMMETRIC_DEFAULT`.
    pub source_encryption_algorithm: &'static str,
    /// `SYMMETRIC_DEFAULT`.
    pub destination_encryption_algorithm: &'static str,
}

/// Makes a data key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct GenerateDataKeyRequest {
    /// The key to encrypt it with.
    pub key_id: String,
    /// The encryption context that it is bound to besides the key.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub encryption_context: EncryptionContext,
    /// Either `AES_256` or `AES_128`,
    pub key_spec: Option<String>,
    /// or its length, 1 to 1024 bytes.
    pub number_of_bytes: Option<usize>,
    /// Taken and not used: there are no grants.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub grant_tokens: Vec<String>,
    /// Whether the request is only tried: one that would succeed ends in `DryRunOperationException`.
    pub dry_run: Option<bool>,
}

impl GenerateDataKeyRequest {
    /// Creates a request for AES-256, without an encryption context.
    pub fn new(key_id: impl Into<String>) -> Self {
        Self {
            key_id: key_id.into(),
            encryption_context: EncryptionContext::new(),
            key_spec: Some("AES_256".into()),
            number_of_bytes: None,
            grant_tokens: Vec::new(),
            dry_run: None,
        }
    }
}

/// A data key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct GenerateDataKeyResponse {
    /// The data key.
    pub plaintext: Binary,
    /// The id of the imported material; none of an external key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_material_id: Option<String>,
    /// The same, encrypted: what Decrypt takes.
    pub ciphertext_blob: Binary,
    /// The ARN of the key.
    pub key_id: String,
}

/// A data key that was encrypted and forgotten.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct GenerateDataKeyWithoutPlaintextResponse {
    /// The id of the imported material; none of an external key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_material_id: Option<String>,
    /// The ciphertext, as Decrypt takes it.
    pub ciphertext_blob: Binary,
    /// The ARN of the key.
    pub key_id: String,
}
