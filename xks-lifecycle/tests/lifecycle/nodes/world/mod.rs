//! A store, nodes and a commander, and all that may happen to them.
//!
//! Time is in ticks. Each process has a clock that shows one tick more than have passed, or none, and changes
//! between them as it likes: over any time it may lose or gain one. A process may pause anywhere: nothing
//! says when it takes its next step.

mod commander;
mod nodes;

use std::{collections::BTreeMap, time::Duration};

use xks_lifecycle::{
    nodes::{Confirming, Event, Fate, Life, Moment, NodeRow, Observer, Step, Terms, Trust},
    store::Revision,
};

use super::explorer::{Model, Shared};

/// The lease in ticks.
const LEASE: u64 = 2;
/// What clocks show when it begins.
const START: u8 = 8;
const TICK: Duration = Duration::from_secs(1);

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twin {
    /// The snapshot is read before the row is inserted.
    ReadsBeforeItJoins,
    NoMargin,
    NoDrift,
    /// A revision is taken from a sequence before the commit.
    SequenceAsRevision,
    /// Who is dead is measured by the store's clock, which is set.
    StoreClock,
    /// Silence is enough: the row stays.
    WritesOffWithoutDeleting,
    /// The row is deleted whatever its counter is.
    DeletesWhatWasRenewed,
    /// A renewal gives trust whatever is served.
    TrustsWithoutTheHead,
    /// A node that joins replaces the rows of its name.
    ReplacesItsName,
    /// A node deletes its row while it serves.
    LeavesWhileItServes,
    /// The lease is checked when a request starts, and not before its answer leaves.
    ChecksOnce,
    /// The second check takes the trust of another join.
    ForgetsTheJoin,
    /// A commander that begins anew takes what it sees for old.
    TrustsItsMemory,
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) nodes: usize,
    /// How many of them, from the first, wait for the store: the others are answered at once.
    pub(crate) slow: usize,
    /// Whether the nodes are there when it begins.
    pub(crate) is_joined: bool,
    /// The command is committed at this tick at the latest.
    pub(crate) commit_by: u8,
    /// After how many ticks it ends.
    pub(crate) ticks: u8,
    /// How many messages are lost, late or doubled, and processes killed.
    pub(crate) faults: u8,
    /// Whether nodes are killed.
    pub(crate) has_crashes: bool,
    /// Whether the commander is.
    pub(crate) has_restarts: bool,
    /// Whether clocks run apart both ways: otherwise only as makes it worse.
    pub(crate) has_all_clocks: bool,
    /// Whether head and row of a statement are of two moments, as those of databases are.
    pub(crate) has_two_moments: bool,
    /// Whether nodes cannot read the store any more after the command.
    pub(crate) loads_fail: bool,
    pub(crate) has_requests: bool,
    pub(crate) may_leave: bool,
    /// Whether another command is committed too.
    pub(crate) has_other: bool,
    pub(crate) twin: Option<Twin>,
}

/// The commits that are visible, by bits: the command that is confirmed, and another one.
type View = u8;
const COMMAND: View = 1;
const OTHER: View = 2;

