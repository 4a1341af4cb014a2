//! The work on jobs: which are due, who has them, and how they end.

use std::{
    collections::BTreeSet,
    pin::{Pin, pin},
    sync::PoisonError,
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FuturesUnordered,
};
use xks_lifecycle::{JobId, Outcome, jobs::JobRow};

use super::{Intent, Job, JobError, JobState, Jobs, Tally, site::depends_on};

/// While jobs are under way, those that become due are looked for after so long.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// What [`Jobs::run_due`] has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Ran {
    /// The jobs that were worked on, as they are now.
    pub jobs: Vec<Job>,
    /// Why jobs were left as they are: the store has failed.
    pub failed: Vec<JobError>,
    /// How many jobs other nodes are at, as far as it was seen last.
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
    /// A moment before the row was written last.
    pub(super) written: Duration,
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

/// What has come of one step of a job.
enum Turn {
    /// It goes on.
    On(Work),
    /// It rests, and its row is given back.
    Rests(Job),
}

type Running<'a> = Pin<Box<dyn Future<Output = (JobId, Result<Turn, Stop>)> + Send + 'a>>;

/// The jobs that are due.
#[derive(Default)]
struct Due {
    work: Vec<Work>,
    elsewhere: usize,
    next: Option<Duration>,
    /// There was no room for all.
    is_more: bool,
}

impl Jobs {
    /// Works on each job that is due until it waits, has ended, or needs a person. Jobs that become due
    /// meanwhile are taken too, up to [`at_once`](super::Settings::at_once); those that other nodes are at
    /// are left to them. Returns when no job is under way any more.
    ///
    /// # Cancellation
    /// The future may be dropped at any time: this process or another one goes on with its jobs.
    pub async fn run_due(&self) -> Ran {
        self.run_due_and(|_| {}).await
    }

    /// As [`run_due`](Self::run_due). `rested` is called with each job when it rests, and with the reason
    /// when one is left as it is.
    pub async fn run_due_and(&self, mut rested: impl FnMut(Result<&Job, &JobError>) + Send) -> Ran {
        let mut ran = Ran::default();
        let mut turns = FuturesUnordered::new();
        let mut under_way = BTreeSet::new();
        let (mut looked, mut due, mut lost) = (None, Due::default(), 0);
        loop {
            let is_time = looked.is_none_or(|at: Duration| self.moment() >= at.saturating_add(LOOK_AFTER));
            // After a failure of the store the jobs that are under way come to rest, and none is taken.
            if ran.failed.is_empty() && (self.notifier.take() || is_time) {
                looked = Some(self.moment());
                let room = self.settings.at_once.max(1).saturating_sub(turns.len());
                match self.take_due(&under_way, room).await {
                    Ok(mut found) => {
                        for work in found.work.drain(..) {
                            under_way.insert(work.id);
                            turns.push(self.turn(work));
                        }
                        due = found;
                    }
                    Err(error) => {
                        rested(Err(&error));
                        ran.failed.push(error);
                    }
                }
            }
            let (id, turn) = match select(turns.next(), pin!(self.notifier.called())).await {
                Either::Left((Some(turn), _)) => turn,
                Either::Left((None, _)) => break,
                Either::Right(_) if ran.failed.is_empty() => continue,
                Either::Right((_, next)) => match next.await {
                    Some(turn) => turn,
                    None => break,
                },
            };
            if let Ok(Turn::On(work)) = turn {
                turns.push(self.turn(work));
                continue;
            }
            under_way.remove(&id);
            if due.is_more {
                looked = None; // there is room now
            }
            match turn {
                Ok(Turn::On(_)) => {}
                Ok(Turn::Rests(job)) => {
                    rested(Ok(&job));
                    ran.jobs.retain(|other| other.id != job.id);
                    ran.jobs.push(job);
                }
                Err(Stop::Lost) => lost += 1,
                Err(Stop::Failed(error)) => {
                    rested(Err(&error));
                    ran.failed.push(error);
                }
            }
        }
        let now = self.now();
        let dues = ran.jobs.iter().filter_map(Job::due);
        let dues = dues.map(|due| Duration::from_millis(due.saturating_sub(now)));
        ran.next = dues.chain(due.next).min();
        ran.elsewhere = due.elsewhere + lost;
        ran
    }

    /// Returns when a job was started, or lets go on, in this process: for a loop that waits for the next
    /// [`run_due`](Self::run_due). One at a time may wait.
    pub async fn started(&self) {
        self.notifier.called().await;
    }

