//! The commands of administration: what the server's command line, its socket and its HTTP API call.
//!
//! ```text
//! command ──▶ check ──▶ key manager ──▶ commit at a revision ──▶ the next request sees it ──▶ answer
//!                                                             └──▶ the observer
//! ```
//!
//! # Rules
//! * **Decisions are pure**: what a command changes is [decided](crate::key_state) on the state as it is, and
//!   decided again when somebody else has committed meanwhile.
//! * **Two commands at once** on one object: one wins. The other gets [`CommandError::Changed`], with what is
//!   other now, unless it finds nothing left to do.
//! * **No orphans**: before a key is made in a key manager, the state has its version with the token of its
//!   creation; before one is destroyed there, the state has its tombstone. What a process leaves half done,
//!   because it or the key manager was gone, [`Commands::recover`] finishes or removes.
//! * **Every command is an event**, with who, what, before and after; those that were refused or failed too.
//! * No lock is held while a key manager or the store is waited for.
//!
//! # Cancellation
//! A future may be dropped at any time. What the command has begun is finished by `recover`, or by the same
//! command again.

mod actor;
mod backends;
mod backup;
mod cloud_material;
mod count;
mod create;
mod create_many;
mod error;
mod imported;
mod key;
mod key_store;
mod known_answer;
mod making;
mod material;
mod nodes;
mod noun;
mod observer;
mod orphans;
mod recover;
mod remove_node;
mod seen;
mod usage;
mod verify;
mod version;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

pub use self::{
    actor::{Actor, LastCommit},
    backends::{Backends, Deployment, material_of_label},
    create::{Adopt, Adopted, AdoptionWarning, CreateKey},
    error::CommandError,
    key::KeyEntry,
    key_store::{CredentialEntry, CredentialRefused, NewCredential},
    nodes::{NodeEntry, Nodes},
    noun::Administered,
    observer::{Observed, Observer},
    orphans::{MadeFor, Orphan},
    recover::{Recovered, RecoveredMaterials},
    usage::VersionUsage,
};
pub(crate) use self::{
    backends::{ManagedBackend, is_told_by_name, material_name, named_version},
    making::mark_id,
};
use crate::{
    Changes, Counts, Event, EventText, Outcome, Repository, Snapshot, Timestamp, Touched,
    credentials::LiveCredentials,
    nodes::{Confirmation, Moment, Node},
    repository::Advance,
    store::{Revision, StoreError},
    view::View,
};

/// How long a key manager may take by default to make or to destroy one key.
const MANAGER_TIMEOUT: Duration = Duration::from_secs(60);

/// Gives commands on a state, and knows its latest revision.
///
/// ```
/// use std::{sync::Arc, time::SystemTime};
/// use xks_backend_soft::SoftBackend;
/// use xks_lifecycle::{
///     KeySet, KeySetId, KeySource, Name, Repository, Tenant, TenantId,
///     commands::{Actor, Backends, Commands, CreateKey, Deployment},
///     key_state::KeyCommand, seal::Root, store::MemoryStore,
/// };
///
/// # pollster::block_on(async {
/// # let directory = std::env::temp_dir().join(format!("xks-lifecycle-commands-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("root");
/// # Root::create_file(&path)?;
/// # let root = Root::file("recovery", &path)?;
/// let store = Arc::new(MemoryStore::new());
/// let (repository, snapshot) = Repository::create(store, &[root], SystemTime::now().into()).await?;
/// let hsm = Arc::new(SoftBackend::new());
/// let backends = Backends::new().with(Name::new("name", "hsm")?, hsm.clone(), hsm);
/// let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod")?);
///
/// let alice = Actor::new("alice")?;
/// let tenant = Tenant::new(TenantId::generate()?, "payroll")?;
/// let set = KeySet::new(KeySetId::generate()?, tenant.id, "salaries", KeySource::Hsm)?;
/// let set_id = set.id;
/// commands.create(&alice, tenant).await?;
/// commands.create(&alice, set).await?;
///
/// let made = commands.create_key(&alice, CreateKey::new(set_id, "2027")?).await?;
/// let disabled = commands.change_key(&alice, &made.key.id, Some(made.revision), KeyCommand::Disable).await?;
/// assert_eq!(disabled.state.as_str(), "disabled");
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Commands {
    repository: Repository,
    backends: Backends,
    deployment: Deployment,
    manager_timeout: Duration,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    snapshot: Mutex<Snapshot>,
    /// Is changed while the snapshot is locked.
    view: Arc<View>,
    /// Are changed while the snapshot is locked.
    credentials: LiveCredentials,
    observer: Option<Arc<dyn Observer>>,
    counts: Arc<Counts>,
    node: Option<Arc<Node>>,
    /// For how long a command waits for other nodes; if none, as their terms say.
    patience: Option<Duration>,
}

