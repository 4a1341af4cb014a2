//! The work on jobs: which are due, who has them, and how they end.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use xks_lifecycle::{JobId, Outcome, jobs::JobRow};

use super::{Intent, Job, JobError, JobState, Jobs, site::depends_on};

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
pub(super) struct Work {
    pub(super) id: JobId,
    pub(super) row: JobRow,
    pub(super) job: Job,
}

/// Why the work on a job has stopped.
pub(super) enum Stop {
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

    pub(super) async fn write(&self, work: &mut Work, owner: &str) -> Result<(), Stop> {
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
            let command = if outcome == Outcome::Done { "end" } else { "pause" };
            self.commands
                .record_job(&self.actor, command, work.id, outcome, reason.as_deref())
                .await?;
        }
        self.write(&mut work, "").await?;
        Ok(work.job)
    }

    /// Returns whether a job about the first waits for what a job about the second does.
    #[must_use]
    pub fn depends(&self, intent: Intent, other: Intent) -> bool {
        self.commands.read(|state| depends_on(state, intent, other))
    }
}
