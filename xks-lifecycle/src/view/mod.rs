//! The keys as requests see them: one snapshot behind an atomic pointer.
//!
//! A request loads the pointer and finds its key by the external key id: it takes no lock, waits for nothing,
//! and allocates nothing. A change makes a new snapshot, which shares with the one before all but the small
//! part that has the key.

mod entry;
mod materials;
mod shards;
mod totals;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    KeyBackend, KeyId,
    backend::{BackendErrorKind, CiphertextMetadata, KeyStatus, KeyUsage},
};

pub use self::totals::Totals;
use self::{
    entry::{KeyView, Unnamed},
    materials::Materials,
    shards::Shards,
};
use crate::{
    KeySet, KeySetId, KeySource, KeyStoreId, KeyVersionId, Snapshot, Timestamp, Touched, VersionId,
    commands::{Backends, named_version},
    counts::{Count, Counted},
    store::Revision,
};

/// The keys at the latest revision, as requests see them.
pub struct View {
    backends: Backends,
    /// Stands for all keys whose material is opened in memory; it holds none of them.
    vault: SoftBackend,
    state: ArcSwap<State>,
}

#[derive(Clone, Default)]
struct State {
    revision: Revision,
    sets: Arc<Sets>,
    keys: Shards<KeyView>,
    unnamed: Shards<Unnamed>,
    /// What AWS imports, which serves nothing.
    materials: Materials,
    /// The keys of backends under which the data key is wrapped.
    roots: Arc<[KeyId]>,
}

/// The key sets, each at a place of its own, which keys name.
#[derive(Clone, Default)]
struct Sets {
    places: BTreeMap<KeySetId, u32>,
    views: Vec<SetView>,
}

/// What is known of a key set.
#[derive(Clone, Copy)]
struct SetView {
    /// None when the server has no such backend.
    place: Option<Place>,
    key_store: Option<KeyStoreId>,
    keeps_decryption: bool,
    is_blocked: bool,
    /// Whether its keys were adopted.
    is_adopted: bool,
}

/// Where the material of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "there are two kinds of material")]
pub enum Place {
    /// In the backend with this number, in the order of their names.
    Backend(usize),
    /// In memory.
    Vault,
}

/// How a key of a backend is under management.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a key is made here or elsewhere")]
pub enum Management {
    /// It was made for a version, or for AWS to import, or wraps the data key: nothing else may use it.
    Made,
    /// It was adopted: it goes on under its id, which is the external key id too, and only through
    /// [`Managed`](crate::Managed).
    Adopted,
}

/// What serves a request.
#[derive(Clone, Debug)]
pub(crate) enum ServedBy {
    /// The key of this id, in the backend of this number.
    Backend(usize, KeyId),
    /// Material in memory.
    Vault(Arc<SoftKey>),
}

/// The version that serves a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Served {
    pub(crate) by: ServedBy,
    /// Its id.
    pub version: VersionId,
    /// What the ciphertext's metadata begins with.
    pub tag: Tag,
}

impl Served {
    /// Returns where its material is.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self.by {
            ServedBy::Backend(number, _) => Place::Backend(number),
            ServedBy::Vault(_) => Place::Vault,
        }
    }

    /// Returns the id under which a backend knows it, if a backend has it.
    #[must_use]
    pub const fn backend_key(&self) -> Option<&KeyId> {
        match &self.by {
            ServedBy::Backend(_, key) => Some(key),
            ServedBy::Vault(_) => None,
        }
    }
}

/// What became of the wish to encrypt.
pub(crate) enum Taken {
    /// A version encrypts. If its block of encryptions runs low, this says so.
    Granted(Served, Option<Counted>),
    /// The version that encrypts has nothing left of its block.
    Empty(Counted),
    /// The version has made all encryptions that it may.
    Spent,
}

/// What KMS learns of a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Described {
    /// Whether it serves.
    pub status: KeyStatus,
    /// What it may be used for.
    pub usages: &'static [KeyUsage],
    /// The version that encrypts, if there is one.
    pub current: Option<Served>,
}

/// What the metadata of a ciphertext begins with: a format byte, and the id of the version that made it. What
/// was encrypted before its key was managed has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(Option<[u8; Self::LENGTH]>);

