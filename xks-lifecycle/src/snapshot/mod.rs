//! The state at one revision, as nouns: what is kept of each row, and its indices.

mod backend_keys;
mod check;
mod find;
mod object;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr as _,
};

use xks_core::{KeyId, key_store::AccessKeyId};

pub use self::object::Object;
use self::{backend_keys::BackendKeys, object::object};
use crate::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyStore, CloudKeyStoreId, CloudMaterial, CloudMaterialId,
    ExternalKeyStore, Key, KeySet, KeySetId, KeyStoreCredential, KeyStoreId, KeyVersion, KeyVersionId, Restore,
    Schedule, ScheduleId, Tenant, TenantId, VersionState,
    record::{Record, RowError, RowProblem, decode, encode},
    seal::{DataKey, RootId, SealError, Sum, Wrapped},
    store::{Head, Revision, Row, Table},
};

/// A record, and the revision that changed it last.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    value: T,
    revision: Revision,
    sum: Sum,
}

impl<T> Entry<T> {
    /// Returns the revision that changed it last: who changes it later says by this what he saw.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }
}

impl<T> std::ops::Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Lists the records once: the variant of [`Item`], the type, its map.
macro_rules! items {
    ($($(#[$meta:meta])* $variant:ident($record:ty, $id:ty) in $map:ident,)+) => {
        /// The state at one revision. Every row of it was authenticated.
        #[derive(Clone, Default)]
        pub struct Snapshot {
            head: Head,
            sum: Sum,
            $(pub(crate) $map: BTreeMap<$id, Entry<$record>>,)+
            backend_keys: BackendKeys,
            /// The versions that are published and not promoted.
            published: BTreeSet<KeyVersionId>,
            /// The materials of each cloud key, in the order of their numbers.
            materials: BTreeMap<(CloudKeyId, u32), CloudMaterialId>,
        }

        /// A record of any kind.
        #[derive(Clone, Debug)]
        pub(crate) enum Item {
            $($variant($record),)+
        }

        impl Item {
            pub(crate) fn object(&self) -> Object {
                match self {
                    $(Self::$variant(record) => object(record),)+
                }
            }

            /// What it refers to: by which field, which row.
            fn references(&self) -> Vec<(&'static str, Object)> {
                match self {
                    $(Self::$variant(record) => record.references(),)+
                }
            }

            /// The field in which it differs from what it is in the snapshot, and may not.
            fn contradicts(&self, snapshot: &Snapshot) -> Option<&'static str> {
                match self {
                    $(Self::$variant(record) => record.contradicts(snapshot.$map.get(&record.id())?),)+
                }
            }

            pub(crate) fn encode(&self, key: &DataKey, revision: Revision) -> Result<(Row<'static>, Sum), SealError> {
                match self {
                    $(Self::$variant(record) => encode(key, record, revision),)+
                }
            }

            fn decode(key: &DataKey, row: &Row<'_>) -> Result<Self, RowProblem> {
                $(if row.table == <$record as Record>::TABLE {
                    return decode(Some(key), row).map(Self::$variant);
                })+
                Err(RowProblem::Unexpected)
            }
        }

        impl Snapshot {
            /// Puts a record in the place of the one with its id.
            pub(crate) fn put(&mut self, item: Item, revision: Revision, sum: Sum) {
                self.sum.toggle(sum);
                self.index(&item);
                let former = match item {
                    $(Item::$variant(value) => {
                        let entry = Entry { revision, sum, value };
                        self.$map.insert(entry.value.id(), entry).map(|former| former.sum)
                    })+
                };
                if let Some(former) = former {
                    self.sum.toggle(former);
                }
            }

            /// Takes a row out.
            pub(crate) fn remove(&mut self, table: Table, id: &str) {
                $(if table == <$record as Record>::TABLE
                    && let Ok(id) = <$id>::from_str(id)
                    && let Some(Entry { value, sum, .. }) = self.$map.remove(&id)
                {
                    self.sum.toggle(sum);
                    self.unindex(&value.into());
                })+
            }

            /// Returns the revision that changed a row last, if it is there.
            pub(crate) fn revision_of(&self, table: Table, id: &str) -> Option<Revision> {
                $(if table == <$record as Record>::TABLE {
                    return self.$map.get(&<$id>::from_str(id).ok()?).map(Entry::revision);
                })+
                None
            }

            /// All references: from which row to which.
            fn references(&self) -> impl Iterator<Item = (Object, Object)> {
                std::iter::empty()$(.chain(self.$map.values().flat_map(|entry| {
                    let targets = entry.value.references().into_iter();
                    targets.map(|(_, target)| (object(&entry.value), target))
                })))+
            }

            /// Returns the part that a row has in the sum.
            pub(crate) fn sum_of(&self, table: Table, id: &str) -> Option<Sum> {
                $(if table == <$record as Record>::TABLE {
                    return self.$map.get(&<$id>::from_str(id).ok()?).map(|entry| entry.sum);
                })+
                None
            }

            /// All rows that are there.
            pub(crate) fn rows(&self) -> impl Iterator<Item = (Table, String)> {
                std::iter::empty()$(.chain(self.$map.keys().map(|id| (<$record as Record>::TABLE, id.to_string()))))+
            }
        }

        $(impl From<$record> for Item {
            fn from(record: $record) -> Self {
                Self::$variant(record)
            }
        })+
    };
}

items! {
    Root(Wrapped, RootId) in roots,
    Tenant(Tenant, TenantId) in tenants,
    KeyStore(ExternalKeyStore, KeyStoreId) in key_stores,
    Credential(KeyStoreCredential, AccessKeyId) in credentials,
    Schedule(Schedule, ScheduleId) in schedules,
    KeySet(KeySet, KeySetId) in key_sets,
    Key(Key, KeyId) in keys,
    Version(KeyVersion, KeyVersionId) in versions,
    Restore(Restore, Revision) in restores,
    CloudAccount(CloudAccount, CloudAccountId) in cloud_accounts,
    CloudKeyStore(CloudKeyStore, CloudKeyStoreId) in cloud_key_stores,
    CloudKey(CloudKey, CloudKeyId) in cloud_keys,
    CloudMaterial(CloudMaterial, CloudMaterialId) in cloud_materials,
}

impl Snapshot {
    /// Returns the revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.head.revision
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn set_head(&mut self, head: Head) {
        self.head = head;
    }

    pub(crate) const fn sum(&self) -> Sum {
        self.sum
    }

    /// Authenticates a row, and takes in what it holds.
    pub(crate) fn take(&mut self, key: &DataKey, row: &Row<'_>) -> Result<(), RowError> {
        let (item, sum) = read(key, row)?;
        self.put(item, row.revision, sum);
        Ok(())
    }

    /// Keeps the indices for a row that is put.
    fn index(&mut self, item: &Item) {
        self.backend_keys.index(item);
        match item {
            Item::Version(version) if version.state == VersionState::Published => {
                self.published.insert(version.id.clone());
            }
            Item::Version(version) => {
                self.published.remove(&version.id);
            }
            Item::CloudMaterial(material) => {
                self.materials
                    .insert((material.cloud_key, material.number), material.id);
            }
            _ => {}
        }
    }

    /// Keeps the indices for a row that is removed. Versions are not.
    fn unindex(&mut self, item: &Item) {
        if let Item::CloudMaterial(material) = item {
            self.materials.remove(&(material.cloud_key, material.number));
            self.backend_keys.unindex(material);
        }
    }
}

/// Authenticates a row, and returns what it holds and its part of the sum.
pub(crate) fn read(key: &DataKey, row: &Row<'_>) -> Result<(Item, Sum), RowError> {
    let error = |problem| RowError::new(row.table, &row.id, problem);
    let sum = key.verify(row).ok_or_else(|| error(RowProblem::Edited))?;
    Ok((Item::decode(key, row).map_err(error)?, sum))
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("revision", &self.head.revision)
            .finish_non_exhaustive()
    }
}
