//! A store, nodes and a commander, and all that may happen to them.
//!
//! Time is in ticks. Each process has a clock that shows one tick more than have passed, or none, and changes
//! between them as it likes: over any time it may lose or gain one. A process may pause anywhere: nothing
//! says when it takes its next step.

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

impl Scenario {
    fn steps_of_node(&self, world: &World, index: usize, add: &mut impl FnMut(Happens, World)) {
        let node = &world.nodes[index];
        let now = world.clock(index);
        let has_fault = world.faults < self.faults;
        let mut then = |happens: Happens, faults: u8, change: &mut dyn FnMut(&mut World)| {
            let mut world = world.clone();
            world.faults += faults;
            change(&mut world);
            add(happens, world);
        };
        match &node.op {
            None => {
                let mut asking = Node::clone(node);
                let step = asking.life.next(now, Revision::new(asking.revision.into()));
                let has_news = node.revision < world.head; // it is notified, or it is not
                let step = match step {
                    Step::Wait(_) if has_news && !asking.leaves => {
                        let mut heard = Node::clone(node);
                        heard.life.hear(Revision::new(world.head.into()));
                        let step = heard.life.next(now, Revision::new(heard.revision.into()));
                        asking = heard;
                        step
                    }
                    step => step,
                };
                if !matches!(step, Step::Wait(_) | Step::End) {
                    let reads_before = matches!(step, Step::Insert(_)) && self.is(Twin::ReadsBeforeItJoins);
                    // Nothing depends on when it has begun to load, so that is when the store answers.
                    let phase = match step {
                        Step::Load if self.loads_fail && world.command.is_some() => Phase::Done(Event::Failed, 0, 0),
                        Step::Load => Phase::Done(Event::Loaded, world.visible, world.head),
                        _ => Phase::Sent,
                    };
                    asking.op = Some(Op {
                        step: step.clone(),
                        phase,
                    });
                    then(Happens::Asks(index, step), 0, &mut |world| {
                        world.nodes[index] = Shared::new(asking.clone());
                        if reads_before {
                            let seen = (world.visible, world.head);
                            let node = world.node(index);
                            (node.view, node.revision) = seen;
                        }
                        if index >= self.slow {
                            self.is_answered_at_once(world, index);
                        }
                    });
                }
                if self.may_leave && !node.leaves && node.life.row().is_some() && node.request.is_none() {
                    then(Happens::Leaves(index), 0, &mut |world| {
                        let node = world.node(index);
                        node.leaves = true;
                        if self.is(Twin::LeavesWhileItServes) {
                            let row = node.life.row().unwrap().clone();
                            node.op = Some(Op {
                                step: Step::Delete(row),
                                phase: Phase::Sent,
                            });
                        } else {
                            node.life.leave();
                        }
                    });
                }
            }
            Some(Op { step, phase }) => match phase {
                Phase::Sent if self.has_two_moments => {
                    then(Happens::Begins(index), 0, &mut |world| {
                        let head = world.head;
                        world.node(index).op.as_mut().unwrap().phase = Phase::Begun(head);
                    });
                    self.faults_of_request(world, index, step, has_fault, &mut then);
                }
                Phase::Sent => {
                    self.executes(index, step, world.head, &mut then);
                    self.faults_of_request(world, index, step, has_fault, &mut then);
                }
                Phase::Begun(head) => self.executes(index, step, *head, &mut then),
                Phase::Done(event, view, head) => {
                    then(Happens::Answers(index, *event), 0, &mut |world| {
                        self.is_answered(world.node(index), now, *event, (*view, *head));
                    });
                    if has_fault && *event != Event::Failed {
                        then(Happens::AnswerIsLost(index), 1, &mut |world| {
                            world.node(index).op.as_mut().unwrap().phase = Phase::Done(Event::Failed, 0, 0);
                        });
                    }
                }
            },
        }
        if self.has_requests {
            match node.request {
                None => {
                    if let Some(trust) = node.trust(now) {
                        then(Happens::RequestStarts(index), 0, &mut |world| {
                            world.node(index).request = Some((trust.join, node.view));
                        });
                    }
                }
                Some((join, view)) => {
                    let is_same = |trust: Trust| trust.join == join || self.is(Twin::ForgetsTheJoin);
                    let passes = node.trust(now).is_some_and(is_same) || self.is(Twin::ChecksOnce);
                    then(Happens::AnswerLeaves(index), 0, &mut |world| {
                        world.node(index).request = None;
                        // One that had started is answered by a node that was waited for, and by no other.
                        let is_waited_for = world.fates().contains(&Fate::Serves);
                        let is_late = world.is_confirmed() && view & COMMAND == 0 && !is_waited_for;
                        world.wrong_answer |= passes && is_late;
                    });
                }
            }
        }
        if self.has_crashes && has_fault {
            then(Happens::IsKilled(index), 1, &mut |world| {
                let starts = world.nodes[index].starts + 1;
                world.nodes[index] = Shared::new(Node {
                    life: self.life(index, starts),
                    view: 0,
                    revision: 0,
                    op: None,
                    request: None,
                    starts,
                    leaves: false,
                });
            });
        }
    }

