//! No way around: key stores of the settings file do not serve keys under management by their own.
//!
//! A key that was made for a version, that of a root, and a test key are not found there, whatever the file
//! lists. A key that was adopted goes on being served under its id, through the layer of managed keys: its
//! state and its counts hold from the moment in which the command that adopts it returns.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata,
        Layered, VerifiedEncryption,
    },
};
use xks_lifecycle::{
    Managed,
    commands::Commands,
    view::{Management, View},
};

use crate::{backends::Backends, registry::ConfiguredBackend, settings::KeyStoreSettings};

/// Guards the backends of key stores that are not under management.
#[derive(Clone)]
pub(crate) struct Guard {
    view: Arc<View>,
    adopted: Arc<Managed>,
    /// The backends that have keys under management, each with the number that the view knows it by.
    numbers: Arc<[(String, usize)]>,
    /// What it has guarded, as far as that is in use.
    guarded: Arc<Mutex<Vec<Weak<Guarded>>>>,
}

impl Guard {
    pub(super) fn new<'n>(commands: &Commands, names: impl Iterator<Item = &'n str>) -> Self {
        let view = commands.view();
        let numbers = names.filter_map(|name| Some((name.to_owned(), view.backend_number(name)?)));
        Self {
            numbers: numbers.collect(),
            view: Arc::clone(view),
            adopted: Arc::new(Managed::all(commands)),
            guarded: Arc::default(),
        }
    }

    /// Whether a key store of the settings file leads to a key that was adopted. It may look at all keys.
    pub(super) fn serves_adopted(&self) -> bool {
        let guarded: Vec<_> = {
            let guarded = self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
            guarded.iter().filter_map(Weak::upgrade).collect()
        };
        guarded.iter().any(|guarded| guarded.serves_adopted())
    }

    /// Guards `inner`, which leads to the backend of a key store, and says which of the keys that the
    /// settings file lists for it are under management.
    pub(crate) fn around(
        &self,
        inner: Arc<dyn KeyBackend>,
        backends: &Backends,
        settings: &KeyStoreSettings,
    ) -> Arc<dyn KeyBackend> {
        let guarded = self.guarded(inner, settings, backends);
        let key_store = settings.prefix.as_str();
        for key in settings.keys.iter().flatten() {
            match guarded.management(key) {
                Some(Management::Made) => tracing::error!(
                    key_store,
                    key = key.as_str(),
                    "not served: the key is under management, or opens its store; remove it from `keys`"
                ),
                Some(Management::Adopted) => {
                    tracing::info!(key_store, key = key.as_str(), "served as a key under management");
                }
                None => {}
            }
        }
        let guarded = Arc::new(guarded);
        let mut known = self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.strong_count() > 0);
        known.push(Arc::downgrade(&guarded));
        guarded
    }

    fn guarded(&self, inner: Arc<dyn KeyBackend>, settings: &KeyStoreSettings, backends: &Backends) -> Guarded {
        let name = &settings.backend;
        let is_same = |other: &str| backends.may_share_device(name, other);
        let (same, others): (Vec<_>, Vec<_>) = self.numbers.iter().partition(|(other, _)| is_same(other));
        let numbers = |all: Vec<&(String, usize)>| all.into_iter().map(|(_, number)| *number).collect();
        let mut others: Box<[usize]> = numbers(others);
        if self.numbers.is_empty() {
            others = Box::new([NO_BACKEND]);
        }
        Guarded {
            inner,
            view: Arc::clone(&self.view),
            adopted: Arc::clone(&self.adopted),
            same: numbers(same),
            others,
            test_keys_of: backends.of_devices(name),
            listed: settings.keys.as_ref().map(|keys| keys.iter().cloned().collect()),
        }
    }
}

/// The number of no backend: with it, the view knows the keys of roots alone.
const NO_BACKEND: usize = usize::MAX;

