//! The layer: a backend whose keys are under management.

use std::{fmt, pin::Pin, sync::Arc};

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata,
        KeySpec, KeyStatus, Limits, VerifiedEncryption,
    },
};

use crate::{
    Counts, KeyStoreId, Timestamp,
    broken_nodes::{Rule, breaks},
    commands::Commands,
    counts::Counted,
    nodes::{Node, Pass},
    store::StoreError,
    view::{Place, Served, ServedBy, Tag, Taken, View},
};

/// The keys of one external key store, as a [`KeyBackend`].
///
/// It looks up the key, answers what its [state](crate::key_state::view) says, picks the version, and hands
/// the request to the backend that has this. A ciphertext carries a tag of five bytes that says which version
/// made it; the backend's own metadata comes behind it. A key of another external key store is not found.
///
/// Encryptions are [counted](crate::Counts), and none is made beyond those that are reserved in the store.
///
/// On one of several [nodes](crate::nodes) it answers nothing while the node has no lease, which it checks
/// when a request starts and again before the answer leaves.
///
/// Around it belong limits and a description, and inside of it are fleets and HSMs.
pub struct Managed {
    /// None for the keys of all.
    key_store: Option<KeyStoreId>,
    view: Arc<View>,
    counts: Arc<Counts>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// This process as one of several nodes; none if the state belongs to it alone.
    node: Option<Arc<Node>>,
}

impl Managed {
    /// The keys of an external key store that are, or come, under these commands.
    #[must_use]
    pub fn new(commands: &Commands, key_store: KeyStoreId) -> Self {
        Self::in_force(commands, Some(key_store))
    }

    /// All managed keys, whichever external key store they are in, or none. For adopted keys that somebody
    /// else's key store lists: [`View::manages`] names them.
    #[must_use]
    pub fn all(commands: &Commands) -> Self {
        Self::in_force(commands, None)
    }

    fn in_force(commands: &Commands, key_store: Option<KeyStoreId>) -> Self {
        Self {
            key_store,
            view: Arc::clone(commands.view()),
            counts: Arc::clone(commands.counts()),
            now: commands.clock(),
            node: commands.node().cloned(),
        }
    }

    /// Checks that a request that starts now may be answered, as each does.
    ///
    /// # Errors
    /// Without a lease, that of every request: [`BackendErrorKind::Timeout`].
    pub fn check_lease(&self) -> Result<(), BackendError> {
        self.enter().map(drop)
    }

    /// Checks the lease when a request starts, before anything is read for it.
    fn enter(&self) -> Result<Option<Pass>, BackendError> {
        let Some(node) = self.node.as_ref().filter(|_| !breaks(Rule::LeaseCheck)) else {
            return Ok(None);
        };
        node.lease().enter().map(Some).ok_or_else(unleased)
    }

    /// Checks it again before an answer leaves.
    fn leave<T>(&self, pass: Option<Pass>, answer: T) -> Result<T, BackendError> {
        match (&self.node, pass) {
            (Some(node), Some(pass)) if !node.lease().holds(pass) => Err(unleased()),
            _ => Ok(answer),
        }
    }

    fn backend(&self, number: usize) -> Result<&dyn KeyBackend, BackendError> {
        self.at(Place::Backend(number))
    }

    fn at(&self, place: Place) -> Result<&dyn KeyBackend, BackendError> {
        self.view
            .backend(place)
            .ok_or_else(|| refused(BackendErrorKind::Unavailable))
    }

    /// The version that encrypts, with one encryption of it taken. It waits only where nothing is left of
    /// what was reserved.
    async fn take(&self, key: &KeyId) -> Result<Served, BackendError> {
        loop {
            match self.view.take(self.key_store, key, (self.now)()).map_err(refused)? {
                Taken::Granted(served, None) => return Ok(served),
                Taken::Granted(served, Some(low)) => {
                    self.counts.note_low(low);
                    return Ok(served);
                }
                // The key may have changed meanwhile.
                Taken::Empty(counted) => self.fill(counted).await?,
                Taken::Spent => return Err(BackendError::new(BackendErrorKind::KeyDisabled, SPENT)),
            }
        }
    }

    /// Reserves encryptions. The future has a box of its own, since the usual request has no use for it and
    /// shall not carry it.
    fn fill(&self, counted: Counted) -> Pin<Box<impl Future<Output = Result<(), BackendError>>>> {
        Box::pin(async move { self.counts.fill(&counted).await.map_err(uncounted) })
    }
}

const SPENT: &str = "the key's version has made the 2^32 encryptions that NIST SP 800-38D allows under one key, or \
                     may have, since the state was restored from a backup: rotate the key";

/// Why nothing is encrypted that cannot be counted. For KMS it is as when a node has lost its lease, which
/// has the same cause: the store did not answer in time. It is not the caller who asks for too much.
fn uncounted(error: StoreError) -> BackendError {
    let words = "no encryptions could be reserved in the store, without which nothing is encrypted";
    BackendError::new(BackendErrorKind::Timeout, words).with_source(error)
}

