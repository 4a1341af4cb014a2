//! One step of a job, from what is there.

use std::time::Duration;

use xks_lifecycle::commands::Actor;

use super::{
    FirstChange, Job, JobError, JobState, Jobs, Pending,
    outcome::LOOK_AGAIN,
    run::{Stop, Work},
    scheduled::only_disables,
    site::Site,
};
use crate::{
    apply::{ApplyError, Effect, apply},
    aws::Operation,
    caller::CallError,
    observe::{Observed, observe, search_operation, search_pair},
    plan::{Action, Context, Desired, Plan, Then, lint, plan},
};

impl Jobs {
    /// Finds out what was created, observes, plans, and does one step.
    pub(super) async fn step(&self, site: &Site, work: &mut Work) -> Result<(), Stop> {
        let actor = self.commands.under_job(&self.actor, &work.row);
        if !self.change_first(work, &actor).await? {
            return Ok(());
        }
        if self.is_searching(site, work, &actor).await? {
            return Ok(());
        }
        let Some((desired, observed)) = self.settled(site, &mut work.job).await? else {
            return Ok(());
        };
        let context = Context {
            operation: work.id.to_string(),
            has_connected: work.job.has_connected,
            is_settling: self.now() < work.job.settles,
        };
        let plan = plan(&desired, &observed, &context);
        let faults = lint(&plan, &desired, &observed, &context);
        if !faults.is_empty() {
            work.job.state = JobState::Stuck {
                problem: format!(
                    "a plan that breaks its rules was not carried out: {}",
                    faults.join("; ")
                ),
            };
            return Ok(());
        }
        let plan = match work.job.first_change {
            Some(FirstChange::DisableFormer) => only_disables(plan, &observed),
            _ => plan,
        };
        let now = self.now();
        work.job.take_plan(&plan, &observed, now);
        match plan.steps.first() {
            Some(step) => {
                let action = step.action.clone();
                self.perform(site, work, &actor, &desired, action).await
            }
            None => {
                self.rest(&mut work.job, plan);
                Ok(())
            }
        }
    }

    /// There is no step: the job has ended, waits, or asks.
    fn rest(&self, job: &mut Job, plan: Plan) {
        let until = self.now() + LOOK_AGAIN;
        job.state = match plan.then {
            Then::Done => JobState::Done,
            Then::Wait(reason) => JobState::Waiting { until, reason },
            Then::Ask(question) => JobState::Blocked { question },
        };
    }

    /// What is wanted, and what is there by several equal reads; nothing if the answers still flip.
    async fn settled(&self, site: &Site, job: &mut Job) -> Result<Option<(Desired, Observed)>, Stop> {
        const ATTEMPTS: u32 = 4;
        self.commands.refresh().await?;
        let desired = self.desired(job.intent).map_err(JobError::from)?;
        let wanted = self.settings.reads.max(1);
        let mut last = observe(&site.caller, &desired).await.map_err(JobError::from)?;
        let mut equal = 1;
        for _ in 1..wanted * ATTEMPTS {
            if equal >= wanted {
                break;
            }
            self.sleep(self.settings.read_interval).await;
            let next = observe(&site.caller, &desired).await.map_err(JobError::from)?;
            equal = if next == last { equal + 1 } else { 1 };
            last = next;
        }
        if equal >= wanted {
            return Ok(Some((desired, last)));
        }
        let until = self.now() + LOOK_AGAIN;
        let reason = "AWS's answers still flip between old and new".to_owned();
        job.state = JobState::Waiting { until, reason };
        Ok(None)
    }

    async fn sleep(&self, duration: Duration) {
        if let Some(sleep) = self.timer.sleep(duration) {
            sleep.await;
        }
    }

