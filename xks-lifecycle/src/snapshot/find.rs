//! What a snapshot has, by its id and in lists.

use std::collections::BTreeSet;

use xks_core::{KeyId, key_store::AccessKeyId};

use super::{Entry, Snapshot};
use crate::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyStore, CloudKeyStoreId, CloudMaterial, CloudMaterialId,
    ExternalKeyStore, Key, KeySet, KeySetId, KeyStoreCredential, KeyStoreId, KeyVersion, KeyVersionId, Restore,
    Schedule, ScheduleId, Tenant, TenantId, Timestamp, VersionState,
};

impl Snapshot {
    /// Returns a tenant.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> Option<&Entry<Tenant>> {
        self.tenants.get(&id)
    }

    /// Returns all tenants, in the order of their ids.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = &Entry<Tenant>> {
        self.tenants.values()
    }

    /// Returns a key set.
    #[must_use]
    pub fn key_set(&self, id: KeySetId) -> Option<&Entry<KeySet>> {
        self.key_sets.get(&id)
    }

    /// Returns all key sets, in the order of their ids.
    pub fn key_sets(&self) -> impl ExactSizeIterator<Item = &Entry<KeySet>> {
        self.key_sets.values()
    }

    /// Returns an external key store.
    #[must_use]
    pub fn key_store(&self, id: KeyStoreId) -> Option<&Entry<ExternalKeyStore>> {
        self.key_stores.get(&id)
    }

    /// Returns all external key stores, in the order of their ids.
    pub fn key_stores(&self) -> impl ExactSizeIterator<Item = &Entry<ExternalKeyStore>> {
        self.key_stores.values()
    }

    /// Returns a credential.
    #[must_use]
    pub fn credential(&self, id: &AccessKeyId) -> Option<&Entry<KeyStoreCredential>> {
        self.credentials.get(id)
    }

    /// Returns all credentials, in the order of their ids.
    pub fn credentials(&self) -> impl ExactSizeIterator<Item = &Entry<KeyStoreCredential>> {
        self.credentials.values()
    }

    /// The credentials of a key store with which KMS may sign at this time, oldest first.
    pub(crate) fn live_credentials(&self, key_store: KeyStoreId, now: Timestamp) -> Vec<&KeyStoreCredential> {
        let all = self.credentials().map(|credential| &**credential);
        let of_store = all.filter(|credential| credential.key_store == key_store);
        let mut live: Vec<_> = of_store.filter(|credential| credential.is_live(now)).collect();
        live.sort_by_key(|credential| credential.age());
        live
    }

    /// Returns a schedule.
    #[must_use]
    pub fn schedule(&self, id: ScheduleId) -> Option<&Entry<Schedule>> {
        self.schedules.get(&id)
    }

    /// Returns all schedules, in the order of their ids.
    pub fn schedules(&self) -> impl ExactSizeIterator<Item = &Entry<Schedule>> {
        self.schedules.values()
    }

    /// Returns a cloud account.
    #[must_use]
    pub fn cloud_account(&self, id: CloudAccountId) -> Option<&Entry<CloudAccount>> {
        self.cloud_accounts.get(&id)
    }

    /// Returns all cloud accounts, in the order of their ids.
    pub fn cloud_accounts(&self) -> impl ExactSizeIterator<Item = &Entry<CloudAccount>> {
        self.cloud_accounts.values()
    }

    /// Returns a key store in AWS.
    #[must_use]
    pub fn cloud_key_store(&self, id: CloudKeyStoreId) -> Option<&Entry<CloudKeyStore>> {
        self.cloud_key_stores.get(&id)
    }

    /// Returns all key stores in AWS, in the order of their ids.
    pub fn cloud_key_stores(&self) -> impl ExactSizeIterator<Item = &Entry<CloudKeyStore>> {
        self.cloud_key_stores.values()
    }

    /// Returns a KMS key.
    #[must_use]
    pub fn cloud_key(&self, id: CloudKeyId) -> Option<&Entry<CloudKey>> {
        self.cloud_keys.get(&id)
    }

    /// Returns all KMS keys, in the order of their ids.
    pub fn cloud_keys(&self) -> impl ExactSizeIterator<Item = &Entry<CloudKey>> {
        self.cloud_keys.values()
    }

    /// Returns the material of a KMS key.
    #[must_use]
    pub fn cloud_material(&self, id: CloudMaterialId) -> Option<&Entry<CloudMaterial>> {
        self.cloud_materials.get(&id)
    }

    /// Returns the materials of all KMS keys, in the order of their ids.
    pub fn cloud_materials(&self) -> impl ExactSizeIterator<Item = &Entry<CloudMaterial>> {
        self.cloud_materials.values()
    }

    /// Returns the materials of a KMS key, in the order of their numbers.
    pub fn materials_of(&self, key: CloudKeyId) -> impl DoubleEndedIterator<Item = &Entry<CloudMaterial>> {
        let of_key = self.materials.range((key, 0)..=(key, u32::MAX));
        of_key.filter_map(|(_, id)| self.cloud_materials.get(id))
    }

    /// Returns a key.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&Entry<Key>> {
        self.keys.get(id)
    }

    /// Returns all keys, in the order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Entry<Key>> {
        self.keys.values()
    }

    /// Returns the versions of a key, in the order of their ids.
    pub fn versions<'s>(&'s self, key: &'s KeyId) -> impl Iterator<Item = &'s Entry<KeyVersion>> {
        let first = KeyVersionId::new(key.clone(), crate::VersionId::from_bytes([0; 4]));
        let of_key = move |(id, _): &(&KeyVersionId, &Entry<KeyVersion>)| id.key == *key;
        self.versions.range(first..).take_while(of_key).map(|(_, entry)| entry)
    }

    /// Returns the restores from backups, in their order. After one, the counts of all versions that it has
    /// brought back are spent, since what they have encrypted after the backup is not known.
    pub fn restores(&self) -> impl DoubleEndedIterator<Item = &Entry<Restore>> + ExactSizeIterator {
        self.restores.values()
    }

    /// Returns whether a restore has brought back a key: versions of it that were made after the backup, and
    /// before the restore, are unknown.
    pub(crate) fn is_restored(&self, key: &KeyId) -> bool {
        let Some(restore) = self.restores().next_back() else {
            return false;
        };
        self.versions(key).any(|version| version.created <= restore.time)
    }

    /// The least number that a new version of a key may have, so that it is not one of a version that is
    /// unknown since a restore.
    pub(crate) fn first_number(&self, key: &KeyId) -> u32 {
        const APART: u32 = 1_000_000; // a year of rotations, one each half minute
        let restores = u32::try_from(self.restores().len()).unwrap_or(u32::MAX);
        match self.is_restored(key) {
            true => restores.saturating_mul(APART).saturating_add(1),
            false => 1,
        }
    }

    /// All keys, each with its versions.
    pub(crate) fn keys_with_versions(&self) -> impl Iterator<Item = (&Entry<Key>, Vec<&Entry<KeyVersion>>)> {
        let mut versions = self.versions.iter().peekable();
        self.keys.values().map(move |key| {
            let of_key = std::iter::from_fn(|| versions.next_if(|(id, _)| id.key == key.id));
            (key, of_key.map(|(_, version)| version).collect())
        })
    }

    /// Returns the names of the roots that open the store.
    pub fn roots(&self) -> impl ExactSizeIterator<Item = &str> {
        self.roots.keys().map(|id| id.0.as_str())
    }
    /// Returns the versions that are published and not promoted.
    pub(crate) const fn published(&self) -> &BTreeSet<KeyVersionId> {
        &self.published
    }

    /// Whether a version is being made.
    pub(crate) fn is_pending(&self, id: &KeyVersionId) -> bool {
        let version = self.versions.get(id);
        version.is_some_and(|version| version.state == VersionState::Pending)
    }
}
