//! Finishing what a process has left half done.

use super::{Actor, Call, CommandError, Commands};
use crate::{CloudMaterial, CloudMaterialId, KeyVersion, KeyVersionId, Material, MaterialState, VersionState};

/// What [`Commands::recover`] has found and done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Versions that were being made, and are made now.
    pub made: Vec<KeyVersionId>,
    /// Destroyed versions whose material is gone now in their key manager too.
    pub removed: Vec<KeyVersionId>,
    /// Versions that another node is making at the moment: they are left to it.
    pub left: Vec<KeyVersionId>,
    /// Versions that are left as they were, each with why. The next call tries them again.
    pub failed: Vec<(KeyVersionId, CommandError)>,
    /// The same of the materials of KMS keys.
    pub materials: RecoveredMaterials,
}

/// What [`Commands::recover`] has found and done of the materials of KMS keys.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RecoveredMaterials {
    /// Materials that were to be made, and are made now.
    pub made: Vec<CloudMaterialId>,
    /// Destroyed materials that are gone now in their key manager too.
    pub removed: Vec<CloudMaterialId>,
    /// Materials that another node is making at the moment: they are left to it.
    pub left: Vec<CloudMaterialId>,
    /// Materials that are left as they were, each with why. The next call tries them again.
    pub failed: Vec<(CloudMaterialId, CommandError)>,
}

impl Commands {
    /// Finishes what was begun and not ended, by a process that has ended or a key manager that could not be
    /// reached: versions that were being made are made, and what belongs to destroyed versions is destroyed.
    /// A key whose creation it finishes is not active: its administrator learns of it first. So it is with
    /// the materials of KMS keys; what is imported of them is left to jobs.
    ///
    /// What another live node is making is left to it, so that nodes may do this at once. A node has to have
    /// joined, and it is to be called while no command of this process is under way.
    ///
    /// # Errors
    /// Those of the store. What a key manager refuses is in the answer.
    pub async fn recover(&self, actor: &Actor) -> Result<Recovered, CommandError> {
        self.refresh().await?;
        let unfinished: Vec<KeyVersion> = self.read(|snapshot| {
            let versions = snapshot.versions.values().filter(|version| is_unfinished(version));
            versions.map(|version| (**version).clone()).collect()
        });
        let mut recovered = Recovered::default();
        for version in unfinished {
            let id = version.id.clone();
            if version.state == VersionState::Pending {
                match self.take_over(&id).await {
                    Ok(()) => {}
                    Err(CommandError::UnderWay { .. }) => {
                        recovered.left.push(id);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                self.refresh().await?;
                if !self.read(|snapshot| snapshot.is_pending(&id)) {
                    self.leave(&id).await?; // the one that has made it was quicker
                    continue;
                }
            }
            let finish = Box::pin(self.finish(actor, &version));
            let finished = match version.state {
                // What cannot be finished here, another node may finish.
                VersionState::Pending => self.marked(&id, finish).await,
                _ => finish.await,
            };
            match finished {
                Ok(()) if version.state == VersionState::Destroyed => recovered.removed.push(id),
                Ok(()) => recovered.made.push(id),
                Err(CommandError::Repository(error)) => return Err(error.into()),
                Err(error) => recovered.failed.push((id, error)),
            }
        }
        recovered.materials = self.recover_materials(actor).await?;
        Ok(recovered)
    }

    async fn recover_materials(&self, actor: &Actor) -> Result<RecoveredMaterials, CommandError> {
        let unfinished: Vec<_> = self.read(|snapshot| {
            let of_state = |material: &CloudMaterial| (material.id, material.state());
            let materials = snapshot
                .cloud_materials()
                .filter(|material| is_unfinished_material(material));
            materials.map(|material| of_state(material)).collect()
        });
        let mut recovered = RecoveredMaterials::default();
        for (id, state) in unfinished {
            let finished = match state {
                MaterialState::Destroyed => Box::pin(self.finish_destruction(actor, id)).await,
                _ => Box::pin(self.make_material_by(actor, "recover", id)).await,
            };
            match finished {
                Ok(material) if material.state() == MaterialState::Destroyed => recovered.removed.push(id),
                Ok(_) => recovered.made.push(id),
                Err(CommandError::UnderWay { .. }) => recovered.left.push(id),
                Err(CommandError::Repository(error)) => return Err(error.into()),
                Err(error) => recovered.failed.push((id, error)),
            }
        }
        Ok(recovered)
    }

    async fn finish(&self, actor: &Actor, version: &KeyVersion) -> Result<(), CommandError> {
        let key = &version.id.key;
        let call = Call::key(actor, "recover", key);
        let work = async {
            if version.state == VersionState::Destroyed {
                self.remove_material(&call, key).await?;
                return Ok(());
            }
            let entry = self.key(key)?;
            self.finish_version(&call, &entry, version).await?;
            Ok(())
        };
        self.recorded(&call, work).await
    }
}

fn is_unfinished_material(material: &CloudMaterial) -> bool {
    match material.state() {
        MaterialState::Pending => true,
        MaterialState::Destroyed => material.material != Material::Gone,
        MaterialState::Made => false,
    }
}

fn is_unfinished(version: &KeyVersion) -> bool {
    match version.state {
        VersionState::Pending => true,
        VersionState::Destroyed => version.material != Material::Gone,
        _ => false,
    }
}
