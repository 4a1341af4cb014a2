//! A key that is to be created, and the token that lets its creation be repeated.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    KeyId,
    backend::KeyUsage,
    names::serde_as_text,
    text::{Hex, decode_hex},
};

/// An AES-256 key that is to be created.
///
/// A key that serves KMS must never leave its key manager, and a key that leaves it must not serve KMS. The
/// two constructors make one or the other.
///
/// ```
/// use xks_core::{backend::KeyUsage, manage::{CreationToken, NewKey}};
///
/// # fn doc(random: [u8; 16]) -> Result<(), Box<dyn std::error::Error>> {
/// let key = NewKey::for_xks(CreationToken::from(random), "prod-payroll-v1".parse()?);
/// assert_eq!(key.usages(), [KeyUsage::Encrypt, KeyUsage::Decrypt]);
/// assert!(!key.is_extractable());
/// # Ok(())
/// # }
/// # doc([7; 16]).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    token: CreationToken,
    label: KeyId,
    usages: Vec<KeyUsage>,
    is_extractable: bool,
}

impl NewKey {
    /// Creates a key that KMS uses through the proxy: encrypts and decrypts, not extractable.
    ///
    /// `label` is what the key manager's own tools call the key. It is never changed later, so let it say
    /// whose key it is: deployment, key, version. A legal key id, so that the key manager may serve the key
    /// by it.
    #[must_use]
    pub fn for_xks(token: CreationToken, label: KeyId) -> Self {
        Self {
            token,
            label,
            usages: vec![KeyUsage::Encrypt, KeyUsage::Decrypt],
            is_extractable: false,
        }
    }

    /// Creates a key whose material is imported into AWS KMS: extractable, and signs for
    /// [`KeyManager::cmac`](super::KeyManager::cmac), by which the material is known again. It does not
    /// encrypt.
    #[must_use]
    pub fn for_import(token: CreationToken, label: KeyId) -> Self {
        Self::for_xks(token, label)
            .with_usages([KeyUsage::Sign])
            .extractable(true)
    }

    /// Replaces the usages, in any order; doubles count once.
    #[must_use]
    pub fn with_usages(mut self, usages: impl IntoIterator<Item = KeyUsage>) -> Self {
        self.usages = usages.into_iter().collect();
        self.usages.sort_unstable();
        self.usages.dedup();
        self
    }

    /// Sets whether the material may leave the key manager wrapped. It cannot be changed later.
    #[must_use]
    pub fn extractable(mut self, is_extractable: bool) -> Self {
        self.is_extractable = is_extractable;
        self
    }

    /// Returns the token by which the creation is repeated.
    #[must_use]
    pub const fn token(&self) -> CreationToken {
        self.token
    }

    /// Returns the name of the key in the key manager's own tools.
    #[must_use]
    pub const fn label(&self) -> &KeyId {
        &self.label
    }

    /// Returns the usages, in the order of [`KeyUsage`], each once.
    #[must_use]
    pub fn usages(&self) -> &[KeyUsage] {
        &self.usages
    }

    /// Returns whether its material may leave the key manager, wrapped.
    #[must_use]
    pub const fn is_extractable(&self) -> bool {
        self.is_extractable
    }
}

/// Names one creation of a key: 16 bytes that the caller chooses at random, and keeps before the first call,
/// so that the call can be repeated when its answer is lost.
///
/// A key manager keeps it with the key (PKCS#11: as `CKA_ID`). It is no secret. As text it has 32 hex digits
/// in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreationToken([u8; 16]);

impl CreationToken {
    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for CreationToken {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for CreationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

serde_as_text! { CreationToken }

impl fmt::Debug for CreationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CreationToken({self})")
    }
}

/// Returned for a text that is not a [`CreationToken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a creation token has 32 hex digits in lower case")]
#[non_exhaustive]
pub struct CreationTokenError;

impl FromStr for CreationToken {
    type Err = CreationTokenError;

    fn from_str(text: &str) -> Result<Self, CreationTokenError> {
        let mut bytes = [0; 16];
        decode_hex(text, &mut bytes).map_err(|_| CreationTokenError)?;
        if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(CreationTokenError); // a token has one text
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_text() {
        let token = CreationToken::from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        let text = "000102030405060708090a0b0c0d0eff";
        assert_eq!((token.to_string(), text.parse()), (text.to_owned(), Ok(token)));
        for bad in [
            "",
            "000102030405060708090A0B0C0D0EFF",
            "+00102030405060708090a0b0c0d0eff",
            "000102030405060708090a0b0c0d0ef",
            "000102030405060708090a0b0c0d0eff0",
            "000102030405060708090a0b0c0d0efg",
        ] {
            assert_eq!(bad.parse::<CreationToken>(), Err(CreationTokenError), "{bad:?}");
        }
    }

    #[test]
    fn what_serves_stays_and_what_leaves_does_not_serve() {
        let (token, label) = (CreationToken::from([7; 16]), "a".parse::<KeyId>().unwrap());
        let xks = NewKey::for_xks(token, label.clone());
        assert_eq!(
            (xks.usages(), xks.is_extractable()),
            (&[KeyUsage::Encrypt, KeyUsage::Decrypt][..], false)
        );
        let import = NewKey::for_import(token, label);
        assert_eq!(
            (import.usages(), import.is_extractable()),
            (&[KeyUsage::Sign][..], true)
        );
        let other = import.with_usages([KeyUsage::Sign, KeyUsage::Encrypt, KeyUsage::Sign]);
        assert_eq!(other.usages(), [KeyUsage::Encrypt, KeyUsage::Sign]);
    }
}
