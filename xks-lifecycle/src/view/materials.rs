//! Keys of backends that are the material of KMS keys: no key store serves them.

use std::str::FromStr as _;

use xks_core::KeyId;

use super::shards::{Keyed, Shards};
use crate::{CloudMaterialId, KeySetId, Material, Snapshot, commands::material_name};

/// The materials that are in backends: by the keys that are known, and by the labels of those that are being
/// made.
#[derive(Clone, Default)]
pub(super) struct Materials {
    by_name: Shards<Entry>,
    by_key: Shards<Entry>,
}

/// A material, under one of its names.
#[derive(Clone)]
struct Entry {
    name: KeyId,
    /// The key of the backend, once it is known.
    key: Option<KeyId>,
    set: KeySetId,
}

impl Keyed for Entry {
    fn id(&self) -> &KeyId {
        &self.name
    }
}

impl Materials {
    /// Takes in what a snapshot has of these materials.
    pub(super) fn update(&mut self, snapshot: &Snapshot, touched: impl IntoIterator<Item = CloudMaterialId>) {
        let (mut names, mut keys, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for id in touched {
            // 24 characters and a prefix: legal in a key id.
            let Ok(name) = KeyId::from_str(&material_name(id)) else {
                continue;
            };
            let former = self.by_name.get(name.as_str()).and_then(|former| former.key.clone());
            gone.extend(former);
            let set_of =
                |material: &crate::CloudMaterial| snapshot.cloud_key(material.cloud_key).map(|key| key.key_set);
            let entry = snapshot
                .cloud_material(id)
                .and_then(|material| match &material.material {
                    Material::Backend { key, .. } => Some(Entry {
                        name: name.clone(),
                        key: key.clone(),
                        set: set_of(material)?,
                    }),
                    Material::Vault(_) | Material::Gone => None,
                });
            match entry {
                Some(entry) => {
                    keys.extend(entry.key.clone().map(|name| Entry { name, ..entry.clone() }));
                    names.push(entry);
                }
                None => gone.push(name),
            }
        }
        self.by_name.remove(gone.clone());
        self.by_key.remove(gone);
        self.by_name.put(names);
        self.by_key.put(keys);
    }

    /// The key set of the material that a key of a backend is, or will be: its label says so while it is
    /// being made.
    pub(super) fn set_of(&self, key: &KeyId) -> Option<KeySetId> {
        let named = || {
            let (_deployment, name) = key.as_str().split_once('.')?;
            self.by_name.get(name)
        };
        self.by_key.get(key.as_str()).or_else(named).map(|entry| entry.set)
    }
}
