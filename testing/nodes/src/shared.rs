//! What all parts of a run know: the clock, the judge, the weather, the subjects and the tally.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    judge::{At, Command, Judge, Judgement, Request, Returned, SubjectId},
    site::Subject,
    tally::Tally,
    weather::{FaultId, Felt, Weather},
};

/// The label of what happens while no fault is there.
pub(crate) const CALM: &str = "no fault";

/// What is shared.
pub(crate) struct Shared {
    start: Instant,
    pub(crate) lease: Duration,
    pub(crate) folder: PathBuf,
    state: Mutex<State>,
    subjects: RwLock<Vec<Arc<Subject>>>,
    has_to_stop: AtomicBool,
    /// How many flips have been made.
    flips: AtomicU64,
    /// By node: until when requests come more often, in milliseconds since the start.
    bursts: Vec<AtomicU64>,
    /// The node to which the last command was sent; is notified of each.
    pub(crate) commander: AtomicU64,
    pub(crate) commands: Notify,
    /// A node that gets no commands, which would bring it up to date by themselves.
    left_alone: AtomicU64,
}

/// What is changed under the lock.
pub(crate) struct State {
    pub(crate) judge: Judge,
    pub(crate) weather: Weather,
    pub(crate) tally: Tally,
    /// The fault that is there.
    label: &'static str,
}

impl State {
    /// Sets the name under which is counted.
    pub(crate) fn name(&mut self, label: &'static str) {
        self.label = label;
    }
}

impl Shared {
    pub(crate) fn new(lease: Duration, patience: Duration, folder: PathBuf, nodes: usize) -> Self {
        Self {
            start: Instant::now(),
            lease,
            folder,
            state: Mutex::new(State {
                judge: Judge::default(),
                weather: Weather::new(patience),
                tally: Tally::default(),
                label: CALM,
            }),
            subjects: RwLock::default(),
            has_to_stop: AtomicBool::new(false),
            flips: AtomicU64::new(0),
            bursts: (0..nodes).map(|_| AtomicU64::new(0)).collect(),
            commander: AtomicU64::new(0),
            commands: Notify::new(),
            left_alone: AtomicU64::new(u64::MAX),
        }
    }

    /// What the one clock shows: the system's monotonic clock, since the start.
    pub(crate) fn now(&self) -> At {
        self.start.elapsed()
    }

    pub(crate) fn nodes(&self) -> usize {
        self.bursts.len()
    }

    /// Nothing that is done under the lock is left halfway.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a subject; `make` makes it with its number.
    pub(crate) fn add_subject(&self, make: impl FnOnce(SubjectId) -> Subject) -> SubjectId {
        let id = self.state().judge.add();
        let mut subjects = self.subjects.write().unwrap_or_else(PoisonError::into_inner);
        subjects.push(Arc::new(make(id)));
        id
    }

    /// Takes a subject out of those that requests are for.
    pub(crate) fn remove_subject(&self, id: SubjectId) {
        let mut subjects = self.subjects.write().unwrap_or_else(PoisonError::into_inner);
        subjects.retain(|subject| subject.id != id);
    }

    /// Signs all requests again.
    pub(crate) fn sign(&self) {
        let mut subjects = self.subjects.write().unwrap_or_else(PoisonError::into_inner);
        for subject in subjects.iter_mut() {
            *subject = Arc::new(subject.signed_now());
        }
    }

    /// Any subject; in a burst one that is closed, if there is one: that is what must not be served.
    pub(crate) fn choose(&self, rng: &mut fastrand::Rng, is_burst: bool) -> Option<Arc<Subject>> {
        let subjects = self.subjects.read().unwrap_or_else(PoisonError::into_inner).clone();
        let closed: Vec<_> = match is_burst {
            true => {
                let state = self.state();
                let closed = subjects.iter().filter(|subject| state.judge.is_closed(subject.id));
                closed.collect()
            }
            false => Vec::new(),
        };
        let any = rng.choice(closed).or_else(|| rng.choice(subjects.iter()));
        any.cloned()
    }

