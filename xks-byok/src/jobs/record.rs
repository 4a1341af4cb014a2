//! What a job has found or made in AWS, written into the state.

use xks_lifecycle::commands::Actor;

use super::{Intent, JobError, Jobs};

impl Jobs {
    /// Keeps the id of what is there in AWS. `actor` acts under the job's row: one that was taken over
    /// changes nothing.
    pub(super) async fn keep_id(
        &self,
        actor: &Actor,
        intent: Intent,
        id: &str,
        is_adopted: bool,
    ) -> Result<(), JobError> {
        match intent {
            Intent::CloudAccount(_) | Intent::Orphans(_) => {}
            Intent::CloudKeyStore(store) => {
                let found = self
                    .commands
                    .read(|state| state.cloud_key_store(store).map(|entry| (**entry).clone()));
                if let Some(mut found) = found {
                    found.custom_key_store_id = Some(id.parse()?);
                    self.commands.update(actor, found, None).await?;
                }
            }
            Intent::CloudKey(key) => {
                let found = self
                    .commands
                    .read(|state| state.cloud_key(key).map(|entry| (**entry).clone()));
                if let Some(mut found) = found {
                    found.kms_key = Some(id.parse()?);
                    found.is_adopted = is_adopted;
                    self.commands.update(actor, found, None).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes the id out of what is gone in AWS.
    pub(super) async fn forget_id(&self, actor: &Actor, intent: Intent) -> Result<(), JobError> {
        match intent {
            Intent::CloudAccount(_) | Intent::Orphans(_) => {}
            Intent::CloudKeyStore(store) => {
                let found = self
                    .commands
                    .read(|state| state.cloud_key_store(store).map(|entry| (**entry).clone()));
                if let Some(mut found) = found {
                    found.custom_key_store_id = None;
                    self.commands.update(actor, found, None).await?;
                }
            }
            Intent::CloudKey(key) => {
                let found = self
                    .commands
                    .read(|state| state.cloud_key(key).map(|entry| (**entry).clone()));
                if let Some(mut found) = found {
                    found.kms_key = None;
                    self.commands.update(actor, found, None).await?;
                }
            }
        }
        Ok(())
    }
}
