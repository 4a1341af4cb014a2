//! What is known of a key to serve it: as little as that takes, since there may be a million of them.

use std::{ops::Deref, slice, sync::Arc};

use xks_backend_soft::{KeyVersion as SoftVersion, SoftKey};
use xks_core::{
    KeyId,
    backend::{BackendErrorKind, CiphertextMetadata, KeyStatus, KeyUsage},
};

use super::{Described, Management, Place, Served, ServedBy, SetView, Tag, Taken, shards::Keyed};
use crate::{
    Entry, Key, KeyVersion, KeyVersionId, Material, Snapshot, Timestamp, VersionId, VersionState,
    commands::is_told_by_name,
    counts::{Count, Counted, Take},
    key_state::{Conditions, KeyState, KmsView, Standing, view},
};

/// A key.
#[derive(Clone)]
pub(super) struct KeyView {
    pub(super) id: KeyId,
    versions: Versions,
    /// [`NEVER`] if it does not expire.
    expires: u64,
    /// The place of its key set.
    pub(super) set: u32,
    /// Without the expiry.
    state: KeyState,
    /// A bit for each usage.
    usages: u8,
    /// Whether it was restored from a backup, and may have versions that are unknown.
    is_restored: bool,
}

const NEVER: u64 = u64::MAX;

/// The versions of a key: of most keys there is one, which takes no allocation.
#[derive(Clone)]
enum Versions {
    One(VersionView),
    Many(Box<[VersionView]>),
}

impl Deref for Versions {
    type Target = [VersionView];

    fn deref(&self) -> &[VersionView] {
        match self {
            Self::One(version) => slice::from_ref(version),
            Self::Many(versions) => versions,
        }
    }
}

impl FromIterator<VersionView> for Versions {
    fn from_iter<I: IntoIterator<Item = VersionView>>(versions: I) -> Self {
        let versions: Vec<_> = versions.into_iter().collect();
        match <[VersionView; 1]>::try_from(versions) {
            Ok([version]) => Self::One(version),
            Err(versions) => Self::Many(versions.into()),
        }
    }
}

/// A version of a key; one that was destroyed too, so that it is known.
#[derive(Clone)]
struct VersionView {
    id: VersionId,
    standing: Standing,
    is_current: bool,
    /// Whether it has encrypted before it came under management.
    is_adopted: bool,
    material: Held,
    legacy_metadata: Option<Box<CiphertextMetadata>>,
    count: Arc<Count>,
}

/// What a version encrypts and decrypts with.
#[derive(Clone)]
enum Held {
    Nothing,
    /// A key of the backend, which is being made.
    Pending,
    /// A key of the backend.
    Backend(KeyId),
    /// Sealed material, opened. It is wiped when no view has it any more.
    Vault(Arc<SoftKey>),
}

impl Held {
    fn new(material: &Material, former: Option<&Self>) -> Self {
        match (material, former) {
            (Material::Backend { key: Some(key), .. }, _) => Self::Backend(key.clone()),
            // The material of a version stays the same until it is gone.
            (Material::Vault(_), Some(Self::Vault(key))) => Self::Vault(Arc::clone(key)),
            (Material::Vault(material), _) => match SoftVersion::new(1, material.clone()) {
                Ok(version) => Self::Vault(Arc::new(SoftKey::new(version))),
                Err(_) => Self::Nothing, // the number is legal; without a cipher nothing is served
            },
            (Material::Backend { key: None, .. }, _) => Self::Pending,
            (Material::Gone, _) => Self::Nothing,
        }
    }
}

impl VersionView {
    /// A version as it is now. It goes on with the count that it had.
    fn new(version: &KeyVersion, standing: Standing, former: Option<&Self>) -> Self {
        let count = former.map(|former| Arc::clone(&former.count));
        Self {
            count: count.unwrap_or_else(|| Arc::new(Count::new(version.earlier_encryptions))),
            id: version.id.version,
            standing,
            is_current: version.state == VersionState::Current,
            is_adopted: version.earlier_encryptions > 0 || version.legacy_metadata.is_some(),
            material: Held::new(&version.material, former.map(|former| &former.material)),
            legacy_metadata: version.legacy_metadata.map(Box::new),
        }
    }

    /// Whether this version has made ciphertexts with this metadata before it came under management.
    fn is_legacy(&self, metadata: Option<&CiphertextMetadata>) -> bool {
        self.is_adopted && self.legacy_metadata.as_deref() == metadata
    }
}

