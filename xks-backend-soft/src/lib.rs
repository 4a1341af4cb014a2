//! Software keys for [`xks_core`]: a [`KeyBackend`] over AES-256-GCM keys in memory.
//!
//! For tests, demonstrations and development, and for uses where keys may stand in the memory of a
//! process: no HSM guards them. They are wiped when dropped; what the compiler leaves on the stack while one
//! is being made, and what the operating system swaps out, is not.
//!
//! # Getting started
//! ```
//! use std::sync::Arc;
//!
//! use xks_backend_soft::{KeyMaterial, KeyVersion, SoftBackend, SoftKey};
//! use xks_core::{Credential, KeyId, KeyStore, KeyStores, Proxy, backend::KeyStatus};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = std::env::temp_dir().join(format!("xks-backend-soft-doc-{}.key", std::process::id()));
//! # std::fs::write(&path, [7; 32])?;
//! // One key that lives as long as this process, and one from a file, such as `openssl rand -hex 32` writes.
//! let demo: KeyId = "xks-demo".parse()?;
//! let payroll: KeyId = "xks-payroll".parse()?;
//! let backend = Arc::new(
//!     SoftBackend::new()
//!         .with_key(demo.clone(), SoftKey::generate()?)
//!         .with_key(payroll.clone(), SoftKey::new(KeyVersion::new(1, KeyMaterial::from_file(&path)?)?)),
//! );
//! # std::fs::remove_file(&path)?;
//!
//! // What KMS reaches under one prefix, with one credential.
//! let key_store = KeyStore::builder("/example/tenant-a".parse()?, backend.clone())
//!     .region("eu-central-1".parse()?)
//!     .credential(Credential::new("AAAAAAAAAAAAAAAAAAAA", "s".repeat(43))?)
//!     .keys([demo.clone(), payroll.clone()])
//!     .build()?;
//! let proxy = Proxy::new(KeyStores::new([key_store])?); // a server gives its requests to `proxy.handle`
//!
//! // The keys can be changed while they are served; the next request finds them changed.
//! backend.set_status(&demo, KeyStatus::Disabled)?;
//! let number = backend.add_version(&payroll, KeyMaterial::generate()?)?;
//! assert_eq!(number, 2);
//! # drop(proxy);
//! # Ok(())
//! # }
//! ```
//!
//! # Creating keys
//! A [`SoftBackend`] is a [`KeyManager`](xks_core::manage::KeyManager) too: keys are created, listed,
//! disabled and destroyed while it serves. [`SoftBackend::with_directory`] keeps them over a restart. With
//! the feature `aws-lc-rs`, keys that were created extractable can be wrapped for the import into AWS KMS.
//!
//! # Ciphertexts
//! IVs have 12 random bytes; the ciphertext metadata is the ASCII text `key_version=N`. Ciphertexts with an
//! IV of 16 bytes, made elsewhere with the same key, are decrypted when their metadata is of that form too.
//!
//! # Features
//! With `aws-lc-rs`, encryptions and decryptions with IVs of 12 bytes are made by AWS-LC, in less than half
//! the time; it takes a C compiler to build. Ciphertexts are the same. IVs come from the operating system's
//! random source in either case, and those of 16 bytes are decrypted by the crate `aes-gcm`.
//!
//! # Forks, snapshots and copies of a machine
//! Each IV is asked of the operating system when it is needed, and none is kept in store: a stock, or a
//! generator in the process, would go on with the same IVs in both copies of a process that was forked or of
//! a machine that was restored, and under a repeated IV AES-GCM keeps nothing secret. Linux tells its own
//! generator of such copies where the hypervisor tells Linux.
//!
//! # How long a key lasts
//! A key version makes 2^32 encryptions, then it refuses: see [`KeyVersion`].

#![forbid(unsafe_code)]

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
mod directory;
mod error;
mod gcm;
mod iv_count;
mod key;
mod key_file;
mod keyring;
mod manager;
mod material;
mod on_thread;
mod operations;
mod rust_crypto;
mod stored_key;
#[cfg(test)]
mod tests;
mod version;
#[cfg(feature = "aws-lc-rs")]
mod wrap;

