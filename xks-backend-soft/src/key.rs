//! A key: its versions, what it may be used for, and whether it is enabled.

use std::iter;

use xks_core::{
    BackendError, KeyId,
    backend::{BackendErrorKind, CiphertextMetadata, KeyMetadata, KeySpec, KeyStatus, KeyUsage},
    manage::{CreationToken, KeyDescription, NewKey},
};

use crate::{SoftKeyError, material::KeyMaterial, version::KeyVersion};

/// An AES-256 key with one version or more: the one with the highest number encrypts, all decrypt.
///
/// A new key is enabled and may encrypt and decrypt. Clones share the counts of encryptions.
///
/// ```
/// use xks_backend_soft::{KeyVersion, SoftKey};
/// use xks_core::backend::{KeyStatus, KeyUsage};
///
/// # fn doc(old: [u8; 32], new: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
/// let key = SoftKey::new(KeyVersion::new(1, old)?)
///     .with_version(KeyVersion::new(2, new)?)?
///     .with_usages([KeyUsage::Encrypt, KeyUsage::Decrypt])
///     .with_status(KeyStatus::Enabled);
/// assert_eq!(key.newest_version().number(), 2);
/// # Ok(())
/// # }
/// # doc([1; 32], [2; 32]).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct SoftKey {
    metadata: KeyMetadata,
    /// The one that encrypts.
    newest: KeyVersion,
    /// In the order of their numbers.
    older: Vec<KeyVersion>,
    is_extractable: bool,
    /// Of a key that was created by the backend, as its manager.
    token: Option<CreationToken>,
}

impl SoftKey {
    /// Creates an enabled key with one version, for encryption and decryption.
    #[must_use]
    pub fn new(version: KeyVersion) -> Self {
        Self {
            metadata: KeyMetadata::new(
                KeySpec::Aes256, // GKM-1
                [KeyUsage::Encrypt, KeyUsage::Decrypt],
                KeyStatus::Enabled,
            ),
            newest: version,
            older: Vec::new(),
            is_extractable: false,
            token: None,
        }
    }

    /// Creates an enabled key whose version 1 comes from the operating system's random source. It exists in
    /// this process alone, and with it what it encrypted: for tests and demonstrations.
    ///
    /// # Errors
    /// [`KeyMaterialError::Random`](crate::KeyMaterialError::Random) when that source fails.
    pub fn generate() -> Result<Self, SoftKeyError> {
        Ok(Self::new(KeyVersion::new(1, KeyMaterial::generate()?)?))
    }

    /// A key as it was asked for.
    pub(crate) fn create(new: &NewKey) -> Result<Self, SoftKeyError> {
        let key = Self::generate()?.with_usages(new.usages().iter().copied());
        Ok(key.created_with(new.token(), new.is_extractable()))
    }

    pub(crate) fn created_with(self, token: CreationToken, is_extractable: bool) -> Self {
        Self {
            token: Some(token),
            is_extractable,
            ..self
        }
    }

    /// Adds a version.
    ///
    /// # Errors
    /// [`SoftKeyError::VersionExists`], [`SoftKeyError::SameMaterial`].
    pub fn with_version(mut self, version: KeyVersion) -> Result<Self, SoftKeyError> {
        if let Some(existing) = self.versions().find(|known| known.number() == version.number()) {
            return Err(SoftKeyError::VersionExists(existing.number()));
        }
        if let Some(existing) = self.versions().find(|known| known.is_same_key(&version)) {
            return Err(SoftKeyError::SameMaterial {
                new: version.number(),
                existing: existing.number(),
            });
        }
        if version.number() > self.newest.number() {
            self.older.push(std::mem::replace(&mut self.newest, version));
        } else {
            let place = self.older.partition_point(|known| known.number() < version.number());
            self.older.insert(place, version);
        }
        Ok(self)
    }

    /// Removes an older version. What that version encrypted can no longer be decrypted.
    ///
    /// # Errors
    /// [`SoftKeyError::UnknownVersion`], [`SoftKeyError::NewestVersion`].
    pub fn without_version(mut self, number: u32) -> Result<Self, SoftKeyError> {
        if number == self.newest.number() {
            return Err(SoftKeyError::NewestVersion(number));
        }
        let before = self.older.len();
        self.older.retain(|version| version.number() != number);
        if self.older.len() == before {
            return Err(SoftKeyError::UnknownVersion(number));
        }
        Ok(self)
    }

