//! Keys in key managers that this deployment has made, and of which the state knows nothing.

use std::{collections::HashSet, num::NonZeroUsize};

use xks_core::{KeyId, manage::CreationToken};

use super::{Commands, ManagedBackend};
use crate::{CommandError, KeyVersionId, Material};

/// A key of a key manager that this deployment has made for a version which the state does not have: the
/// state was restored from a backup that is older. What the version has encrypted can be decrypted with this
/// key alone: do not destroy it as long as that may be needed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Orphan {
    /// The backend that has it.
    pub backend: String,
    /// The id under which the backend knows it.
    pub backend_key: KeyId,
    /// The version that it was made for, as its label says, which nothing authenticates.
    pub version: KeyVersionId,
    /// Whether the state has the key that the version is of.
    pub is_of_known_key: bool,
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
            let versions = snapshot.versions.values();
            versions.filter_map(|version| token(&version.material)).collect()
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
                let Some(version) = self.version_of_label(&key.label) else {
                    continue;
                };
                if is_expected || is_used() {
                    continue;
                }
                orphans.push(Orphan {
                    backend: backend.name.to_string(),
                    backend_key: key.id.clone(),
                    is_of_known_key: self.read(|snapshot| snapshot.key(&version.key).is_some()),
                    version,
                });
            }
            match page.keys.last() {
                Some(last) if !page.is_last => after = Some(last.id.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// The version that a label of this deployment names.
    fn version_of_label(&self, label: &str) -> Option<KeyVersionId> {
        let rest = label.strip_prefix(&self.deployment.to_string())?.strip_prefix('.')?;
        let (key, version) = rest.rsplit_once('.')?;
        Some(KeyVersionId::new(key.parse().ok()?, version.parse().ok()?))
    }
}