    /// Takes jobs that are due and that no other node is at, as many as there is room for, and removes those
    /// that ended long ago.
    async fn take_due(&self, under_way: &BTreeSet<JobId>, room: usize) -> Result<Due, JobError> {
        self.commands.refresh().await?;
        let (mut jobs, mut rows) = self.jobs_and_rows().await?;
        if self.start_due(&jobs).await? {
            (jobs, rows) = self.jobs_and_rows().await?;
        }
        let mut worker = self.worker.lock().await;
        worker.retain(&rows);
        let now = self.now();
        let mut found = Due::default();
        let mut ended = Vec::new();
        let mut due = Vec::new();
        let tally = Tally::of(&jobs);
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) = Some(tally);
        for (job, row) in jobs.into_iter().zip(rows) {
            if job.state.is_ended() {
                ended.push((job.last_change(), row));
                continue;
            }
            // One that a person has given free while it is worked on here is taken when that has stopped.
            if under_way.contains(&row.id) {
                continue;
            }
            match job.due() {
                Some(time) if time <= now => due.push((row, job)),
                Some(time) => {
                    let wait = Duration::from_millis(time - now);
                    found.next = Some(found.next.map_or(wait, |next| next.min(wait)));
                }
                None => {}
            }
        }
        ended.sort_by_key(|(time, row)| (*time, row.id));
        let surplus = ended.len().saturating_sub(self.settings.kept);
        for (_, row) in ended.into_iter().take(surplus) {
            self.commands.remove_job(&row).await?;
        }
        for (row, mut job) in due {
            if !worker.may_take(&self.commands, &row).await? {
                found.elsewhere += 1;
                continue;
            }
            if found.work.len() >= room {
                found.is_more = true;
                break;
            }
            // One that was denied something is shown as blocked until it gets further.
            if !matches!(job.state, JobState::Blocked { .. }) {
                job.state = JobState::Running;
            }
            let written = self.moment();
            let taken = self.commands.replace_job(&row, worker.name(), &job.body()).await?;
            job.state = JobState::Running;
            match taken {
                Some(row) => found.work.push(Work {
                    id: row.id,
                    row,
                    job,
                    written,
                }),
                None => found.elsewhere += 1,
            }
        }
        Ok(found)
    }

    /// The jobs that can be read, and the row of each.
    async fn jobs_and_rows(&self) -> Result<(Vec<Job>, Vec<JobRow>), JobError> {
        let rows = self.commands.job_rows().await?.rows.into_iter();
        let read = |row: JobRow| Some((Job::read(row.id, &row.body).ok()?, row));
        Ok(rows.filter_map(read).unzip())
    }

    /// One step of a job.
    fn turn(&self, work: Work) -> Running<'_> {
        let id = work.id;
        Box::pin(async move { (id, self.run(work).await) })
    }

    async fn run(&self, mut work: Work) -> Result<Turn, Stop> {
        let intent = work.job.intent;
        let actor = self.commands.under_job(&self.actor, &work.row);
        if let Some(denied) = &mut work.job.denied {
            denied.again = None;
        }
        let outcome = match intent {
            Intent::CloudAccount(account) => self.rotate(&mut work, &actor, account).await,
            Intent::Orphans(account) => self.clean_up(&mut work, account).await,
            _ => match self.site(intent, &actor).await {
                Ok(site) => {
                    let outcome = self.step(&site, &mut work).await;
                    work.job.count(&site.caller);
                    outcome
                }
                Err(error) => Err(error.into()),
            },
        };
        match outcome {
            Ok(()) => {}
            Err(Stop::Failed(error)) => self.failed(&mut work.job, error)?,
            Err(Stop::Lost) => return Err(Stop::Lost),
        }
        // It was not denied again: it has got further, or something else stops it.
        work.job.denied.take_if(|denied| denied.again.is_none());
        if work.job.state == JobState::Running {
            let owner = work.row.owner.clone();
            self.write(&mut work, &owner).await?;
            return Ok(Turn::On(work));
        }
        self.end(work).await.map(Turn::Rests)
    }

    /// Returns whether another worker may have taken a job over, since its row was written too long ago: what
    /// creates something must not be called any more.
    ///
    /// What remains: a process that stands still after this check. AWS takes a signature for five minutes, so
    /// a call can come late only if the process stands still in the instant before it signs. A KMS key that
    /// is made then carries the operation tag, by which [cleaning up](Intent::Orphans) finds it.
    pub(super) fn is_late(&self, work: &Work) -> bool {
        self.moment() >= work.written.saturating_add(self.settings.step_limit)
    }

    pub(super) async fn write(&self, work: &mut Work, owner: &str) -> Result<(), Stop> {
        let written = self.moment();
        let row = self.commands.replace_job(&work.row, owner, &work.job.body()).await?;
        work.row = row.ok_or(Stop::Lost)?;
        work.written = written;
        Ok(())
    }

    /// Gives the row back, and records what a person must know.
    async fn end(&self, mut work: Work) -> Result<Job, Stop> {
        let now = self.now();
        let (outcome, reason) = match &work.job.state {
            JobState::Done => (Some(Outcome::Done), None),
            JobState::Blocked { .. } if work.job.is_denied_again() => (None, None),
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
