//! The store with its data key: loads the state, and changes it.

mod count;
mod differences;
mod error;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

pub(crate) use self::count::advance;
use self::differences::differences;
pub use self::error::RepositoryError;
use crate::{
    ChangeError, Changes, Event, MaterialState, Object, Snapshot, Timestamp, Touched, VersionState,
    commands::mark_id,
    record::{RowError, decode},
    seal::{DataKey, Root, Sum, Wrapped},
    snapshot::{Item, read},
    store::{ChangeSet, ClaimKind, Head, Loaded, Revision, Row, RowSink, Scope, Store, StoreError, Table},
};

/// A [`Store`] that was opened with a [`Root`].
///
/// It authenticates each row that it loads, and all of them together: see [`seal`](crate::seal).
///
/// ```
/// use std::{sync::Arc, time::SystemTime};
/// use xks_lifecycle::{Changes, Repository, Tenant, TenantId, seal::Root, store::MemoryStore};
///
/// # pollster::block_on(async {
/// # let directory = std::env::temp_dir().join(format!("xks-lifecycle-repository-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let path = directory.join("root");
/// Root::create_file(&path)?;
/// let (store, root) = (Arc::new(MemoryStore::new()), Root::file("recovery", &path)?);
///
/// let now = SystemTime::now().into();
/// let (repository, mut snapshot) = Repository::create(store, &[root], now).await?;
/// let tenant = Tenant::new(TenantId::generate()?, "payroll")?;
/// let id = tenant.id;
/// repository.commit(&mut snapshot, Changes::new().insert(tenant)).await?;
/// assert_eq!(snapshot.tenant(id).unwrap().name.as_str(), "payroll");
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Repository {
    store: Arc<dyn Store>,
    key: Arc<DataKey>,
}

/// The claim of a version or material that ends when the item is committed: its known answer when it is
/// published no more, and the mark of who makes it when it is made.
fn ended(snapshot: &Snapshot, item: &Item) -> Option<(ClaimKind, Box<str>)> {
    let version = match item {
        Item::Version(version) => version,
        Item::CloudMaterial(material) => {
            let former = snapshot.cloud_material(material.id)?.state();
            let is_made = former == MaterialState::Pending && material.state() != former;
            return is_made.then(|| (ClaimKind::Job, mark_id(&material.id).into()));
        }
        _ => return None,
    };
    let former = snapshot.versions.get(&version.id).map(|former| former.state);
    match former.filter(|former| *former != version.state)? {
        VersionState::Published => Some((ClaimKind::KnownAnswer, version.id.to_string().into())),
        VersionState::Pending => Some((ClaimKind::Job, mark_id(&version.id).into())),
        _ => None,
    }
}