    pub(crate) fn stop(&self) {
        self.has_to_stop.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_to_stop(&self) -> bool {
        self.has_to_stop.load(Ordering::SeqCst)
    }

    pub(crate) fn flipped(&self) {
        self.flips.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn flips(&self) -> u64 {
        self.flips.load(Ordering::SeqCst)
    }

    /// Lets requests to a node come more often for a while.
    pub(crate) fn burst(&self, node: usize, duration: Duration) {
        let until = u64::try_from((self.now() + duration).as_millis()).unwrap_or(u64::MAX);
        if let Some(burst) = self.bursts.get(node) {
            burst.store(until, Ordering::Relaxed);
        }
    }

    pub(crate) fn has_burst(&self, node: usize) -> bool {
        let now = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX);
        self.bursts
            .get(node)
            .is_some_and(|burst| now < burst.load(Ordering::Relaxed))
    }

    /// A command is about to be sent. Returns when, and while which fault.
    pub(crate) fn sent(&self, subject: SubjectId) -> (At, &'static str) {
        let mut state = self.state();
        state.judge.sent(subject);
        (self.now(), state.label)
    }

    /// A command has returned.
    pub(crate) fn returned(
        &self,
        subject: SubjectId,
        command: Command,
        returned: Returned,
        (sent, label): (At, &'static str),
    ) {
        let mut state = self.state();
        let at = self.now();
        state.judge.returned(subject, command, returned, at);
        state.tally.command(label, command, returned, at - sent);
    }

    /// Gives a node no commands from now on; none: all get some.
    pub(crate) fn leave_alone(&self, node: Option<usize>) {
        let node = node.map_or(u64::MAX, |node| node as u64);
        self.left_alone.store(node, Ordering::SeqCst);
    }

    /// A node for the next command.
    pub(crate) fn choose_node(&self, rng: &mut fastrand::Rng) -> usize {
        let left_alone = self.left_alone.load(Ordering::SeqCst);
        let nodes: Vec<_> = (0..self.nodes()).filter(|node| *node as u64 != left_alone).collect();
        rng.choice(nodes).unwrap_or_default()
    }

    /// A command is about to be sent to a node.
    pub(crate) fn commander_is(&self, node: usize) {
        self.commander.store(node as u64, Ordering::SeqCst);
        self.commands.notify_waiters();
    }

    /// A connection for commands has ended, as only the end of the node's process may end it.
    pub(crate) fn must_be_down(&self, node: usize, path: &str) {
        let mut state = self.state();
        let now = self.now();
        if !state.weather.is_down(node, now) {
            let what = format!("node {node}, {path}: the connection has ended, and no fault has ended the node");
            state.tally.other(what);
        }
    }

    /// Judges an answer that has come.
    pub(crate) fn answered(&self, mut request: Request, what: &str) {
        let mut state = self.state();
        request.end = self.now();
        let judgement = state.judge.judge(&request);
        state.weather.served(&request);
        let is_explained = state.weather.allows(&request);
        let label = state.label;
        state.tally.request(label, &request, judgement, what);
        if !is_explained && !matches!(judgement, Judgement::Violation(..)) {
            state.tally.unexplained(label, &request, what);
        }
    }

    /// A fault is about to begin.
    pub(crate) fn begin(&self, label: &'static str, felt: Felt, nodes: &[usize]) -> FaultId {
        let mut state = self.state();
        let now = self.now();
        state.label = label;
        state.tally.begin(label);
        state.weather.begin(felt, nodes, now)
    }

    /// Something that is not a fault of the plan excuses nodes from now on.
    pub(crate) fn excuse(&self, felt: Felt, nodes: &[usize]) -> FaultId {
        let mut state = self.state();
        let now = self.now();
        state.weather.begin(felt, nodes, now)
    }

    /// A fault has ended.
    pub(crate) fn end(&self, fault: FaultId) {
        let mut state = self.state();
        let now = self.now();
        state.weather.end(fault, now);
    }

    /// Its nodes have recovered, or had the time for it.
    pub(crate) fn calm(&self, fault: FaultId) {
        let mut state = self.state();
        let label = std::mem::replace(&mut state.label, CALM);
        let patience = state.weather.patience();
        let now = self.now();
        for (node, recovery) in state.weather.recovery(fault) {
            if recovery.is_none() && state.weather.is_excused(node, fault, now) {
                continue;
            }
            state.tally.recovered(label, node, recovery, patience);
        }
    }
}
