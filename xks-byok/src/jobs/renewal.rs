//! Jobs that begin by themselves: material is imported again before it ends in AWS, where it is wanted for
//! longer than AWS keeps it.

use xks_lifecycle::{
    CloudKey, CloudMaterial, JobId, MaterialState, Outcome, Snapshot, Timestamp, WantedKey, WantedMaterial,
};

use super::{Intent, Job, JobError, Jobs, StoredPlan, rotation::id_of};
use crate::plan::AHEAD;

/// What is to be imported again at a time, each with the end in AWS that it has now.
fn due(state: &Snapshot, now: Timestamp) -> Vec<(Intent, JobId, Timestamp)> {
    let mut due: Vec<(Intent, JobId, Timestamp)> = Vec::new();
    for key in state.cloud_keys() {
        let Some(import) = key.import() else { continue };
        for material in state.materials_of(key.id) {
            let Some(end) = material.valid_to.filter(|_| is_wanted(key, material)) else {
                continue;
            };
            let is_for_longer = import.expires.is_none_or(|wanted| wanted > end && wanted > now);
            if !is_for_longer || end > now.plus_seconds(AHEAD) {
                continue;
            }
            let is_current = is_current(key, material);
            let intent = match is_current {
                true => Intent::CloudKey(key.id),
                false => Intent::CloudMaterial(material.id),
            };
            // The materials of one KMS key that end together have one job.
            if due.iter().any(|(other, ..)| *other == intent) {
                continue;
            }
            // The same on every node, and another one after the renewal.
            if let Some(id) = id_of(&format!("renew {intent} {}", end.seconds())) {
                due.push((intent, id, end));
            }
        }
    }
    due
}

/// Whether its KMS key is the one that the alias leads to, or is going to.
fn is_current(key: &CloudKey, material: &CloudMaterial) -> bool {
    material.retired.is_none() || material.kms_key == key.kms_key
}

/// Whether it is to be in AWS, in a KMS key that takes it: not in one that is disabled or goes.
fn is_wanted(key: &CloudKey, material: &CloudMaterial) -> bool {
    let wanted = if is_current(key, material) {
        key.wanted
    } else {
        material.former
    };
    wanted == WantedKey::Enabled
        && material.wanted == WantedMaterial::Imported
        && material.state() == MaterialState::Made
        && material.kms_material.is_some()
}

impl Jobs {
    /// Starts the jobs that are due, each once on all nodes.
    pub(super) async fn start_renewals(&self) -> Result<(), JobError> {
        let now = self.commands.now();
        let due = self.commands.read(|state| due(state, now));
        if due.is_empty() {
            return Ok(());
        }
        let jobs = self.list().await?;
        for (intent, id, end) in due {
            let is_there = |job: &Job| job.id == Some(id) || job.intent == intent && !job.state.is_ended();
            if jobs.iter().any(is_there) {
                continue;
            }
            let mut job = Job::new(id, intent, self.actor.to_string(), self.now(), StoredPlan::default());
            job.note(self.now(), format!("started since material ends in AWS at {end}"));
            if let Err(error) = self.commands.insert_job(id, &job.body()).await {
                if self.get(id).await.is_ok() {
                    continue; // another node has started it
                }
                return Err(error.into());
            }
            let about = intent.to_string();
            self.commands
                .record_job(&self.actor, "start", id, Outcome::Begun, Some(&about))
                .await?;
        }
        Ok(())
    }
}
