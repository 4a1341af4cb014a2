//! A store in memory, for tests: its state ends with it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use xks_core::async_trait;

use super::{
    ChangeSet, Claim, ClaimKind, Head, Loaded, Revision, Row, RowSink, Scope, Store, StoreError, Swap, Swapped, Table,
    notifier::Notifier,
};
use crate::Event;

/// A store in memory, for tests. A clone of the `Arc` around it is the same store, as for several nodes.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    notifier: Notifier<Revision>,
}

#[derive(Debug, Default)]
struct State {
    head: Head,
    rows: BTreeMap<(Table, Box<str>), Row<'static>>,
    /// The last change of each row, and whether it removed it.
    changes: BTreeMap<(Table, Box<str>), (Revision, bool)>,
    claims: BTreeMap<(ClaimKind, Box<str>), Claim>,
    events: Vec<Event>,
}

impl MemoryStore {
    /// A store that nothing was committed to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, scope: Scope, mut sink: RowSink) -> Result<Head, StoreError> {
        let state = self.lock();
        match scope {
            Scope::Everything => state.rows.values().for_each(|row| sink(Loaded::Row(row.clone()))),
            Scope::Table(table) => state
                .rows
                .values()
                .filter(|row| row.table == table)
                .for_each(|row| sink(Loaded::Row(row.clone()))),
            Scope::Since(after) => {
                let changed = state.changes.iter().filter(|(_, (revision, _))| *revision > after);
                for (place, (revision, is_removed)) in changed {
                    sink(Loaded::Change {
                        table: place.0,
                        id: &place.1,
                        revision: *revision,
                        is_removed: *is_removed,
                        row: state.rows.get(place).cloned(),
                    });
                }
            }
        }
        Ok(state.head)
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError> {
        let mut state = self.lock();
        let (expected, head) = (changes.expected, state.head.revision);
        if expected != head {
            return Err(StoreError::Conflict { expected, head });
        }
        if let Some(claim) = &changes.condition {
            let found = state.claims.get(&(claim.kind, claim.id.clone()));
            if !found.is_some_and(|found| found.is_as_seen(claim)) {
                return Err(claim.lost());
            }
        }
        let next = changes.head();
        for row in changes.rows {
            let place = (row.table, Box::<str>::from(&*row.id));
            state.changes.insert(place.clone(), (row.revision, false));
            state.rows.insert(place, row);
        }
        for place in changes.removed {
            state.rows.remove(&place);
            state.changes.insert(place, (next.revision, true));
        }
        let claims = changes.claims.into_iter();
        state
            .claims
            .extend(claims.map(|claim| ((claim.kind, claim.id.clone()), claim)));
        for place in &changes.ended_claims {
            state.claims.remove(place);
        }
        state.events.extend(changes.events.into_iter().map(|event| Event {
            revision: event.revision.or(Some(next.revision)),
            ..event
        }));
        state.head = next;
        drop(state);
        self.notifier.announce(next.revision);
        Ok(())
    }

    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        Ok(self.notifier.follow(after).await)
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        let mut state = self.lock();
        let place = swap.place();
        let place = (place.0, Box::<str>::from(place.1));
        let found = state.claims.get(&place);
        let (is_done, next) = match swap {
            Swap::Insert(claim) => (found.is_none(), Some(claim)),
            Swap::Replace { seen, next } => (found.is_some_and(|claim| claim.is_as_seen(&seen)), Some(next)),
            Swap::Delete(seen) => (found.is_some_and(|claim| claim.is_as_seen(&seen)), None),
        };
        if is_done {
            match next {
                Some(next) => state.claims.insert(
                    place.clone(),
                    Claim {
                        kind: place.0,
                        id: place.1.clone(),
                        ..next
                    },
                ),
                None => state.claims.remove(&place),
            };
        }
        let claim = state.claims.get(&place).cloned();
        Ok(Swapped::new(is_done, claim, state.head.revision))
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        let state = self.lock();
        let claims = state.claims.values().filter(|claim| claim.kind == kind).cloned();
        Ok((claims.collect(), state.head.revision))
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.lock().events.extend(events);
        Ok(())
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        let state = self.lock();
        let numbered = (1..).zip(state.events.iter().cloned());
        Ok(numbered.filter(|(number, _)| *number > after).take(limit).collect())
    }
}
