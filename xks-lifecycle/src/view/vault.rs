//! Sealed key material, opened: in memory, behind a software backend.

use xks_backend_soft::{KeyVersion as SoftVersion, SoftBackend, SoftKey};
use xks_core::{KeyBackend, KeyId};

use crate::{KeyVersion, KeyVersionId, Material, Snapshot, Touched};

/// The keys of all versions whose material is stored sealed.
pub(super) struct Vault(SoftBackend);

/// By what a vault knows a version.
pub(super) fn vault_id(version: &KeyVersionId) -> Option<KeyId> {
    format!("{}.{}", version.key, version.version).parse().ok()
}

impl Vault {
    pub(super) fn new() -> Self {
        Self(SoftBackend::new().with_id("vault"))
    }

    pub(super) const fn backend(&self) -> &dyn KeyBackend {
        &self.0
    }

    /// Adds what a snapshot has, before requests see it.
    pub(super) fn add(&self, snapshot: &Snapshot, touched: &Touched) {
        let versions = touched.keys.iter().flat_map(|id| snapshot.versions(id));
        let new: Vec<_> = versions.filter_map(|version| self.new_key(version)).collect();
        if !new.is_empty() {
            self.0.insert_all(new);
        }
    }

    fn new_key(&self, version: &KeyVersion) -> Option<(KeyId, SoftKey)> {
        let Material::Vault(material) = &version.material else {
            return None;
        };
        let id = vault_id(&version.id).filter(|id| self.0.key(id).is_none())?;
        // The number is legal. What is not there is not served.
        let version = SoftVersion::new(1, material.clone()).ok()?;
        Some((id, SoftKey::new(version)))
    }

    /// Takes out, and wipes, what a snapshot has no more, after requests see that.
    pub(super) fn remove(&self, snapshot: &Snapshot, touched: &Touched) {
        let versions = touched.keys.iter().flat_map(|id| snapshot.versions(id));
        let gone = versions.filter(|version| version.material == Material::Gone);
        for id in gone.filter_map(|version| vault_id(&version.id)) {
            if self.0.key(&id).is_some() {
                self.0.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use xks_core::Zeroizing;

    use super::*;
    use crate::{Timestamp, VersionId, seal::Sum, store::Revision};

    fn put(snapshot: &mut Snapshot, version: KeyVersion) {
        snapshot.put(version.into(), Revision::ZERO, Sum::default());
    }

    /// Material that is destroyed does not stay in memory.
    #[test]
    fn a_vault_has_what_the_snapshot_has() {
        let key: KeyId = "key".parse().unwrap();
        let version = |byte| {
            let id = KeyVersionId::new(key.clone(), VersionId::from_bytes([byte; 4]));
            let material = Material::Vault(Zeroizing::new([byte; 32]));
            KeyVersion::new(id, byte.into(), material, Timestamp::MIN).unwrap()
        };
        let touched = Touched {
            keys: [key.clone()].into(),
            ..Touched::default()
        };
        let (vault, mut snapshot) = (Vault::new(), Snapshot::default());
        let mut ids = Vec::new();
        for byte in [1, 2] {
            put(&mut snapshot, version(byte));
            vault.add(&snapshot, &touched);
            ids.push(vault_id(&version(byte).id).unwrap());
            assert_eq!(vault.0.key_ids(), ids);
        }
        put(&mut snapshot, version(1).destroyed());
        vault.remove(&snapshot, &touched);
        assert_eq!(vault.0.key_ids(), ids[1..]);
    }
}
