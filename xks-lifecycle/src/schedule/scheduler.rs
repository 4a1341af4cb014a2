//! The scheduler: does what is due, by the same commands as people.

use std::{collections::BTreeMap, fmt, sync::Arc};

use xks_core::{KeyId, manage::ManageErrorKind};

use super::{
    Task,
    claim::{Claimant, Held, LEASE},
    credential,
    due::{Planned, visit},
};
use crate::{
    CommandError, EventText, Key, KeySetId, KeyStoreCredential, KeyStoreId, KeyVersionId, RandomError, RepositoryError,
    Snapshot, Timestamp,
    commands::{Actor, Commands, KeyEntry},
    counts::MAX_ENCRYPTIONS,
    key_state::KeyState,
    store::Revision,
};

/// How long a task waits that has failed once, in seconds; each time twice as long.
const FIRST_RETRY_SECONDS: u64 = 60;
/// How long it waits at most.
const LAST_RETRY_SECONDS: u64 = 3600;

/// Does what is due by schedules. It has no thread and no timer: its caller sleeps until
/// [`next_due`](Self::next_due), or a minute at most since a command may have changed that, and calls
/// [`run_due`](Self::run_due).
///
/// Each server has one; of several on one store, one runs at a time.
///
/// ```
/// # use std::{sync::Arc, time::SystemTime};
/// # use xks_lifecycle::{
/// #     Repository, Timestamp, commands::{Actor, Backends, Commands, Deployment}, seal::Root, store::MemoryStore,
/// # };
/// use xks_lifecycle::schedule::Scheduler;
///
/// # pollster::block_on(async {
/// # let directory = std::env::temp_dir().join(format!("xks-lifecycle-scheduler-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("root");
/// # Root::create_file(&path)?;
/// # let root = Root::file("recovery", &path)?;
/// # let (repository, snapshot) =
/// #     Repository::create(Arc::new(MemoryStore::new()), &[root], SystemTime::now().into()).await?;
/// # let commands = Commands::new(repository, snapshot, Backends::new(), Deployment::new("prod")?);
/// let mut scheduler = Scheduler::new(Arc::new(commands), Actor::new("scheduler")?)?;
/// let ran = scheduler.run_due().await;
/// assert!(ran.done.is_empty() && ran.failed.is_empty());
/// assert_eq!(scheduler.next_due(), None); // there is no schedule yet
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scheduler {
    commands: Arc<Commands>,
    actor: Actor,
    claimant: Claimant,
    /// What has failed, and is due.
    retries: BTreeMap<Task, Retry>,
    plan: Option<Plan>,
}

/// What was found when all keys and key stores were looked at: it holds until one changes.
struct Plan {
    revision: Revision,
    /// When: a key that has expired since a clock was set back is not in it.
    made: Timestamp,
    /// When there is something to do next.
    next: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Retry {
    attempts: u32,
    next: Timestamp,
}

/// What [`Scheduler::run_due`] has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Ran {
    /// What was due and is done, in this order.
    pub done: Vec<Task>,
    /// What was due and has failed.
    pub failed: Vec<Failure>,
    /// Whether another scheduler holds the claim of the store: then that one does what is due.
    pub is_left_to_another: bool,
    /// Why the rest of what is due waits for the next call: the store has failed.
    pub stopped: Option<CommandError>,
}

/// A task that has failed. Its event says so too.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// What was due.
    pub task: Task,
    /// Why it failed.
    pub error: CommandError,
    /// How many attempts have failed, one after the other.
    pub attempts: u32,
    /// When it is tried again: after a minute, and then twice as long each time, up to an hour.
    pub retry: Timestamp,
}