    /// Replaces the usages. The key does nothing but encrypt and decrypt, whatever else is named here.
    /// Specification: GetKeyMetadata.
    // GKM-2
    #[must_use]
    pub fn with_usages(mut self, usages: impl IntoIterator<Item = KeyUsage>) -> Self {
        self.metadata = KeyMetadata::new(KeySpec::Aes256, usages, self.metadata.status());
        self
    }

    /// Enables or disables the key. Specification: GetKeyMetadata.
    // GKM-3
    #[must_use]
    pub fn with_status(mut self, status: KeyStatus) -> Self {
        let usages = self.metadata.usages().iter().copied();
        self.metadata = KeyMetadata::new(KeySpec::Aes256, usages, status);
        self
    }

    /// Permits or forbids to [wrap](xks_core::manage::KeyManager::wrap_key) its material.
    #[must_use]
    pub fn with_extractable(self, is_extractable: bool) -> Self {
        Self { is_extractable, ..self }
    }

    /// Returns whether its material can be wrapped.
    #[must_use]
    pub const fn is_extractable(&self) -> bool {
        self.is_extractable
    }

    pub(crate) const fn token(&self) -> Option<CreationToken> {
        self.token
    }

    /// Whether it is what was asked for, but for its label.
    pub(crate) fn is_like(&self, new: &NewKey) -> bool {
        self.metadata.usages() == new.usages() && self.is_extractable == new.is_extractable()
    }

    pub(crate) fn description(&self, id: &KeyId) -> KeyDescription {
        KeyDescription::new(id.clone(), self.metadata.clone())
            .with_extractable(self.is_extractable)
            .with_token(self.token)
    }

    /// Returns what KMS learns of the key: kind, usages, status.
    #[must_use]
    pub const fn metadata(&self) -> &KeyMetadata {
        &self.metadata
    }

    /// Returns the version that encrypts.
    #[must_use]
    pub const fn newest_version(&self) -> &KeyVersion {
        &self.newest
    }

    /// Returns all versions, in the order of their numbers.
    pub fn versions(&self) -> impl Iterator<Item = &KeyVersion> {
        self.older.iter().chain(iter::once(&self.newest))
    }

    /// The length of the longest metadata of its versions.
    pub(crate) fn metadata_length(&self) -> usize {
        let lengths = self.versions().map(|version| version.metadata().as_bytes().len());
        lengths.max().unwrap_or_default()
    }

    // ENC-11, DEC-4: whether it is enabled comes first, then what it may be used for.
    pub(crate) fn check(&self, usage: KeyUsage) -> Result<(), BackendError> {
        if self.metadata.status() == KeyStatus::Disabled {
            return Err(BackendError::new(BackendErrorKind::KeyDisabled, "the key is disabled"));
        }
        if !self.metadata.usages().contains(&usage) {
            return Err(BackendError::new(
                BackendErrorKind::KeyUsage,
                format!("the key does not permit {usage}"),
            ));
        }
        Ok(())
    }

    /// The version that metadata names, to the byte: there is one way to write a number.
    pub(crate) fn version_of(&self, metadata: &CiphertextMetadata) -> Option<&KeyVersion> {
        iter::once(&self.newest)
            .chain(self.older.iter().rev())
            .find(|version| version.metadata() == metadata)
    }

