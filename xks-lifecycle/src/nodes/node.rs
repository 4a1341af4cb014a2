//! Lives the life of a node over a store.

use std::{
    collections::BTreeMap,
    fmt,
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use thiserror::Error;
use xks_core::timer::Timer;

use super::{
    Confirmation, Confirming, Event, Facts, Lease, Life, Moment, NodeRow, NodeRowError, Observer, Step, Terms,
    Usability, lease::Clocks,
};
use crate::{
    Name, RandomError,
    broken_nodes::{Rule, breaks},
    commands::Commands,
    generate_key_id,
    store::{Claim, ClaimKind, Notifier, Revision, Store, StoreError, Swap},
};

/// A node of several on one store: this process.
///
/// [`run`](Self::run) is to be polled as long as the process serves. What its [lease](Self::lease) says holds
/// by itself when that is not done: trust ends.
pub struct Node {
    pub(super) terms: Terms,
    timer: Arc<dyn Timer>,
    process: Arc<str>,
    lease: Lease,
    life: Mutex<Life>,
    observer: Mutex<Observer>,
    leaves: Notifier<bool>,
    /// The claims of nodes that cannot be read: counters, and when they were seen first.
    unreadable: Mutex<BTreeMap<Box<str>, (u64, Moment)>>,
    pub(super) usability: Mutex<Usability>,
    /// Tells of each change of `usability`, and of what the row shall say of it.
    pub(super) tells: Notifier<()>,
    /// Whether a node that breaks the order of a join has read the snapshot for it.
    has_read: AtomicBool,
    unconfirmed: AtomicU64,
}

/// Why there can be no node.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Without it a lease ends elsewhere while this machine is suspended, unnoticed here.
    #[error(
        "several nodes on one store need a clock that goes on while the machine is suspended, which this system lacks"
    )]
    NoLeaseClock,
    /// The timer cannot wait.
    #[error("the timer cannot wait, as the node must")]
    NoSleep,
    /// There are no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl Node {
    /// A node of this name, which has not joined yet. Names should differ; nothing unsafe comes of equal
    /// ones.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn new(name: &Name, terms: Terms, timer: Arc<dyn Timer>) -> Result<Self, NodeError> {
        timer.lease_clock().ok_or(NodeError::NoLeaseClock)?;
        drop(timer.sleep(Duration::ZERO).ok_or(NodeError::NoSleep)?);
        let process: Arc<str> = generate_key_id()?.as_str().into();
        Ok(Self {
            terms,
            lease: Lease::new(Arc::clone(&timer)),
            timer,
            life: Mutex::new(Life::new(terms, name.as_str(), &process)),
            process,
            observer: Mutex::new(Observer::new(terms)),
            leaves: Notifier::default(),
            unconfirmed: AtomicU64::new(0),
            unreadable: Mutex::default(),
            usability: Mutex::default(),
            tells: Notifier::default(),
            has_read: AtomicBool::new(false),
        })
    }

    /// Lets the node serve on when it has lost the store, from what it has read last. A command that the
    /// other nodes serve then is not confirmed: it names this node, until that reaches the store again, or a
    /// person [removes](Commands::remove_node) its row. To be called before [`run`](Self::run).
    #[must_use]
    pub fn serving_on(self) -> Self {
        let life = self.life.into_inner().unwrap_or_else(PoisonError::into_inner);
        let life = Mutex::new(life.serving_on());
        Self { life, ..self }
    }

    /// Returns what requests ask whether they may be answered.
    #[must_use]
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Returns this node's row, as it was seen last; none while it has none.
    #[must_use]
    pub fn row(&self) -> Option<NodeRow> {
        lock(&self.life).row().cloned()
    }

    /// Returns the latest revision of the store of which this node has heard. It serves an earlier one until
    /// it has read that.
    #[must_use]
    pub fn head(&self) -> Revision {
        lock(&self.life).head()
    }

    /// Returns how many commands of this process were not confirmed by all nodes.
    #[must_use]
    pub fn unconfirmed(&self) -> u64 {
        self.unconfirmed.load(Ordering::Relaxed)
    }

    /// Sets what else the row tells of the node, from the next renewal on.
    pub fn set_facts(&self, facts: Facts) {
        lock(&self.life).set_facts(facts);
    }

    /// Ends trust at once, and lets [`run`](Self::run) delete the row and return. To be called when the last
    /// answer has gone.
    pub fn leave(&self) {
        lock(&self.life).leave();
        if let Some(clocks) = self.lease.clocks() {
            self.lease.set(None, clocks);
        }
        self.leaves.change(|leaves| *leaves = true);
    }

    /// Joins, and renews the lease, until the node has left. It takes in what others commit, and tries the
    /// versions that they publish.
    ///
    /// # Cancellation
    /// The future may be dropped, and another one made. Trust ends when it is not renewed.
    pub async fn run(&self, commands: &Commands) {
        let (live, tries) = (Box::pin(self.live(commands)), Box::pin(self.try_versions(commands)));
        first(live, tries).await;
    }

    async fn live(&self, commands: &Commands) {
        // Of the renewal that trust is of.
        let Some(mut trusted) = self.lease.clocks() else { return };
        loop {
            let Some(sent) = self.lease.clocks() else { return };
            let served = self.take_in(commands);
            let step = lock(&self.life).next(sent.now, served);
            self.put_in_force(trusted);
            let event = match step {
                Step::End => return,
                Step::Wait(until) => {
                    self.wait(commands, sent.now.until(until)).await;
                    continue;
                }
                step => self.perform(commands, step).await,
            };
            let Some(Clocks { now, .. }) = self.lease.clocks() else {
                return;
            };
            if matches!(event, Event::Inserted | Event::Renewed { .. }) {
                trusted = sent;
            }
            lock(&self.life).on(now, commands.revision(), event);
            self.put_in_force(trusted);
            if let Event::Renewed { .. } = event {
                self.bury(&**commands.repository().store(), now).await;
            }
        }
    }

    fn put_in_force(&self, sent: Clocks) {
        let life = lock(&self.life);
        self.lease.set(life.trust(), sent); // under the lock, so that nothing comes after the end
    }

    /// Waits until it is time, there is a later revision, or the node is to leave.
    async fn wait(&self, commands: &Commands, duration: Duration) {
        let heard = lock(&self.life).head().max(commands.revision());
        let news = async {
            match commands.repository().store().follow(heard).await {
                Ok(head) => lock(&self.life).hear(head),
                Err(_) => pending().await, // renewals say whether the store works
            }
        };
        let leaves = self.leaves.wait(|leaves| leaves.then_some(()));
        let jumped = async {
            self.lease.jumped().await;
            lock(&self.life).renew();
        };
        let leaves = first(leaves, jumped);
        let has_news = self.tells.wait(|()| lock(&self.life).has_news().then_some(()));
        self.within(duration, first(news, first(leaves, has_news))).await;
    }

    /// Takes in what is published. Returns the revision of that.
    fn take_in(&self, commands: &Commands) -> Revision {
        let (revision, published) = commands.read(|snapshot| (snapshot.revision(), snapshot.published().clone()));
        lock(&self.usability).take_in(revision, published);
        self.tell();
        revision
    }

    /// Lets the row say what is known of versions, unless something is left to try.
    pub(super) fn tell(&self) {
        let usable = {
            let usability = lock(&self.usability);
            usability.untried().next().is_none().then(|| usability.usable())
        };
        if let Some(usable) = usable {
            lock(&self.life).set_usable(&usable);
        }
        self.tells.change(|()| {});
    }

    async fn perform(&self, commands: &Commands, step: Step) -> Event {
        let store = &**commands.repository().store();
        let call = async {
            if matches!(step, Step::Insert(_)) && breaks(Rule::JoinOrder) {
                self.has_read.store(commands.refresh().await.is_ok(), Ordering::Relaxed);
            }
            match step {
                Step::Load if self.has_read.swap(false, Ordering::Relaxed) => Event::Loaded,
                Step::Insert(row) => match store.swap(Swap::Insert(row.to_claim())).await {
                    Ok(swapped) if swapped.is_done => Event::Inserted,
                    _ => Event::Failed,
                },
                Step::Load => match commands.refresh().await {
                    Ok(_) => Event::Loaded,
                    Err(_) => Event::Failed,
                },
                Step::Renew { seen, next } => self.renew(store, &seen, &next).await,
                Step::Delete(row) => match store.swap(Swap::Delete(row.to_claim())).await {
                    Ok(swapped) if swapped.is_done => Event::Deleted,
                    Ok(swapped) => missed(swapped.claim),
                    Err(_) => Event::Failed,
                },
                Step::Wait(_) | Step::End => Event::Failed, // neither asks anything
            }
        };
        // A renewal has time for another one before trust ends.
        self.within(self.terms.renewal(), call).await.unwrap_or(Event::Failed)
    }

    async fn renew(&self, store: &dyn Store, seen: &NodeRow, next: &NodeRow) -> Event {
        let (seen, next) = (seen.to_claim(), next.to_claim());
        let Ok((swapped, claims)) = store.swap_and_list(Swap::Replace { seen, next }).await else {
            return Event::Failed;
        };
        // Without a fence what a commander remembers is as old as its last command.
        if !breaks(Rule::RowFence) {
            self.observe(&claims);
        }
        if swapped.is_done {
            let head = swapped.revision;
            return Event::Renewed { head };
        }
        missed(swapped.claim)
    }

    /// Whether a row is of this process.
    pub(crate) fn is_of(&self, row: &NodeRow) -> bool {
        row.process == self.process
    }

    /// How long ago this process saw the last change of a row's counter.
    pub(crate) fn unchanged(&self, row: &NodeRow) -> Duration {
        let since = lock(&self.observer).since(row);
        let now = self.lease.clocks().map(|clocks| clocks.now);
        since.zip(now).map_or(Duration::ZERO, |(since, now)| since.until(now))
    }

    /// Takes in rows that have arrived. One that cannot be read is not taken for dead.
    pub(crate) fn observe(&self, claims: &[Claim]) -> (Vec<NodeRow>, Vec<NodeRowError>) {
        let (mut rows, mut errors, mut unreadable) = (Vec::new(), Vec::new(), BTreeMap::new());
        let now = self.now();
        for claim in claims {
            match (NodeRow::from_claim(claim), now) {
                (Ok(row), _) => rows.push(row),
                (Err(error), now) => {
                    errors.push(error);
                    let known = lock(&self.unreadable).get(&claim.id).copied();
                    let since = known.filter(|(counter, _)| *counter == claim.counter);
                    if let Some(since) = since.map(|(_, since)| since).or(now) {
                        unreadable.insert(claim.id.clone(), (claim.counter, since));
                    }
                }
            }
        }
        if let Some(now) = now {
            lock(&self.observer).observe(now, &rows);
            *lock(&self.unreadable) = unreadable;
        }
        (rows, errors)
    }

    /// Whether the node of a row has ended, as far as its silence says so.
    fn has_ended(&self, claim: &Claim) -> bool {
        let Some(now) = self.now() else { return false };
        match NodeRow::from_claim(claim) {
            Ok(row) => row.process != self.process && lock(&self.observer).has_ended(now, &row),
            Err(_) => {
                let known = lock(&self.unreadable).get(&claim.id).copied();
                let wait = self.terms.wait(self.terms.lease());
                known.is_some_and(|(counter, since)| counter == claim.counter && now >= since.plus(wait))
            }
        }
    }

    /// Removes the row of a node that has ended. Returns whether it did; none if there is no such row.
    pub(crate) async fn remove(&self, store: &dyn Store, id: &str) -> Result<Option<bool>, StoreError> {
        let claims = store.claims(ClaimKind::Node).await?.0;
        drop(self.observe(&claims));
        let Some(claim) = claims.into_iter().find(|claim| *claim.id == *id) else {
            return Ok(None);
        };
        if !self.has_ended(&claim) {
            return Ok(Some(false));
        }
        Ok(Some(store.swap(Swap::Delete(claim)).await?.is_done))
    }

    /// Deletes the rows of the dead. Returns whether there were any.
    async fn bury(&self, store: &dyn Store, now: Moment) -> bool {
        let ended: Vec<_> = lock(&self.observer).ended(now).map(NodeRow::to_claim).collect();
        let mut has_any = false;
        for claim in ended {
            let deleted = self.within(self.terms.retry(), store.swap(Swap::Delete(claim))).await;
            has_any |= matches!(deleted, Some(Ok(swapped)) if swapped.is_done);
        }
        has_any
    }

    /// The rows of those that a node without a fence takes for dead: it trusts what it remembers.
    fn written_off(&self) -> Vec<String> {
        match self.lease.clocks().filter(|_| breaks(Rule::RowFence)) {
            Some(Clocks { now, .. }) => lock(&self.observer).ended(now).map(NodeRow::id).collect(),
            None => Vec::new(),
        }
    }

    /// What the lease clock shows; none if there is none any more.
    pub(crate) fn now(&self) -> Option<Moment> {
        self.lease.clocks().map(|clocks| clocks.now)
    }

    /// Returns the node's name.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(lock(&self.life).name())
    }

    /// Returns the name of this process: another one each time that it starts.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// A wait of this process for all nodes to serve a revision.
    pub(crate) fn confirming(&self, revision: Revision) -> Confirming {
        Confirming::new(revision, Some(Arc::clone(&self.process)))
    }

    /// For how long a command waits for other nodes, unless it is said: a dead node's end comes in half of
    /// it.
    pub(crate) const fn patience(&self) -> Duration {
        self.terms.wait(self.terms.lease()).saturating_mul(2)
    }

    /// Waits until every node says what is wanted, has left, or is dead; for so long at most.
    pub(crate) async fn confirm(&self, store: &dyn Store, confirming: Confirming, patience: Duration) -> Confirmation {
        let durability = self.within(self.terms.renewal(), store.durability());
        let (mut confirmation, durable) = both(self.wait_for(store, confirming, patience), durability).await;
        confirmation.durable = durable.and_then(Result::ok);
        confirmation
    }

    async fn wait_for(&self, store: &dyn Store, mut confirming: Confirming, patience: Duration) -> Confirmation {
        let (mut took, mut failed, mut unreadable) = (Duration::ZERO, None, Vec::new());
        let start = self.lease.clocks().map(|clocks| clocks.now);
        while took < patience {
            let written_off = self.written_off();
            let call = self.within(self.terms.renewal(), store.claims(ClaimKind::Node)).await;
            let clocks = self.lease.clocks();
            let (Some(start), Some(Clocks { now, .. })) = (start, clocks) else {
                break;
            };
            took = start.until(now);
            match call {
                Some(Ok((claims, _))) => {
                    failed = None;
                    let (mut rows, errors) = self.observe(&claims);
                    unreadable = errors;
                    rows.retain(|row| !written_off.contains(&row.id()));
                    if confirming.observe(&rows) && unreadable.is_empty() {
                        break;
                    }
                    if self.bury(store, now).await {
                        continue;
                    }
                }
                Some(Err(error)) => failed = Some(error.to_string()),
                None => failed = Some("the store did not answer in time".to_owned()),
            }
            // The answer comes later by a quarter at most.
            let delay = (took / 4).max(Duration::from_millis(1)).min(self.terms.retry());
            self.within(delay.min(patience.saturating_sub(took)), pending::<()>())
                .await;
        }
        let confirmation = Confirmation::new(&confirming, &unreadable, failed, took);
        if !confirmation.is_confirmed() {
            self.unconfirmed.fetch_add(1, Ordering::Relaxed);
        }
        confirmation
    }

    /// Waits for so long at most.
    pub(super) async fn within<T>(&self, duration: Duration, work: impl Future<Output = T>) -> Option<T> {
        let Some(sleep) = self.timer.sleep(duration) else {
            return Some(work.await); // it could when it was asked first
        };
        first(async { Some(work.await) }, async {
            sleep.await;
            None
        })
        .await
    }
}

/// Nothing that is done under one of the locks can be left halfway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missed(claim: Option<Claim>) -> Event {
    Event::Missed {
        counter: claim.map(|claim| claim.counter),
    }
}

/// Waits for the first of two.
pub(super) async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(outcome),
        Poll::Pending => other.as_mut().poll(context),
    })
    .await
}

/// Waits for both.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut answers = (None, None);
    poll_fn(|context| {
        if answers.0.is_none() {
            answers.0 = ready(one.as_mut().poll(context));
        }
        if answers.1.is_none() {
            answers.1 = ready(other.as_mut().poll(context));
        }
        match std::mem::take(&mut answers) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            others => {
                answers = others;
                Poll::Pending
            }
        }
    })
    .await
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("row", &self.row()).finish_non_exhaustive()
    }
}
