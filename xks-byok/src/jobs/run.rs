//! The work on jobs: one step after the other, each from what is there.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use xks_lifecycle::{JobId, Outcome, commands::Actor, jobs::JobRow};

use super::{
    Intent, Job, JobError, JobState, Jobs, Pending,
    site::{Site, depends_on},
};
use crate::{
    apply::{ApplyError, Effect, apply},
    aws::{AwsError, AwsErrorKind},
    caller::CallError,
    observe::{Observed, observe, search_operation, search_pair},
    plan::{Action, Context, Desired, Plan, Then, lint, plan},
};

/// How long a job waits that has got no further, in milliseconds; each time twice as long.
const FIRST_WAIT: u64 = 1000;
/// How long it waits at most.
const LAST_WAIT: u64 = 60_000;
/// How long it waits while AWS is at work.
const LOOK_AGAIN: u64 = 5000;
/// How often a job may get no further for a reason that it does not know.
const MOST_FAILURES: u32 = 8;

/// What [`Jobs::run_due`] has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Ran {
    /// The jobs that were worked on, as they are now.
    pub jobs: Vec<Job>,
    /// Why jobs were left as they are: the store has failed.
    pub failed: Vec<JobError>,
    /// How many jobs other nodes are at.
    pub elsewhere: usize,
    /// When the next job goes on, from now on.
    pub next: Option<Duration>,
}

impl Ran {
    /// Returns how long to wait before the next run: at most so long.
    #[must_use]
    pub fn next_in(&self, most: Duration) -> Duration {
        self.next.map_or(most, |next| next.min(most))
    }
}

/// A job and its row, while this worker has it.
struct Work {
    id: JobId,
    row: JobRow,
    job: Job,
}

/// Why the work on a job has stopped.
enum Stop {
    /// Another one has it.
    Lost,
    /// It cannot be written.
    Failed(JobError),
}

impl<E: Into<JobError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Jobs {
    /// Works on each job that is due until it waits, has ended, or needs a person. Jobs that other nodes are
    /// at are left to them.
    ///
    /// # Cancellation
    /// The future may be dropped at any time: this process or another one goes on with its jobs.
    pub async fn run_due(&self) -> Ran {
        let mut ran = Ran::default();
        let work = match self.take_due(&mut ran).await {
            Ok(work) => work,
            Err(error) => {
                ran.failed.push(error);
                return ran;
            }
        };
        let runs: Vec<_> = work.into_iter().map(|work| self.run(work)).collect();
        let mut runs = stream::iter(runs).buffer_unordered(self.settings.at_once.max(1));
        while let Some(outcome) = runs.next().await {
            match outcome {
                Ok(job) => ran.jobs.push(job),
                Err(Stop::Lost) => ran.elsewhere += 1,
                Err(Stop::Failed(error)) => ran.failed.push(error),
            }
        }
        let now = self.now();
        let dues = ran.jobs.iter().filter_map(|job| job.state.due());
        let dues = dues.map(|due| Duration::from_millis(due.saturating_sub(now)));
        ran.next = dues.chain(ran.next).min();
        ran
    }

    /// Takes the jobs that are due and that no other node is at, and removes those that ended long ago.
    async fn take_due(&self, ran: &mut Ran) -> Result<Vec<Work>, JobError> {
        self.commands.refresh().await?;
        self.start_scheduled().await?;
        let rows = self.commands.job_rows().await?.rows;
        let mut worker = self.worker.lock().await;
        worker.retain(&rows);
        let now = self.now();
        let mut ended = Vec::new();
        let mut due = Vec::new();
        for row in rows {
            let Ok(job) = Job::read(row.id, &row.body) else {
                continue;
            };
            if job.state.is_ended() {
                ended.push((job.last_change(), row));
                continue;
            }
            match job.state.due() {
                Some(time) if time <= now => due.push((row, job)),
                Some(time) => {
                    let wait = Duration::from_millis(time - now);
                    ran.next = Some(ran.next.map_or(wait, |next| next.min(wait)));
                }
                None => {}
            }
        }
        ended.sort_by_key(|(time, row)| (*time, row.id));
        let surplus = ended.len().saturating_sub(self.settings.kept);
        for (_, row) in ended.into_iter().take(surplus) {
            self.commands.remove_job(&row).await?;
        }
        let mut work = Vec::new();
        for (row, mut job) in due {
            if !worker.may_take(&self.commands, &row).await? {
                ran.elsewhere += 1;
                continue;
            }
            job.state = JobState::Running;
            match self.commands.replace_job(&row, worker.name(), &job.body()).await? {
                Some(row) => work.push(Work { id: row.id, row, job }),
                None => ran.elsewhere += 1,
            }
        }
        Ok(work)
    }

