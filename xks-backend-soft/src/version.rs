//! A version of a key: its number, which travels in the ciphertext metadata, its cipher, and the count of its
//! IVs.

use std::{fmt, sync::Arc};

use xks_core::{
    BackendError, KeyId,
    backend::{BackendErrorKind, CiphertextMetadata},
};

use crate::{
    SoftKeyError,
    gcm::{Gcm, Sealed},
    iv_count::{IvCount, MAX_IVS, Take},
    material::KeyMaterial,
};

/// One version of a [`SoftKey`](crate::SoftKey): a number and 32 bytes of key material.
///
/// The number goes into the ciphertext metadata as `key_version=N`. Clones share the count of encryptions.
///
/// # How many encryptions
/// NIST SP 800-38D allows 2^32 encryptions with random IVs under one key. They are counted; the log has a
/// warning when half of them are spent; beyond the last one, encryption is refused until the key has a newer
/// version. The count is this process's. To keep it over a restart, write [`encryptions`](Self::encryptions)
/// down and give it to [`with_encryptions`](Self::with_encryptions).
///
/// ```
/// use xks_backend_soft::{KeyMaterial, KeyVersion};
///
/// let version = KeyVersion::new(3, KeyMaterial::generate()?)?.with_encryptions(1_000_000);
/// assert_eq!((version.number(), version.encryptions()), (3, 1_000_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeyVersion {
    number: u32,
    metadata: CiphertextMetadata,
    key: Arc<CountedKey>,
}

/// What every clone of a version shares, over every change of the keyring.
struct CountedKey {
    /// To tell whether two versions are the same key. The cipher's key schedule begins with these bytes
    /// anyway.
    material: KeyMaterial,
    cipher: Gcm,
    ivs: IvCount,
}

impl KeyVersion {
    /// The largest number: with eight digits, `key_version=N` has the 20 bytes that the metadata may have.
    /// Specification: Encrypt.
    // ENC-7
    pub const MAX_NUMBER: u32 = 99_999_999;

    /// Creates a version that has made no encryptions yet. The material is a [`KeyMaterial`], or 32 bytes.
    ///
    /// # Errors
    /// [`SoftKeyError::VersionNumber`] unless `number` is from 1 to [`MAX_NUMBER`](Self::MAX_NUMBER);
    /// [`SoftKeyError::Library`].
    pub fn new(number: u32, material: impl Into<KeyMaterial>) -> Result<Self, SoftKeyError> {
        if !(1..=Self::MAX_NUMBER).contains(&number) {
            return Err(SoftKeyError::VersionNumber(number));
        }
        let metadata = CiphertextMetadata::try_from(format!("key_version={number}").as_bytes())
            .map_err(|_| SoftKeyError::VersionNumber(number))?;
        let material = material.into();
        let cipher = Gcm::new(&material)?;
        Ok(Self {
            number,
            metadata,
            key: Arc::new(CountedKey {
                material,
                cipher,
                ivs: IvCount::default(),
            }),
        })
    }

    /// Counts so many encryptions as already made: by an earlier process, or by another one that
    /// has the same key. A count that is higher already stays.
    #[must_use]
    pub fn with_encryptions(self, encryptions: u64) -> Self {
        self.key.ivs.raise_to(encryptions);
        self
    }

    /// Returns the number, from 1.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Returns how many encryptions were made, or begun, under this version: at most 2^32.
    #[must_use]
    pub fn encryptions(&self) -> u64 {
        self.key.ivs.used()
    }

    /// What goes with every ciphertext: `key_version=N`.
    // ENC-7
    pub(crate) const fn metadata(&self) -> &CiphertextMetadata {
        &self.metadata
    }

    pub(crate) fn material(&self) -> &KeyMaterial {
        &self.key.material
    }

    pub(crate) fn cipher(&self) -> &Gcm {
        &self.key.cipher
    }

    /// Encrypts, unless the bound on random IVs is reached. `id` is for the log.
    // ENC-6
    pub(crate) fn seal(&self, id: &KeyId, aad: &[u8], plaintext: &[u8]) -> Result<Sealed, BackendError> {
        match self.key.ivs.take() {
            Take::Granted => {}
            Take::GrantedWithWarning => tracing::warn!(
                key = %id,
                key_version = self.number,
                encryptions = self.encryptions(),
                max_encryptions = MAX_IVS,
                "half of the encryptions that a key version may make are used up: add a key version in time"
            ),
            Take::Refused => {
                return Err(BackendError::new(
                    BackendErrorKind::KeyDisabled,
                    format!(
                        "key version {} has made the 2^32 encryptions that NIST SP 800-38D allows under one key: \
                         add a key version",
                        self.number
                    ),
                ));
            }
        }
        self.key.cipher.seal(aad, plaintext)
    }