impl Tag {
    /// No text in UTF-8 begins with it, as metadata of backends are.
    const FORMAT: u8 = 0x81;
    /// How many bytes a tag has.
    pub const LENGTH: usize = 5;
    const NONE: Self = Self(None);

    /// The tag of a version.
    pub(crate) const fn of(version: VersionId) -> Self {
        let [a, b, c, d] = version.to_bytes();
        Self(Some([Self::FORMAT, a, b, c, d]))
    }

    /// The version that the tag of a ciphertext names.
    fn read(metadata: &CiphertextMetadata) -> Option<VersionId> {
        match metadata.as_bytes() {
            [Self::FORMAT, a, b, c, d, ..] => Some(VersionId::from_bytes([*a, *b, *c, *d])),
            _ => None,
        }
    }

    /// Whether metadata begins with it.
    pub(crate) fn begins(&self, metadata: &CiphertextMetadata) -> bool {
        metadata.as_bytes().starts_with(self.as_bytes())
    }

    /// Returns the bytes; none for what was encrypted before its key was managed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| &bytes[..])
    }
}

impl View {
    /// The keys of a snapshot, whose key sets are in these backends.
    pub(crate) fn new(backends: Backends, snapshot: &Snapshot) -> Self {
        let view = Self {
            backends,
            vault: SoftBackend::new().with_id("vault"),
            state: ArcSwap::default(),
        };
        let mut state = State::default();
        view.read_sets(&mut state, snapshot);
        let sets = &state.sets.places;
        // Keys and versions are in one order, so that nothing is searched for.
        let keys = snapshot.keys_with_versions();
        let keys = keys.filter_map(|(key, versions)| {
            let set = sets.get(&key.key_set)?;
            Some(KeyView::of(snapshot, key, versions.into_iter(), *set, None))
        });
        state.keys.put(keys.collect::<Vec<_>>());
        let unnamed: Vec<_> = state.keys.iter().flat_map(KeyView::unnamed).collect();
        state.unnamed.put(unnamed);
        let materials = snapshot.cloud_materials().map(|material| material.id);
        state.materials.update(snapshot, materials);
        view.store(state, snapshot);
        view
    }

    /// Takes in what has changed in a snapshot. Updates come one after the other.
    pub(crate) fn update(&self, snapshot: &Snapshot, touched: &Touched) {
        let mut next = State::clone(&self.state.load());
        if !(touched.key_sets.is_empty() && touched.key_stores.is_empty()) {
            self.read_sets(&mut next, snapshot);
        }
        let place = |id: &KeyId| {
            let set = snapshot.key(id)?.key_set;
            next.sets.places.get(&set).copied()
        };
        let read = |id: &KeyId| KeyView::new(snapshot, id, place(id)?, next.keys.get(id.as_str()));
        let keys: Vec<_> = touched.keys.iter().filter_map(read).collect();
        let former = touched.keys.iter().filter_map(|id| next.keys.get(id.as_str()));
        let former: Vec<_> = former.flat_map(KeyView::unnamed).map(Unnamed::into_id).collect();
        next.unnamed.remove(former);
        next.unnamed.put(keys.iter().flat_map(KeyView::unnamed));
        next.keys.put(keys);
        next.materials.update(snapshot, touched.cloud_materials.iter().copied());
        self.store(next, snapshot);
    }

    fn read_sets(&self, state: &mut State, snapshot: &Snapshot) {
        let sets = Arc::make_mut(&mut state.sets);
        for set in snapshot.key_sets() {
            sets.put(set.id, self.set_view(set, snapshot));
        }
    }

    fn store(&self, mut state: State, snapshot: &Snapshot) {
        state.revision = snapshot.revision();
        state.roots = snapshot.root_keys().cloned().collect();
        self.state.store(Arc::new(state));
    }

    /// Returns the number of a backend of this name, by which [`manages`](Self::manages) knows it.
    #[must_use]
    pub fn backend_number(&self, name: &str) -> Option<usize> {
        self.backends.number_of_name(name)
    }