const fn bit(usage: KeyUsage) -> u8 {
    match usage {
        KeyUsage::Encrypt => 1,
        KeyUsage::Decrypt => 2,
        _ => 0, // nothing that KMS asks for
    }
}

/// For each set of bits, what it permits.
const USAGES: [&[KeyUsage]; 4] = [
    &[],
    &[KeyUsage::Encrypt],
    &[KeyUsage::Decrypt],
    &[KeyUsage::Encrypt, KeyUsage::Decrypt],
];

impl Keyed for KeyView {
    fn id(&self) -> &KeyId {
        &self.id
    }
}

/// A key of a backend whose name does not say which key it belongs to: not all key managers keep labels.
#[derive(Clone)]
pub(super) struct Unnamed {
    backend_key: KeyId,
    /// The external key id.
    pub(super) owner: KeyId,
}

impl Unnamed {
    pub(super) fn into_id(self) -> KeyId {
        self.backend_key
    }
}

impl Keyed for Unnamed {
    fn id(&self) -> &KeyId {
        &self.backend_key
    }
}

impl KeyView {
    /// What a snapshot has of a key, of which an earlier one had `former`.
    pub(super) fn new(snapshot: &Snapshot, id: &KeyId, set: u32, former: Option<&Self>) -> Option<Self> {
        Some(Self::of(
            snapshot,
            snapshot.key(id)?,
            snapshot.versions(id),
            set,
            former,
        ))
    }

