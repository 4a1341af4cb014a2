//! An external key store: what belongs together behind one URI path prefix; and the set of them that a proxy
//! serves, which can be replaced while it runs.

mod credential;
mod prefix;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use thiserror::Error;

pub use self::{
    credential::{AccessKeyId, Credential, CredentialError, SecretAccessKey},
    prefix::{UriPathPrefix, UriPathPrefixError},
};
pub use crate::key_id::KeyIdError;
use crate::{
    KeyBackend, KeyId,
    aad::AadFraming,
    authorize::{AllowAll, Authorizer},
    backend::Limits,
    sigv4::SigningKeys,
};

/// An external key store: a prefix, the credentials that KMS may sign with, the keys it may use, and the key
/// manager that holds them. Prefixes separate tenants (URI-4).
///
/// ```
/// use std::sync::Arc;
/// use xks_core::{Credential, KeyBackend, KeyStore};
///
/// # fn doc(backend: Arc<dyn KeyBackend>) -> Result<KeyStore, Box<dyn std::error::Error>> {
/// let key_store = KeyStore::builder("/example/tenant-a".parse()?, backend)
///     .region("eu-central-1")
///     .credential(Credential::new("AAAAAAAAAAAAAAAAAAAA", "s".repeat(43))?)
///     .keys(["xks-keyset-1".parse()?])
///     .build()?;
/// # Ok(key_store)
/// # }
/// ```
pub struct KeyStore {
    prefix: UriPathPrefix,
    regions: Vec<Box<str>>,
    signers: Vec<Signer>,
    keys: KeySet,
    backend: Arc<dyn KeyBackend>,
    authorizer: Arc<dyn Authorizer>,
    limits: Limits,
    aad_framing: AadFraming,
}

/// A credential, and the signing keys that were derived from it.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) credential: Credential,
    pub(crate) keys: SigningKeys,
}

/// Which keys of a backend belong to a key store.
#[derive(Clone, Debug)]
enum KeySet {
    All,
    These(HashSet<KeyId>),
}

impl KeyStore {
    /// Starts a key store that is reached under `prefix` and whose keys are in `backend`. A prefix that the
    /// AWS console does not take is not refused: see [`UriPathPrefix::is_too_short_for_console`].
    pub fn builder(prefix: UriPathPrefix, backend: Arc<dyn KeyBackend>) -> KeyStoreBuilder {
        KeyStoreBuilder {
            prefix,
            backend,
            regions: Vec::new(),
            credentials: Vec::new(),
            keys: None,
            authorizer: Arc::new(AllowAll),
            limits: Limits::default(),
            aad_framing: AadFraming::Spec,
        }
    }

    /// Where it is reached.
    #[must_use]
    pub const fn prefix(&self) -> &UriPathPrefix {
        &self.prefix
    }

    /// The access key ids that KMS may sign with.
    pub fn access_key_ids(&self) -> impl Iterator<Item = &AccessKeyId> {
        self.signers.iter().map(|signer| signer.credential.access_key_id())
    }

    /// The key manager behind it.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn KeyBackend> {
        &self.backend
    }

    pub(crate) fn authorizer(&self) -> &dyn Authorizer {
        &*self.authorizer
    }

    pub(crate) const fn aad_framing(&self) -> AadFraming {
        self.aad_framing
    }

    /// What both the key store and its backend take.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.min(self.backend.limits())
    }

    /// The key of that id, if it is one of this key store. `id` keeps URI-3.
    pub(crate) fn key(&self, id: &str) -> Option<Cow<'_, KeyId>> {
        match &self.keys {
            KeySet::All => KeyId::new(id).ok().map(Cow::Owned),
            KeySet::These(keys) => keys.get(id).map(Cow::Borrowed),
        }
    }

    pub(crate) fn signer(&self, access_key_id: &str) -> Option<&Signer> {
        self.signers
            .iter()
            .find(|signer| signer.credential.access_key_id().as_str() == access_key_id)
    }

    /// An access key id that this key store has twice, or one of the others with another secret.
    fn ambiguous_id(&self, others: &HashMap<UriPathPrefix, Arc<Self>>) -> Option<&AccessKeyId> {
        let mut seen = HashSet::new();
        self.signers.iter().map(|signer| &signer.credential).find_map(|own| {
            let id = own.access_key_id();
            let mut named = others.values().filter_map(|other| other.signer(id.as_str()));
            let has_another_secret =
                |signer: &Signer| signer.credential.secret_access_key().expose() != own.secret_access_key().expose();
            (!seen.insert(id) || named.any(has_another_secret)).then_some(id)
        })
    }

    pub(crate) fn serves_region(&self, region: &str) -> bool {
        self.regions.iter().any(|served| **served == *region)
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("prefix", &self.prefix)
            .field("regions", &self.regions)
            .field("access_key_ids", &self.access_key_ids().collect::<Vec<_>>())
            .field("keys", &self.keys)
            .field("limits", &self.limits)
            .field("aad_framing", &self.aad_framing)
            .finish_non_exhaustive()
    }
}