/// A backend without the keys that are under management.
struct Guarded {
    inner: Arc<dyn KeyBackend>,
    view: Arc<View>,
    adopted: Arc<Managed>,
    /// Backends of the life cycle that may be the same device.
    same: Box<[usize]>,
    /// Backends of other devices, which may hold copies of a key that was made: its label is like no other.
    others: Box<[usize]>,
    /// Those of the same device that have test keys of their own.
    test_keys_of: Box<[ConfiguredBackend]>,
    /// The keys of the key store; none for all that the backend has.
    listed: Option<Box<[KeyId]>>,
}

impl Guarded {
    /// How a key is under management.
    fn management(&self, key: &KeyId) -> Option<Management> {
        let on_same = self.same.iter().find_map(|number| self.view.manages(*number, key));
        on_same.or_else(|| {
            let mut others = self.others.iter().filter_map(|number| self.view.manages(*number, key));
            others.find(|management| *management == Management::Made)
        })
    }

    /// Whether it leads to a key that was adopted.
    fn serves_adopted(&self) -> bool {
        match &self.listed {
            Some(keys) => {
                let mut keys = keys.iter();
                keys.any(|key| self.management(key) == Some(Management::Adopted))
            }
            None => self.same.iter().any(|number| self.view.has_adopted(*number)),
        }
    }

    /// The backend that serves a key.
    fn serving(&self, key: &KeyId) -> Result<&dyn KeyBackend, BackendError> {
        match self.management(key) {
            Some(Management::Adopted) => return Ok(&*self.adopted),
            Some(Management::Made) => return Err(BackendError::new(BackendErrorKind::KeyNotFound, MADE)),
            None => {}
        }
        match self.test_keys_of.iter().any(|backend| backend.is_test_key(key)) {
            true => Err(BackendError::new(BackendErrorKind::KeyNotFound, TEST_KEY)),
            false => Ok(&*self.inner),
        }
    }
}

const MADE: &str = "the key is under management, or opens its store: no key store of the settings file serves it";
const TEST_KEY: &str = "the key is a backend's test key, which must not be an external key";

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

fn refused<'a, T: Send + 'a>(error: BackendError) -> Answer<'a, T> {
    Box::pin(std::future::ready(Err(error)))
}

/// Without `async_trait`, which would put each future into one more: that of the backend is handed on.
impl Layered for Guarded {
    type Inner = dyn KeyBackend;

    fn inner(&self) -> &dyn KeyBackend {
        &*self.inner
    }

    fn key_metadata<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        key: &'b KeyId,
        request: &'c GetKeyMetadataRequest<'d>,
    ) -> Answer<'e, KeyMetadata>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
    {
        match self.serving(key) {
            Ok(backend) => backend.key_metadata(key, request),
            Err(error) => refused(error),
        }
    }

    fn encrypt<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        key: &'b KeyId,
        request: &'c mut EncryptRequest<'d>,
    ) -> Answer<'e, Encrypted>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
    {
        match self.serving(key) {
            Ok(backend) => backend.encrypt(key, request),
            Err(error) => refused(error),
        }
    }

    fn encrypt_verified<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        key: &'b KeyId,
        request: &'c mut EncryptRequest<'d>,
    ) -> Answer<'e, VerifiedEncryption>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
    {
        match self.serving(key) {
            Ok(backend) => backend.encrypt_verified(key, request),
            Err(error) => refused(error),
        }
    }

    fn decrypt<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        key: &'b KeyId,
        request: &'c DecryptRequest<'d>,
    ) -> Answer<'e, Zeroizing<Vec<u8>>>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
    {
        match self.serving(key) {
            Ok(backend) => backend.decrypt(key, request),
            Err(error) => refused(error),
        }
    }

    /// That of the backend; but without a lease no adopted key is served.
    // HLT-1
    fn health<'a, 'e>(&'a self) -> Answer<'e, Health>
    where
        'a: 'e,
    {
        match self.adopted.check_lease() {
            Err(error) if self.serves_adopted() => refused(error),
            _ => self.inner().health(),
        }
    }

    /// That of the longest ciphertext's, whichever serves it.
    fn metadata_length(&self) -> usize {
        self.inner().metadata_length().max(self.adopted.metadata_length())
    }
}