use std::{borrow::Cow, fmt, path::Path, sync::Arc};

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        HealthStatus, KeyMetadata, KeyStatus, KeyUsage, VerifiedEncryption,
    },
};

use self::{directory::KeyDirectory, gcm::Gcm, keyring::Keyring};
pub use self::{
    directory::KeyDirectoryError,
    error::{KeyMaterialError, SoftKeyError},
    key::SoftKey,
    key_file::{KeyFile, KeyFileProblem},
    material::KeyMaterial,
    version::KeyVersion,
};

/// A key manager in memory. Its keys can be changed while it serves: requests never wait for a change, and
/// one that starts after a change sees it.
///
/// The crate's first page has an example.
pub struct SoftBackend {
    keyring: Arc<Keyring>,
    directory: Option<Arc<KeyDirectory>>,
    id: Cow<'static, str>,
}

impl SoftBackend {
    /// Creates a backend without keys, called `soft`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            keyring: Arc::default(),
            directory: None,
            id: Cow::Borrowed("soft"),
        }
    }

    /// Adds a key, in place of one that has the id.
    #[must_use]
    pub fn with_key(self, id: KeyId, key: SoftKey) -> Self {
        self.insert(id, key);
        self
    }

    /// Sets the backend's name: what its health calls it among others of a fleet.
    #[must_use]
    pub fn with_id(self, id: impl Into<Cow<'static, str>>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// Keeps the keys that the backend [creates](xks_core::manage::KeyManager) in a directory,
    /// and has those that are there. Without one they end with the process.
    ///
    /// The directory is made if there is none. It belongs to this backend until that is dropped: a second one
    /// that opens it gets [`KeyDirectoryError::InUse`]. A key has one file, readable by its owner alone,
    /// whose name is its id and `.key`; nothing encrypts it. Only
    /// [`KeyManager`](xks_core::manage::KeyManager) writes there: what the methods of this type change is
    /// changed in memory.
    ///
    /// Blocks while it reads the files.
    ///
    /// # Errors
    /// [`KeyDirectoryError`], which names the directory or the file. A backend with a part of its keys is not
    /// returned.
    pub fn with_directory(self, path: impl AsRef<Path>) -> Result<Self, KeyDirectoryError> {
        let (directory, keys) = KeyDirectory::open(path.as_ref())?;
        for (id, key) in keys {
            if self.key(&id).is_some() {
                return Err(KeyDirectoryError::KeyExists(id));
            }
            self.insert(id, key);
        }
        Ok(Self {
            directory: Some(Arc::new(directory)),
            ..self
        })
    }

    /// Adds a key; gives back the one that had the id.
    ///
    /// Versions whose key material the earlier key had too count on where that one has come to, so that keys
    /// can be read from their files again at any time. A key that was [removed](Self::remove) in between is
    /// forgotten: hand in what `remove` gave, or say [`with_encryptions`](KeyVersion::with_encryptions).
    pub fn insert(&self, id: KeyId, key: SoftKey) -> Option<SoftKey> {
        self.keyring.insert(id, key).map(Arc::unwrap_or_clone)
    }

    /// Adds keys as [`insert`](Self::insert) does, at the cost of one change.
    pub fn insert_all(&self, keys: impl IntoIterator<Item = (KeyId, SoftKey)>) {
        self.keyring.insert_all(keys);
    }

    /// Takes a key away and gives it back.
    pub fn remove(&self, id: &KeyId) -> Option<SoftKey> {
        self.keyring.remove(id).map(Arc::unwrap_or_clone)
    }

    /// Returns the key as it is now. Its versions share their counts with those that are served.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<SoftKey> {
        self.keyring.load().get(id).map(|key| SoftKey::clone(key))
    }

    /// Returns the ids of all keys, in alphabetical order.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        let mut ids: Vec<_> = self.keyring.load().keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// Enables or disables a key.
    ///
    /// # Errors
    /// [`SoftKeyError::UnknownKey`].
    pub fn set_status(&self, id: &KeyId, status: KeyStatus) -> Result<(), SoftKeyError> {
        self.keyring.update(id, |key| Ok(key.with_status(status))).map(drop)
    }

    /// Says again what a key may be used for.
    ///
    /// # Errors
    /// [`SoftKeyError::UnknownKey`].
    pub fn set_usages(&self, id: &KeyId, usages: impl IntoIterator<Item = KeyUsage>) -> Result<(), SoftKeyError> {
        self.keyring.update(id, |key| Ok(key.with_usages(usages))).map(drop)
    }

    /// Gives a key a newer version, which encrypts from now on, and returns its number: one more than the
    /// newest. The material is a [`KeyMaterial`], or 32 bytes.
    ///
    /// # Errors
    /// [`SoftKeyError::UnknownKey`]; [`SoftKeyError::SameMaterial`] when the key has a version with this
    /// material; [`SoftKeyError::VersionNumber`] when the numbers are used up.
    pub fn add_version(&self, id: &KeyId, material: impl Into<KeyMaterial>) -> Result<u32, SoftKeyError> {
        let key = self.keyring.update(id, |key| {
            let number = key.newest_version().number() + 1; // at most KeyVersion::MAX_NUMBER + 1
            key.with_version(KeyVersion::new(number, material)?)
        })?;
        Ok(key.newest_version().number())
    }

    /// Takes an older version away from a key: what it encrypted can no longer be decrypted.
    ///
    /// # Errors
    /// [`SoftKeyError::UnknownKey`], [`SoftKeyError::UnknownVersion`], [`SoftKeyError::NewestVersion`].
    pub fn remove_version(&self, id: &KeyId, number: u32) -> Result<(), SoftKeyError> {
        self.keyring.update(id, |key| key.without_version(number)).map(drop)
    }

    /// Does something with a key of this moment.
    // GKM-4, DEC-4
    fn with<T>(
        &self,
        id: &KeyId,
        operation: impl FnOnce(&SoftKey) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let keys = self.keyring.load();
        let key = keys.get(id).ok_or_else(|| {
            BackendError::new(
                BackendErrorKind::KeyNotFound,
                "no such key in the software backend: insert it, or remove it from the key store",
            )
        })?;
        operation(key)
    }
}

