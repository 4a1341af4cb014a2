//! A store under test, and its calls as the contracts make them.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use xks_core::testkit::conformance::{FixtureFuture, Problem};

use crate::{
    Event, Outcome, Timestamp,
    store::{Cell, ChangeSet, Head, Loaded, Revision, Row, RowSink, Scope, Store, StoreError, Table},
};

pub(super) type Checked = Result<(), Problem>;

pub(super) fn broken(how: impl Into<String>) -> Problem {
    Problem::Broken(how.into())
}

/// How many characters of a value are shown.
const SHOWN: usize = 500;

pub(super) fn must_be<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Checked {
    if found == expected {
        return Ok(());
    }
    let shown = |value: &T| format!("{value:?}").chars().take(SHOWN).collect::<String>();
    let (expected, found) = (shown(expected), shown(found));
    Err(broken(format!("{what}: expected {expected}, and it is {found}")))
}

/// A store under test. It must be empty when it is opened first.
pub struct Fixture {
    open: Box<dyn Fn() -> Arc<dyn Store> + Send + Sync>,
    store: Mutex<Option<Arc<dyn Store>>>,
    outlives: bool,
    run: Box<dyn Fn(FixtureFuture<'_>) + Send + Sync>,
    pub(super) patience: Duration,
}

/// A change, as a load gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Changed {
    pub(super) table: Table,
    pub(super) id: String,
    pub(super) revision: Revision,
    pub(super) is_removed: bool,
    pub(super) row: Option<Row<'static>>,
}

impl Fixture {
    /// A store that `open` opens.
    #[must_use]
    pub fn new<S: Store>(open: impl Fn() -> Arc<S> + Send + Sync + 'static) -> Self {
        Self {
            open: Box::new(move || open()),
            store: Mutex::default(),
            outlives: false,
            run: Box::new(|future: FixtureFuture<'_>| pollster::block_on(future)),
            patience: Duration::from_secs(300),
        }
    }

    /// What was committed outlives the store: after it was dropped, `open` opens it again.
    #[must_use]
    pub fn outlives(self) -> Self {
        let outlives = true;
        Self { outlives, ..self }
    }

    /// Runs calls on an async runtime: `run` must run the future to its end.
    #[must_use]
    pub fn run(self, run: impl Fn(FixtureFuture<'_>) + Send + Sync + 'static) -> Self {
        let run = Box::new(run);
        Self { run, ..self }
    }

    /// How long one contract may take before it counts as hung; by default five minutes.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(store.get_or_insert_with(&self.open))
    }

    /// Drops the store and opens it again.
    pub(super) fn restart(&self) -> Checked {
        if !self.outlives {
            return Err(Problem::NotTried("state that outlives the process"));
        }
        drop(self.store.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }

    pub(super) fn wait<T: Send>(&self, call: impl Future<Output = T> + Send) -> Result<T, Problem> {
        let mut outcome = None;
        (self.run)(Box::pin(async { outcome = Some(call.await) }));
        outcome.ok_or_else(|| broken("the fixture's `run` did not run the future to its end"))
    }

    /// Waits for a call that must succeed. `what` was to be done.
    pub(super) fn must<T: Send>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, Problem> {
        self.wait(call)?
            .map_err(|error| broken(format!("{what} failed: {error}")))
    }

    pub(super) fn commit(&self, changes: ChangeSet) -> Checked {
        let store = self.store();
        self.must("to commit", store.commit(changes))
    }

    pub(super) fn load(&self, scope: Scope) -> Result<(Vec<Row<'static>>, Head), Problem> {
        let (rows, _, head) = self.load_all(scope)?;
        Ok((rows, head))
    }

    pub(super) fn changes(&self, after: Revision) -> Result<(Vec<Changed>, Head), Problem> {
        let (_, mut changes, head) = self.load_all(Scope::Since(after))?;
        changes.sort_by(|one, other| (one.table, &one.id).cmp(&(other.table, &other.id)));
        Ok((changes, head))
    }

    fn load_all(&self, scope: Scope) -> Result<(Vec<Row<'static>>, Vec<Changed>, Head), Problem> {
        let loaded = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let sink: RowSink = {
            let loaded = Arc::clone(&loaded);
            Box::new(move |one| {
                let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                match one {
                    Loaded::Row(row) => loaded.0.push(row.into_owned()),
                    Loaded::Change {
                        table,
                        id,
                        revision,
                        is_removed,
                        row,
                    } => loaded.1.push(Changed {
                        table,
                        id: id.to_owned(),
                        revision,
                        is_removed,
                        row: row.map(Row::into_owned),
                    }),
                }
            })
        };
        let store = self.store();
        let head = self.must("to load", store.load(scope, sink))?;
        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, changes) = std::mem::take(&mut *loaded);
        Ok((rows, changes, head))
    }

    pub(super) fn revision(&self) -> Result<Revision, Problem> {
        Ok(self.load(Scope::Table(Table::Roots))?.1.revision)
    }
}

/// A tenant's row that a change set for this revision puts.
pub(super) fn row(id: &str, name: &str, expected: Revision) -> Row<'static> {
    let cells = vec![Cell::Text(name.to_owned().into()), Cell::Text("".into())];
    Row::new(Table::Tenants, id.to_owned().into(), expected.next(), [7; 16], cells)
}

/// A change set for a revision that puts tenants.
pub(super) fn put(expected: Revision, rows: &[(&str, &str)]) -> ChangeSet {
    let mut changes = ChangeSet::new(expected, code(expected.next()));
    changes.rows = rows.iter().map(|(id, name)| row(id, name, expected)).collect();
    changes
}

/// Another code for each revision.
pub(super) fn code(revision: Revision) -> [u8; 32] {
    [(revision.get() % 251) as u8; 32]
}

pub(super) fn event(object: &str) -> Result<Event, Problem> {
    let time = Timestamp::from_seconds("time", 1_700_000_000);
    time.and_then(|time| Event::new(time, "alice", "disable", object, Outcome::Done))
        .map_err(|error| broken(error.to_string()))
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("outlives", &self.outlives)
            .finish_non_exhaustive()
    }
}
