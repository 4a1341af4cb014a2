//! Which keys of backends are in use, and by what: one key is used by one thing.

use std::collections::{BTreeMap, HashMap};

use xks_core::KeyId;

use super::{Entry, Item, Object, Snapshot, object};
use crate::{
    ChangeError, Changes, CloudMaterial, CloudMaterialId, KeyVersion, KeyVersionId,
    commands::{is_told_by_name, named_version},
};

/// Keys of backends whose ids do not tell what they belong to. It is looked up whether they still do.
#[derive(Clone, Default)]
pub(super) struct BackendKeys {
    versions: BTreeMap<KeyId, KeyVersionId>,
    materials: BTreeMap<KeyId, CloudMaterialId>,
}

impl BackendKeys {
    pub(super) fn index(&mut self, item: &Item) {
        match item {
            Item::Version(version) => {
                if let Some(key) = version.backend_key()
                    && !is_told_by_name(key, &version.id)
                {
                    self.versions.insert(key.clone(), version.id.clone());
                }
            }
            Item::CloudMaterial(material) => {
                if let Some(key) = material.material.backend_key() {
                    self.materials.insert(key.clone(), material.id);
                }
            }
            _ => {}
        }
    }

    /// Forgets a material that is gone, of whatever key it was.
    pub(super) fn unindex(&mut self, material: &CloudMaterial) {
        self.materials.retain(|_, id| *id != material.id);
    }
}

impl Snapshot {
    /// Returns what uses the key of a backend that has this id: a version of a managed key, the material of a
    /// KMS key, or a root. Such a key may be served by nothing else.
    #[must_use]
    pub fn user_of_backend_key(&self, key: &KeyId) -> Option<Object> {
        let root = self.roots.values().find(|root| root.backend_key.as_ref() == Some(key));
        let root = root.map(|root| object(&root.value));
        let version = || self.version_of_backend_key(key).map(object);
        let material = || self.material_of_backend_key(key).map(object);
        root.or_else(version).or_else(material)
    }

    fn version_of_backend_key(&self, key: &KeyId) -> Option<&KeyVersion> {
        let has_it = |version: &&Entry<KeyVersion>| version.backend_key() == Some(key);
        let by_id = |id: &KeyVersionId| self.versions.get(id).filter(has_it);
        // One that was adopted has the id of its key.
        let adopted = || by_id(&self.versions(key).find(has_it)?.id);
        let named = || {
            let (owner, version) = named_version(key)?;
            by_id(&KeyVersionId::new(owner.parse().ok()?, version))
        };
        let version = adopted().or_else(named);
        let version = version.or_else(|| by_id(self.backend_keys.versions.get(key)?));
        version.map(|version| &**version)
    }

    fn material_of_backend_key(&self, key: &KeyId) -> Option<&CloudMaterial> {
        let material = self.cloud_materials.get(self.backend_keys.materials.get(key)?)?;
        Some(&**material).filter(|material| material.material.backend_key() == Some(key))
    }

    /// The keys of backends under which the data key is wrapped.
    pub(crate) fn root_keys(&self) -> impl Iterator<Item = &KeyId> {
        self.roots.values().filter_map(|root| root.backend_key.as_ref())
    }

    /// Checks that no key of a backend comes under management twice.
    pub(super) fn check_backend_keys(&self, changes: &Changes) -> Result<(), ChangeError> {
        let mut new: HashMap<&KeyId, Object> = HashMap::new();
        for item in changes.items() {
            let key = match item {
                Item::Version(version) => version.backend_key(),
                Item::CloudMaterial(material) => material.material.backend_key(),
                Item::Root(root) => root.backend_key.as_ref(),
                _ => None,
            };
            let Some(key) = key else { continue };
            let object = item.object();
            let user = self.user_of_backend_key(key).filter(|user| *user != object);
            if let Some(by) = new.insert(key, object).or(user) {
                return Err(ChangeError::BackendKeyTaken { key: key.clone(), by });
            }
        }
        Ok(())
    }
}