#[async_trait]
impl KeyBackend for SoftBackend {
    async fn key_metadata(
        &self,
        key: &KeyId,
        _request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        self.with(key, |key| Ok(key.metadata().clone()))
    }

    async fn encrypt(&self, id: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.with(id, |key| key.encrypt(id, request))
    }

    async fn encrypt_verified(
        &self,
        id: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        self.with(id, |key| key.encrypt_verified(id, request))
    }

    async fn decrypt(&self, id: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.with(id, |key| key.decrypt(request))
    }

    // HLT-1: each time with a new test key, so that the random source is tested too.
    async fn health(&self) -> Result<Health, BackendError> {
        const AAD: &[u8] = b"xks-backend-soft health";
        const PLAINTEXT: &[u8] = b"not a secret";

        let unavailable = |detail| BackendError::new(BackendErrorKind::Unavailable, detail);
        let cipher = KeyMaterial::generate()
            .map_err(SoftKeyError::from)
            .and_then(|material| Gcm::new(&material))
            .map_err(|error| unavailable("known-answer test: no key could be created").with_source(error))?;
        let sealed = cipher.seal(AAD, PLAINTEXT)?;
        let opened = cipher.open(&sealed.iv, AAD, &sealed.ciphertext, &sealed.tag);
        if !opened.is_ok_and(|plaintext| *plaintext == PLAINTEXT) {
            return Err(unavailable(
                "known-answer test: the decrypted text differs from the encrypted one; do not trust this machine",
            ));
        }
        Ok(Health::new(
            "xks-backend-soft",
            EkmStatus::new(
                self.id.clone(),
                concat!("software AES-256-GCM ", env!("CARGO_PKG_VERSION")),
                HealthStatus::Active,
            ),
        ))
    }

    /// The length of the longest `key_version=N` that the backend has had.
    fn metadata_length(&self) -> usize {
        self.keyring.metadata_length()
    }
}

impl Default for SoftBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SoftBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftBackend")
            .field("id", &self.id)
            .field("keys", &self.keyring)
            .finish()
    }
}
