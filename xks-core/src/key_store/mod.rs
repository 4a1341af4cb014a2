//! An external key store: what belongs together behind one URI path prefix; and the set of them that a proxy
//! serves, which can be changed while it runs.

mod builder;
mod credential;
mod credentials;
mod error;
mod keys;
mod prefix;
mod region;
mod set;

use std::{borrow::Cow, fmt, sync::Arc};

pub use self::{
    builder::KeyStoreBuilder,
    credential::{AccessKeyId, Credential, CredentialError, SecretAccessKey},
    credentials::Credentials,
    error::{KeyStoreError, KeyStoreProblem},
    prefix::{UriPathPrefix, UriPathPrefixError},
    region::{Region, RegionError},
    set::{KeyStoreSet, KeyStores},
};
pub(crate) use self::{credential::check_access_key_id, region::check_region};
use self::{credentials::CredentialSource, keys::KeySet};
pub use crate::key_id::KeyIdError;
use crate::{KeyBackend, KeyId, aad::AadFraming, authorize::Authorizer, backend::Limits, dependency::Reply};

/// An external key store: a prefix, the credentials that KMS may sign with, the keys it may use, and the key
/// manager that holds them. Prefixes separate tenants. Specification: API operations.
///
/// ```
/// use std::sync::Arc;
/// use xks_core::{Credential, KeyBackend, KeyStore};
///
/// # fn doc(backend: Arc<dyn KeyBackend>) -> Result<KeyStore, Box<dyn std::error::Error>> {
/// let key_store = KeyStore::builder("/example/tenant-a".parse()?, backend)
///     .region("eu-central-1".parse()?)
///     .credential(Credential::new("AAAAAAAAAAAAAAAAAAAA", "s".repeat(43))?)
///     .keys(["xks-keyset-1".parse()?])
///     .build()?;
/// # Ok(key_store)
/// # }
/// ```
// URI-4
pub struct KeyStore {
    prefix: UriPathPrefix,
    backend: Arc<dyn KeyBackend>,
    regions: Vec<Region>,
    credentials: CredentialSource,
    keys: KeySet,
    authorizer: Arc<dyn Authorizer>,
    limits: Limits,
    aad_framing: AadFraming,
    is_blocked: bool,
}

impl KeyStore {
    /// Starts a key store that is reached under `prefix` and whose keys are in `backend`. A prefix that the
    /// AWS console does not take is not refused: see [`UriPathPrefix::is_too_short_for_console`].
    pub fn builder(prefix: UriPathPrefix, backend: Arc<dyn KeyBackend>) -> KeyStoreBuilder {
        KeyStoreBuilder::new(prefix, backend)
    }

    /// Returns a builder that has all that this key store was built of, to build one that differs in part.
    ///
    /// Its cost does not depend on the number of keys, and the credentials keep the signing keys that were
    /// derived from them. [`KeyStores::update`] does it to a key store that is being served.
    pub fn to_builder(&self) -> KeyStoreBuilder {
        KeyStoreBuilder {
            prefix: self.prefix.clone(),
            backend: Arc::clone(&self.backend),
            regions: self.regions.clone(),
            credentials: self.credentials.clone(),
            keys: Some(self.keys.clone()),
            authorizer: Arc::clone(&self.authorizer),
            limits: self.limits,
            aad_framing: self.aad_framing,
            is_blocked: self.is_blocked,
        }
    }

    /// Returns the URI path prefix under which it is reached.
    #[must_use]
    pub const fn prefix(&self) -> &UriPathPrefix {
        &self.prefix
    }

    /// Returns the key manager behind it.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn KeyBackend> {
        &self.backend
    }

    /// Returns the AWS Regions whose KMS may call.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Returns the credentials that KMS may sign with, where they are listed; none where they come from a
    /// [source](Self::credential_source).
    #[must_use]
    pub fn credentials(&self) -> &[Credential] {
        self.credentials.listed()
    }

    /// Returns where the credentials come from, unless they are listed.
    #[must_use]
    pub const fn credential_source(&self) -> Option<&Arc<dyn Credentials>> {
        match &self.credentials {
            CredentialSource::Listed(_) => None,
            CredentialSource::Other(source) => Some(source),
        }
    }

    /// Returns the credential of an access key id, listed or from the source.
    pub fn find_credential<'a>(&'a self, access_key_id: &'a str) -> Reply<'a, Option<Credential>> {
        match &self.credentials {
            CredentialSource::Listed(credentials) => credentials.find(access_key_id),
            CredentialSource::Other(source) => source.find(access_key_id),
        }
    }

    /// Returns the keys that belong to it, in no order, where they are listed; none where it has all keys of
    /// its backend or those that a predicate chooses.
    #[must_use]
    pub fn keys(&self) -> Option<impl Iterator<Item = &KeyId>> {
        match &self.keys {
            KeySet::Listed(keys) => Some(keys.iter().map(|(key, ())| key)),
            KeySet::All | KeySet::Where(_) => None,
        }
    }

    /// Returns whether a key belongs to it. The backend may still have no such key.
    #[must_use]
    pub fn has_key(&self, id: &KeyId) -> bool {
        self.key(id.as_str()).is_some()
    }

    /// Returns who decides what is allowed, beyond what the signature proves.
    #[must_use]
    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.authorizer
    }

    /// Returns the largest inputs that the key store takes; its backend may take less.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns how the GCM AAD input is made.
    #[must_use]
    pub const fn aad_framing(&self) -> AadFraming {
        self.aad_framing
    }

    /// Returns whether it is blocked: see [`KeyStoreBuilder::blocked`].
    #[must_use]
    pub const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// What both the key store and its backend take.
    pub(crate) fn effective_limits(&self) -> Limits {
        self.limits.min(self.backend.limits())
    }

    /// The key of that id, if it is one of this key store. `id` is a legal id.
    // URI-3
    pub(crate) fn key(&self, id: &str) -> Option<Cow<'_, KeyId>> {
        self.keys.find(id)
    }

    /// The listed credential of that access key id.
    fn listed_credential(&self, access_key_id: &AccessKeyId) -> Option<&Credential> {
        let mut listed = self.credentials().iter();
        listed.find(|credential| credential.access_key_id() == access_key_id)
    }

    /// The Region of that name, if its KMS may call.
    pub(crate) fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.as_str() == name)
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("prefix", &self.prefix)
            .field("regions", &self.regions)
            .field("credentials", &self.credentials)
            .field("keys", &self.keys)
            .field("limits", &self.limits)
            .field("aad_framing", &self.aad_framing)
            .field("is_blocked", &self.is_blocked)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
