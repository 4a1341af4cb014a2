//! Request bodies as KMS writes them, and what an encryption gives back.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::setup::Setup;
use crate::wire::Raw;

/// The four operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Metadata,
    Encrypt,
    Decrypt,
    Health,
}

impl Operation {
    pub(super) const ALL: [Self; 4] = [Self::Metadata, Self::Encrypt, Self::Decrypt, Self::Health];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Health => "health",
        }
    }

    /// What a request asks for.
    pub(super) fn of(request: &Raw) -> Option<Self> {
        let last = request.target.rsplit('/').next()?;
        Self::ALL.into_iter().find(|operation| operation.name() == last)
    }

    /// Below `/kms/xks/v1/`.
    pub(super) fn path(self, key: &str) -> String {
        match self {
            Self::Health => "health".into(),
            _ => format!("keys/{key}/{}", self.name()),
        }
    }

    /// The fields of requestMetadata that it has to have (MD-1).
    pub(super) fn required(self) -> &'static [&'static str] {
        match self {
            Self::Metadata => &["awsPrincipalArn", "kmsOperation", "kmsRequestId"],
            Self::Encrypt | Self::Decrypt => &["awsPrincipalArn", "kmsKeyArn", "kmsOperation", "kmsRequestId"],
            Self::Health => &["kmsOperation", "kmsRequestId"],
        }
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The kmsRequestId of all requests but those of `request-metadata/`: what to look for in the proxy's log.
pub(super) const REQUEST_ID: &str = "4112f4d6-db54-4af4-ae30-c55a22a8dfae";

/// A body with requestMetadata alone.
pub(super) fn plain(setup: &Setup, operation: Operation) -> Value {
    let request_id = REQUEST_ID;
    let (principal, key) = (&setup.principal, &setup.kms_key_arn);
    let metadata = match operation {
        Operation::Metadata => {
            json!({ "awsPrincipalArn": principal, "kmsOperation": "DescribeKey", "kmsRequestId": request_id })
        }
        Operation::Encrypt | Operation::Decrypt => {
            let operation = if operation == Operation::Encrypt {
                "Encrypt"
            } else {
                "Decrypt"
            };
            json!({
                "awsPrincipalArn": principal,
                "kmsKeyArn": key,
                "kmsOperation": operation,
                "kmsRequestId": request_id,
            })
        }
        Operation::Health => json!({ "kmsOperation": "KmsHealthCheck", "kmsRequestId": request_id }),
    };
    json!({ "requestMetadata": metadata })
}

/// Sets a field of a body.
pub(super) fn set(body: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(name.into(), value.into());
    }
}

pub(super) fn remove(body: &mut Value, name: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.remove(name);
    }
}

/// Sets a field of a body's requestMetadata.
pub(super) fn set_metadata(body: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(metadata) = body.get_mut("requestMetadata") {
        set(metadata, name, value);
    }
}

pub(super) fn encrypt(setup: &Setup, plaintext: &[u8], aad: Option<&[u8]>, has_cdiv: bool) -> Value {
    let mut body = plain(setup, Operation::Encrypt);
    set(&mut body, "plaintext", encode(plaintext));
    set(&mut body, "encryptionAlgorithm", "AES_GCM");
    if let Some(aad) = aad {
        set(&mut body, "additionalAuthenticatedData", encode(aad));
    }
    if has_cdiv {
        set(&mut body, "ciphertextDataIntegrityValueAlgorithm", "SHA_256");
    }
    body
}

/// What an encryption gave back, decoded, with the AAD that it was made under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) ciphertext: Vec<u8>,
    pub(super) iv: Vec<u8>,
    pub(super) tag: Vec<u8>,
    pub(super) metadata: Option<Vec<u8>>,
    pub(super) aad: Option<Vec<u8>>,
    /// As it came.
    pub(super) cdiv: Option<Value>,
}

impl Sealed {
    /// # Errors
    /// What is wrong with the answer.
    pub(super) fn from_answer(answer: &Value, aad: Option<&[u8]>) -> Result<Self, String> {
        Ok(Self {
            ciphertext: field(answer, "ciphertext")?.ok_or("no ciphertext")?,
            iv: field(answer, "initializationVector")?.ok_or("no initializationVector")?,
            tag: field(answer, "authenticationTag")?.ok_or("no authenticationTag")?,
            metadata: field(answer, "ciphertextMetadata")?,
            aad: aad.map(<[u8]>::to_vec),
            cdiv: answer.get("ciphertextDataIntegrityValue").cloned(),
        })
    }

    /// What has the form of an encryption of 16 bytes, and is none.
    pub(super) fn of_nothing() -> Self {
        Self {
            ciphertext: vec![7; 16],
            iv: vec![8; 12],
            tag: vec![9; 16],
            ..Self::default()
        }
    }

    /// ENC-9: over the decoded parts, one after the other.
    pub(super) fn expected_cdiv(&self) -> String {
        let none = Vec::new();
        let mut hash = Sha256::new();
        hash.update(self.aad.as_ref().unwrap_or(&none));
        hash.update(self.metadata.as_ref().unwrap_or(&none));
        hash.update(&self.iv);
        hash.update(&self.ciphertext);
        hash.update(&self.tag);
        encode(&hash.finalize())
    }

    pub(super) fn body(&self, setup: &Setup) -> Value {
        let mut body = plain(setup, Operation::Decrypt);
        set(&mut body, "encryptionAlgorithm", "AES_GCM");
        set(&mut body, "ciphertext", encode(&self.ciphertext));
        set(&mut body, "initializationVector", encode(&self.iv));
        set(&mut body, "authenticationTag", encode(&self.tag));
        if let Some(metadata) = &self.metadata {
            set(&mut body, "ciphertextMetadata", encode(metadata));
        }
        if let Some(aad) = &self.aad {
            set(&mut body, "additionalAuthenticatedData", encode(aad));
        }
        body
    }
}

/// A field in Base64, decoded; ENC-1: in the standard alphabet and with padding.
pub(super) fn field(answer: &Value, name: &str) -> Result<Option<Vec<u8>>, String> {
    match answer.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => match BASE64_STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => Err(format!("{name} is not Base64")),
        },
        Some(_) => Err(format!("{name} is not a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ENC-9: the specification's own example.
    #[test]
    fn the_integrity_value_is_that_of_the_test_vector() {
        let hex = |text: &str| -> Vec<u8> {
            let digits = text.as_bytes().chunks(2);
            digits
                .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
                .collect()
        };
        let sealed = Sealed {
            ciphertext: hex("821c642b5b71783367deaf18"),
            iv: hex("1ccae5470f39700254779031"),
            tag: hex("bc1c4dda7707d6812447c5955e99b261"),
            metadata: Some(b"key_version=1".to_vec()),
            aad: Some(b"project=nile,department=marketing".to_vec()),
            cdiv: None,
        };
        let expected = hex("a8703f2260bd8791ec2d15ea0b23e65a0631eedcf2a13a65cc82db3f47cf5ec7");
        assert_eq!(sealed.expected_cdiv(), encode(&expected));
    }
}
