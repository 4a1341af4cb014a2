//! Cleaning up: the KMS keys that jobs have made and no record knows are deleted, when a person asks for it.
//!
//! They are what is left where a state was restored, a record removed, or a call came late. The plan is made
//! once, from all keys of the Regions that the account is used in, and shown; each key is looked at once more
//! right before its deletion is scheduled. Never deleted is what does not carry the operation tag, what a
//! record knows, what a job that has not ended may have made, and what was ever used.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use sha2::{Digest as _, Sha256};
use xks_lifecycle::{CloudAccountId, DeletionDays, Region};

use super::{
    JobError, JobState, Jobs, StoredPlan,
    run::{Stop, Work},
};
use crate::{
    apply::{ApplyError, Target, apply},
    aws::KeyState,
    caller::{CallError, Caller},
    observe::{ObservedRegion, last_use, region_key},
    plan::{Action, Step},
};

/// What is to be done with a KMS key.
enum Verdict {
    /// Its deletion is scheduled.
    Delete,
    /// It stays, for this reason.
    Keep(String),
}

impl Jobs {
    /// Returns what a job of [`Intent::Orphans`](super::Intent::Orphans) would do. `observed` of the plan is
    /// what [`start`](Self::start) takes for what was shown.
    ///
    /// # Errors
    /// The account is not there, or a call of AWS.
    pub async fn preview_orphans(&self, account: CloudAccountId) -> Result<StoredPlan, JobError> {
        self.commands.refresh().await?;
        let (mut steps, mut warnings) = (Vec::new(), Vec::new());
        for region in self.regions_of(account)? {
            let found = self.region(account, &region).await?;
            let caller = self.caller(account, &region).await?;
            for id in self.orphans(&found) {
                let Some(key) = found.keys.get(&id) else { continue };
                let arn = key.metadata.arn.clone();
                let mut alone = ObservedRegion::default();
                alone.keys.insert(id, key.clone());
                match self.verdict(&caller, &arn, &alone).await? {
                    Verdict::Delete => steps.push(Step {
                        action: Action::DeleteOrphan {
                            arn,
                            days: DeletionDays::DEFAULT.get(),
                        },
                        reason: "a job has made it, no record knows it, and it was never used".to_owned(),
                    }),
                    Verdict::Keep(reason) => warnings.push(format!("{arn} stays: {reason}")),
                }
            }
        }
        let mut shown = String::new();
        for step in &steps {
            let _ = writeln!(shown, "{}", step.action); // a string takes everything
        }
        let hash = Sha256::digest(shown);
        Ok(StoredPlan {
            observed: hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
            steps,
            warnings,
            question: None,
            replaces: None,
        })
    }

    /// The Regions that an account is used in.
    fn regions_of(&self, id: CloudAccountId) -> Result<BTreeSet<Region>, JobError> {
        let account = self.account(id)?;
        Ok(self.commands.read(|state| {
            let stores = state.cloud_key_stores().filter(|store| store.account == id);
            let keys = state.cloud_keys().filter(|key| key.account == id);
            let regions = stores.map(|store| store.region.clone());
            let regions = regions.chain(keys.map(|key| key.region.clone()));
            regions.chain([account.region]).collect()
        }))
    }

    /// What is to be done with the one key that was found, as it is.
    async fn verdict(&self, caller: &Caller, arn: &str, found: &ObservedRegion) -> Result<Verdict, JobError> {
        let keep = |reason: &str| Ok(Verdict::Keep(reason.to_owned()));
        let Some(key) = found.keys.values().next() else {
            return keep("it is gone");
        };
        if self.orphans(found).is_empty() {
            return keep("a record knows it, or it does not carry the operation tag");
        }
        if key.metadata.key_state == KeyState::PendingDeletion {
            return keep("its deletion is scheduled already");
        }
        if let Some(id) = key.tags.get(&self.settings.operation_tag)
            && self.list().await?.iter().any(|job| !job.state.is_ended() && job.is(id))
        {
            return Ok(Verdict::Keep(format!("jobs/{id} has not ended, and may look for it")));
        }
        let used = last_use(caller, arn, None).await?;
        if let Some(time) = used.latest() {
            return Ok(Verdict::Keep(format!(
                "it was used at {time}: adopt it, or delete it by hand"
            )));
        }
        if used.aws.tracking_start_date > key.metadata.creation_date {
            return keep("AWS does not tell whether it was used when it was new: adopt it, or delete it by hand");
        }
        Ok(Verdict::Delete)
    }

    /// The next key of the plan.
    pub(super) async fn clean_up(&self, work: &mut Work, account: CloudAccountId) -> Result<(), Stop> {
        let step = work
            .job
            .plan()
            .and_then(|plan| plan.steps.get(work.job.cursor))
            .cloned();
        let Some(Step { action, .. }) = step else {
            work.job.state = JobState::Done;
            return Ok(());
        };
        let Action::DeleteOrphan { arn, .. } = &action else {
            let question = format!("this is no step of cleaning up: {action}; cancel the job");
            work.job.state = JobState::Blocked { question };
            return Ok(());
        };
        self.commands.refresh().await.map_err(JobError::from)?;
        let name = arn.split(':').nth(3).unwrap_or_default();
        let caller = self.caller(account, &name.parse().map_err(JobError::from)?).await?;
        let found = region_key(&caller, arn).await.map_err(JobError::from)?;
        if let Verdict::Keep(reason) = self.verdict(&caller, arn, &found).await? {
            let now = self.now();
            work.job.note(now, format!("{arn} stays: {reason}"));
            work.job.cursor += 1;
            return Ok(());
        }
        match apply(&caller, &action, &Target::default()).await {
            Ok(_) => self.done(&mut work.job, &action),
            Err(ApplyError::Call(CallError::Aws(error))) => self.refused(&mut work.job, &action, &error),
            Err(ApplyError::Call(CallError::Store(error))) => return Err(error.into()),
            Err(error) => self.wait(&mut work.job, error.to_string()),
        }
        work.job.count(&caller);
        Ok(())
    }

    async fn caller(&self, account: CloudAccountId, region: &Region) -> Result<Caller, JobError> {
        let found = self.account(account)?;
        let kms = self
            .connector
            .kms(&super::site::credentials(&found)?, region.as_str())
            .await?;
        Ok(Caller::new(
            kms,
            Arc::clone(&self.quotas),
            format!("{account}/{region}"),
        ))
    }
}
