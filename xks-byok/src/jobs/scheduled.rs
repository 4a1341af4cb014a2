//! Jobs that begin by themselves at a time: a KMS key with imported material is rotated by its schedule, and
//! a former one is disabled when it was kept for as long as it should be.
//!
//! The id of such a job comes from what it is for and the time at which that was due, so that of several
//! nodes one starts it. What it changes in the state before it plans is in its row, and is done under its
//! claim, as its first step: it is done once, wherever a process ends.

use std::fmt;

use serde::{Deserialize, Serialize};
use xks_lifecycle::{
    CloudKeyId, CloudMaterial, CloudMaterialId, JobId, Outcome, Snapshot, Timestamp, WantedKey, commands::Actor,
    schedule::CloudKeyRotation,
};

use super::{
    Intent, Job, JobError, JobState, Jobs, StoredPlan,
    job::shown,
    renewal,
    rotation::id_of,
    run::{Stop, Work},
};
use crate::{
    aws::KeyState,
    observe::Observed,
    plan::{Action, Plan, Then},
};

/// What a job that has begun by itself changes in the state before it plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FirstChange {
    /// Adds material to a KMS key, after the material of this number.
    AddMaterial {
        /// The number of the newest one when it was due.
        after: u32,
    },
    /// Wants a former KMS key disabled. The job does nothing else to it.
    DisableFormer,
}

/// A job that is to begin by itself.
pub(super) struct Beginning {
    pub(super) id: JobId,
    pub(super) intent: Intent,
    pub(super) plan: StoredPlan,
    pub(super) first_change: Option<FirstChange>,
    pub(super) reason: String,
}

/// What a job does of a plan that shall disable a former KMS key, and nothing else: it neither mends what
/// others have changed, nor cancels a deletion. What it would ask is known by a warning.
pub(super) fn only_disables(mut plan: Plan, observed: &Observed) -> Plan {
    let is_enabled = match observed {
        Observed::Import(found) => {
            let key = found.key.as_ref();
            key.is_some_and(|key| key.metadata.key_state == KeyState::Enabled)
        }
        _ => false,
    };
    plan.steps
        .retain(|step| is_enabled && step.action == Action::DisableKey);
    if let Then::Ask(question) = std::mem::take(&mut plan.then) {
        plan.warnings.push(question);
    }
    plan
}

/// When something is to begin, if `due` says when it is due after a time, and the id of its job. A time is
/// passed when the job that began at it has ended without it: a person has cancelled that one, for instance.
pub(super) fn begins(
    jobs: &[Job],
    now: Timestamp,
    occasion: &impl fmt::Display,
    due: impl Fn(Timestamp) -> Option<Timestamp>,
) -> Option<(JobId, Timestamp)> {
    let mut passed = Timestamp::MIN;
    loop {
        let time = due(passed).filter(|time| *time <= now)?;
        let id = id_of(&format!("{occasion} {}", time.seconds()))?;
        match jobs.iter().find(|job| job.id == Some(id)) {
            None => return Some((id, time)),
            Some(job) => passed = shown(job.ended?).max(time),
        }
    }
}

fn is_due(rotation: &CloudKeyRotation<'_>, now: Timestamp) -> bool {
    rotation.due().is_some_and(|due| due <= now)
}

/// The rotation of a KMS key, if it is due.
fn due(state: &Snapshot, key: CloudKeyId, now: Timestamp) -> Option<CloudKeyRotation<'_>> {
    CloudKeyRotation::find(state, state.cloud_key(key)?, now).filter(|rotation| is_due(rotation, now))
}

/// The rotations of KMS keys by their schedules. One whose rotation has not ended is not rotated again.
fn rotations(state: &Snapshot, jobs: &[Job], now: Timestamp) -> Vec<Beginning> {
    let beginning = |rotation: CloudKeyRotation<'_>| {
        let intent = Intent::CloudKey(rotation.cloud_key.id);
        let occasion = format!("rotate {intent}");
        let (id, time) = begins(jobs, now, &occasion, |passed| rotation.due_after(passed))?;
        Some(Beginning {
            id,
            intent,
            plan: StoredPlan::default(),
            first_change: Some(FirstChange::AddMaterial {
                after: rotation.newest.number,
            }),
            reason: format!("started by the schedule {}, due at {time}", rotation.schedule.name),
        })
    };
    let due = CloudKeyRotation::all(state, now).filter(|rotation| is_due(rotation, now));
    due.filter_map(beginning).collect()
}

