//! What a job has found or made in AWS, written into the state.

use xks_lifecycle::{KmsKeyArn, Timestamp, commands::Actor};

use super::{Intent, JobError, Jobs};
use crate::{apply::Effect, plan::Action};

impl Jobs {
    /// Keeps what a step has done: what it has made in AWS, what it has found there, or what it changes here
    /// alone. `target` is what it was done to.
    pub(super) async fn keep(
        &self,
        actor: &Actor,
        intent: Intent,
        action: &Action,
        target: Option<&str>,
        effect: Effect,
    ) -> Result<(), JobError> {
        let arn = || Ok::<KmsKeyArn, JobError>(target.unwrap_or_default().parse()?);
        match (effect, action) {
            (Effect::KeyStore(id), _) => self.keep_id(actor, intent, Some((&id, false))).await?,
            (Effect::Key(key), Action::CreateImportKey { operation, .. }) => {
                let commands = &self.commands;
                commands
                    .note_kms_key(actor, operation.parse()?, &key.arn.parse()?)
                    .await?;
            }
            (Effect::Key(key), _) => self.keep_id(actor, intent, Some((&key.arn, false))).await?,
            (Effect::Material(kms_material), Action::ImportMaterial { material, valid_to, .. }) => {
                let (material, kms_key, valid_to) = (material.parse()?, arn()?, end(*valid_to));
                let kms_material = kms_material.map(|id| id.parse()).transpose()?;
                let commands = &self.commands;
                commands
                    .note_import(actor, material, &kms_key, kms_material, valid_to)
                    .await?;
            }
            (Effect::Material(_), _) => {}
            (Effect::Changed, Action::Adopt { id }) => self.keep_id(actor, intent, Some((id, true))).await?,
            (Effect::Changed, Action::Forget) => self.keep_id(actor, intent, None).await?,
            (Effect::Changed, Action::MakeMaterial { material, .. }) => {
                self.commands.make_material(actor, material.parse()?).await?;
            }
            (
                Effect::Changed,
                Action::NoteMaterial {
                    material,
                    kms_key,
                    kms_material,
                    valid_to,
                    ..
                },
            ) => {
                let (id, kms_key, kms_material) = (material.parse()?, kms_key.parse()?, kms_material.parse()?);
                let (commands, valid_to) = (&self.commands, end(*valid_to));
                commands
                    .note_import(actor, id, &kms_key, Some(kms_material), valid_to)
                    .await?;
            }
            (Effect::Changed, Action::NoteCurrent { number }) => {
                if let Intent::CloudKey(key) = intent {
                    self.commands.note_current(actor, key, *number, &arn()?).await?;
                }
            }
            (Effect::Changed, _) => {}
        }
        Ok(())
    }

    /// Keeps the id of what is there in AWS, and whether others have made it; or takes the id out of what is
    /// gone. `actor` acts under the job's row: one that was taken over changes nothing.
    pub(super) async fn keep_id(
        &self,
        actor: &Actor,
        intent: Intent,
        found: Option<(&str, bool)>,
    ) -> Result<(), JobError> {
        match intent {
            Intent::CloudAccount(_) | Intent::Orphans(_) | Intent::CloudMaterial(_) => {}
            Intent::CloudKeyStore(store) => {
                let store = self.commands.read(|state| state.cloud_key_store(store).cloned());
                if let Some(store) = store {
                    let mut store = (*store).clone();
                    store.custom_key_store_id = found.map(|(id, _)| id.parse()).transpose()?;
                    self.commands.update(actor, store, None).await?;
                }
            }
            Intent::CloudKey(key) => {
                let key = self.commands.read(|state| state.cloud_key(key).cloned());
                if let Some(key) = key {
                    let mut key = (*key).clone();
                    key.kms_key = found.map(|(id, _)| id.parse()).transpose()?;
                    if let Some((_, is_adopted)) = found {
                        key.is_adopted = is_adopted;
                    }
                    self.commands.update(actor, key, None).await?;
                }
            }
        }
        Ok(())
    }
}

fn end(seconds: Option<u64>) -> Option<Timestamp> {
    seconds.and_then(|seconds| Timestamp::from_seconds("valid_to", seconds).ok())
}