/// Why nothing is answered without a lease.
fn unleased() -> BackendError {
    let words = "this node has no lease: it did not reach the store in time, so it may serve what is over";
    BackendError::new(BackendErrorKind::Timeout, words)
}

/// Why the layer refuses, for the log of an operator.
fn refused(kind: BackendErrorKind) -> BackendError {
    let words = match kind {
        BackendErrorKind::KeyNotFound => "no key under management has this id in this key store, or it is destroyed",
        BackendErrorKind::KeyDisabled => {
            "the key, its version, or its key store may not do this now: it is not active, disabled, expired, about \
             to be deleted, revoked, below a minimum, or blocked"
        }
        BackendErrorKind::KeyUsage => "the key is not for this",
        BackendErrorKind::InvalidCiphertext => return BackendError::invalid_ciphertext(),
        BackendErrorKind::Timeout => {
            "the ciphertext names a version that the key does not have, and the state was restored from a backup: \
             the version may have been made after the backup"
        }
        BackendErrorKind::Unavailable => "the backend that the key's key set names is not configured",
        _ => return kind.into(),
    };
    BackendError::new(kind, words)
}

#[async_trait]
impl KeyBackend for Managed {
    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        let pass = self.enter()?;
        let described = self.view.describe_in(self.key_store, key, (self.now)());
        let described = described.map_err(refused)?;
        let usages = described.usages.iter().copied();
        let Some(current) = described.current.filter(|_| described.status == KeyStatus::Enabled) else {
            return self.leave(pass, KeyMetadata::new(KeySpec::Aes256, usages, KeyStatus::Disabled));
        };
        let metadata = match current.by {
            ServedBy::Vault(_) => KeyMetadata::new(KeySpec::Aes256, usages, KeyStatus::Enabled),
            // It may be gone, or disabled, in the backend.
            ServedBy::Backend(number, key) => {
                let metadata = self.backend(number)?.key_metadata(&key, request).await?;
                KeyMetadata::new(metadata.spec().clone(), usages, metadata.status())
            }
        };
        self.leave(pass, metadata)
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let pass = self.enter()?;
        let served = self.take(key).await?;
        let mut request = request.tag(served.tag.as_bytes());
        let answer = match served.by {
            ServedBy::Vault(soft) => soft.encrypt(key, &mut request),
            ServedBy::Backend(number, key) => self.backend(number)?.encrypt(&key, &mut request).await,
        }?;
        self.leave(pass, answer)
    }

    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        let pass = self.enter()?;
        let served = self.take(key).await?;
        let mut request = request.tag(served.tag.as_bytes());
        let answer = match served.by {
            ServedBy::Vault(soft) => soft.encrypt_verified(key, &mut request),
            ServedBy::Backend(number, key) => self.backend(number)?.encrypt_verified(&key, &mut request).await,
        }?;
        self.leave(pass, answer)
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let pass = self.enter()?;
        let metadata = request.bound_aad().metadata();
        let served = self.view.note_decryption(self.key_store, key, metadata, (self.now)());
        let served = served.map_err(refused)?;
        // What was made before the key was managed has no tag.
        let (_, request) = request
            .untag(served.tag.as_bytes().len())
            .ok_or_else(BackendError::invalid_ciphertext)?;
        let answer = match served.by {
            ServedBy::Vault(soft) => soft.decrypt(&request),
            ServedBy::Backend(number, key) => self.backend(number)?.decrypt(&key, &request).await,
        }?;
        self.leave(pass, answer)
    }

    /// Of all backends that have keys of the key store: none of them may be ill, and the node needs its
    /// lease.
    async fn health(&self) -> Result<Health, BackendError> {
        self.enter()?;
        let mut health: Option<Health> = None;
        for place in self.view.places_in(self.key_store) {
            let place = place.ok_or_else(|| refused(BackendErrorKind::Unavailable))?;
            let of_place = self.at(place)?.health().await?;
            health = Some(match health {
                None => of_place,
                Some(health) => of_place.members().iter().cloned().fold(health, Health::and),
            });
        }
        match health {
            Some(health) => Ok(health),
            None => self.at(Place::Vault)?.health().await, // no key set yet
        }
    }

    fn limits(&self) -> Limits {
        let all = self.view.backends().map(|backend| backend.limits());
        all.fold(Limits::default(), |least, limits| {
            let plaintext = least.plaintext.min(limits.plaintext);
            least.with_plaintext(plaintext).with_aad(least.aad.min(limits.aad))
        })
    }

    fn metadata_length(&self) -> usize {
        let longest = self.view.backends().map(|backend| backend.metadata_length()).max();
        Tag::LENGTH + longest.unwrap_or_default()
    }
}

impl fmt::Debug for Managed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Managed")
            .field("key_store", &self.key_store)
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}
