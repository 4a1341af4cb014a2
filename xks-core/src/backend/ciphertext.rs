//! The parts of a ciphertext: IV, tag, ciphertext metadata, and an [`Encrypted`] that holds them.
//!
//! A wrong length of IV, tag or metadata is a `ValidationException`: decoding finds it, before the key is
//! looked up. Data of the right form that does not authenticate is an `InvalidCiphertextException`.

use std::fmt;

use thiserror::Error;

use crate::aad::BoundAad;

/// An error: a part of a ciphertext has a length that the specification does not permit. Specification:
/// Encrypt, Decrypt.
// ENC-6, ENC-7, DEC-2
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LengthError {
    /// The IV is neither 12 nor 16 bytes.
    #[error("the initialization vector is neither 12 nor 16 bytes long")]
    Iv,
    /// The tag is not 16 bytes.
    #[error("the authentication tag is not 16 bytes long")]
    Tag,
    /// The metadata is not 1 to 20 bytes.
    #[error("the ciphertext metadata is not 1 to 20 bytes long")]
    Metadata,
}

/// An AES-GCM initialization vector: 12 or 16 bytes. Specification: Encrypt.
// ENC-6
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Iv {
    bytes: [u8; 16],
    /// Twelve, or else all sixteen.
    is_short: bool,
}

impl Iv {
    /// Checks the length and keeps the bytes.
    ///
    /// ```
    /// use xks_core::backend::Iv;
    ///
    /// let from_the_hsm: Vec<u8> = vec![7; 12];
    /// assert_eq!(Iv::new(&from_the_hsm)?.as_bytes(), from_the_hsm);
    /// assert!(Iv::new([7; 8]).is_err());
    /// # Ok::<(), xks_core::backend::LengthError>(())
    /// ```
    ///
    /// # Errors
    /// [`LengthError::Iv`] unless there are 12 or 16 bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, LengthError> {
        bytes.as_ref().try_into()
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self.bytes.split_first_chunk::<12>() {
            Some((short, _)) if self.is_short => short,
            _ => &self.bytes,
        }
    }
}

impl From<[u8; 12]> for Iv {
    fn from(short: [u8; 12]) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(short) {
            *to = from;
        }
        Self { bytes, is_short: true }
    }
}

impl From<[u8; 16]> for Iv {
    fn from(bytes: [u8; 16]) -> Self {
        Self { bytes, is_short: false }
    }
}

impl TryFrom<&[u8]> for Iv {
    type Error = LengthError;

    fn try_from(bytes: &[u8]) -> Result<Self, LengthError> {
        <[u8; 12]>::try_from(bytes)
            .map(Self::from)
            .or_else(|_| <[u8; 16]>::try_from(bytes).map(Self::from))
            .map_err(|_| LengthError::Iv)
    }
}

impl fmt::Debug for Iv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iv({} bytes)", self.as_bytes().len())
    }
}

/// An AES-GCM authentication tag: 16 bytes. Specification: Encrypt.
// ENC-6
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag([u8; 16]);