/// What is asked of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Op {
    step: Step,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Sent,
    /// A statement that has read the head.
    Begun(u8),
    /// With what was visible then, and the head of that.
    Done(Event, View, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    life: Life,
    view: View,
    revision: u8,
    op: Option<Op>,
    /// When the lease was checked for a request, and what it found then.
    request: Option<(u32, View)>,
    starts: u8,
    pub(crate) leaves: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    /// All rows, and whether this was asked after the commit.
    Rows(bool),
    Gone(NodeRow),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Commander {
    observer: Observer,
    confirming: Option<Confirming>,
    /// What was asked, and what was answered.
    op: Option<(Asked, Vec<NodeRow>)>,
    /// In the twin: it has begun anew, and has seen nothing since.
    remembers: bool,
    /// In the twin: the number of the command before it is committed.
    taken: Option<u8>,
}

#[derive(Clone, Hash)]
pub(crate) struct World {
    ticks: u8,
    /// The tick that each clock shows more; the commander's comes last.
    ahead: Vec<u8>,
    visible: View,
    head: u8,
    /// Numbers that were taken, in the twin.
    sequence: u8,
    /// Which number the command has, and when it was committed.
    command: Option<(u8, u8)>,
    other_taken: Option<u8>,
    rows: Shared<BTreeMap<String, NodeRow>>,
    /// Statements that may still arrive.
    late: Vec<Step>,
    pub(crate) nodes: Vec<Shared<Node>>,
    commander: Shared<Commander>,
    store_was_set: bool,
    faults: u8,
    /// Whether a row was deleted whose node was taken for dead.
    pub(crate) has_died: bool,
    /// An answer that has left though it must not.
    wrong_answer: bool,
}

/// What happens.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "it is shown when something is wrong")]
pub(crate) enum Happens {
    /// A tick has passed, and these clocks do not show it.
    Tick(Vec<usize>),
    ClockGains(usize),
    Asks(usize, Step),
    Begins(usize),
    Executes(usize),
    Answers(usize, Event),
    IsLost(usize),
    AnswerIsLost(usize),
    IsLate(usize),
    IsDoubled(usize),
    Arrives(Step),
    IsKilled(usize),
    Leaves(usize),
    RequestStarts(usize),
    AnswerLeaves(usize),
    CommanderAsks,
    CommanderIsAnswered,
    CommanderRestarts,
    NumberIsTaken,
    IsCommitted,
    OtherNumberIsTaken,
    OtherIsCommitted,
    StoreClockIsSet,
}

impl Scenario {
    pub(crate) const fn new(nodes: usize, ticks: u8) -> Self {
        Self {
            nodes,
            slow: nodes,
            is_joined: true,
            commit_by: 1,
            ticks,
            faults: 0,
            has_crashes: false,
            has_restarts: false,
            has_all_clocks: false,
            has_two_moments: false,
            loads_fail: false,
            has_requests: false,
            may_leave: false,
            has_other: false,
            twin: None,
        }
    }

    pub(crate) const fn broken(self, twin: Twin) -> Self {
        Self {
            twin: Some(twin),
            ..self
        }
    }

    fn is(&self, twin: Twin) -> bool {
        self.twin == Some(twin)
    }

    /// A clock loses one tick and another gains one: half of the lease is drift, and one tick is margin.
    fn terms(&self) -> Terms {
        let terms = Terms::new(TICK * LEASE as u32);
        terms
            .with_drift_ppm(if self.is(Twin::NoDrift) { 0 } else { 500_000 })
            .with_margin(if self.is(Twin::NoMargin) { Duration::ZERO } else { TICK })
    }

    fn life(&self, node: usize, starts: u8) -> Life {
        // Two nodes that were given one name by mistake are the worst case.
        Life::new(self.terms(), "node", &format!("{node}{starts}"))
    }
}

impl Node {
    /// Whether it would answer now.
    fn trust(&self, now: Moment) -> Option<Trust> {
        self.life.trust().filter(|trust| now < trust.end)
    }
}

impl World {
    fn clock(&self, process: usize) -> Moment {
        Moment::new(TICK * u32::from(START + self.ticks + self.ahead[process]))
    }

    fn now_of_commander(&self, scenario: &Scenario) -> Moment {
        if scenario.is(Twin::StoreClock) {
            let set = if self.store_was_set { 4 } else { 0 };
            return Moment::new(TICK * u32::from(START + self.ticks + set));
        }
        self.clock(scenario.nodes)
    }

    /// What a statement of a node does.
    fn execute(&mut self, scenario: &Scenario, step: &Step, head: u8) -> Event {
        match step {
            Step::Insert(row) => {
                if scenario.is(Twin::ReplacesItsName) {
                    self.rows.change().retain(|_, known| known.node != row.node);
                }
                self.rows.change().insert(row.id(), row.clone());
                Event::Inserted
            }
            Step::Renew { seen, next } => match self.rows.change().get_mut(&seen.id()) {
                Some(row) if row.counter == seen.counter => {
                    *row = next.clone();
                    let head = Revision::new(head.into());
                    Event::Renewed { head }
                }
                row => Event::Missed {
                    counter: row.map(|row| row.counter),
                },
            },
            Step::Delete(seen) => match self.rows.get(&seen.id()) {
                Some(row) if row.counter != seen.counter && !scenario.is(Twin::DeletesWhatWasRenewed) => {
                    Event::Missed {
                        counter: Some(row.counter),
                    }
                }
                _ => {
                    self.rows.change().remove(&seen.id());
                    Event::Deleted
                }
            },
            Step::Load | Step::Wait(_) | Step::End => Event::Loaded,
        }
    }

    fn node(&mut self, index: usize) -> &mut Node {
        self.nodes[index].change()
    }

    /// Nothing depends on when it has begun to ask, so that is when the store answers.
    fn asks_for_rows(&mut self) {
        let rows = self.rows.values().cloned().collect();
        let is_after = self.command.is_some();
        self.commander().op = Some((Asked::Rows(is_after), rows));
    }

    fn commander(&mut self) -> &mut Commander {
        self.commander.change()
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.commander.confirming.as_ref().is_some_and(Confirming::is_over)
    }

    pub(crate) fn fates(&self) -> Vec<Fate> {
        let confirming = self.commander.confirming.iter();
        confirming.flat_map(Confirming::nodes).map(|(_, fate)| fate).collect()
    }

    /// How often the nodes have joined.
    pub(crate) fn joins(&self) -> u32 {
        let rows = self.nodes.iter().filter_map(|node| node.life.row());
        rows.map(|row| row.join).max().unwrap_or_default()
    }
}

impl Model for Scenario {
    type State = World;
    type Step = Happens;

    fn start(&self) -> World {
        let node = |index| Node {
            life: self.life(index, 0),
            view: 0,
            revision: 0,
            op: None,
            request: None,
            starts: 0,
            leaves: false,
        };
        let mut ahead = vec![1; self.nodes];
        ahead.push(0);
        let mut world = World {
            ticks: 0,
            ahead,
            visible: 0,
            head: 1,
            sequence: 1,
            command: None,
            other_taken: None,
            rows: Shared::new(BTreeMap::new()),
            late: Vec::new(),
            nodes: (0..self.nodes).map(|index| Shared::new(node(index))).collect(),
            commander: Shared::new(self.commander(None, false)),
            store_was_set: false,
            faults: 0,
            has_died: false,
            wrong_answer: false,
        };
        for index in (0..self.nodes).filter(|_| self.is_joined) {
            let now = world.clock(index);
            loop {
                let revision = Revision::new(world.nodes[index].revision.into());
                let step = world.node(index).life.next(now, revision);
                if let Step::Wait(_) = step {
                    break;
                }
                let event = world.execute(self, &step, 1);
                let node = world.node(index);
                node.revision = 1;
                node.life.on(now, Revision::new(1), event);
            }
        }
        world
    }

    fn steps(&self, world: &World) -> Vec<(Happens, World)> {
        let mut steps = Vec::new();
        let is_done = |node: &Shared<Node>| node.view & COMMAND != 0;
        if world.is_confirmed() && world.nodes.iter().all(is_done) && self.twin.is_none() {
            return steps; // nothing that comes can be wrong
        }
        if world.command.is_none() && world.ticks > self.commit_by {
            return steps;
        }
        let mut add = |happens, world| steps.push((happens, world));
        if world.ticks < self.ticks {
            self.time(world, &mut add);
        }
        self.commits(world, &mut add);
        self.steps_of_commander(world, &mut add);
        for index in 0..self.nodes {
            if !self.is_quiet(world, index) {
                self.steps_of_node(world, index, &mut add);
            }
        }
        for (place, step) in world.late.iter().enumerate() {
            let mut next = world.clone();
            next.late.remove(place);
            next.execute(self, step, world.head);
            add(Happens::Arrives(step.clone()), next);
        }
        steps
    }

    fn check(&self, world: &World) -> Result<(), String> {
        if world.wrong_answer {
            return Err("an answer has left a node that is gone".to_owned());
        }
        for (index, node) in world.nodes.iter().enumerate() {
            let Some(_) = node.trust(world.clock(index)).filter(|_| node.view & COMMAND == 0) else {
                continue;
            };
            if world.is_confirmed() {
                return Err(format!(
                    "node {index} serves what is over, and the command is confirmed"
                ));
            }
            if world.command.is_some_and(|(_, at)| u64::from(world.ticks - at) > LEASE) {
                return Err(format!(
                    "node {index} serves what has been over for longer than a lease"
                ));
            }
        }
        Ok(())
    }
}
