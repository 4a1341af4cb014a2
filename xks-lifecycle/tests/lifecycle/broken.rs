//! Stores with one defect each, around the store in memory.

use std::{
    future::{pending, poll_fn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use xks_core::async_trait;
use xks_lifecycle::{
    Event,
    store::{
        Cell, ChangeSet, Claim, ClaimKind, Head, Loaded, MemoryStore, Revision, RowSink, Scope, Store, StoreError,
        Swap, Swapped, Table,
    },
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    BeginsAtOne,
    TakesEmptyForNothing,
    CutsTexts,
    LoadsOtherTables,
    LoadsBackwards,
    KeepsRemovedRows,
    AddsBesideReplaced,
    IgnoresTheExpectedRevision,
    KeepsEventsOfRefused,
    LooksBeforeItLocks,
    LoadsInParts,
    ForgetsRemovals,
    RemembersTheFirstChange,
    NeverTells,
    TellsAtOnce,
    TellsOfClaims,
    SwapsUnseen,
    LooksAtTheCounterAlone,
    SwapsInTwoSteps,
    ListsBackwards,
    ListsAllKinds,
    ListsBeforeItSwaps,
    SwapsMoveTheRevision,
    LosesReasons,
    NumbersFromThePage,
    RecordsMoveTheRevision,
    ForgetsTheRevisionOfEvents,
    ForgetsClaimsOfCommits,
    CommitsWithoutTheClaim,
    CommitsUnderTheOwnerAlone,
    KeepsEndedClaims,
    RenumbersWhatIsPut,
    StaysBusyWhenDropped,
    CommitsHalfWhenDropped,
}

pub(crate) struct Broken {
    good: Arc<MemoryStore>,
    defect: Defect,
    is_busy: AtomicBool,
    /// How many calls have begun what has to be done in one step.
    begun: AtomicU64,
    moved: AtomicU64,
    first: Mutex<std::collections::HashMap<String, Revision>>,
}

impl Broken {
    pub(crate) fn new(defect: Defect) -> Self {
        Self {
            good: Arc::new(MemoryStore::new()),
            defect,
            is_busy: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            first: Mutex::default(),
        }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// Waits until a second call is here too, or a time has passed.
    fn meet(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        wait_until(|| self.begun.load(Ordering::Relaxed) > 1);
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.good.load(Scope::Table(Table::Roots), Box::new(|_| {})).await
    }

    /// A revision that claims and events have moved.
    fn moved(&self, revision: Revision) -> Revision {
        Revision::new(revision.get() + self.moved.load(Ordering::Relaxed))
    }
}

/// Waits until something happens that another thread is about to do.
fn wait_until(has_happened: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if has_happened() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

async fn yield_once() {
    let mut is_polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Collects rows, so that they can be handed on otherwise.
async fn rows(
    store: &MemoryStore,
    scope: Scope,
) -> Result<(Vec<xks_lifecycle::store::Row<'static>>, Head), StoreError> {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&rows);
    let take = move |loaded: Loaded<'_>| {
        if let Loaded::Row(row) = loaded {
            sink.lock().unwrap().push(row.into_owned());
        }
    };
    let head = store.load(scope, Box::new(take)).await?;
    let rows = std::mem::take(&mut *rows.lock().unwrap());
    Ok((rows, head))
}

#[async_trait]
impl Store for Broken {
    async fn load(&self, scope: Scope, mut sink: RowSink) -> Result<Head, StoreError> {
        let scope = match scope {
            Scope::Table(Table::Tenants) if self.is(Defect::LoadsOtherTables) => Scope::Table(Table::Keys),
            scope => scope,
        };
        if scope == Scope::Everything && self.is(Defect::LoadsInParts) {
            let head = self.head().await?;
            wait_until(|| pollster::block_on(self.head()).unwrap() != head);
            for table in Table::ALL {
                for row in rows(&self.good, Scope::Table(table)).await?.0 {
                    sink(Loaded::Row(row));
                }
                thread::yield_now();
            }
            return Ok(head);
        }
        if scope == Scope::Everything && self.is(Defect::LoadsBackwards) {
            let (rows, head) = rows(&self.good, scope).await?;
            rows.into_iter().rev().for_each(|row| sink(Loaded::Row(row)));
            return Ok(head);
        }
        let (forgets, first) = (
            self.is(Defect::ForgetsRemovals),
            self.is(Defect::RemembersTheFirstChange),
        );
        let known = self.first.lock().unwrap().clone();
        let take = move |loaded: Loaded<'_>| match loaded {
            Loaded::Change { is_removed: true, .. } if forgets => {}
            Loaded::Change {
                table,
                id,
                is_removed,
                row,
                ..
            } if first => sink(Loaded::Change {
                table,
                id,
                revision: known[id],
                is_removed,
                row,
            }),
            loaded => sink(loaded),
        };
        let head = self.good.load(scope, Box::new(take)).await?;
        let begins = u64::from(self.is(Defect::BeginsAtOne));
        let revision = self.moved(Revision::new(head.revision.get() + begins));
        Ok(Head::new(revision, head.code))
    }

    async fn commit(&self, mut changes: ChangeSet) -> Result<(), StoreError> {
        for cell in changes.rows.iter_mut().flat_map(|row| &mut row.cells) {
            match cell {
                Cell::Text(text) if text.is_empty() && self.is(Defect::TakesEmptyForNothing) => *cell = Cell::Null,
                Cell::Text(text) if text.len() > 255 && self.is(Defect::CutsTexts) => text.to_mut().truncate(255),
                _ => {}
            }
        }
        for row in &changes.rows {
            let mut first = self.first.lock().unwrap();
            first.entry(row.id.to_string()).or_insert(changes.expected.next());
        }
        if self.is(Defect::CommitsWithoutTheClaim) {
            changes.condition = None;
        }
        if let Some(claim) = &mut changes.condition
            && self.is(Defect::CommitsUnderTheOwnerAlone)
        {
            let found = self.good.claims(claim.kind).await?.0;
            let found = found
                .iter()
                .find(|found| (&found.id, &found.owner) == (&claim.id, &claim.owner));
            claim.counter = found.map_or(claim.counter, |found| found.counter);
        }
        if self.is(Defect::ForgetsClaimsOfCommits) {
            changes.claims.clear();
        }
        if self.is(Defect::KeepsEndedClaims) {
            changes.ended_claims.clear();
        }
        if self.is(Defect::RenumbersWhatIsPut) {
            let next = changes.next;
            changes.rows.iter_mut().for_each(|row| row.revision = next);
        }
        if self.is(Defect::KeepsRemovedRows) {
            changes.removed.clear();
        }
        if self.is(Defect::AddsBesideReplaced) {
            let (there, _) = rows(&self.good, Scope::Everything).await?;
            for row in &mut changes.rows {
                if there.iter().any(|other| other.id == row.id) {
                    row.id = format!("{} again", row.id).into();
                }
            }
        }
        if self.is(Defect::IgnoresTheExpectedRevision) {
            changes.expected = self.head().await?.revision;
        }
        if self.is(Defect::LooksBeforeItLocks) && self.head().await?.revision == changes.expected {
            self.meet();
            while let Err(StoreError::Conflict { head, .. }) = self.good.commit(changes.clone()).await {
                changes.expected = head;
            }
            return Ok(());
        }
        if self.is(Defect::StaysBusyWhenDropped) {
            if self.is_busy.swap(true, Ordering::Relaxed) {
                return Err(StoreError::Full("a commit is under way".to_owned()));
            }
            yield_once().await;
            self.is_busy.store(false, Ordering::Relaxed);
        }
        if self.is(Defect::CommitsHalfWhenDropped) && changes.rows.len() > 1 {
            let mut half = changes.clone();
            half.rows.truncate(1);
            self.good.commit(half).await?;
            yield_once().await;
            return Ok(());
        }
        let events = changes.events.clone();
        if self.is(Defect::ForgetsTheRevisionOfEvents) {
            changes.events.clear();
        }
        let outcome = self.good.commit(changes).await;
        let keeps = outcome.is_err() && self.is(Defect::KeepsEventsOfRefused);
        if keeps || self.is(Defect::ForgetsTheRevisionOfEvents) {
            self.good.record(events).await?;
        }
        outcome
    }

    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        match self.defect {
            Defect::NeverTells if after > Revision::ZERO => pending().await,
            Defect::TellsAtOnce => Ok(after.next()),
            Defect::TellsOfClaims if !self.good.claims(ClaimKind::Node).await?.0.is_empty() => Ok(after),
            _ => self.good.follow(after).await,
        }
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        if self.is(Defect::SwapsMoveTheRevision) {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        if let Swap::Replace { seen, next } = &swap {
            let found = self
                .good
                .claims(seen.kind)
                .await?
                .0
                .into_iter()
                .find(|claim| claim.id == seen.id);
            let is_taken = match (self.defect, &found) {
                (Defect::SwapsUnseen, Some(_)) => true,
                (Defect::LooksAtTheCounterAlone, Some(found)) => found.counter == seen.counter,
                (Defect::SwapsInTwoSteps, Some(found)) => (&found.owner, found.counter) == (&seen.owner, seen.counter),
                _ => false,
            };
            if let Some(mut seen) = found.filter(|_| is_taken) {
                if self.is(Defect::SwapsInTwoSteps) {
                    self.meet();
                }
                loop {
                    let next = next.clone();
                    let swapped = self.good.swap(Swap::Replace { seen, next }).await?;
                    match swapped.claim.clone() {
                        Some(claim) if !swapped.is_done => seen = claim,
                        _ => return Ok(swapped),
                    }
                }
            }
        }
        let swapped = self.good.swap(swap).await?;
        Ok(Swapped::new(
            swapped.is_done,
            swapped.claim,
            self.moved(swapped.revision),
        ))
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        let (mut claims, revision) = self.good.claims(kind).await?;
        if self.is(Defect::ListsBackwards) {
            claims.reverse();
        }
        if self.is(Defect::ListsAllKinds) && kind == ClaimKind::Job {
            claims.extend(self.good.claims(ClaimKind::Node).await?.0);
        }
        Ok((claims, revision))
    }

    async fn swap_and_list(&self, swap: Swap) -> Result<(Swapped, Vec<Claim>), StoreError> {
        let kind = match &swap {
            Swap::Insert(claim) | Swap::Replace { seen: claim, .. } | Swap::Delete(claim) => claim.kind,
        };
        if self.is(Defect::ListsBeforeItSwaps) {
            let (claims, _) = self.good.claims(kind).await?;
            return Ok((self.good.swap(swap).await?, claims));
        }
        self.good.swap_and_list(swap).await
    }

    async fn record(&self, mut events: Vec<Event>) -> Result<(), StoreError> {
        if self.is(Defect::LosesReasons) {
            events.iter_mut().for_each(|event| event.reason = None);
        }
        if self.is(Defect::RecordsMoveTheRevision) {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        self.good.record(events).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        let events = self.good.events(after, limit).await?;
        if self.is(Defect::NumbersFromThePage) {
            return Ok((1..).zip(events.into_iter().map(|(_, event)| event)).collect());
        }
        Ok(events)
    }
}