/// A command that is under way, as its events show it.
struct Call<'c> {
    actor: &'c Actor,
    command: &'static str,
    object: String,
    /// Why it is given, if its events shall say so.
    reason: Option<EventText>,
}

impl<'c> Call<'c> {
    fn new(actor: &'c Actor, command: &'static str, object: &dyn fmt::Display) -> Self {
        Self {
            actor,
            command,
            object: object.to_string(),
            reason: None,
        }
    }

    fn failure(&self, time: Timestamp, error: &CommandError) -> Event {
        Event {
            reason: Some(EventText::cut(&error.with_causes())),
            ..self.event(time, error.outcome())
        }
    }

    fn event(&self, time: Timestamp, outcome: Outcome) -> Event {
        Event {
            time,
            actor: self.actor.text().clone(),
            command: EventText::cut(self.command),
            object: EventText::cut(&self.object),
            outcome,
            revision: None,
            reason: self.reason.clone(),
            before: None,
            after: None,
        }
    }
}

/// What a command decided on the state of one revision: what to commit, and what to answer when that is done.
struct Decided<T> {
    changes: Option<Changes>,
    answer: T,
}

impl<T> Decided<T> {
    const fn change(changes: Changes, answer: T) -> Self {
        Self {
            changes: Some(changes),
            answer,
        }
    }

    const fn nothing(answer: T) -> Self {
        Self { changes: None, answer }
    }
}

impl Commands {
    /// Commands on a state that was opened. Keys are made in these backends, and labelled with the
    /// deployment's name. Call [`recover`](Self::recover) before the first command.
    #[must_use]
    pub fn new(repository: Repository, snapshot: Snapshot, backends: Backends, deployment: Deployment) -> Self {
        let view = Arc::new(View::new(backends.clone(), &snapshot));
        let counts = Arc::new(Counts::new(Arc::clone(repository.store())));
        Self {
            repository,
            view,
            credentials: LiveCredentials::new(&snapshot),
            observer: None,
            node: None,
            patience: None,
            counts,
            backends,
            deployment,
            manager_timeout: MANAGER_TIMEOUT,
            now: Arc::new(|| SystemTime::now().into()),
            snapshot: Mutex::new(snapshot),
        }
    }

    /// Sets how long a key manager may take to make or to destroy one key: 60 seconds by default.
    #[must_use]
    pub fn with_manager_timeout(self, manager_timeout: Duration) -> Self {
        Self {
            manager_timeout,
            ..self
        }
    }

    /// Sets where the time comes from: by default the system's clock.
    #[must_use]
    pub fn with_clock(self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let now = Arc::new(now);
        Self { now, ..self }
    }