    fn executes(
        &self,
        index: usize,
        step: &Step,
        head: u8,
        then: &mut impl FnMut(Happens, u8, &mut dyn FnMut(&mut World)),
    ) {
        then(Happens::Executes(index), 0, &mut |world| {
            let event = world.execute(self, step, head);
            let phase = Phase::Done(event, world.visible, world.head);
            world.node(index).op.as_mut().unwrap().phase = phase;
        });
    }

    fn faults_of_request(
        &self,
        world: &World,
        index: usize,
        step: &Step,
        has_fault: bool,
        then: &mut impl FnMut(Happens, u8, &mut dyn FnMut(&mut World)),
    ) {
        if !has_fault {
            return;
        }
        let failed = Phase::Done(Event::Failed, 0, 0);
        then(Happens::IsLost(index), 1, &mut |world| {
            world.node(index).op.as_mut().unwrap().phase = failed.clone();
        });
        if world.late.is_empty() {
            then(Happens::IsLate(index), 1, &mut |world| {
                world.node(index).op.as_mut().unwrap().phase = failed.clone();
                world.late.push(step.clone());
            });
            then(Happens::IsDoubled(index), 1, &mut |world| world.late.push(step.clone()));
        }
    }

    fn is_answered_at_once(&self, world: &mut World, index: usize) {
        let now = world.clock(index);
        if let Some(Op { step, phase }) = world.nodes[index].op.clone() {
            let (event, view, head) = match phase {
                Phase::Done(event, view, head) => (event, view, head),
                Phase::Sent | Phase::Begun(_) => (world.execute(self, &step, world.head), world.visible, world.head),
            };
            self.is_answered(world.node(index), now, event, (view, head));
        }
    }

    fn is_answered(&self, node: &mut Node, now: Moment, event: Event, seen: (View, u8)) {
        let Some(Op { step, .. }) = node.op.take() else { return };
        let has_read = self.is(Twin::ReadsBeforeItJoins) && node.life.trust().is_none();
        if step == Step::Load && event == Event::Loaded && !has_read {
            (node.view, node.revision) = seen;
        }
        let event = match event {
            Event::Renewed { .. } if self.is(Twin::TrustsWithoutTheHead) => Event::Renewed {
                head: Revision::new(node.revision.into()),
            },
            event => event,
        };
        node.life.on(now, Revision::new(node.revision.into()), event);
    }
}

impl Scenario {
    fn steps_of_commander(&self, world: &World, add: &mut impl FnMut(Happens, World)) {
        let now = world.now_of_commander(self);
        let commander = &world.commander;
        let mut then = |happens: Happens, change: &mut dyn FnMut(&mut World)| {
            let mut world = world.clone();
            change(&mut world);
            add(happens, world);
        };
        match &commander.op {
            _ if world.is_confirmed() => {}
            None if self.slow < self.nodes => then(Happens::CommanderIsAnswered, &mut |world| {
                let commander = &world.commander;
                let ended: Vec<_> = commander.observer.ended(now).cloned().collect();
                for row in ended {
                    let event = world.execute(self, &Step::Delete(row), 0);
                    world.has_died |= event == Event::Deleted;
                }
                let rows: Vec<_> = world.rows.values().cloned().collect();
                let is_after = world.command.is_some();
                let commander = world.commander();
                commander.observer.observe(now, &rows);
                if let Some(confirming) = commander.confirming.as_mut().filter(|_| is_after) {
                    confirming.observe(&rows);
                }
            }),
            None => {
                let mut ended = commander
                    .observer
                    .ended(now)
                    .filter(|_| !self.is(Twin::WritesOffWithoutDeleting));
                let asked = ended.next().map(|row| Asked::Gone(row.clone()));
                then(Happens::CommanderAsks, &mut |world| match &asked {
                    Some(gone) => world.commander().op = Some((gone.clone(), Vec::new())),
                    None => world.asks_for_rows(),
                });
            }
            Some((Asked::Gone(row), _)) => then(Happens::CommanderIsAnswered, &mut |world| {
                let event = world.execute(self, &Step::Delete(row.clone()), 0);
                world.has_died |= event == Event::Deleted;
                world.asks_for_rows();
            }),
            Some((Asked::Rows(is_after), rows)) => then(Happens::CommanderIsAnswered, &mut |world| {
                let commander = world.commander();
                commander.op = None;
                let seen = if std::mem::take(&mut commander.remembers) {
                    Moment::new(Duration::ZERO)
                } else {
                    now
                };
                commander.observer.observe(seen, rows);
                if let Some(confirming) = commander.confirming.as_mut().filter(|_| *is_after) {
                    let mut rows = rows.clone();
                    if self.is(Twin::WritesOffWithoutDeleting) {
                        let ended: Vec<_> = commander.observer.ended(now).map(NodeRow::id).collect();
                        rows.retain(|row| !ended.contains(&row.id()));
                    }
                    confirming.observe(&rows);
                }
            }),
        }
        if world.faults < self.faults && self.has_restarts && !world.is_confirmed() {
            then(Happens::CommanderRestarts, &mut |world| {
                world.faults += 1;
                let number = world.command.map(|(number, _)| number);
                world.commander = Shared::new(self.commander(number, self.is(Twin::TrustsItsMemory)));
            });
        }
    }