/// The former KMS keys that were kept for as long as they should be.
fn disablings(state: &Snapshot, now: Timestamp) -> Vec<Beginning> {
    let beginning = |material: &CloudMaterial| {
        let key = state.cloud_key(material.cloud_key);
        if !material.is_kept_no_longer(now) || key.is_none_or(|key| material.is_of_current_key(key)) {
            return None;
        }
        let (intent, end) = (Intent::CloudMaterial(material.id), material.kept_until?);
        Some(Beginning {
            id: id_of(&format!("disable {intent} {}", end.seconds()))?,
            intent,
            plan: StoredPlan::default(),
            first_change: Some(FirstChange::DisableFormer),
            reason: format!("started since the former KMS key was to be kept until {end}"),
        })
    };
    state
        .cloud_materials()
        .filter_map(|material| beginning(material))
        .collect()
}

impl Jobs {
    /// Starts the jobs that begin by themselves, each once on all nodes, and none where another one of the
    /// same object has not ended. Returns whether there were any. `jobs` are those that there are.
    pub(super) async fn start_due(&self, jobs: &[Job]) -> Result<bool, JobError> {
        let now = self.commands.now();
        let mut due = self.accounts_due(jobs, now)?;
        self.commands.read(|state| {
            due.extend(renewal::due(state, now));
            due.extend(rotations(state, jobs, now));
            due.extend(disablings(state, now));
        });
        let mut begun = Vec::new();
        for beginning in due {
            let (id, intent) = (beginning.id, beginning.intent);
            let is_it = |job: &Job| job.id == Some(id) || job.intent == intent && !job.state.is_ended();
            if begun.contains(&intent) || jobs.iter().any(is_it) {
                continue;
            }
            begun.push(intent);
            self.begin(beginning).await?;
        }
        Ok(!begun.is_empty())
    }

    /// Starts a job by itself, once on all nodes: its id is the same on each.
    async fn begin(&self, beginning: Beginning) -> Result<(), JobError> {
        let Beginning { id, intent, .. } = beginning;
        let mut job = Job::new(id, intent, self.actor.to_string(), self.now(), beginning.plan);
        job.first_change = beginning.first_change;
        job.note(self.now(), beginning.reason);
        if let Err(error) = self.commands.insert_job(id, &job.body()).await {
            if self.get(id).await.is_ok() {
                return Ok(()); // another node has started it
            }
            return Err(error.into());
        }
        let about = intent.to_string();
        self.commands
            .record_job(&self.actor, "start", id, Outcome::Begun, Some(&about))
            .await?;
        Ok(())
    }

    /// Does what comes before the plan, once. Returns whether the job goes on: it ends if somebody has done
    /// it since, or it is not wanted any more.
    pub(super) async fn change_first(&self, work: &mut Work, actor: &Actor) -> Result<bool, Stop> {
        let Some(change) = work.job.first_change else {
            return Ok(true);
        };
        match (change, work.job.intent) {
            (FirstChange::AddMaterial { after }, Intent::CloudKey(key)) => {
                self.add_first(work, actor, key, after).await
            }
            (FirstChange::DisableFormer, Intent::CloudMaterial(id)) => self.disable_first(work, actor, id).await,
            _ => Ok(true),
        }
    }

    async fn disable_first(&self, work: &mut Work, actor: &Actor, id: CloudMaterialId) -> Result<bool, Stop> {
        self.commands.refresh().await?;
        self.commands.disable_former(actor, id).await?;
        let former = |state: &Snapshot| state.cloud_material(id).map(|material| material.former);
        if self.commands.read(former) == Some(WantedKey::Disabled) {
            return Ok(true);
        }
        let text = "not disabled: somebody has said since what it shall be";
        work.job.note(self.now(), text);
        work.job.state = JobState::Done;
        Ok(false)
    }

    async fn add_first(&self, work: &mut Work, actor: &Actor, key: CloudKeyId, after: u32) -> Result<bool, Stop> {
        let newest = |state: &Snapshot| state.materials_of(key).next_back().map(|material| material.number);
        if self.commands.read(newest).is_some_and(|newest| newest > after) {
            return Ok(true); // before this process had it
        }
        self.commands.refresh().await?;
        let now = self.commands.now();
        let (newest, is_due) = self
            .commands
            .read(|state| (newest(state), due(state, key, now).is_some()));
        if newest == Some(after) && is_due {
            let material = self.commands.add_material(actor, key).await?;
            let text = format!("done: add material {}", material.number);
            work.job.note(self.now(), text);
        } else if newest.is_none_or(|newest| newest <= after) {
            work.job.note(self.now(), "not rotated: it is not due any more");
            work.job.state = JobState::Done;
            return Ok(false);
        }
        Ok(true)
    }
}