    /// Sets who learns of each change before the command that made it returns, and tells it the whole state.
    /// To be called after [`with_clock`](Self::with_clock).
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        let observer = Some(observer);
        let commands = Self { observer, ..self };
        commands.observed(&commands.lock(), None);
        commands
    }

    /// Says that this process is one of several nodes on the store. Before keys are served.
    #[must_use]
    pub fn with_node(self, node: Arc<Node>) -> Self {
        let node = Some(node);
        Self { node, ..self }
    }

    /// Returns this process as one of several nodes; none if the state belongs to it alone.
    #[must_use]
    pub const fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// Sets for how long a command waits for other nodes. By default it is twice the time after which a node
    /// that is gone is known to be dead: 61 seconds with leases of 30.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        let patience = Some(patience);
        Self { patience, ..self }
    }

    /// Returns for how long a command waits for other nodes.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let of_node = || self.node.as_ref().map_or(Duration::ZERO, |node| node.patience());
        self.patience.unwrap_or_else(of_node)
    }

    /// Waits until every node serves a revision that a command has committed, has left, or is dead. A state
    /// that belongs to this process alone needs no wait.
    pub async fn confirm(&self, revision: Revision) -> Confirmation {
        self.confirm_within(revision, self.patience()).await
    }

    /// As [`confirm`](Self::confirm), for so long at most.
    pub async fn confirm_within(&self, revision: Revision, patience: Duration) -> Confirmation {
        let store = self.repository.store();
        match &self.node {
            Some(node) => node.confirm(&**store, node.confirming(revision), patience).await,
            None => Confirmation::of_one_process(revision, store.durability().await.ok()),
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        Arc::clone(&self.now)
    }

    /// Returns the time, as commands see it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(crate) const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// A moment on the lease clock, or for a process alone on the clock of its commands.
    pub(crate) fn moment(&self) -> Moment {
        let of_node = self.node.as_ref().and_then(|node| node.now());
        of_node.unwrap_or_else(|| Moment::new(Duration::from_secs(self.now().seconds())))
    }

    /// For how long one task of a scheduler may take: a key manager makes a key and describes it, and the
    /// other nodes are waited for.
    pub(crate) fn task_limit(&self) -> Duration {
        self.manager_timeout.saturating_mul(2).saturating_add(self.patience())
    }

    /// Returns the revision that this knows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.lock().revision()
    }

    /// Returns the keys as requests see them. A command that has returned is in it.
    #[must_use]
    pub const fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Returns what counts the encryptions of the keys.
    #[must_use]
    pub const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    pub(crate) const fn live_credentials(&self) -> &LiveCredentials {
        &self.credentials
    }

    /// Reads something in the state.
    pub fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(&self.lock())
    }

    /// Nothing that is done under the lock can be left halfway, so a panic of another thread has broken
    /// nothing.
    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets requests, and then the observer, see what has changed in the snapshot.
    fn applied(&self, snapshot: &Snapshot, touched: &Touched) {
        self.view.update(snapshot, touched);
        self.credentials.update(snapshot, &touched.credentials);
        self.observed(snapshot, Some(touched));
    }

    fn observed(&self, snapshot: &Snapshot, touched: Option<&Touched>) {
        let commands = self;
        if let Some(observer) = &self.observer {
            observer.changed(&Observed {
                commands,
                snapshot,
                touched,
            });
        }
    }

    /// Takes in what others have committed. Returns whether there was anything.
    ///
    /// # Errors
    /// Those of [`Repository::refresh`].
    pub async fn refresh(&self) -> Result<bool, CommandError> {
        loop {
            let known = self.revision();
            let since = self.repository.since(known).await?;
            let advanced = {
                let mut snapshot = self.lock();
                if snapshot.revision() != known {
                    continue; // another command has committed, or refreshed
                }
                let advanced = self.repository.advance(&mut snapshot, since)?;
                if let Advance::Done(touched) = &advanced {
                    self.applied(&snapshot, touched);
                }
                advanced
            };
            return match advanced {
                Advance::Same => Ok(false),
                Advance::Done(_) => Ok(true),
                Advance::Forked { known } => Err(self.repository.forked(known).await.into()),
            };
        }
    }

    /// Commits what `decide` says of the latest revision, in the name of an actor. It decides again when
    /// somebody else has committed meanwhile.
    async fn commit<T: Send>(
        &self,
        actor: &Actor,
        mut decide: impl FnMut(&Snapshot, Timestamp) -> Result<Decided<T>, CommandError> + Send,
    ) -> Result<T, CommandError> {
        self.refresh().await?;
        loop {
            let now = self.now();
            let (prepared, answer) = {
                let snapshot = self.lock();
                let Decided { changes, answer } = decide(&snapshot, now)?;
                let Some(changes) = changes else {
                    actor.note(snapshot.revision());
                    return Ok(answer);
                };
                let changes = changes.under(actor.claim(), self.node.is_some());
                (self.repository.prepare(&snapshot, changes)?, answer)
            };
            kill_point!(Decided);
            match self.repository.write(&prepared).await {
                Ok(()) => {
                    kill_point!(Written);
                    let touched = prepared.touched();
                    let mut snapshot = self.lock();
                    actor.note(prepared.apply(&mut snapshot));
                    self.applied(&snapshot, &touched);
                    return Ok(answer);
                }
                Err(StoreError::Conflict { .. }) => drop(self.refresh().await?),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a command, and records that it was refused or has failed.
    async fn recorded<T>(
        &self,
        call: &Call<'_>,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let error = match work.await {
            Ok(answer) => return Ok(answer),
            Err(error @ CommandError::DoneUnrecorded(_)) => return Err(error),
            Err(error) => error,
        };
        match self.record(vec![call.failure(self.now(), &error)]).await {
            Ok(()) => Err(error),
            Err(store) => {
                let error = Box::new(error);
                Err(CommandError::NotRecorded { error, store })
            }
        }
    }

    /// Records that a command found everything as it wants it.
    async fn record_nothing(&self, call: &Call<'_>) -> Result<(), CommandError> {
        let event = call.event(self.now(), Outcome::Done);
        self.record(vec![event]).await.map_err(CommandError::DoneUnrecorded)
    }

    /// Records a command that was refused before it came here: it cannot be read, or who gives it may not.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn record_refusal(
        &self,
        actor: &Actor,
        command: &str,
        object: &str,
        reason: &str,
    ) -> Result<(), CommandError> {
        let event = Event {
            time: self.now(),
            actor: actor.text().clone(),
            command: EventText::cut(command),
            object: EventText::cut(object),
            outcome: Outcome::Refused,
            revision: None,
            reason: Some(EventText::cut(reason)),
            before: None,
            after: None,
        };
        Ok(self.record(vec![event]).await?)
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        kill_point!(Recording);
        self.repository.record(events).await?;
        kill_point!(Recorded);
        Ok(())
    }

    /// Returns at most `limit` events after the event of this number, oldest first, each with its number.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, CommandError> {
        Ok(self.repository.events(after, limit).await?)
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands")
            .field("revision", &self.revision())
            .field("backends", &self.backends)
            .field("deployment", &self.deployment)
            .finish_non_exhaustive()
    }
}
