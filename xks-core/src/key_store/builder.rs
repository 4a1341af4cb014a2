//! The builder of a key store.

use std::{collections::HashSet, fmt, sync::Arc};

use super::{
    AccessKeyId, Credential, KeyStore, KeyStoreError, KeyStoreProblem, Region, UriPathPrefix,
    credentials::{CredentialSource, Credentials},
    keys::KeySet,
};
use crate::{
    KeyBackend, KeyId,
    aad::AadFraming,
    authorize::{AllowAll, Authorizer},
    backend::{CiphertextMetadata, Limits},
    persistent_map::PersistentMap,
};

/// Builds a [`KeyStore`].
///
/// Each method adds to what [`KeyStore::to_builder`] or an earlier call gave, or replaces it where there can
/// be only one; those that begin with `without` take away.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct KeyStoreBuilder {
    pub(super) prefix: UriPathPrefix,
    pub(super) backend: Arc<dyn KeyBackend>,
    pub(super) regions: Vec<Region>,
    pub(super) credentials: CredentialSource,
    pub(super) keys: Option<KeySet>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) limits: Limits,
    pub(super) aad_framing: AadFraming,
    pub(super) is_blocked: bool,
}

impl KeyStoreBuilder {
    pub(super) fn new(prefix: UriPathPrefix, backend: Arc<dyn KeyBackend>) -> Self {
        Self {
            prefix,
            backend,
            regions: Vec::new(),
            credentials: CredentialSource::Listed(Vec::new()),
            keys: None,
            authorizer: Arc::new(AllowAll),
            limits: Limits::default(),
            aad_framing: AadFraming::Spec,
            is_blocked: false,
        }
    }

    /// Sets the key manager that holds the keys, in place of the one before.
    pub fn backend(mut self, backend: Arc<dyn KeyBackend>) -> Self {
        self.backend = backend;
        self
    }

    /// Adds an AWS Region whose KMS may call, such as `eu-central-1`: at least one, more than one if more
    /// call.
    pub fn region(self, region: Region) -> Self {
        self.regions([region])
    }

    /// Adds several Regions; one that is there already is not added twice.
    pub fn regions(mut self, regions: impl IntoIterator<Item = Region>) -> Self {
        for region in regions {
            if !self.regions.contains(&region) {
                self.regions.push(region);
            }
        }
        self
    }

    /// Takes a Region away.
    pub fn without_region(mut self, region: &Region) -> Self {
        self.regions.retain(|known| known != region);
        self
    }

    /// Adds a credential that KMS may sign with: at least one. Two or more are valid at once while one is
    /// being replaced.
    pub fn credential(self, credential: Credential) -> Self {
        self.credentials([credential])
    }

    /// Adds several credentials.
    pub fn credentials(mut self, credentials: impl IntoIterator<Item = Credential>) -> Self {
        let mut listed = match self.credentials {
            CredentialSource::Listed(listed) => listed,
            CredentialSource::Other(_) => Vec::new(),
        };
        listed.extend(credentials); // SIG-7
        self.credentials = CredentialSource::Listed(listed);
        self
    }

    /// Sets where the credentials come from, in place of any that were named before. The source must ensure
    /// that an access key id names one secret among all key stores.
    pub fn credentials_from(mut self, source: impl Credentials) -> Self {
        self.credentials = CredentialSource::Other(Arc::new(source));
        self
    }

    /// Takes the credential of an access key id from the list.
    pub fn without_credential(mut self, access_key_id: &AccessKeyId) -> Self {
        if let CredentialSource::Listed(listed) = &mut self.credentials {
            listed.retain(|known| known.access_key_id() != access_key_id);
        }
        self
    }

    /// Lists keys that belong to this key store, besides those that are listed already. Every other key of
    /// the backend is unknown here. Adding one key costs the same however many are listed.
    pub fn keys(mut self, keys: impl IntoIterator<Item = KeyId>) -> Self {
        let mut listed = match self.keys {
            Some(KeySet::Listed(listed)) => listed,
            Some(KeySet::All | KeySet::Where(_)) | None => PersistentMap::default(),
        };
        for key in keys {
            listed.insert(key, ());
        }
        self.keys = Some(KeySet::Listed(listed));
        self
    }