    /// Works on one job until it does not run any more.
    async fn run(&self, mut work: Work) -> Result<Job, Stop> {
        let intent = work.job.intent;
        while work.job.state == JobState::Running {
            let actor = self.commands.under_job(&self.actor, &work.row);
            if let Intent::CloudAccount(account) = intent {
                if let Err(error) = self.rotate(&mut work.job, &actor, account).await {
                    self.failed(&mut work.job, error)?;
                } else if work.job.state == JobState::Running {
                    let owner = work.row.owner.clone();
                    self.write(&mut work, &owner).await?;
                }
                continue;
            }
            let site = match self.site(intent, &actor).await {
                Ok(site) => site,
                Err(error) => {
                    self.failed(&mut work.job, error)?;
                    break;
                }
            };
            let outcome = self.step(&site, &mut work).await;
            for (operation, count) in site.caller.take_calls() {
                *work.job.calls.entry(operation.name().to_owned()).or_default() += count;
            }
            match outcome {
                Ok(()) if work.job.state == JobState::Running => {
                    let owner = work.row.owner.clone();
                    self.write(&mut work, &owner).await?;
                }
                Ok(()) => {}
                Err(Stop::Failed(error)) => self.failed(&mut work.job, error)?,
                Err(Stop::Lost) => return Err(Stop::Lost),
            }
        }
        self.end(work).await
    }

    async fn write(&self, work: &mut Work, owner: &str) -> Result<(), Stop> {
        let written = self.commands.replace_job(&work.row, owner, &work.job.body()).await?;
        work.row = written.ok_or(Stop::Lost)?;
        Ok(())
    }

    /// Gives the row back, and records what a person must know.
    async fn end(&self, mut work: Work) -> Result<Job, Stop> {
        let now = self.now();
        let (outcome, reason) = match &work.job.state {
            JobState::Done => (Some(Outcome::Done), None),
            JobState::Blocked { question } => (Some(Outcome::Failed), Some(question.clone())),
            JobState::Stuck { problem } => (Some(Outcome::Failed), Some(problem.clone())),
            _ => (None, None),
        };
        if let Some(outcome) = outcome {
            if outcome == Outcome::Done {
                work.job.ended = Some(now);
            }
            let state = work.job.state.as_str();
            work.job.note(
                now,
                reason
                    .clone()
                    .map_or_else(|| state.to_owned(), |reason| format!("{state}: {reason}")),
            );
            let command = if outcome == Outcome::Done {
                "end job"
            } else {
                "pause job"
            };
            self.commands
                .record_job(&self.actor, command, work.id, outcome, reason.as_deref())
                .await?;
        }
        self.write(&mut work, "").await?;
        Ok(work.job)
    }

