//! Jobs, as administration starts, shows and ends them.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use futures_util::lock::Mutex;
use xks_core::timer::Timer;
use xks_lifecycle::{
    JobId, Outcome,
    commands::{Actor, Commands},
    jobs::{JobRow, Worker},
};

use super::{FirstChange, Intent, Job, JobError, JobState, Pending, StoredPlan, Tally, notifier::Notifier};
use crate::{
    aws::Connector,
    observe::{Observed, observe},
    plan::{Context, Plan, Undesirable, plan},
    quota::Quotas,
};

/// How jobs work.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The name of the tag that a KMS key gets with the id of the job that makes it. Policies can decide by
    /// tags, so it can be another one. `xks:operation` by default.
    pub operation_tag: String,
    /// For how long AWS may not show what was created. 5 minutes by default.
    pub settle: Duration,
    /// How many reads in a row must be equal before a plan is made from them: AWS's answers flip between old
    /// and new for some seconds after a change. 3 by default.
    pub reads: u32,
    /// How long to wait between them. A second by default.
    pub read_interval: Duration,
    /// How long one step may take: after that another node goes on with the job, and the step creates nothing
    /// any more. 2 minutes by default.
    pub step_limit: Duration,
    /// How many jobs are worked on at once. 32 by default: an import takes some 20 seconds, most of them
    /// waits for equal reads, and AWS lets one begin each second.
    pub at_once: usize,
    /// How many ended jobs are kept. 1000 by default.
    pub kept: usize,
    /// How many times AWS's default request quotas the accounts have. 1 by default.
    pub quota_scale: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            operation_tag: "xks:operation".to_owned(),
            settle: Duration::from_secs(300),
            reads: 3,
            read_interval: Duration::from_secs(1),
            step_limit: Duration::from_secs(120),
            at_once: 32,
            kept: 1000,
            quota_scale: 1,
        }
    }
}

/// Jobs on a state.
pub struct Jobs {
    pub(super) commands: Arc<Commands>,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) timer: Arc<dyn Timer>,
    pub(super) actor: Actor,
    pub(super) settings: Settings,
    pub(super) quotas: Arc<Quotas>,
    pub(super) worker: Mutex<Worker>,
    pub(super) notifier: Notifier,
    pub(super) tally: std::sync::Mutex<Option<Tally>>,
}

/// What a job would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// The plan.
    pub plan: Plan,
    /// The hash of what it was made from: who starts a job says by this what was shown.
    pub observed: String,
    /// What is there.
    pub found: Observed,
}