    /// Takes keys from the list.
    pub fn without_keys<'k>(mut self, keys: impl IntoIterator<Item = &'k KeyId>) -> Self {
        if let Some(KeySet::Listed(listed)) = &mut self.keys {
            for key in keys {
                listed.remove(key);
            }
        }
        self
    }

    /// Gives the key store those keys of the backend that a predicate chooses, in place of any that were
    /// named before: for a backend that several tenants share, and whose keys cannot be listed.
    ///
    /// The predicate is called once for each request and must not block. It sees any key id that a request
    /// names: the backend may have no such key.
    ///
    /// ```
    /// # use xks_core::key_store::KeyStoreBuilder;
    /// # fn doc(tenant_a: KeyStoreBuilder, tenant_b: KeyStoreBuilder) {
    /// let tenant_a = tenant_a.keys_where(|key| key.as_str().starts_with("a-"));
    /// let tenant_b = tenant_b.keys_where(|key| key.as_str().starts_with("b-"));
    /// # }
    /// ```
    pub fn keys_where(mut self, belongs: impl Fn(&KeyId) -> bool + Send + Sync + 'static) -> Self {
        self.keys = Some(KeySet::Where(Arc::new(belongs)));
        self
    }

    /// Gives the key store every key of the backend, in place of any that were named before: for a backend
    /// that serves one tenant alone, and that knows for itself which keys there are.
    pub fn all_keys_of_backend(mut self) -> Self {
        self.keys = Some(KeySet::All);
        self
    }

    /// Sets who decides what is allowed, beyond what the signature proves. Without one, all that KMS lets
    /// through is.
    pub fn authorizer(mut self, authorizer: impl Authorizer) -> Self {
        self.authorizer = Arc::new(authorizer);
        self
    }

    /// Sets the largest inputs to serve; the backend's own limits hold beside them. By default what the
    /// specification demands, which is also the least that KMS may count on.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how the GCM AAD input is made; by default as the specification says. Change it only together with
    /// the keys: what was encrypted under one framing does not decrypt under another.
    pub const fn aad_framing(mut self, framing: AadFraming) -> Self {
        self.aad_framing = framing;
        self
    }

    /// Blocks or unblocks the key store. While it is blocked, each of its keys has the status `DISABLED`, and
    /// encrypt and decrypt are answered `InvalidStateException` without asking the backend. Health is
    /// answered as before, so that KMS keeps the key store connected.
    pub const fn blocked(mut self, is_blocked: bool) -> Self {
        self.is_blocked = is_blocked;
        self
    }

    /// Builds the key store.
    ///
    /// # Errors
    /// [`KeyStoreError`] when something is missing or cannot be.
    pub fn build(self) -> Result<KeyStore, KeyStoreError> {
        let Self {
            prefix,
            backend,
            regions,
            credentials,
            keys,
            authorizer,
            limits,
            aad_framing,
            is_blocked,
        } = self;
        let error = |problem| KeyStoreError {
            prefix: prefix.clone(),
            problem,
        };
        if regions.is_empty() {
            return Err(error(KeyStoreProblem::NoRegion));
        }
        if matches!(&credentials, CredentialSource::Listed(listed) if listed.is_empty()) {
            return Err(error(KeyStoreProblem::NoCredential));
        }
        let mut ids = HashSet::new();
        if let Some(id) = credentials
            .listed()
            .iter()
            .map(Credential::access_key_id)
            .find(|id| !ids.insert(*id))
        {
            return Err(error(KeyStoreProblem::AccessKeyIdTaken(id.clone()))); // SIG-6
        }
        let keys = keys.ok_or_else(|| error(KeyStoreProblem::NoKeys))?;
        let metadata = backend.metadata_length();
        if metadata > CiphertextMetadata::MAX_LENGTH - aad_framing.metadata_length() {
            return Err(error(KeyStoreProblem::MetadataTooLong {
                backend: metadata,
                framing: aad_framing,
            })); // ENC-7, ENC-8
        }
        Ok(KeyStore {
            prefix,
            backend,
            regions,
            credentials,
            keys,
            authorizer,
            limits,
            aad_framing,
            is_blocked,
        })
    }
}

impl fmt::Debug for KeyStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStoreBuilder")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