    /// This key, whose versions count on where those of `earlier` with the same material have come to.
    pub(crate) fn counting_on(self, earlier: &Self) -> Self {
        let count_on = |version: KeyVersion| match earlier.versions().find(|known| known.is_same_key(&version)) {
            Some(known) => version.counting_on(known),
            None => version,
        };
        Self {
            metadata: self.metadata,
            newest: count_on(self.newest),
            older: self.older.into_iter().map(count_on).collect(),
            is_extractable: self.is_extractable,
            token: self.token,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u32) -> KeyVersion {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        KeyVersion::new(number, bytes).unwrap()
    }

    fn key(numbers: &[u32]) -> SoftKey {
        let (first, others) = numbers.split_first().unwrap();
        others.iter().fold(SoftKey::new(version(*first)), |key, number| {
            key.with_version(version(*number)).unwrap()
        })
    }

    fn numbers(key: &SoftKey) -> Vec<u32> {
        key.versions().map(KeyVersion::number).collect()
    }

    #[test]
    fn the_highest_number_is_the_newest_in_whatever_order_they_come() {
        for order in [[1, 2, 5, 9], [9, 5, 2, 1], [5, 9, 1, 2], [2, 9, 5, 1]] {
            let key = key(&order);
            assert_eq!(key.newest_version().number(), 9);
            assert_eq!(numbers(&key), [1, 2, 5, 9]);
        }
    }

    #[test]
    fn a_number_or_a_material_comes_once() {
        let two = key(&[1, 2]);
        for number in [1, 2] {
            let again = KeyVersion::new(number, [9; 32]).unwrap();
            assert!(matches!(two.clone().with_version(again), Err(SoftKeyError::VersionExists(n)) if n == number));
        }
        let same = KeyVersion::new(3, [7; 32]).unwrap();
        let key = two.with_version(same).unwrap();
        let error = key.with_version(KeyVersion::new(4, [7; 32]).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "version 4 has the same key material as version 3: each version needs its own"
        );
    }

    #[test]
    fn older_versions_can_be_removed_and_the_newest_cannot() {
        let key = key(&[1, 2, 3]).without_version(2).unwrap();
        assert_eq!(numbers(&key), [1, 3]);
        assert!(matches!(
            key.clone().without_version(3),
            Err(SoftKeyError::NewestVersion(3))
        ));
        assert!(matches!(key.without_version(2), Err(SoftKeyError::UnknownVersion(2))));
    }

    /// ENC-7: only what encrypt writes names a version.
    #[test]
    fn metadata_names_a_version_in_one_way() {
        let key = key(&[1, 7, 10]);
        let named = |text: &[u8]| {
            let metadata = CiphertextMetadata::try_from(text).unwrap();
            key.version_of(&metadata).map(KeyVersion::number)
        };
        for number in [1, 7, 10] {
            assert_eq!(named(format!("key_version={number}").as_bytes()), Some(number));
        }
        for other in [
            "key_version=2",
            "key_version=0",
            "key_version=01",
            "key_version=+1",
            "key_version= 1",
            "key_version=1 ",
            "key_version=1\0",
            "key_version=",
            "key_version",
            "KEY_VERSION=1",
            "1",
        ] {
            assert_eq!(named(other.as_bytes()), None, "{other:?}");
        }
    }

    /// ENC-11, DEC-4: a disabled key is reported before a wrong usage.
    #[test]
    fn status_is_checked_before_usage() {
        let kind = |key: &SoftKey, usage| key.check(usage).map_err(|error| error.kind());
        let key = key(&[1]);
        assert_eq!(kind(&key, KeyUsage::Encrypt), Ok(()));
        assert_eq!(kind(&key, KeyUsage::Decrypt), Ok(()));
        let key = key.with_usages([KeyUsage::Decrypt, KeyUsage::Wrap]);
        assert_eq!(kind(&key, KeyUsage::Encrypt), Err(BackendErrorKind::KeyUsage));
        assert_eq!(kind(&key, KeyUsage::Decrypt), Ok(()));
        let key = key.with_status(KeyStatus::Disabled);
        for usage in [KeyUsage::Encrypt, KeyUsage::Decrypt] {
            assert_eq!(kind(&key, usage), Err(BackendErrorKind::KeyDisabled));
        }
    }

    /// GKM-1, GKM-2, GKM-3: usages and status are reported as they were given, and neither changes the other.
    #[test]
    fn metadata_is_told_as_it_is() {
        let key =
            key(&[1])
                .with_status(KeyStatus::Disabled)
                .with_usages([KeyUsage::Wrap, KeyUsage::Encrypt, KeyUsage::Wrap]);
        assert_eq!(key.metadata().spec().as_str(), "AES_256");
        assert_eq!(key.metadata().usages(), [KeyUsage::Encrypt, KeyUsage::Wrap]);
        assert_eq!(key.metadata().status(), KeyStatus::Disabled);
        let key = key.with_status(KeyStatus::Enabled);
        assert_eq!(key.metadata().usages(), [KeyUsage::Encrypt, KeyUsage::Wrap]);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let text = format!("{:?}", SoftKey::new(KeyVersion::new(1, [0xab; 32]).unwrap()));
        assert!(text.contains("KeyVersion { number: 1, encryptions: 0, .. }"), "{text}");
        assert!(
            !text.contains("171") && !text.contains("ab,") && !text.contains("abab"),
            "{text}"
        );
    }
}
