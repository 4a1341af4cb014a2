//! The keys of heads: ECDSA on the curve P-256 with SHA-256.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{Origin, OriginError};

/// What signed notes call ECDSA.
const ECDSA: u8 = 2;

/// A key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not a private key of P-256 in PKCS #8.
    #[error("the key that signs heads of the audit log is not an ECDSA key of P-256 in PKCS #8 (DER)")]
    Private,
    /// It is not a public key of P-256.
    #[error(
        "the key that verifies heads of the audit log is not an ECDSA key of P-256: NAME+ID+KEY, as the server prints it"
    )]
    Public,
    /// Its name is not that of a log.
    #[error(transparent)]
    Name(#[from] OriginError),
    /// There is no randomness, or the library refused.
    #[error("the head of the audit log could not be signed: the cryptographic library refused")]
    Signing,
}

/// A private key in this process. Where the key is in a hardware security module, its signature goes to
/// [`SignedHead::new`](crate::SignedHead::new).
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: VerifyingKey,
}

impl SigningKey {
    /// Makes a key of this name. Returns it with its PKCS #8 (DER), which is to be kept secret.
    ///
    /// # Errors
    /// [`KeyError::Signing`]: there is no randomness.
    pub fn generate(name: Origin) -> Result<(Self, zeroize::Zeroizing<Vec<u8>>), KeyError> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        let document = document.map_err(|_| KeyError::Signing)?;
        let key = Self::from_pkcs8(name, document.as_ref())?;
        Ok((key, document.as_ref().to_vec().into()))
    }

    /// # Errors
    /// [`KeyError::Private`]: it is not a key of P-256 in PKCS #8 (DER).
    pub fn from_pkcs8(name: Origin, document: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document);
        let pair = pair.map_err(|_| KeyError::Private)?;
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::Private)?;
        let public = VerifyingKey::from_der(name, der.as_ref())?;
        Ok(Self { pair, public })
    }

    /// Returns the key that verifies.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Returns the signature of a text, in DER.
    ///
    /// # Errors
    /// [`KeyError::Signing`]: there is no randomness.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), text);
        Ok(signature.map_err(|_| KeyError::Signing)?.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// A public key with the name that heads call it by. As a text it is what tools for signed notes read:
/// `NAME+ID+KEY`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: Origin,
    /// SubjectPublicKeyInfo.
    der: Vec<u8>,
}

impl VerifyingKey {
    /// A key by its SubjectPublicKeyInfo (DER).
    ///
    /// # Errors
    /// [`KeyError::Public`]: it is not one of P-256.
    pub fn from_der(name: Origin, der: &[u8]) -> Result<Self, KeyError> {
        /// What comes before the point in the only form that it has: RFC 5480, an uncompressed point of
        /// P-256.
        const BEFORE_POINT: &[u8] = &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        let point = der.strip_prefix(BEFORE_POINT).ok_or(KeyError::Public)?;
        let key = aws_lc_rs::signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
        key.map_err(|_| KeyError::Public)?;
        Ok(Self {
            name,
            der: der.to_vec(),
        })
    }

    /// Returns its name.
    #[must_use]
    pub const fn name(&self) -> &Origin {
        &self.name
    }

    /// Returns its id: the first four bytes of the SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let hash: [u8; 32] = Sha256::digest(&self.der).into();
        let [first, second, third, fourth, ..] = hash;
        [first, second, third, fourth]
    }

    /// Returns whether a signature in DER is one of this key over this text.
    #[must_use]
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.der);
        key.verify(text, signature).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ECDSA], self.der.as_slice()].concat());
        write!(f, "{}+{:08x}+{key}", self.name, u32::from_be_bytes(self.id()))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Public);
        };
        let bytes = STANDARD.decode(key).map_err(|_| KeyError::Public)?;
        let der = bytes.strip_prefix(&[ECDSA]).ok_or(KeyError::Public)?;
        let key = Self::from_der(name.parse()?, der)?;
        match format!("{:08x}", u32::from_be_bytes(key.id())) == id {
            true => Ok(key),
            false => Err(KeyError::Public),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Origin {
        Origin::new("example/audit").unwrap()
    }

    #[test]
    fn a_key_signs_what_its_other_half_verifies() {
        let (key, document) = SigningKey::generate(name()).unwrap();
        let again = SigningKey::from_pkcs8(name(), &document).unwrap();
        let signature = again.sign(b"text").unwrap();
        let text = key.verifying_key().to_string();
        let public: VerifyingKey = text.parse().unwrap();
        assert_eq!(&public, key.verifying_key());
        assert!(public.verifies(b"text", &signature));
        assert!(!public.verifies(b"another text", &signature));
        assert!(!public.verifies(b"text", &signature[1..]));
        let (other, _) = SigningKey::generate(name()).unwrap();
        assert!(!other.verifying_key().verifies(b"text", &signature));
        assert!(!format!("{key:?}").contains("pair"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (key, _) = SigningKey::generate(name()).unwrap();
        let text = key.verifying_key().to_string();
        let (before, after) = text.split_at(text.find('+').unwrap() + 1);
        for wrong in [
            String::new(),
            "name".into(),
            "name+00000000+AAAA".into(),
            format!("a name+{after}"),
            format!("{before}00000000+{}", after.split_at(9).1),
            text.split_at(text.len() - 4).0.to_owned(),
        ] {
            assert!(wrong.parse::<VerifyingKey>().is_err(), "{wrong}");
        }
        assert_eq!(SigningKey::from_pkcs8(name(), b"0").unwrap_err(), KeyError::Private);
    }
}