/// Collects what a [`KeyStore`] needs.
#[must_use = "a builder does nothing until `build` is called"]
pub struct KeyStoreBuilder {
    prefix: UriPathPrefix,
    backend: Arc<dyn KeyBackend>,
    regions: Vec<Box<str>>,
    credentials: Vec<Credential>,
    keys: Option<KeySet>,
    authorizer: Arc<dyn Authorizer>,
    limits: Limits,
    aad_framing: AadFraming,
}

impl KeyStoreBuilder {
    /// An AWS Region whose KMS may call, such as `eu-central-1`: at least one, more than one if more call.
    pub fn region(mut self, region: impl Into<Box<str>>) -> Self {
        self.regions.push(region.into());
        self
    }

    /// A credential that KMS may sign with: at least one. Two or more are valid at once while one is being
    /// replaced (SIG-7).
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credentials.push(credential);
        self
    }

    /// Keys that belong to this key store, besides those that were named before. Every other key of the backend is
    /// unknown here.
    pub fn keys(mut self, keys: impl IntoIterator<Item = KeyId>) -> Self {
        match &mut self.keys {
            Some(KeySet::These(known)) => known.extend(keys),
            _ => self.keys = Some(KeySet::These(keys.into_iter().collect())),
        }
        self
    }

    /// Every key of the backend belongs to this key store, whatever was named before: for a backend that serves one
    /// tenant alone, and that knows for itself which keys there are.
    pub fn all_keys_of_backend(mut self) -> Self {
        self.keys = Some(KeySet::All);
        self
    }

    /// Who may do what, beyond what the signature proves (AUZ-1). Without one, whoever KMS lets through may.
    pub fn authorizer(mut self, authorizer: impl Authorizer) -> Self {
        self.authorizer = Arc::new(authorizer);
        self
    }

    /// The largest inputs to serve; the backend's own limits hold beside them. By default what the specification
    /// demands, which is also the least that KMS may count on (ENC-2, ENC-3).
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How the GCM AAD input is made; by default as the specification says. Change it only together with the
    /// keys: what was encrypted under one framing does not decrypt under another.
    pub const fn aad_framing(mut self, framing: AadFraming) -> Self {
        self.aad_framing = framing;
        self
    }

    /// The key store.
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
        } = self;
        let error = |problem| KeyStoreError {
            prefix: prefix.clone(),
            problem,
        };
        if regions.is_empty() {
            return Err(error(KeyStoreProblem::NoRegion));
        }
        if let Some(region) = regions.iter().find(|region| !is_region(region)) {
            return Err(error(KeyStoreProblem::NotARegion(region.clone())));
        }
        if credentials.is_empty() {
            return Err(error(KeyStoreProblem::NoCredential));
        }
        let keys = keys.ok_or_else(|| error(KeyStoreProblem::NoKeys))?;
        let signers = credentials
            .into_iter()
            .map(|credential| Signer {
                credential,
                keys: SigningKeys::for_regions(regions.len()),
            })
            .collect();
        Ok(KeyStore {
            prefix,
            regions,
            signers,
            keys,
            backend,
            authorizer,
            limits,
            aad_framing,
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

fn is_region(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(legal)
}

/// Why a key store cannot be built, or a set of them not be served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("key store `{prefix}`: {problem}")]
pub struct KeyStoreError {
    /// The key store.
    pub prefix: UriPathPrefix,
    /// What is wrong with it.
    pub problem: KeyStoreProblem,
}

/// What is wrong with a key store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyStoreProblem {
    /// No Region was named.
    #[error("name at least one AWS Region whose KMS may call")]
    NoRegion,
    /// Something that no AWS Region is called.
    #[error("`{0}` is not an AWS Region: write it like eu-central-1")]
    NotARegion(Box<str>),
    /// No credential was given.
    #[error("give at least one credential, or nobody can call")]
    NoCredential,
    /// It was not said which keys belong to it.
    #[error("say which keys belong to it: a list, or all of its backend")]
    NoKeys,
    /// Another key store of the set has the same prefix.
    #[error("another key store has the same prefix")]
    PrefixTaken,
    /// An access key id names two secrets, or is there twice in one key store (SIG-6).
    #[error("the access key id {0} is used twice: it must name one secret, and be named once by each key store")]
    AccessKeyIdTaken(AccessKeyId),
}

/// The key stores that a proxy serves: a set that is replaced as a whole, while requests are being served, without
/// a lock for those who read it. A request goes on with what it began with (SIG-7).
///
/// ```
/// # use xks_core::{KeyStore, KeyStores, key_store::KeyStoreError};
/// # fn doc(tenant_a: KeyStore, tenant_b: KeyStore, tenant_b_with_two_credentials: KeyStore) -> Result<(), KeyStoreError> {
/// let key_stores = KeyStores::new([tenant_a, tenant_b])?;
/// key_stores.put(tenant_b_with_two_credentials)?; // in place of the one with the same prefix
/// # Ok(())
/// # }
/// ```
pub struct KeyStores {
    set: ArcSwap<HashMap<UriPathPrefix, Arc<KeyStore>>>,
    /// Changes wait for each other, so that none is lost.
    changing: Mutex<()>,
}

impl KeyStores {
    /// Serves these.
    ///
    /// # Errors
    /// [`KeyStoreError`] when two have the same prefix, or an access key id with different secrets.
    pub fn new<S: Into<Arc<KeyStore>>>(key_stores: impl IntoIterator<Item = S>) -> Result<Self, KeyStoreError> {
        Ok(Self {
            set: ArcSwap::from_pointee(index(key_stores)?),
            changing: Mutex::new(()),
        })
    }

    /// Serves these from now on, and not the former ones; one that is to stay can be handed in as it was
    /// [got](Self::get).
    ///
    /// # Errors
    /// As [`new`](Self::new); the former ones then stay.
    pub fn replace<S: Into<Arc<KeyStore>>>(
        &self,
        key_stores: impl IntoIterator<Item = S>,
    ) -> Result<(), KeyStoreError> {
        let set = index(key_stores)?;
        let _turn = self.turn();
        self.set.store(Arc::new(set));
        Ok(())
    }

    /// Serves this one from now on, in place of the one with the same prefix if there is one; the others stay.
    ///
    /// # Errors
    /// [`KeyStoreError`] when it has an access key id with another secret than another one; nothing has
    /// changed then.
    pub fn put(&self, key_store: impl Into<Arc<KeyStore>>) -> Result<(), KeyStoreError> {
        let key_store = key_store.into();
        let _turn = self.turn();
        let others = self.all().into_iter().filter(|other| other.prefix != key_store.prefix);
        let set = index(others.chain([Arc::clone(&key_store)]))?;
        self.set.store(Arc::new(set));
        Ok(())
    }

    /// Nothing is guarded but the order of changes, so a panic of another thread has broken nothing.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key store of that prefix.
    #[must_use]
    pub fn get(&self, prefix: &str) -> Option<Arc<KeyStore>> {
        self.set.load().get(prefix).cloned()
    }

    /// All of them, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<KeyStore>> {
        self.set.load().values().cloned().collect()
    }
}

impl fmt::Debug for KeyStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

/// SIG-6: an access key id names one secret. Several key stores may have the same credential; each still has
/// its own keys.
fn index<S: Into<Arc<KeyStore>>>(
    key_stores: impl IntoIterator<Item = S>,
) -> Result<HashMap<UriPathPrefix, Arc<KeyStore>>, KeyStoreError> {
    let mut set: HashMap<UriPathPrefix, Arc<KeyStore>> = HashMap::new();
    for key_store in key_stores {
        let key_store = key_store.into();
        let prefix = key_store.prefix.clone();
        let error = |problem| {
            Err(KeyStoreError {
                prefix: prefix.clone(),
                problem,
            })
        };
        if let Some(taken) = key_store.ambiguous_id(&set) {
            return error(KeyStoreProblem::AccessKeyIdTaken(taken.clone()));
        }
        if set.insert(prefix.clone(), Arc::clone(&key_store)).is_some() {
            return error(KeyStoreProblem::PrefixTaken);
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests;
