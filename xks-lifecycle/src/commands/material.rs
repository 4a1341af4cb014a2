//! Making and destroying the material of versions in key managers.

use std::time::Instant;

use xks_core::{
    KeyId, Zeroizing,
    backend::KeyUsage,
    manage::{KeyDescription, ManageError, ManageErrorKind, NewKey},
};

use super::{Call, Commands, KeyEntry, ManagedBackend, backends};
use crate::{
    CommandError, KeySet, KeySetId, KeyVersion, Material, Object, Outcome,
    id::fill_random,
    key_state::{Change, KeyContext},
    store::{Claim, Table},
};

impl ManagedBackend {
    pub(super) fn failed(&self, action: &'static str, source: ManageError) -> CommandError {
        CommandError::Manager {
            backend: self.name.to_string(),
            action,
            source,
        }
    }
}

/// New material of the system's random source.
pub(super) fn vault_material() -> Result<Material, CommandError> {
    let mut material = Zeroizing::new([0; 32]);
    fill_random(&mut *material)?;
    Ok(Material::Vault(material))
}

/// A key of a key manager that is to be made.
pub(super) fn backend_material() -> Result<Material, CommandError> {
    Ok(Material::Backend {
        key: None,
        token: Some(backends::token()?),
    })
}

/// Checks that a key serves KMS as it is.
pub(super) fn check_fit(described: &KeyDescription) -> Result<(), CommandError> {
    let usages = described.metadata.usages();
    let lacking = [
        (KeyUsage::Encrypt, "may not encrypt"),
        (KeyUsage::Decrypt, "may not decrypt"),
    ];
    match lacking.into_iter().find(|(usage, _)| !usages.contains(usage)) {
        None => Ok(()),
        Some((_, problem)) => Err(CommandError::Unfit {
            key: described.id.as_str().into(),
            problem,
        }),
    }
}

impl Commands {
    pub(super) fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.manager_timeout).unwrap_or(now)
    }

    pub(super) fn key_set(&self, id: KeySetId) -> Result<KeySet, CommandError> {
        let set = self.read(|snapshot| snapshot.key_set(id).map(|set| (**set).clone()));
        set.ok_or_else(|| CommandError::Unknown(Object::new(Table::KeySets, &id)))
    }

    /// The backend that has a key's versions.
    pub(super) fn backend_of(&self, entry: &KeyEntry) -> Result<&ManagedBackend, CommandError> {
        Ok(self.backends.of(&self.key_set(entry.key.key_set)?)?)
    }

    /// What a key manager is asked to make for a version.
    pub(super) fn new_key(&self, version: &KeyVersion) -> Result<NewKey, CommandError> {
        let Material::Backend { token: Some(token), .. } = &version.material else {
            let problem = "has no creation token in the state";
            let key = version.id.to_string().into();
            return Err(CommandError::Unfit { key, problem });
        };
        Ok(NewKey::for_xks(*token, backends::label(&self.deployment, version)?))
    }

    /// Makes the key of a version that the state has with its token, or finds the one that an earlier call
    /// has made, and returns the id under which the backend serves it.
    pub(super) async fn make(&self, backend: &ManagedBackend, version: &KeyVersion) -> Result<KeyId, CommandError> {
        match version.backend_key() {
            Some(key) => Ok(key.clone()),
            None => self.make_key(backend, &self.new_key(version)?).await,
        }
    }

    pub(super) async fn make_key(&self, backend: &ManagedBackend, new: &NewKey) -> Result<KeyId, CommandError> {
        kill_point!(Making);
        let created = backend.manager.create_key(new, self.deadline()).await;
        kill_point!(Made);
        created.map_err(|error| backend.failed("a key could not be made", error))
    }

    /// Checks that a key which was made is the one that was asked for, and that the backend serves it.
    /// Returns the known answer of the version.
    pub(super) async fn read_back(
        &self,
        backend: &ManagedBackend,
        version: &KeyVersion,
        made: &KeyId,
    ) -> Result<Claim, CommandError> {
        let described = backend.manager.key(made, self.deadline()).await;
        let described = described.map_err(|error| backend.failed("a new key could not be read back", error))?;
        check_fit(&described)?;
        let is_other = match &version.material {
            Material::Backend { token, .. } => described.token.is_some() && described.token != *token,
            Material::Vault(_) | Material::Gone => true,
        };
        let problem = match described.is_extractable {
            _ if is_other => "was made with another creation token",
            true => "is extractable, though it was made not to be",
            false => return backend.known_answer(&version.id, made).await,
        };
        let key = made.as_str().into();
        Err(CommandError::Unfit { key, problem })
    }

    /// Checks that what is to be destroyed can be destroyed where it is: the state would else have no more of
    /// it than a key manager that cannot follow.
    pub(super) fn check_destroys(&self, id: &KeyId) -> Result<(), CommandError> {
        let entry = self.key(id)?;
        if entry.versions.iter().any(is_in_backend) {
            self.backend_of(&entry)?;
        }
        Ok(())
    }

    /// Destroys in its key manager what belongs to tombstones of a key, and lets the state forget it.
    pub(super) async fn remove_material(&self, call: &Call<'_>, id: &KeyId) -> Result<KeyEntry, CommandError> {
        let mut entry = self.key(id)?;
        let tombstones = |version: &&KeyVersion| {
            version.state == crate::VersionState::Destroyed && version.material != Material::Gone
        };
        let versions: Vec<_> = entry.versions.iter().filter(tombstones).cloned().collect();
        for version in versions {
            let new = || self.new_key(&version);
            self.destroy(self.backend_of(&entry)?, &version.material, new).await?;
            let gone = |context: &KeyContext<'_>, _| {
                let version = context.versions.iter().find(|known| known.id == version.id);
                let is_left = version.filter(|version| version.material != Material::Gone);
                Ok(Change {
                    versions: is_left.map(|version| version.without_material()).into_iter().collect(),
                    ..Change::default()
                })
            };
            entry = self.decide_key(call, id, None, Outcome::Done, gone).await?;
        }
        Ok(entry)
    }

    /// Destroys material in its key manager. What is gone is as good. `new` is what was asked for when it was
    /// made.
    pub(super) async fn destroy(
        &self,
        backend: &ManagedBackend,
        material: &Material,
        new: impl FnOnce() -> Result<NewKey, CommandError>,
    ) -> Result<(), CommandError> {
        let key = match material {
            Material::Backend { key: Some(key), .. } => key.clone(),
            // Whether it was made is not known, and it may still be: a key manager that has been asked may
            // be slow. To ask for it again is the one call that ends this; then there is one, with a name.
            Material::Backend { token: Some(_), .. } => {
                let created = backend.manager.create_key(&new()?, self.deadline()).await;
                created.map_err(|error| backend.failed("a key that is to be destroyed was not found", error))?
            }
            Material::Backend { .. } | Material::Vault(_) | Material::Gone => return Ok(()),
        };
        kill_point!(Destroying);
        let destroyed = backend.manager.destroy_key(&key, self.deadline()).await;
        kill_point!(Destroyed);
        match destroyed {
            Err(error) if error.kind() != ManageErrorKind::KeyNotFound => {
                Err(backend.failed("a key could not be destroyed", error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

pub(super) const fn is_in_backend(version: &KeyVersion) -> bool {
    matches!(version.material, Material::Backend { .. })
}
