//! What a change has touched.

use std::collections::BTreeSet;

use xks_core::{KeyId, key_store::AccessKeyId};

use crate::{CloudMaterialId, KeySetId, KeyStoreId, Object, store::Table};

/// The ids of what a change has made, changed or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Touched {
    /// External key stores.
    pub key_stores: BTreeSet<KeyStoreId>,
    /// Credentials of external key stores.
    pub credentials: BTreeSet<AccessKeyId>,
    /// Key sets.
    pub key_sets: BTreeSet<KeySetId>,
    /// Keys, or versions of them.
    pub keys: BTreeSet<KeyId>,
    /// Materials of KMS keys.
    pub cloud_materials: BTreeSet<CloudMaterialId>,
}

impl Touched {
    /// Adds a row. What requests do not see is left out.
    pub(crate) fn add(&mut self, Object(table, id): &Object) {
        match table {
            Table::KeyStores => self.key_stores.extend(id.parse::<KeyStoreId>().ok()),
            Table::Credentials => self.credentials.extend(id.parse::<AccessKeyId>().ok()),
            Table::KeySets => self.key_sets.extend(id.parse::<KeySetId>().ok()),
            Table::Keys => self.keys.extend(id.parse::<KeyId>().ok()),
            Table::Versions => {
                let key = id.split_once('/').map(|(key, _)| key.parse::<KeyId>());
                self.keys.extend(key.and_then(Result::ok));
            }
            Table::CloudMaterials => self.cloud_materials.extend(id.parse::<CloudMaterialId>().ok()),
            Table::Roots
            | Table::Tenants
            | Table::Schedules
            | Table::Restores
            | Table::CloudAccounts
            | Table::CloudKeyStores
            | Table::CloudKeys => {}
        }
    }
}
