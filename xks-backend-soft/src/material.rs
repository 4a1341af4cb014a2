//! Key material: the 32 bytes of an AES-256 key, and the ways to come by them.

use std::{fmt, path::Path};

use subtle::ConstantTimeEq as _;
use xks_core::{
    Zeroizing,
    manage::{ManageError, ManageErrorKind, WrappingAlgorithm, WrappingKey},
};

use crate::{KeyMaterialError, key_file::KeyFile};

/// The 32 bytes of an AES-256 key, wiped when dropped, never printed.
///
/// ```
/// use xks_backend_soft::KeyMaterial;
///
/// let material = KeyMaterial::generate()?;
/// assert_eq!(format!("{material:?}"), "KeyMaterial(32 bytes)");
/// # Ok::<(), xks_backend_soft::KeyMaterialError>(())
/// ```
#[derive(Clone)]
pub struct KeyMaterial(Zeroizing<[u8; 32]>);

impl KeyMaterial {
    /// Creates a new key from the operating system's random source.
    ///
    /// # Errors
    /// [`KeyMaterialError::Random`] when that source fails.
    pub fn generate() -> Result<Self, KeyMaterialError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|error| KeyMaterialError::Random(error.into()))?;
        Ok(Self(bytes))
    }

    /// Reads the key in a file: 32 raw bytes, or their Base64 text (44 characters), or 64 hex digits; one
    /// newline may follow the two text forms.
    ///
    /// A file that group or others can read is taken, with a warning in the log; [`KeyFile`] reads without.
    ///
    /// # Errors
    /// [`KeyMaterialError::Unreadable`] and [`KeyMaterialError::Malformed`]. Neither tells what the file
    /// holds.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyMaterialError> {
        let file = KeyFile::read(path.as_ref())?;
        file.log_warnings();
        Ok(file.into_material())
    }

    /// Returns by which algorithms [`wrap`](Self::wrap) wraps, best first: none without the feature
    /// `aws-lc-rs`.
    #[must_use]
    pub const fn wrappings() -> &'static [WrappingAlgorithm] {
        if cfg!(feature = "aws-lc-rs") {
            &WrappingAlgorithm::ALL
        } else {
            &[]
        }
    }

    /// Wraps the material for the import into AWS KMS, in software.
    ///
    /// # Errors
    /// `Unsupported` without the feature `aws-lc-rs`, and for a wrapping key that AWS-LC refuses.
    pub fn wrap(&self, key: &WrappingKey) -> Result<Vec<u8>, ManageError> {
        #[cfg(feature = "aws-lc-rs")]
        return crate::wrap::wrap(self, key);
        #[cfg(not(feature = "aws-lc-rs"))]
        {
            let _ = key;
            Err(needs_aws_lc())
        }
    }

    /// Computes the AES-CMAC (NIST SP 800-38B) of a message under the material.
    ///
    /// # Errors
    /// `Unsupported` without the feature `aws-lc-rs`.
    pub fn cmac(&self, message: &[u8]) -> Result<[u8; 16], ManageError> {
        #[cfg(feature = "aws-lc-rs")]
        return crate::wrap::cmac(self, message);
        #[cfg(not(feature = "aws-lc-rs"))]
        {
            let _ = message;
            Err(needs_aws_lc())
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Keys of this build do not leave it.
pub(crate) fn needs_aws_lc() -> ManageError {
    ManageError::new(
        ManageErrorKind::Unsupported,
        "xks-backend-soft was built without its feature `aws-lc-rs`, and so wraps no keys: build it with that",
    )
}

impl PartialEq for KeyMaterial {
    /// Takes the same time wherever they differ.
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for KeyMaterial {}

impl From<Zeroizing<[u8; 32]>> for KeyMaterial {
    fn from(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }
}

impl From<[u8; 32]> for KeyMaterial {
    /// Wiping any other copy of `bytes` is up to the caller.
    fn from(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl TryFrom<&[u8]> for KeyMaterial {
    type Error = KeyMaterialError;

    /// Wiping `bytes` is up to the caller.
    fn try_from(bytes: &[u8]) -> Result<Self, KeyMaterialError> {
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(KeyMaterialError::Length(bytes.len()));
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial(32 bytes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_make_a_key_when_there_are_32() {
        assert_eq!(KeyMaterial::try_from(&[7; 32][..]).unwrap().as_bytes(), &[7; 32]);
        for length in [0, 16, 24, 31, 33, 64] {
            let error = KeyMaterial::try_from(&vec![7; length][..]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("an AES-256 key must have 32 bytes, not {length}")
            );
        }
        let zeroizing = KeyMaterial::from(Zeroizing::new([7; 32]));
        assert!(zeroizing == KeyMaterial::from([7; 32]));
        assert!(zeroizing != KeyMaterial::from([8; 32]));
    }

    #[test]
    fn generated_keys_differ_and_are_not_printed() {
        let key = KeyMaterial::generate().unwrap();
        assert!(key != KeyMaterial::generate().unwrap());
        assert!(key != KeyMaterial::from([0; 32]));
        assert_eq!(format!("{key:?}"), "KeyMaterial(32 bytes)");
    }
}
