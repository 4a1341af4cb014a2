//! Keys in key managers that this deployment has made, and of which the state knows nothing.

use std::{collections::HashSet, fmt, num::NonZeroUsize};

use xks_core::{KeyId, manage::CreationToken};

use super::{Commands, ManagedBackend, material_of_label};
use crate::{CloudMaterialId, CommandError, KeyVersionId, Material};

/// A key of a key manager that this deployment has made for a version or a material which the state does not
/// have: the state was restored from a backup that is older. What was encrypted with it can be decrypted with
/// this key alone: do not destroy it as long as that may be needed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Orphan {
    /// The backend that has it.
    pub backend: String,
    /// The id under which the backend knows it.
    pub backend_key: KeyId,
    /// What it was made for, as its label says, which nothing authenticates.
    pub made_for: MadeFor,
    /// Whether the state has the key that the version is of. Of a material that is not known.
    pub is_of_known_key: bool,
}

/// What the key of a key manager was made for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MadeFor {
    /// A version of a key.
    Version(KeyVersionId),
    /// A material, which AWS may have imported.
    Material(CloudMaterialId),
}

impl fmt::Display for MadeFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "{version}"),
            Self::Material(material) => write!(f, "cloud-materials/{material}"),
        }
    }
}

impl Commands {
    /// Lists the keys in all key managers whose labels are those of this deployment, and which the state does
    /// not have. Call it while no command is under way: a key that is being made may seem to be one of them.
    ///
    /// # Errors
    /// [`CommandError::Manager`]: a key manager cannot list its keys.
    pub async fn orphans(&self) -> Result<Vec<Orphan>, CommandError> {
        let expected: HashSet<CreationToken> = self.read(|snapshot| {
            let token = |material: &Material| match material {
                Material::Backend { token, .. } => *token,
                Material::Vault(_) | Material::Gone => None,
            };
            let versions = snapshot.versions.values().map(|version| &version.material);
            let materials = snapshot.cloud_materials().map(|material| &material.material);
            versions.chain(materials).filter_map(token).collect()
        });
        let mut orphans = Vec::new();
        for backend in self.backends.managed() {
            self.orphans_in(backend, &expected, &mut orphans).await?;
        }
        Ok(orphans)
    }

    async fn orphans_in(
        &self,
        backend: &ManagedBackend,
        expected: &HashSet<CreationToken>,
        orphans: &mut Vec<Orphan>,
    ) -> Result<(), CommandError> {
        const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
        let mut after = None;
        loop {
            let page = backend.manager.keys(after.as_ref(), PAGE, self.deadline()).await;
            let page = page.map_err(|error| backend.failed("its keys cannot be listed", error))?;
            for key in &page.keys {
                let is_expected = key.token.is_some_and(|token| expected.contains(&token));
                let is_used = || self.read(|snapshot| snapshot.user_of_backend_key(&key.id).is_some());
                let Some(made_for) = self.owner_of_label(&key.label) else {
                    continue;
                };
                if is_expected || is_used() {
                    continue;
                }
                orphans.push(Orphan {
                    backend: backend.name.to_string(),
                    backend_key: key.id.clone(),
                    is_of_known_key: match &made_for {
                        MadeFor::Version(version) => self.read(|snapshot| snapshot.key(&version.key).is_some()),
                        MadeFor::Material(_) => false,
                    },
                    made_for,
                });
            }
            match page.keys.last() {
                Some(last) if !page.is_last => after = Some(last.id.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// The version or material that a label of this deployment names.
    fn owner_of_label(&self, label: &str) -> Option<MadeFor> {
        let rest = label.strip_prefix(&self.deployment.to_string())?.strip_prefix('.')?;
        if let Some(material) = material_of_label(label) {
            return Some(MadeFor::Material(material));
        }
        let (key, version) = rest.rsplit_once('.')?;
        let version = KeyVersionId::new(key.parse().ok()?, version.parse().ok()?);
        Some(MadeFor::Version(version))
    }
}