/// Loads what a closure collects.
pub(crate) async fn collect<T: Default + Send + 'static>(
    store: &dyn Store,
    scope: Scope,
    take: impl Fn(&mut T, Loaded<'_>) + Send + 'static,
) -> Result<(T, Head), StoreError> {
    let collected = Arc::new(Mutex::new(T::default()));
    let sink: RowSink = {
        let collected = Arc::clone(&collected);
        Box::new(move |loaded| take(&mut collected.lock().unwrap_or_else(PoisonError::into_inner), loaded))
    };
    let head = store.load(scope, sink).await?;
    let collected = std::mem::take(&mut *collected.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((collected, head))
}

#[derive(Default)]
struct Loading {
    snapshot: Snapshot,
    errors: Vec<RowError>,
}

/// A change of a row, as the store recorded it.
struct Recorded {
    table: Table,
    id: Box<str>,
    revision: Revision,
    is_removed: bool,
    row: Option<Row<'static>>,
}

/// What changed after a revision, and the head that it leads to.
pub(crate) struct Since {
    changes: Vec<Recorded>,
    head: Head,
}

/// Where a snapshot stands after [`Repository::advance`].
pub(crate) enum Advance {
    /// At the revision that it was at.
    Same,
    /// At a later one, to which this led.
    Done(Touched),
    /// Where it was: what was read does not follow from it.
    Forked {
        /// The revision of the snapshot.
        known: Revision,
    },
}

/// Changes that are sealed for one revision.
pub(crate) struct Prepared {
    set: ChangeSet,
    changes: Changes,
    sums: Vec<Sum>,
}

impl Prepared {
    /// What the changes touch.
    pub(crate) fn touched(&self) -> Touched {
        let mut touched = Touched::default();
        let items = self.changes.items().map(Item::object);
        items
            .chain(self.changes.removed.iter().cloned())
            .for_each(|object| touched.add(&object));
        touched
    }

    /// Makes the changes, once they are written, in a snapshot that is at the revision before them. One that
    /// was brought to their revision or a later one has them already.
    pub(crate) fn apply(self, snapshot: &mut Snapshot) -> Revision {
        let head = self.set.head();
        if snapshot.revision() != self.set.expected {
            return head.revision;
        }
        for object in &self.changes.removed {
            snapshot.remove(object.0, &object.1);
        }
        for (item, sum) in self.changes.into_items().zip(self.sums) {
            snapshot.put(item, head.revision, sum);
        }
        snapshot.set_head(head);
        head.revision
    }
}

/// Unwraps the data key with the first of these roots that can.
pub(crate) async fn unwrap(
    wrapped: Vec<Result<Wrapped, RowError>>,
    roots: &[Root],
) -> Result<DataKey, RepositoryError> {
    let (mut known, mut failed) = (Vec::new(), Vec::new());
    for wrapped in wrapped {
        match wrapped {
            Ok(wrapped) => known.push(wrapped),
            Err(error) => failed.push(error.to_string()),
        }
    }
    for root in roots {
        let Some(wrapped) = known.iter().find(|wrapped| wrapped.name.as_str() == root.name()) else {
            failed.push(format!("`{}` is not among its roots", root.name()));
            continue;
        };
        match root.unwrap(wrapped).await {
            Ok(key) => return Ok(DataKey::new(key)),
            Err(error) => failed.push(format!("`{}`: {error}", root.name())),
        }
    }
    let known = known.iter().map(|wrapped| wrapped.name.to_string()).collect();
    Err(RepositoryError::NoRoot { failed, known })
}

impl Repository {
    /// Makes the state of an empty store: a data key, wrapped under each of these roots.
    ///
    /// # Errors
    /// [`RepositoryError::Exists`], [`RepositoryError::RootRequired`], or that of a root or of the store.
    pub async fn create(
        store: Arc<dyn Store>,
        roots: &[Root],
        now: Timestamp,
    ) -> Result<(Self, Snapshot), RepositoryError> {
        if roots.is_empty() {
            return Err(RepositoryError::RootRequired);
        }
        let (_, head) = collect::<()>(&*store, Scope::Table(Table::Roots), |(), _| {}).await?;
        if head.revision != Revision::ZERO {
            return Err(RepositoryError::Exists(head.revision));
        }
        let repository = Self::with_key(store, DataKey::generate()?);
        let mut changes = Changes::new();
        for root in roots {
            changes = changes.put_root(repository.wrap(root, now).await?);
        }
        let mut snapshot = Snapshot::default();
        repository.commit(&mut snapshot, changes).await?;
        Ok((repository, snapshot))
    }

    /// Opens a store with the first of these roots that can, and loads its state.
    ///
    /// # Errors
    /// [`RepositoryError::Empty`], [`RepositoryError::NoRoot`], and those of [`load`](Self::load).
    pub async fn open(store: Arc<dyn Store>, roots: &[Root]) -> Result<(Self, Snapshot), RepositoryError> {
        let take = |wrapped: &mut Vec<Result<Wrapped, RowError>>, loaded: Loaded<'_>| {
            if let Loaded::Row(row) = loaded {
                let error = |problem| RowError::new(row.table, &row.id, problem);
                wrapped.push(decode(None, &row).map_err(error));
            }
        };
        let (wrapped, head) = collect(&*store, Scope::Table(Table::Roots), take).await?;
        if head.revision == Revision::ZERO {
            return Err(RepositoryError::Empty);
        }
        let repository = Self::with_key(store, unwrap(wrapped, roots).await?);
        let snapshot = repository.load().await?;
        Ok((repository, snapshot))
    }

    /// Loads the whole state and authenticates it.
    ///
    /// # Errors
    /// [`RepositoryError::Rows`] or [`RepositoryError::Head`] when it is not authentic; those of the store.
    pub async fn load(&self) -> Result<Snapshot, RepositoryError> {
        loop {
            let key = Arc::clone(&self.key);
            let take = move |loading: &mut Loading, loaded: Loaded<'_>| {
                if let Loaded::Row(row) = loaded
                    && let Err(error) = loading.snapshot.take(&key, &row)
                {
                    loading.errors.push(error);
                }
            };
            let (Loading { mut snapshot, errors }, head) = collect(&*self.store, Scope::Everything, take).await?;
            if !errors.is_empty() {
                return Err(RepositoryError::Rows(errors));
            }
            if self.key.is_head(&head, snapshot.sum()) {
                snapshot.set_head(head);
                return Ok(snapshot);
            }
            // Which row it is, the list of changes says.
            let (changes, now) = self.changes(Revision::ZERO).await?;
            if now != head {
                continue; // somebody has committed in between
            }
            let errors = differences(&snapshot, &changes);
            return Err(if errors.is_empty() {
                RepositoryError::Head(head.revision)
            } else {
                RepositoryError::Rows(errors)
            });
        }
    }

    async fn changes(&self, after: Revision) -> Result<(Vec<Recorded>, Head), StoreError> {
        let take = |changes: &mut Vec<Recorded>, loaded: Loaded<'_>| {
            if let Loaded::Change {
                table,
                id,
                revision,
                is_removed,
                row,
            } = loaded
            {
                changes.push(Recorded {
                    table,
                    id: id.into(),
                    revision,
                    is_removed,
                    row: row.map(Row::into_owned),
                });
            }
        };
        collect(&*self.store, Scope::Since(after), take).await
    }

    /// Brings a snapshot to the latest revision, by what changed since its own. Returns whether anything did.
    /// A snapshot stays as it is when this fails.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`RepositoryError::WentBack`] when the store is at an earlier revision;
    /// [`RepositoryError::Forked`] when it is at one that does not follow from what was seen;
    /// a history that has overwritten all that was different is as good as the one that was seen.
    pub async fn refresh(&self, snapshot: &mut Snapshot) -> Result<bool, RepositoryError> {
        let since = self.since(snapshot.revision()).await?;
        match self.advance(snapshot, since)? {
            Advance::Same => Ok(false),
            Advance::Done(_) => Ok(true),
            Advance::Forked { known } => Err(self.forked(known).await),
        }
    }

    /// Reads what changed after a revision. With [`advance`](Self::advance) it is [`refresh`](Self::refresh),
    /// for a snapshot that is locked for no longer than it changes.
    pub(crate) async fn since(&self, revision: Revision) -> Result<Since, StoreError> {
        let (changes, head) = self.changes(revision).await?;
        Ok(Since { changes, head })
    }

    /// Brings a snapshot to the revision at which was read what changed since its own.
    pub(crate) fn advance(&self, snapshot: &mut Snapshot, since: Since) -> Result<Advance, RepositoryError> {
        let Since { changes, head } = since;
        let (known, found) = (snapshot.revision(), head.revision);
        if found < known {
            return Err(RepositoryError::WentBack { known, found });
        }
        if found == known && head == *snapshot.head() {
            return Ok(Advance::Same);
        }
        let mut errors = Vec::new();
        let mut total = snapshot.sum();
        let mut updates = Vec::with_capacity(changes.len());
        for change in changes {
            if let Some(former) = snapshot.sum_of(change.table, &change.id) {
                total.toggle(former);
            }
            let read = |row: &Row<'_>| read(&self.key, row).map(|(item, sum)| (item, row.revision, sum));
            match change.row.as_ref().map(read).transpose() {
                Ok(now) => {
                    if let Some((.., sum)) = &now {
                        total.toggle(*sum);
                    }
                    updates.push((change, now));
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(RepositoryError::Rows(errors));
        }
        if !self.key.is_head(&head, total) {
            return Ok(Advance::Forked { known });
        }
        let mut touched = Touched::default();
        for (change, now) in updates {
            match now {
                Some((item, revision, sum)) => snapshot.put(item, revision, sum),
                None => snapshot.remove(change.table, &change.id),
            }
            touched.add(&Object(change.table, change.id));
        }
        snapshot.set_head(head);
        Ok(Advance::Done(touched))
    }

    /// Says why what changed and the head, which were read together, do not fit what was seen: a row is
    /// wrong, which this names; or all of it is authentic, and does not follow from what was seen before.
    pub(crate) async fn forked(&self, known: Revision) -> RepositoryError {
        match self.load().await {
            Ok(snapshot) => RepositoryError::Forked {
                known,
                found: snapshot.revision(),
            },
            Err(error) => error,
        }
    }

    /// Commits changes that were decided on this snapshot, and makes them in the snapshot too.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the store is at another revision than the snapshot: refresh it and
    /// decide again. [`RepositoryError::Change`] when the changes contradict the state. The snapshot stays as
    /// it is; after [`StoreError::Unavailable`] refresh it to see whether the changes were made.
    pub async fn commit(&self, snapshot: &mut Snapshot, changes: Changes) -> Result<Revision, RepositoryError> {
        let prepared = self.prepare(snapshot, changes)?;
        self.write(&prepared).await?;
        Ok(prepared.apply(snapshot))
    }

    /// Seals what a snapshot at this revision lets be changed. With [`write`](Self::write) and
    /// [`Prepared::apply`] it is [`commit`](Self::commit), for a snapshot that is not locked meanwhile.
    pub(crate) fn prepare(&self, snapshot: &Snapshot, changes: Changes) -> Result<Prepared, RepositoryError> {
        snapshot.check(&changes)?;
        let revision = snapshot.revision().next();
        let mut set = ChangeSet::new(snapshot.revision(), [0; 32]);
        let mut sums = Vec::with_capacity(changes.items().len());
        let mut total = snapshot.sum();
        for item in changes.items() {
            let (row, sum) = item.encode(&self.key, revision)?;
            total.toggle(sum);
            sums.push(sum);
            set.rows.push(row);
        }
        set.removed = changes
            .removed
            .iter()
            .map(|object| (object.0, object.1.clone()))
            .collect();
        let replaced = set.rows.iter().map(|row| (row.table, &*row.id));
        let removed = set.removed.iter().map(|(table, id)| (*table, &**id));
        for (table, id) in replaced.chain(removed) {
            if let Some(former) = snapshot.sum_of(table, id) {
                total.toggle(former);
            }
        }
        set.code = self.key.head(revision, total).code;
        set.events.clone_from(&changes.events);
        set.claims.clone_from(&changes.claims);
        set.condition.clone_from(&changes.condition);
        let items = changes.items().filter(|_| changes.has_nodes);
        set.ended_claims = items.filter_map(|item| ended(snapshot, item)).collect();
        Ok(Prepared { set, changes, sums })
    }

    pub(crate) async fn write(&self, prepared: &Prepared) -> Result<(), StoreError> {
        self.store.commit(prepared.set.clone()).await
    }

    /// A store with its data key.
    pub(crate) fn with_key(store: Arc<dyn Store>, key: DataKey) -> Self {
        let key = Arc::new(key);
        Self { store, key }
    }

    pub(crate) const fn key(&self) -> &Arc<DataKey> {
        &self.key
    }

    pub(crate) const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    async fn wrap(&self, root: &Root, now: Timestamp) -> Result<Wrapped, RepositoryError> {
        root.wrap(self.key.expose(), now)
            .await
            .map_err(|error| RepositoryError::Root {
                name: root.name().to_owned(),
                error,
            })
    }

    /// Wraps the data key under one more root, or again under a root of that name. No other row is touched.
    ///
    /// # Errors
    /// [`RepositoryError::Root`], and those of [`commit`](Self::commit).
    pub async fn put_root(
        &self,
        snapshot: &mut Snapshot,
        root: &Root,
        event: Event,
    ) -> Result<Revision, RepositoryError> {
        let wrapped = self.wrap(root, event.time).await?;
        self.commit(snapshot, Changes::new().put_root(wrapped).event(event))
            .await
    }

    /// Removes a root. Who has it, and a copy of the database from before, can still open that copy.
    ///
    /// # Errors
    /// [`ChangeError::LastRoot`], and those of [`commit`](Self::commit).
    pub async fn remove_root(
        &self,
        snapshot: &mut Snapshot,
        name: &str,
        event: Event,
    ) -> Result<Revision, RepositoryError> {
        if snapshot.roots().eq([name]) {
            return Err(ChangeError::LastRoot(name.to_owned()).into());
        }
        self.commit(snapshot, Changes::new().remove_root(name).event(event))
            .await
    }

    /// Waits until the store is at a later revision than this one, and returns which.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        self.store.follow(after).await
    }

    /// Records events that change no state: of commands that were refused or failed.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.store.record(events).await
    }

    /// Returns at most `limit` events after the event of this number, oldest first, each with its number.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.store.events(after, limit).await
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").finish_non_exhaustive()
    }
}