    /// Whether the key material is the same, whatever the numbers.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key) || self.key.material == other.key.material
    }

    /// This version, counting on where `earlier`, which is the same key, has come to.
    pub(crate) fn counting_on(self, earlier: &Self) -> Self {
        earlier.key.ivs.raise_to(self.encryptions());
        Self {
            key: Arc::clone(&earlier.key),
            ..self
        }
    }
}

impl fmt::Debug for KeyVersion {
    /// No key material.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVersion")
            .field("number", &self.number)
            .field("encryptions", &self.encryptions())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::logged;

    fn id() -> KeyId {
        "key-1".parse().unwrap()
    }

    /// ENC-7: the metadata is short enough for every number there is.
    #[test]
    fn numbers_that_fit_the_metadata_are_numbers() {
        for number in [1, 9, 10, 12_345_678, KeyVersion::MAX_NUMBER] {
            let version = KeyVersion::new(number, [7; 32]).unwrap();
            assert_eq!(
                version.metadata().as_bytes(),
                format!("key_version={number}").as_bytes()
            );
        }
        let longest = KeyVersion::new(KeyVersion::MAX_NUMBER, [7; 32]).unwrap();
        assert_eq!(longest.metadata().as_bytes().len(), CiphertextMetadata::MAX_LENGTH);
        for number in [0, KeyVersion::MAX_NUMBER + 1, u32::MAX] {
            assert!(matches!(KeyVersion::new(number, [7; 32]), Err(SoftKeyError::VersionNumber(n)) if n == number));
        }
    }

    /// ENC-6: a warning at half of the bound, once; at the bound a refusal that says what to do.
    #[test]
    fn the_bound_is_warned_about_and_kept() {
        let seal = |version: &KeyVersion| version.seal(&id(), b"", b"plaintext").map(drop);
        let version = KeyVersion::new(2, [7; 32]).unwrap().with_encryptions((1 << 31) - 2);
        let log = logged(|| {
            seal(&version).unwrap();
            assert_eq!(version.encryptions(), (1 << 31) - 1);
        });
        assert_eq!(log, "");
        let log = logged(|| (0..5).for_each(|_| seal(&version).unwrap()));
        assert_eq!(log.matches("WARN").count(), 1, "{log}");
        for part in [
            "key=key-1",
            "key_version=2",
            "encryptions=2147483648",
            "add a key version",
        ] {
            assert!(log.contains(part), "{log}");
        }

        let version = version.with_encryptions((1 << 32) - 1);
        seal(&version).unwrap();
        for _ in 0..3 {
            let error = seal(&version).unwrap_err();
            assert_eq!(error.kind(), BackendErrorKind::KeyDisabled);
            assert!(error.to_string().ends_with("add a key version"), "{error}");
            assert_eq!(version.encryptions(), 1 << 32);
        }
    }

    #[test]
    fn clones_share_the_count() {
        let version = KeyVersion::new(1, [7; 32]).unwrap();
        let clone = version.clone();
        version.seal(&id(), b"", b"").unwrap();
        assert_eq!((version.encryptions(), clone.encryptions()), (1, 1));
    }

    /// The higher of two counts is believed.
    #[test]
    fn a_version_made_anew_counts_on() {
        let earlier = KeyVersion::new(1, [7; 32]).unwrap().with_encryptions(100);
        for (made_anew, expected) in [(0, 100), (500, 500), (7, 500)] {
            let version = KeyVersion::new(4, [7; 32]).unwrap().with_encryptions(made_anew);
            assert!(version.is_same_key(&earlier));
            let version = version.counting_on(&earlier);
            assert_eq!((version.number(), version.encryptions()), (4, expected));
        }
        assert!(!KeyVersion::new(1, [8; 32]).unwrap().is_same_key(&earlier));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let version = KeyVersion::new(3, [0xab; 32]).unwrap().with_encryptions(5);
        assert_eq!(format!("{version:?}"), "KeyVersion { number: 3, encryptions: 5, .. }");
    }
}