    /// Returns how a key of a backend is under management; nothing if it is not. Who serves the backend's
    /// keys by other ways than [`Managed`](crate::Managed) asks this before each request.
    ///
    /// It takes no lock, waits for nothing and allocates nothing. A key of a root belongs to no backend that
    /// is known here, so that it is under management in each.
    ///
    /// ```
    /// # use xks_core::KeyId;
    /// use xks_lifecycle::view::{Management, View};
    ///
    /// /// Whether a key that a settings file lists may be served from its backend.
    /// fn may_serve(view: &View, backend: &str, key: &KeyId) -> bool {
    ///     let number = view.backend_number(backend); // of a backend that is known longer: ask once
    ///     number.is_none_or(|number| view.manages(number, key).is_none())
    /// }
    /// ```
    #[must_use]
    pub fn manages(&self, backend: usize, key: &KeyId) -> Option<Management> {
        let state = self.state.load();
        if state.roots.contains(key) {
            return Some(Management::Made);
        }
        let of_owner = |owner: &str, version: Option<VersionId>| {
            let owner = state.keys.get(owner)?;
            let set = state.sets.views.get(owner.set as usize)?;
            let management = if set.is_adopted && owner.id == *key {
                // Also when the version that it was is destroyed: the key of this id has other versions.
                Some(Management::Adopted)
            } else {
                owner.manages(key, version)
            };
            management.filter(|_| set.place == Some(Place::Backend(backend)))
        };
        let adopted = || of_owner(key.as_str(), None);
        let named = || named_version(key).and_then(|(owner, version)| of_owner(owner, Some(version)));
        let unnamed = || of_owner(state.unnamed.get(key.as_str())?.owner.as_str(), None);
        let material = || {
            let set = state.sets.places.get(&state.materials.set_of(key)?)?;
            let place = state.sets.views.get(*set as usize)?.place;
            (place == Some(Place::Backend(backend))).then_some(Management::Made)
        };
        adopted().or_else(named).or_else(unnamed).or_else(material)
    }

    /// Returns whether a backend has any key that was [adopted](Management::Adopted). It may look at all
    /// keys, where there are key sets of adopted ones.
    #[must_use]
    pub fn has_adopted(&self, backend: usize) -> bool {
        let state = self.state.load();
        let is_there = |set: &SetView| set.is_adopted && set.place == Some(Place::Backend(backend));
        let sets = &state.sets.views;
        let is_in_one = |key: &KeyView| sets.get(key.set as usize).is_some_and(is_there);
        sets.iter().any(is_there) && state.keys.iter().any(is_in_one)
    }

    fn set_view(&self, set: &KeySet, snapshot: &Snapshot) -> SetView {
        let key_store = set.key_store.and_then(|id| snapshot.key_store(id));
        SetView {
            place: match set.source {
                KeySource::Vault => Some(Place::Vault),
                KeySource::Hsm | KeySource::Adopted => self.backends.number_of(set).map(Place::Backend),
            },
            key_store: set.key_store,
            keeps_decryption: set.keeps_decryption,
            is_blocked: key_store.is_some_and(|key_store| key_store.is_blocked),
            is_adopted: set.source == KeySource::Adopted,
        }
    }