    /// Finds out what was created, observes, plans, and does one step.
    async fn step(&self, site: &Site, work: &mut Work) -> Result<(), Stop> {
        let actor = self.commands.under_job(&self.actor, &work.row);
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
        let Action::CreateKey {
            operation,
            custom_key_store_id,
            xks_key_id,
            ..
        } = &pending.action
        else {
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
        if let [others @ .., _] = found.get(1..).unwrap_or_default() {
            let ids: Vec<_> = others.iter().map(|key| key.key_id.as_str()).collect();
            work.job.note(
                now,
                format!(
                    "more than one KMS key has the tag of this job; not used: {}",
                    ids.join(", ")
                ),
            );
        }
        if let Some(key) = found.first() {
            work.job.note(now, format!("found {}, whose answer was lost", key.arn));
            self.keep_id(actor, work.job.intent, &key.arn, false).await?;
            work.job.pending = None;
            return Ok(false);
        }
        if pending.is_taken
            && let Some(key) = search_pair(&site.caller, &known, custom_key_store_id, xks_key_id)
                .await
                .map_err(JobError::from)?
        {
            work.job.note(
                now,
                format!("found {}, which somebody else has made for this external key", key.arn),
            );
            self.keep_id(actor, work.job.intent, &key.arn, true).await?;
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
        if action.creates() {
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
        }
        let target = self.target(intent, desired);
        match apply(&site.caller, &action, &target).await {
            Ok(effect) => {
                match (&effect, &action) {
                    (Effect::KeyStore(id), _) => self.keep_id(&actor, intent, id, false).await?,
                    (Effect::Key(key), _) => self.keep_id(&actor, intent, &key.arn, false).await?,
                    (Effect::Changed, Action::Adopt { id }) => self.keep_id(&actor, intent, id, true).await?,
                    (Effect::Changed, Action::Forget) => self.forget_id(&actor, intent).await?,
                    (Effect::Changed, _) => {}
                }
                self.done(&mut work.job, &action);
                Ok(())
            }
            Err(ApplyError::Call(CallError::Aws(error))) => {
                self.refused(&mut work.job, &action, &error);
                Ok(())
            }
            Err(ApplyError::Call(CallError::Store(error))) => Err(error.into()),
            Err(error @ (ApplyError::NoCredential(_) | ApplyError::NoTarget(_))) => {
                self.wait(&mut work.job, error.to_string());
                Ok(())
            }
        }
    }

    fn done(&self, job: &mut Job, action: &Action) {
        let now = self.now();
        job.note(now, format!("done: {action}"));
        job.cursor += 1;
        job.failures = 0;
        job.pending = None;
        if action.creates() {
            let settle = u64::try_from(self.settings.settle.as_millis()).unwrap_or(u64::MAX);
            job.settles = now.saturating_add(settle);
        }
        job.has_connected |= *action == Action::ConnectKeyStore;
    }

    /// A step was refused, or was not answered.
    fn refused(&self, job: &mut Job, action: &Action, error: &AwsError) {
        let now = self.now();
        job.note(now, format!("{action}: {error}"));
        if action.creates() {
            match error.kind {
                // Something is there already, of ours or of others.
                AwsErrorKind::XksKeyAlreadyInUse => {
                    if let Some(pending) = &mut job.pending {
                        pending.is_taken = true;
                    }
                }
                _ if error.is_effect_unknown() => {}
                _ => job.pending = None,
            }
        }
        match &error.kind {
            AwsErrorKind::XksKeyAlreadyInUse
            | AwsErrorKind::AlreadyExists
            | AwsErrorKind::CustomKeyStoreNameInUse
            | AwsErrorKind::NotFound
            | AwsErrorKind::CustomKeyStoreNotFound
            | AwsErrorKind::InvalidState
            | AwsErrorKind::Disabled
            | AwsErrorKind::Conflict
            | AwsErrorKind::CustomKeyStoreInvalidState
            // A principal may be so new that AWS KMS does not know it yet.
            | AwsErrorKind::MalformedPolicyDocument => self.again(job, error),
            _ if error.is_retryable() => self.wait(job, error.to_string()),
            _ => job.state = blocked(error),
        }
    }

    /// What is there may have been changed by somebody else, or not be shown yet: look again, some times.
    fn again(&self, job: &mut Job, error: &AwsError) {
        if job.failures >= MOST_FAILURES {
            job.state = match error.kind {
                AwsErrorKind::MalformedPolicyDocument => blocked(error),
                _ => JobState::Stuck {
                    problem: error.to_string(),
                },
            };
        } else {
            self.wait(job, error.to_string());
        }
    }

    /// Waits, each time twice as long.
    fn wait(&self, job: &mut Job, reason: String) {
        let wait = FIRST_WAIT.saturating_mul(1 << job.failures.min(10)).min(LAST_WAIT);
        job.failures = job.failures.saturating_add(1);
        let until = self.now() + wait;
        job.state = JobState::Waiting { until, reason };
    }

    /// Something else than a step has failed.
    fn failed(&self, job: &mut Job, error: JobError) -> Result<(), Stop> {
        match error {
            JobError::Aws(error) if error.is_retryable() => self.wait(job, error.to_string()),
            JobError::Aws(error) => job.state = blocked(&error),
            JobError::Command(error) if error.outcome() == Outcome::Refused => {
                job.state = JobState::Stuck {
                    problem: error.to_string(),
                }
            }
            JobError::Command(error) => return Err(error.into()),
            error => {
                job.state = JobState::Blocked {
                    question: error.to_string(),
                }
            }
        }
        Ok(())
    }

    /// Returns whether a job about the first waits for what a job about the second does.
    #[must_use]
    pub fn depends(&self, intent: Intent, other: Intent) -> bool {
        self.commands.read(|state| depends_on(state, intent, other))
    }
}

fn blocked(error: &AwsError) -> JobState {
    JobState::Blocked {
        question: error.to_string(),
    }
}