    /// A key with its versions.
    pub(super) fn of<'v>(
        snapshot: &Snapshot,
        key: &Key,
        versions: impl Iterator<Item = &'v Entry<KeyVersion>>,
        set: u32,
        former: Option<&Self>,
    ) -> Self {
        let versions = versions.map(|version| {
            let former = former.and_then(|former| former.version(version.id.version));
            VersionView::new(version, Standing::of(version, key.minima), former)
        });
        Self {
            id: key.id.clone(),
            versions: versions.collect(),
            expires: key.expires.map_or(NEVER, Timestamp::seconds),
            set,
            state: key.state.without_expiry(),
            usages: key.usages.iter().fold(0, |bits, usage| bits | bit(*usage)),
            is_restored: snapshot.is_restored(&key.id),
        }
    }

    /// Its state, with the expiry counted in.
    pub(super) fn state_at(&self, now: Timestamp) -> KeyState {
        let is_expired = self.expires != NEVER && self.expires <= now.seconds();
        self.state.expired(is_expired)
    }

    /// How many versions have material, or are being made.
    pub(super) fn versions_held(&self) -> usize {
        let held = self.versions.iter();
        held.filter(|version| !matches!(version.material, Held::Nothing))
            .count()
    }

    /// How many encryptions of the version that encrypts are reserved.
    pub(super) fn reserved(&self) -> Option<u64> {
        self.current().map(|version| version.count.reserved())
    }

    fn kms_view(&self, set: SetView, standing: Standing, now: Timestamp) -> KmsView {
        let conditions = Conditions {
            is_blocked: set.is_blocked,
            standing,
            ..Conditions::new(self.state_at(now), set.keeps_decryption)
        };
        view(&conditions)
    }

    fn permits(&self, usage: KeyUsage) -> Result<(), BackendErrorKind> {
        if self.usages & bit(usage) == 0 {
            return Err(BackendErrorKind::KeyUsage);
        }
        Ok(())
    }

    fn served(set: SetView, version: &VersionView, tag: Tag) -> Result<Served, BackendErrorKind> {
        let by = match (&version.material, set.place) {
            (Held::Backend(key), Some(Place::Backend(number))) => ServedBy::Backend(number, key.clone()),
            (Held::Vault(key), Some(Place::Vault)) => ServedBy::Vault(Arc::clone(key)),
            _ => return Err(BackendErrorKind::Unavailable),
        };
        Ok(Served {
            by,
            version: version.id,
            tag,
        })
    }

    /// How a key of the backend belongs to this key, if it does. The name of a key that is still being made
    /// says of which version it is.
    pub(super) fn manages(&self, backend_key: &KeyId, named: Option<VersionId>) -> Option<Management> {
        let is_of = |version: &VersionView| match &version.material {
            Held::Backend(key) => key == backend_key,
            Held::Pending => named == Some(version.id),
            Held::Vault(_) | Held::Nothing => false,
        };
        self.versions.iter().any(is_of).then(|| {
            if self.id == *backend_key {
                Management::Adopted
            } else {
                Management::Made
            }
        })
    }

    /// The keys of the backend that belong to this key, and whose names do not say so.
    pub(super) fn unnamed(&self) -> impl Iterator<Item = Unnamed> {
        self.versions.iter().filter_map(|version| {
            let Held::Backend(key) = &version.material else {
                return None;
            };
            let owner = KeyVersionId::new(self.id.clone(), version.id);
            (!is_told_by_name(key, &owner)).then(|| Unnamed {
                backend_key: key.clone(),
                owner: owner.key,
            })
        })
    }

    fn current(&self) -> Option<&VersionView> {
        self.versions.iter().find(|version| version.is_current)
    }

    fn version(&self, id: VersionId) -> Option<&VersionView> {
        self.versions.iter().find(|version| version.id == id)
    }

    fn counted_of(&self, version: &VersionView) -> Counted {
        Counted {
            version: KeyVersionId::new(self.id.clone(), version.id),
            count: Arc::clone(&version.count),
        }
    }

    /// A version with its count.
    pub(super) fn counted(&self, id: VersionId) -> Option<Counted> {
        self.version(id).map(|version| self.counted_of(version))
    }

    /// The versions with usage that was not taken yet.
    pub(super) fn used(&self) -> impl Iterator<Item = Counted> {
        let used = self.versions.iter().filter(|version| version.count.is_used());
        used.map(|version| self.counted_of(version))
    }

    /// The version that encrypts, if its count is as wanted.
    pub(super) fn current_counted(&self, is_wanted: impl FnOnce(&Count) -> bool) -> Option<KeyVersionId> {
        let current = self.current().filter(|version| is_wanted(&version.count))?;
        Some(KeyVersionId::new(self.id.clone(), current.id))
    }

    pub(super) fn describe(&self, set: SetView, now: Timestamp) -> Result<Described, BackendErrorKind> {
        let current = self.current();
        let standing = current.map_or(Standing::Nothing, |version| version.standing);
        let status = match self.kms_view(set, standing, now).status? {
            KeyStatus::Enabled if current.is_some_and(|version| version.count.is_used_up()) => KeyStatus::Disabled,
            status => status,
        };
        Ok(Described {
            status,
            usages: USAGES.get(usize::from(self.usages & 3)).copied().unwrap_or_default(),
            current: current.and_then(|version| Self::served(set, version, Tag::of(version.id)).ok()),
        })
    }

    pub(super) fn to_encrypt(&self, set: SetView, now: Timestamp) -> Result<Served, BackendErrorKind> {
        self.encrypting(set, now).map(|(_, served)| served)
    }

    /// Takes one encryption of the version that encrypts.
    pub(super) fn take(&self, set: SetView, now: Timestamp) -> Result<Taken, BackendErrorKind> {
        let (version, served) = self.encrypting(set, now)?;
        Ok(match version.count.take(now) {
            Take::Granted => Taken::Granted(served, None),
            Take::GrantedAndLow => Taken::Granted(served, Some(self.counted_of(version))),
            Take::Empty => Taken::Empty(self.counted_of(version)),
            Take::Spent => Taken::Spent,
        })
    }

    fn encrypting(&self, set: SetView, now: Timestamp) -> Result<(&VersionView, Served), BackendErrorKind> {
        let current = self.current();
        let standing = current.map_or(Standing::Nothing, |version| version.standing);
        self.kms_view(set, standing, now).encrypt?;
        self.permits(KeyUsage::Encrypt)?;
        let current = current.ok_or(BackendErrorKind::KeyDisabled)?;
        Ok((current, Self::served(set, current, Tag::of(current.id))?))
    }

    pub(super) fn to_decrypt(
        &self,
        set: SetView,
        metadata: Option<&CiphertextMetadata>,
        now: Timestamp,
    ) -> Result<Served, BackendErrorKind> {
        self.decrypting(set, metadata, now).map(|(_, served)| served)
    }

    /// The version that decrypts, which notes it.
    pub(super) fn note_decryption(
        &self,
        set: SetView,
        metadata: Option<&CiphertextMetadata>,
        now: Timestamp,
    ) -> Result<Served, BackendErrorKind> {
        let (version, served) = self.decrypting(set, metadata, now)?;
        version.count.note_decryption(now);
        Ok(served)
    }

    fn decrypting(
        &self,
        set: SetView,
        metadata: Option<&CiphertextMetadata>,
        now: Timestamp,
    ) -> Result<(&VersionView, Served), BackendErrorKind> {
        let named = self.named(metadata);
        // That the key may not do it comes before that the ciphertext is not its own.
        let standing = named.map_or(Standing::Decrypt, |(version, _)| version.standing);
        self.kms_view(set, standing, now).decrypt?;
        self.permits(KeyUsage::Decrypt)?;
        let (version, tag) = named.ok_or_else(|| self.unknown(metadata))?;
        Ok((version, Self::served(set, version, tag)?))
    }

    /// How a ciphertext is refused that names no version of the key. A version that was made after the backup
    /// which was restored may have made it: KMS must not learn that it is not valid.
    fn unknown(&self, metadata: Option<&CiphertextMetadata>) -> BackendErrorKind {
        match metadata.and_then(Tag::read) {
            Some(_) if self.is_restored => BackendErrorKind::Timeout,
            _ => BackendErrorKind::InvalidCiphertext,
        }
    }

    /// The version that a ciphertext names, and what of its metadata is the tag. A constant from before the
    /// key was managed comes first: it may look like a tag. What has no tag can only be from that time,
    /// whatever metadata it has: those may have changed then, and the ciphertext authenticates its own.
    fn named(&self, metadata: Option<&CiphertextMetadata>) -> Option<(&VersionView, Tag)> {
        let legacy = self.versions.iter().find(|version| version.is_legacy(metadata));
        if let Some(version) = legacy {
            return Some((version, Tag::NONE));
        }
        match metadata.and_then(Tag::read) {
            Some(id) => Some((self.version(id)?, Tag::of(id))),
            None => {
                let adopted = self.versions.iter().find(|version| version.is_adopted);
                adopted.map(|version| (version, Tag::NONE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use xks_core::Zeroizing;

    use super::*;
    use crate::{KeySetId, seal::Sum, store::Revision};

    /// Material that is destroyed does not stay in memory.
    #[test]
    fn opened_material_is_kept_over_changes_and_goes_with_the_version() {
        let key = Key::new("key".parse().unwrap(), KeySetId::generate().unwrap(), "Key").unwrap();
        let version = |byte| {
            let id = KeyVersionId::new(key.id.clone(), VersionId::from_bytes([byte; 4]));
            let material = Material::Vault(Zeroizing::new([byte; 32]));
            KeyVersion::new(id, byte.into(), material, Timestamp::MIN).unwrap()
        };
        let mut snapshot = Snapshot::default();
        let mut view = |put: crate::snapshot::Item, former: Option<&KeyView>| {
            snapshot.put(put, Revision::ZERO, Sum::default());
            KeyView::new(&snapshot, &key.id, 0, former)
        };
        let opened = |view: &KeyView, byte| match &view.version(VersionId::from_bytes([byte; 4]))?.material {
            Held::Vault(key) => Some(Arc::downgrade(key)),
            _ => None,
        };
        assert!(view(version(1).into(), None).is_none());
        let one = view(key.clone().into(), None).unwrap();
        let two = view(version(2).into(), Some(&one)).unwrap();
        let first = opened(&two, 1).unwrap();
        assert!(first.ptr_eq(&opened(&one, 1).unwrap()));
        let three = view(version(1).destroyed().into(), Some(&two)).unwrap();
        assert!(opened(&three, 1).is_none() && opened(&three, 2).is_some());
        drop((one, two));
        assert!(first.upgrade().is_none());
    }

    /// A key of an HSM with one version with its count, an id of 24 characters, and a label of deployment,
    /// key and version.
    #[test]
    fn a_key_takes_at_most_300_bytes() {
        // An allocation has 8 bytes of its own, and is a multiple of 16.
        let allocated = |bytes: usize| (bytes + 8).next_multiple_of(16);
        let shared = |text: usize| allocated(2 * size_of::<usize>() + text);
        let (id, label) = (shared(24), shared("production".len() + 1 + 24 + 1 + 8));
        let entry = size_of::<(u32, KeyView)>();
        let count = allocated(2 * size_of::<usize>() + size_of::<Count>());
        let total = entry + count + id + label;
        assert!(total <= 300, "{total}: {entry}, {count}, {id}, {label}");
    }
}