impl Tag {
    /// Checks the length and keeps the bytes.
    ///
    /// ```
    /// use xks_core::backend::Tag;
    ///
    /// // Many key managers put the tag behind the ciphertext.
    /// let sealed: Vec<u8> = [&b"ciphertext"[..], &[7; 16]].concat();
    /// let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
    /// assert_eq!((ciphertext, Tag::new(tag)?.as_bytes()), (&b"ciphertext"[..], &[7; 16]));
    /// # Ok::<(), xks_core::backend::LengthError>(())
    /// ```
    ///
    /// # Errors
    /// [`LengthError::Tag`] unless there are 16 bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, LengthError> {
        bytes.as_ref().try_into()
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for Tag {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Tag {
    type Error = LengthError;

    fn try_from(bytes: &[u8]) -> Result<Self, LengthError> {
        bytes.try_into().map(Self).map_err(|_| LengthError::Tag)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(16 bytes)")
    }
}

/// Data that a key manager needs with a ciphertext to decrypt it, such as a key version: 1 to 20 bytes,
/// authenticated, kept by KMS. It is not secret. Specification: Encrypt.
// ENC-7
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CiphertextMetadata {
    bytes: [u8; 20],
    length: u8,
}

impl CiphertextMetadata {
    /// The most bytes it may have. Specification: Encrypt.
    // ENC-7
    pub const MAX_LENGTH: usize = 20;

    /// Checks the length and keeps the bytes.
    ///
    /// ```
    /// use xks_core::backend::CiphertextMetadata;
    ///
    /// let metadata = CiphertextMetadata::new("key_version=1")?;
    /// assert_eq!(metadata.as_bytes(), b"key_version=1");
    /// assert!(CiphertextMetadata::new("").is_err());
    /// # Ok::<(), xks_core::backend::LengthError>(())
    /// ```
    ///
    /// # Errors
    /// [`LengthError::Metadata`] unless there are 1 to 20 bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, LengthError> {
        bytes.as_ref().try_into()
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or(&self.bytes)
    }
}

impl TryFrom<&[u8]> for CiphertextMetadata {
    type Error = LengthError;

    fn try_from(text: &[u8]) -> Result<Self, LengthError> {
        let mut bytes = [0; Self::MAX_LENGTH];
        let room = bytes.get_mut(..text.len()).ok_or(LengthError::Metadata)?;
        room.copy_from_slice(text);
        match u8::try_from(text.len()) {
            Ok(length @ 1..) => Ok(Self { bytes, length }),
            _ => Err(LengthError::Metadata),
        }
    }
}

impl fmt::Debug for CiphertextMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CiphertextMetadata({:?})",
            self.as_bytes().escape_ascii().to_string()
        )
    }
}

/// The result of a backend's encryption. Specification: Encrypt.
///
/// It cannot be built without the [`BoundAad`] that was authenticated, and the metadata that KMS gets is
/// taken from there: what KMS keeps is what the tag covers.
// ENC-7
pub struct Encrypted {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) iv: Iv,
    pub(crate) tag: Tag,
    pub(crate) aad: BoundAad,
}

impl Encrypted {
    /// `ciphertext` is as long as the plaintext, without the tag; `aad` is what
    /// [`EncryptRequest::bind_aad`](crate::backend::EncryptRequest::bind_aad) returned.
    /// Specification: Encrypt.
    // ENC-6
    #[must_use]
    pub const fn new(ciphertext: Vec<u8>, iv: Iv, tag: Tag, aad: BoundAad) -> Self {
        Self {
            ciphertext,
            iv,
            tag,
            aad,
        }
    }

    /// Returns the ciphertext, without the tag.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }

    /// Returns the initialization vector.
    #[must_use]
    pub const fn iv(&self) -> &Iv {
        &self.iv
    }

    /// Returns the authentication tag.
    #[must_use]
    pub const fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Returns what was authenticated.
    #[must_use]
    pub const fn bound_aad(&self) -> &BoundAad {
        &self.aad
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted")
            .field("ciphertext", &self.ciphertext.len())
            .field("iv", &self.iv)
            .field("tag", &self.tag)
            .field("aad", &self.aad)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DEC-2, ENC-6, ENC-7: the only lengths there are.
    #[test]
    fn lengths_are_kept() {
        for length in 0..70_usize {
            let bytes = vec![7; length];
            assert_eq!(Iv::try_from(&*bytes).is_ok(), length == 12 || length == 16);
            assert_eq!(Tag::try_from(&*bytes).is_ok(), length == 16);
            assert_eq!(
                CiphertextMetadata::try_from(&*bytes).is_ok(),
                (1..=20).contains(&length)
            );
        }
        for text in [&b"123456789012"[..], b"1234567890123456"] {
            assert_eq!(Iv::try_from(text).unwrap().as_bytes(), text);
        }
        assert_eq!(
            CiphertextMetadata::try_from(&b"key_version=1"[..]).unwrap().as_bytes(),
            b"key_version=1"
        );
        assert!(CiphertextMetadata::try_from(&vec![0; 70_000][..]).is_err());
    }
}
