//! Finishing what a process has left half done.

use super::{Actor, Call, CommandError, Commands};
use crate::{KeyVersion, KeyVersionId, Material, VersionState};

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
}

impl Commands {
    /// Finishes what was begun and not ended, by a process that has ended or a key manager that could not be
    /// reached: versions that were being made are made, and what belongs to destroyed versions is destroyed.
    /// A key whose creation it finishes is not active: its administrator learns of it first.
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

fn is_unfinished(version: &KeyVersion) -> bool {
    match version.state {
        VersionState::Pending => true,
        VersionState::Destroyed => version.material != Material::Gone,
        _ => false,
    }
}