    /// Returns the revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.load().revision
    }

    /// Returns the number of keys, those that were destroyed too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.load().keys.len()
    }

    /// Returns whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The backend of a place.
    pub(crate) fn backend(&self, place: Place) -> Option<&dyn KeyBackend> {
        match place {
            Place::Vault => Some(&self.vault),
            Place::Backend(number) => self.backends.get(number),
        }
    }

    /// All backends, that of sealed keys too.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &dyn KeyBackend> {
        let vault: &dyn KeyBackend = &self.vault;
        self.backends.all().chain([vault])
    }

    /// Where the keys of a key store, or of all, are, each place once; none for a backend that the server
    /// does not have.
    pub(crate) fn places_in(&self, key_store: Option<KeyStoreId>) -> BTreeSet<Option<Place>> {
        let state = self.state.load();
        let sets = state
            .sets
            .views
            .iter()
            .filter(|set| key_store.is_none() || set.key_store == key_store);
        sets.map(|set| set.place).collect()
    }

    /// Looks at a key of a key store, or of any.
    fn with<T>(
        &self,
        key_store: Option<KeyStoreId>,
        id: &KeyId,
        look: impl FnOnce(&KeyView, SetView) -> Result<T, BackendErrorKind>,
    ) -> Result<T, BackendErrorKind> {
        let state = self.state.load();
        let key = state.keys.get(id.as_str()).ok_or(BackendErrorKind::KeyNotFound)?;
        let set = state.sets.views.get(key.set as usize).copied();
        let set = set.ok_or(BackendErrorKind::Unavailable)?;
        if key_store.is_some() && set.key_store != key_store {
            return Err(BackendErrorKind::KeyNotFound);
        }
        look(key, set)
    }

    /// Returns what KMS learns of a key.
    ///
    /// # Errors
    /// What the key's [state](crate::key_state::view) says.
    pub fn describe(&self, id: &KeyId, now: Timestamp) -> Result<Described, BackendErrorKind> {
        self.describe_in(None, id, now)
    }

    pub(crate) fn describe_in(
        &self,
        key_store: Option<KeyStoreId>,
        id: &KeyId,
        now: Timestamp,
    ) -> Result<Described, BackendErrorKind> {
        self.with(key_store, id, |key, set| key.describe(set, now))
    }

    /// Returns the version that encrypts.
    ///
    /// # Errors
    /// What the key's [state](crate::key_state::view) says; `KeyUsage` when the key may not encrypt.
    pub fn to_encrypt(&self, id: &KeyId, now: Timestamp) -> Result<Served, BackendErrorKind> {
        self.with(None, id, |key, set| key.to_encrypt(set, now))
    }

    /// Takes one encryption of the version that encrypts.
    pub(crate) fn take(
        &self,
        key_store: Option<KeyStoreId>,
        id: &KeyId,
        now: Timestamp,
    ) -> Result<Taken, BackendErrorKind> {
        self.with(key_store, id, |key, set| key.take(set, now))
    }

    /// A version with its count.
    pub(crate) fn counted(&self, version: &KeyVersionId) -> Option<Counted> {
        self.state
            .load()
            .keys
            .get(version.key.as_str())?
            .counted(version.version)
    }

    /// All versions with usage that was not taken yet, each with its count.
    pub(crate) fn used(&self) -> Vec<Counted> {
        let state = self.state.load_full();
        state.keys.iter().flat_map(KeyView::used).collect()
    }

    /// The versions that encrypt and whose counts are as wanted.
    pub(crate) fn current_versions(&self, is_wanted: impl Fn(&Count) -> bool) -> Vec<KeyVersionId> {
        let state = self.state.load();
        let keys = state.keys.iter();
        keys.filter_map(|key| key.current_counted(&is_wanted)).collect()
    }

    /// Returns the version that decrypts a ciphertext with this metadata.
    ///
    /// # Errors
    /// What the key's [state](crate::key_state::view) says; `KeyUsage` when the key may not decrypt;
    /// `InvalidCiphertext` when no version of the key has made it.
    pub fn to_decrypt(
        &self,
        id: &KeyId,
        metadata: Option<&CiphertextMetadata>,
        now: Timestamp,
    ) -> Result<Served, BackendErrorKind> {
        self.with(None, id, |key, set| key.to_decrypt(set, metadata, now))
    }

    /// As [`to_decrypt`](Self::to_decrypt), and notes the decryption.
    pub(crate) fn note_decryption(
        &self,
        key_store: Option<KeyStoreId>,
        id: &KeyId,
        metadata: Option<&CiphertextMetadata>,
        now: Timestamp,
    ) -> Result<Served, BackendErrorKind> {
        self.with(key_store, id, |key, set| key.note_decryption(set, metadata, now))
    }
}

impl Sets {
    fn put(&mut self, id: KeySetId, view: SetView) {
        let place = self
            .places
            .get(&id)
            .and_then(|place| self.views.get_mut(*place as usize));
        match place {
            Some(known) => *known = view,
            None => {
                self.places.insert(id, self.views.len() as u32); // no snapshot has more
                self.views.push(view);
            }
        }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("revision", &self.revision())
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}