    /// Looks for what may have been created. Returns whether the job waits for that.
    async fn is_searching(&self, site: &Site, work: &mut Work, actor: &Actor) -> Result<bool, Stop> {
        let Some(pending) = work.job.pending.clone() else {
            return Ok(false);
        };
        let (Action::CreateKey { operation, .. } | Action::CreateImportKey { operation, .. }) = &pending.action else {
            // A key store is observed by its name, and AWS makes no second one of that.
            work.job.pending = None;
            return Ok(false);
        };
        let known = self.known_keys(site);
        let tag = (self.settings.operation_tag.as_str(), operation.as_str());
        let found = search_operation(&site.caller, &known, tag)
            .await
            .map_err(JobError::from)?;
        let now = self.now();
        let others: Vec<_> = found.iter().skip(1).map(|key| key.key_id.as_str()).collect();
        if !others.is_empty() {
            let others = others.join(", ");
            work.job.note(
                now,
                format!("more than one KMS key has the tag of this job; not used: {others}"),
            );
        }
        if let Some(key) = found.first() {
            work.job.note(now, format!("found {}, whose answer was lost", key.arn));
            let effect = Effect::Key(Box::new(key.clone()));
            self.keep(actor, work.job.intent, &pending.action, None, effect).await?;
            work.job.pending = None;
            return Ok(false);
        }
        if pending.is_taken
            && let Action::CreateKey {
                custom_key_store_id,
                xks_key_id,
                ..
            } = &pending.action
            && let Some(key) = search_pair(&site.caller, &known, custom_key_store_id, xks_key_id)
                .await
                .map_err(JobError::from)?
        {
            work.job.note(
                now,
                format!("found {}, which somebody else has made for this external key", key.arn),
            );
            self.keep_id(actor, work.job.intent, Some((&key.arn, true))).await?;
            work.job.pending = None;
            return Ok(false);
        }
        let settle = u64::try_from(self.settings.settle.as_millis()).unwrap_or(u64::MAX);
        let end = pending.since.saturating_add(settle);
        if now < end {
            let reason = "no answer came to the creation of the KMS key: looking whether it is there".to_owned();
            let until = end.min(now + 2 * LOOK_AGAIN);
            work.job.state = JobState::Waiting { until, reason };
            return Ok(true);
        }
        work.job.pending = None;
        work.job.note(now, "no KMS key was made: none has the tag of this job");
        Ok(false)
    }

    /// Does one step. A mark is written before what creates.
    async fn perform(
        &self,
        site: &Site,
        work: &mut Work,
        actor: &Actor,
        desired: &Desired,
        action: Action,
    ) -> Result<(), Stop> {
        let intent = work.job.intent;
        let mut actor = actor.clone();
        if let Some(wait) = queue(site, &action).await {
            let until = self.now() + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let reason = "AWS gives one wrapping key a second, and others come first".to_owned();
            work.job.state = JobState::Waiting { until, reason };
            return Ok(());
        }
        if action.creates() {
            if self.is_second(&work.job).await? {
                let reason = "another job of the same object was started in the same instant".to_owned();
                self.wait(&mut work.job, reason);
                return Ok(());
            }
            // Not after the mark: another worker may take the job over during the wait, and the call would
            // come after its search.
            if let Some(operation) = action.operation() {
                site.caller.reserve(operation).await.map_err(JobError::from)?;
            }
            let since = self.now();
            work.job.pending = Some(Pending {
                action: action.clone(),
                since,
                is_taken: false,
            });
            let owner = work.row.owner.clone();
            self.write(work, &owner).await?;
            actor = self.commands.under_job(&self.actor, &work.row);
            if self.is_late(work) {
                let now = self.now();
                work.job.note(now, format!("too late to {action}: it was not tried"));
                work.job.pending = None;
                return Ok(());
            }
        }
        let target = self.target(intent, desired);
        match apply(&site.caller, &action, &target).await {
            Ok(effect) => {
                self.keep(&actor, intent, &action, target.id.as_deref(), effect).await?;
                self.done(&mut work.job, &action);
                Ok(())
            }
            Err(ApplyError::Call(CallError::Aws(error))) => {
                self.refused(&mut work.job, &action, &error);
                Ok(())
            }
            Err(ApplyError::Call(CallError::Store(error))) => Err(error.into()),
            Err(ApplyError::Material(error)) => Ok(self.failed(&mut work.job, error.into())?),
            Err(error @ ApplyError::NoAlgorithm) => {
                let question = error.to_string();
                work.job.state = JobState::Blocked { question };
                Ok(())
            }
            Err(error) => {
                self.wait(&mut work.job, error.to_string());
                Ok(())
            }
        }
    }
}

/// How long to wait before an import is tried, if many come first: a step must not take so long that another
/// node goes on with its job, and other jobs find room meanwhile.
async fn queue(site: &Site, action: &Action) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(20);
    if !matches!(action, Action::ImportMaterial { .. }) {
        return None;
    }
    let ahead = site.caller.ahead(Operation::GetParametersForImport).await;
    (ahead > MOST).then(|| ahead - MOST / 2)
}