impl Jobs {
    /// Jobs on a state, which AWS is called for over a connector. `actor` changes the state in their name,
    /// such as `jobs`. The timer must be able to wait.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn new(
        commands: Arc<Commands>,
        connector: Arc<dyn Connector>,
        timer: Arc<dyn Timer>,
        actor: Actor,
        settings: Settings,
    ) -> Result<Self, JobError> {
        let quotas = Quotas::new(Arc::clone(&commands), Arc::clone(&timer)).with_scale(settings.quota_scale);
        let worker = Worker::new(&commands, settings.step_limit)?;
        Ok(Self {
            commands,
            connector,
            timer,
            actor,
            settings,
            quotas: Arc::new(quotas),
            worker: Mutex::new(worker),
            notifier: Notifier::default(),
            tally: std::sync::Mutex::default(),
        })
    }

    /// Returns the request quotas, which other calls of the same accounts share.
    #[must_use]
    pub const fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// Returns how many jobs there are on all nodes, as [`run_due`](Self::run_due) has seen them last;
    /// nothing before it has.
    #[must_use]
    pub fn tally(&self) -> Option<Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The time, in milliseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        let since = self.timer.system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// A moment on a clock that goes on while the machine is suspended, where the timer has one.
    pub(super) fn moment(&self) -> Duration {
        let now = || Duration::from_millis(self.now());
        self.timer.lease_clock().unwrap_or_else(now)
    }

    /// Observes and plans, and does nothing. Only the number of an account is kept that was not known.
    ///
    /// # Errors
    /// What it is about is not there, or a call of AWS.
    pub async fn preview(&self, intent: Intent) -> Result<Preview, JobError> {
        self.commands.refresh().await?;
        let intent = self.subject(intent);
        let site = self.site(intent, &self.actor).await?;
        let desired = self.desired(intent)?;
        let found = observe(&site.caller, &desired).await?;
        let context = Context {
            operation: "the id of the job".to_owned(),
            ..Context::default()
        };
        Ok(Preview {
            plan: plan(&desired, &found, &context),
            observed: found.fingerprint(),
            found,
        })
    }

    /// Starts a job, which the next [`run_due`](Self::run_due) of any node begins. `shown` is the hash of
    /// what a preview was made from: the job is refused if something else is there now.
    ///
    /// # Errors
    /// [`JobError::Outdated`]; [`JobError::UnderWay`]; what it is about is not there, or a call of AWS.
    pub async fn start(&self, actor: &Actor, intent: Intent, shown: Option<&str>) -> Result<Job, JobError> {
        self.commands.refresh().await?;
        let intent = self.subject(intent);
        let jobs = self.list().await?;
        let mut jobs = jobs.iter().filter(|job| job.intent == intent);
        let latest = jobs.next(); // of those before it each had ended when the next one was started
        if let Some(other) = latest.filter(|job| !job.state.is_ended())
            && let Some(id) = other.id
        {
            return Err(JobError::UnderWay(id));
        }
        // What a cancelled job has perhaps made is searched for before another one is made.
        let pending = latest.and_then(|job| job.pending.clone());
        if let Intent::CloudAccount(account) = intent {
            let plan = self.rotation_plan(account)?;
            return self.insert(actor, JobId::generate()?, intent, plan, None).await;
        }
        if let Intent::Orphans(account) = intent {
            let plan = self.preview_orphans(account).await?;
            if shown.is_some_and(|shown| shown != plan.observed) {
                return Err(JobError::Outdated);
            }
            return self.insert(actor, JobId::generate()?, intent, plan, None).await;
        }
        let preview = self.preview(intent).await?;
        if shown.is_some_and(|shown| shown != preview.observed) {
            return Err(JobError::Outdated);
        }
        let id = JobId::generate()?;
        let context = Context {
            operation: id.to_string(),
            ..Context::default()
        };
        let plan = plan(&self.desired(intent)?, &preview.found, &context);
        let stored = StoredPlan::new(&plan, &preview.found);
        self.insert(actor, id, intent, stored, pending).await
    }

    async fn insert(
        &self,
        actor: &Actor,
        id: JobId,
        intent: Intent,
        plan: StoredPlan,
        pending: Option<Pending>,
    ) -> Result<Job, JobError> {
        let mut job = Job::new(id, intent, actor.to_string(), self.now(), plan);
        job.pending = pending;
        job.note(self.now(), format!("started by {actor}"));
        let about = intent.to_string();
        self.commands
            .record_job(actor, "start", id, Outcome::Begun, Some(&about))
            .await?;
        self.commands.insert_job(id, &job.body()).await?;
        self.notifier.call();
        Ok(job)
    }

    /// What a job is about: of a material that shares its KMS key with the current one, the cloud key.
    fn subject(&self, intent: Intent) -> Intent {
        match self.desired(intent) {
            Err(Undesirable::Current(_, key)) => Intent::CloudKey(key),
            _ => intent,
        }
    }

    /// Returns whether an earlier job of the same object has not ended: two may have been started in the same
    /// instant, and each would make a KMS key.
    pub(super) async fn is_second(&self, job: &Job) -> Result<bool, JobError> {
        let jobs = self.list().await?;
        let mut others = jobs
            .iter()
            .filter(|other| other.intent == job.intent && other.id != job.id);
        Ok(others.any(|other| !other.state.is_ended() && (other.created, other.id) < (job.created, job.id)))
    }

    /// Returns all jobs, the latest first. One whose row cannot be read is left out: see
    /// [`unreadable`](Self::unreadable).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self) -> Result<Vec<Job>, JobError> {
        let rows = self.commands.job_rows().await?.rows;
        let mut jobs: Vec<_> = rows
            .iter()
            .filter_map(|row| Job::read(row.id, &row.body).ok())
            .collect();
        jobs.sort_by_key(|job| std::cmp::Reverse((job.created, job.id)));
        Ok(jobs)
    }

    /// Returns the ids of rows that are not those of a job: edited in the database, or of a later version.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn unreadable(&self) -> Result<Vec<String>, JobError> {
        let rows = self.commands.job_rows().await?;
        let unknown = rows.rows.iter().filter(|row| Job::read(row.id, &row.body).is_err());
        let unknown: Vec<_> = unknown.map(|row| row.id.to_string()).collect();
        let refused = rows.refused.iter().map(ToString::to_string);
        Ok(refused.chain(unknown).collect())
    }

    /// Returns a job.
    ///
    /// # Errors
    /// It is not there, or its row cannot be read.
    pub async fn get(&self, id: JobId) -> Result<Job, JobError> {
        self.row(id).await.map(|(_, job)| job)
    }

    async fn row(&self, id: JobId) -> Result<(JobRow, Job), JobError> {
        let rows = self.commands.job_rows().await?.rows;
        let row = rows.into_iter().find(|row| row.id == id).ok_or(JobError::Unknown(id))?;
        let job = Job::read(id, &row.body).map_err(|problem| JobError::Unreadable {
            id,
            problem: problem.to_string(),
        })?;
        Ok((row, job))
    }

    /// Ends a job where it is. A call that is under way is not called back; what was made stays, and the next
    /// job of the same object goes on from it. A former KMS key that the job was to disable stays enabled.
    ///
    /// # Errors
    /// It is not there, has ended, or has changed at this moment.
    pub async fn cancel(&self, actor: &Actor, id: JobId) -> Result<Job, JobError> {
        let end = |job: &mut Job, now| {
            job.state = JobState::Cancelled;
            job.ended = Some(now);
        };
        let job = self.change(actor, "cancel", id, end).await?;
        if let (Some(FirstChange::DisableFormer), Intent::CloudMaterial(material)) = (job.first_change, job.intent) {
            self.commands.keep_former(actor, material).await?;
        }
        Ok(job)
    }

    /// Lets a job go on that is blocked, stuck or waiting.
    ///
    /// # Errors
    /// It is not there, has ended, or has changed at this moment.
    pub async fn retry(&self, actor: &Actor, id: JobId) -> Result<Job, JobError> {
        let again = |job: &mut Job, _| {
            job.state = JobState::Planned;
            job.has_connected = false;
            job.failures = 0;
            job.denied = None;
        };
        self.change(actor, "retry", id, again).await
    }

    async fn change(
        &self,
        actor: &Actor,
        command: &str,
        id: JobId,
        change: impl Fn(&mut Job, u64) + Send,
    ) -> Result<Job, JobError> {
        const ATTEMPTS: usize = 10;
        for _ in 0..ATTEMPTS {
            let (row, mut job) = self.row(id).await?;
            if job.state.is_ended() {
                return Err(JobError::Ended(id));
            }
            let now = self.now();
            change(&mut job, now);
            job.note(now, format!("{command} by {actor}"));
            // A worker that has it finds that it has lost it.
            if self.commands.replace_job(&row, "", &job.body()).await?.is_some() {
                self.commands
                    .record_job(actor, command, id, Outcome::Done, None)
                    .await?;
                self.notifier.call();
                return Ok(job);
            }
        }
        Err(JobError::Changed(id))
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