    /// Whether a node serves the command and has said so: whatever it does then is right.
    fn is_quiet(&self, world: &World, index: usize) -> bool {
        let node = &world.nodes[index];
        let number = Revision::new(world.command.map_or(u64::MAX, |(number, _)| number.into()));
        let has_said_so = node.life.row().is_some_and(|row| row.serves(number));
        node.view & COMMAND != 0 && has_said_so && node.op.is_none() && node.request.is_none() && !self.has_crashes
    }

    fn commander(&self, number: Option<u8>, remembers: bool) -> Commander {
        Commander {
            observer: Observer::new(self.terms()),
            confirming: number.map(|number| Confirming::new(Revision::new(number.into()), None)),
            op: None,
            remembers,
            taken: None,
        }
    }

    fn commits(&self, world: &World, add: &mut impl FnMut(Happens, World)) {
        let is_sequence = self.is(Twin::SequenceAsRevision);
        let mut then = |happens: Happens, change: &mut dyn FnMut(&mut World)| {
            let mut world = world.clone();
            change(&mut world);
            add(happens, world);
        };
        if world.command.is_none() {
            match world.commander.taken {
                None if is_sequence => then(Happens::NumberIsTaken, &mut |world| {
                    world.sequence += 1;
                    let taken = Some(world.sequence);
                    world.commander().taken = taken;
                }),
                taken => then(Happens::IsCommitted, &mut |world| {
                    let number = taken.unwrap_or(world.head + 1);
                    world.command = Some((number, world.ticks));
                    (world.visible, world.head) = (world.visible | COMMAND, world.head.max(number));
                    world.commander().confirming = Some(Confirming::new(Revision::new(number.into()), None));
                }),
            }
        }
        if self.has_other && world.visible & OTHER == 0 {
            match world.other_taken {
                None if is_sequence => then(Happens::OtherNumberIsTaken, &mut |world| {
                    world.sequence += 1;
                    world.other_taken = Some(world.sequence);
                }),
                taken => then(Happens::OtherIsCommitted, &mut |world| {
                    let number = taken.unwrap_or(world.head + 1);
                    (world.visible, world.head) = (world.visible | OTHER, world.head.max(number));
                }),
            }
        }
    }

    fn time(&self, world: &World, add: &mut impl FnMut(Happens, World)) {
        let may_lose = |process: &usize| world.ahead[*process] == 1 && (self.has_all_clocks || *process < self.nodes);
        let losers: Vec<_> = (0..=self.nodes).filter(may_lose).collect();
        for chosen in 0..1 << losers.len() {
            let mut world = world.clone();
            let chosen = losers.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
            let chosen: Vec<_> = chosen.map(|(_, process)| *process).collect();
            world.ticks += 1;
            chosen.iter().for_each(|process| world.ahead[*process] = 0);
            add(Happens::Tick(chosen), world);
        }
        for process in 0..=self.nodes {
            if world.ahead[process] == 0 && (self.has_all_clocks || process == self.nodes) {
                let mut world = world.clone();
                world.ahead[process] = 1;
                add(Happens::ClockGains(process), world);
            }
        }
        if self.is(Twin::StoreClock) && !world.store_was_set {
            let mut world = world.clone();
            world.store_was_set = true;
            add(Happens::StoreClockIsSet, world);
        }
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