impl Scheduler {
    /// A scheduler that gives these commands in the name of an actor, such as `scheduler`. The time is that
    /// of the commands.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn new(commands: Arc<Commands>, actor: Actor) -> Result<Self, RandomError> {
        let claimant = match commands.node() {
            Some(node) => Claimant::new(node.process(), LEASE.saturating_add(commands.task_limit())),
            None => Claimant::new("", LEASE),
        }?;
        Ok(Self {
            commands,
            actor,
            claimant,
            retries: BTreeMap::new(),
            plan: None,
        })
    }

    /// Does what is due, unless another scheduler does. Each task is a command with an event; one that fails
    /// does not keep the others from being done. But when a key manager cannot be reached, the other keys of
    /// the key set wait with the one that has failed, so that not each of them waits for a deadline; and when
    /// the store fails, the rest waits for the next call.
    ///
    /// # Cancellation
    /// The future may be dropped at any time. What it has begun is ended by the next call.
    pub async fn run_due(&mut self) -> Ran {
        let mut ran = Ran::default();
        ran.stopped = self.run_claimed(&mut ran).await.err();
        ran
    }

    async fn run_claimed(&mut self, ran: &mut Ran) -> Result<(), CommandError> {
        self.commands.refresh().await?;
        let tasks = self.due_tasks();
        if tasks.is_empty() {
            return Ok(());
        }
        let store = Arc::clone(self.commands.repository().store());
        let Some(mut held) = self.claimant.take(&*store, self.commands.moment()).await? else {
            ran.is_left_to_another = true;
            return Ok(());
        };
        let outcome = self.run(tasks, &mut held, ran).await;
        let released = held.release(&*store).await;
        outcome.and(released.map_err(CommandError::from))
    }

    async fn run(&mut self, tasks: Vec<Task>, held: &mut Held, ran: &mut Ran) -> Result<(), CommandError> {
        self.plan = None;
        let mut away = BTreeMap::new();
        for task in tasks {
            let store = self.commands.repository().store();
            if !held.renew(&**store, self.commands.moment()).await? {
                ran.is_left_to_another = true;
                return Ok(());
            }
            let key_set = self.key_set_of(&task);
            if let Some(retry) = key_set.and_then(|set| away.get(&set)) {
                self.put_off(task, *retry);
                continue;
            }
            match self.perform(&task, &self.actor.under(held.claim().clone())).await {
                Ok(is_done) => {
                    self.retries.remove(&task);
                    if is_done {
                        ran.done.push(task);
                    }
                }
                Err(error) if error.is_claim_lost() => {
                    ran.is_left_to_another = true;
                    return Ok(());
                }
                Err(error) if is_of_store(&error) => return Err(error),
                Err(error) => {
                    let failure = self.failed(task, error);
                    if let Some(set) = key_set.filter(|_| is_away(&failure.error)) {
                        away.insert(set, failure.retry);
                    }
                    ran.failed.push(failure);
                }
            }
        }
        Ok(())
    }

    /// Does a task, if it is still due: a person, or the scheduler that held the claim before, may have done
    /// it. Returns whether it was due.
    async fn perform(&self, task: &Task, actor: &Actor) -> Result<bool, CommandError> {
        self.commands.refresh().await?;
        match task {
            Task::RotateKey(id) => self.rotate_key(id, actor).await,
            Task::RotateNearLimit(id) => self.rotate_near_limit(id, actor).await,
            Task::RotateCredential(id) => {
                if self.credential_due(*id, task).is_none() {
                    return Ok(false);
                }
                self.commands.prepare_credential(actor, *id).await?;
                Ok(true)
            }
            Task::RevokeCredential(former) => {
                let store = |snapshot: &Snapshot| snapshot.credential(former).map(|former| former.key_store);
                let due = self
                    .commands
                    .read(store)
                    .and_then(|store| self.credential_due(store, task));
                let Some(latter) = due else { return Ok(false) };
                self.commands.revoke_former(actor, former, &latter).await?;
                Ok(true)
            }
        }
    }

    /// The credential that stays, if this task is due for those of a key store.
    fn credential_due(&self, key_store: KeyStoreId, task: &Task) -> Option<KeyStoreCredential> {
        let now = self.commands.now();
        self.commands.read(|snapshot| {
            let planned = credential::Planned::find(snapshot, key_store, now)?;
            let (next, due) = planned.next()?;
            let latter = planned.latter().filter(|_| next == *task && due <= now);
            latter.cloned()
        })
    }

    async fn rotate_key(&self, id: &KeyId, actor: &Actor) -> Result<bool, CommandError> {
        let now = self.commands.now();
        let seen = self.commands.read(|snapshot| {
            let due = Planned::find(snapshot, snapshot.key(id)?, now)?.due(snapshot.key(id)?)?;
            let entry = KeyEntry::find(snapshot, id, now)?;
            (due <= now).then_some(entry.revision)
        });
        let Some(seen) = seen else { return Ok(false) };
        self.commands.rotate(actor, id, Some(seen)).await?;
        Ok(true)
    }

    async fn rotate_near_limit(&self, id: &KeyId, actor: &Actor) -> Result<bool, CommandError> {
        let now = self.commands.now();
        let Some(version) = self.near_limit(now).into_iter().find(|version| version.key == *id) else {
            return Ok(false);
        };
        let reserved = self.commands.repository().reserved(&version).await?;
        let reason = format!("version {version} has {reserved} of {MAX_ENCRYPTIONS} encryptions reserved");
        let seen = self.commands.key(id)?.revision;
        let reason = Some(EventText::cut(&reason));
        self.commands.rotate_for(actor, id, Some(seen), reason).await?;
        Ok(true)
    }

    /// The versions near their limit whose keys are enabled.
    fn near_limit(&self, now: Timestamp) -> Vec<KeyVersionId> {
        let mut versions = self.commands.versions_near_limit();
        if !versions.is_empty() {
            self.commands.read(|snapshot| {
                let is_enabled = |key: &Key| key.state_at(now) == KeyState::Enabled;
                versions.retain(|version| snapshot.key(&version.key).is_some_and(|key| is_enabled(key)));
            });
        }
        versions
    }

    fn key_set_of(&self, task: &Task) -> Option<KeySetId> {
        match task {
            Task::RotateKey(id) | Task::RotateNearLimit(id) => {
                self.commands.read(|snapshot| snapshot.key(id).map(|key| key.key_set))
            }
            Task::RotateCredential(_) | Task::RevokeCredential(_) => None,
        }
    }

    /// Tries a task later, which was not tried now.
    fn put_off(&mut self, task: Task, next: Timestamp) {
        let attempts = self.attempts(&task);
        self.retries.insert(task, Retry { attempts, next });
    }

    fn attempts(&self, task: &Task) -> u32 {
        self.retries.get(task).map_or(0, |retry| retry.attempts)
    }

    fn failed(&mut self, task: Task, error: CommandError) -> Failure {
        let attempts = self.attempts(&task).saturating_add(1);
        let doublings = (attempts - 1).min(LAST_RETRY_SECONDS.ilog2());
        let seconds = (FIRST_RETRY_SECONDS << doublings).min(LAST_RETRY_SECONDS);
        let retry = self.commands.now().plus_seconds(seconds);
        self.retries.insert(task.clone(), Retry { attempts, next: retry });
        Failure {
            task,
            error,
            attempts,
            retry,
        }
    }

    /// Returns when [`run_due`](Self::run_due) has something to do next, as far as is known: a time that may
    /// be past; none when nothing will be due. When a version comes near its limit is not known before.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let next = match self.plan() {
            Some(plan) => plan.next,
            None => {
                let mut next = Next(None);
                self.each_due(self.commands.now(), |_, _, start| next.add(start));
                next.0
            }
        };
        let blocked = |until| {
            let left = self.commands.moment().until(until);
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            self.commands.now().plus_seconds(seconds)
        };
        next.max(next.and(self.claimant.blocked_until().map(blocked)))
    }

    /// What is due and does not wait for its next attempt: earliest first, but what has failed comes last.
    fn due_tasks(&mut self) -> Vec<Task> {
        let now = self.commands.now();
        let is_quiet = |plan: &Plan| plan.next.is_none_or(|next| now < next);
        // Counts change without a revision.
        if self.plan().is_some_and(is_quiet) && self.near_limit(now).is_empty() {
            return Vec::new();
        }
        let revision = self.commands.revision();
        let (mut tasks, mut retries, mut next) = (Vec::new(), BTreeMap::new(), Next(None));
        self.each_due(now, |task, due, start| {
            next.add(start);
            if due > now {
                return;
            }
            if let Some(retry) = self.retries.get(&task) {
                retries.insert(task.clone(), *retry);
            }
            if start <= now {
                tasks.push((self.attempts(&task), due, task));
            }
        });
        self.retries = retries;
        let next = next.0;
        self.plan = Some(Plan {
            revision,
            made: now,
            next,
        });
        tasks.sort_unstable();
        tasks.into_iter().map(|(.., task)| task).collect()
    }

    /// The plan, if it still holds.
    fn plan(&self) -> Option<&Plan> {
        let holds = |plan: &&Plan| plan.revision == self.commands.revision() && plan.made <= self.commands.now();
        self.plan.as_ref().filter(holds)
    }

    /// All tasks there are: when each is due, and when it is tried, which may be later.
    fn each_due(&self, now: Timestamp, mut take: impl FnMut(Task, Timestamp, Timestamp)) {
        let mut take = |task: Task, due: Timestamp| {
            let start = self.retries.get(&task).map_or(due, |retry| due.max(retry.next));
            take(task, due, start);
        };
        visit(&self.commands, |snapshot, key| {
            let planned = Planned::find(snapshot, key, now);
            if let Some(due) = planned.and_then(|planned| planned.due(key)) {
                take(Task::RotateKey(key.id.clone()), due);
            }
        });
        for version in self.near_limit(now) {
            take(Task::RotateNearLimit(version.key), now);
        }
        self.commands.read(|snapshot| {
            for (task, due) in credential::Planned::all(snapshot, now).filter_map(|planned| planned.next()) {
                take(task, due);
            }
        });
    }
}

/// The earliest of times.
struct Next(Option<Timestamp>);

impl Next {
    fn add(&mut self, time: Timestamp) {
        self.0 = Some(self.0.map_or(time, |next| next.min(time)));
    }
}

/// Whether a key manager or backend does not answer, so that it would not for another key.
fn is_away(error: &CommandError) -> bool {
    match error {
        CommandError::Manager { source, .. } => {
            matches!(source.kind(), ManageErrorKind::Timeout | ManageErrorKind::Unavailable)
        }
        CommandError::Backend { .. } => true,
        _ => false,
    }
}

fn is_of_store(error: &CommandError) -> bool {
    matches!(
        error,
        CommandError::Repository(RepositoryError::Store(_))
            | CommandError::NotRecorded { .. }
            | CommandError::DoneUnrecorded(_)
    )
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("actor", &self.actor)
            .field("retries", &self.retries.len())
            .finish_non_exhaustive()
    }
}
