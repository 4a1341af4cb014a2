//! What the commander does, what is committed, and how time passes.

use std::time::Duration;

use xks_lifecycle::{
    nodes::{Confirming, Event, Moment, NodeRow, Observer, Step},
    store::Revision,
};

use super::{Asked, COMMAND, Commander, Happens, OTHER, Scenario, Shared, Twin, World};

impl Scenario {
    pub(super) fn steps_of_commander(&self, world: &World, add: &mut impl FnMut(Happens, World)) {
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
    pub(super) fn is_quiet(&self, world: &World, index: usize) -> bool {
        let node = &world.nodes[index];
        let number = Revision::new(world.command.map_or(u64::MAX, |(number, _)| number.into()));
        let has_said_so = node.life.row().is_some_and(|row| row.serves(number));
        node.view & COMMAND != 0 && has_said_so && node.op.is_none() && node.request.is_none() && !self.has_crashes
    }

    pub(super) fn commander(&self, number: Option<u8>, remembers: bool) -> Commander {
        Commander {
            observer: Observer::new(self.terms()),
            confirming: number.map(|number| Confirming::new(Revision::new(number.into()), None)),
            op: None,
            remembers,
            taken: None,
        }
    }

    pub(super) fn commits(&self, world: &World, add: &mut impl FnMut(Happens, World)) {
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

    pub(super) fn time(&self, world: &World, add: &mut impl FnMut(Happens, World)) {
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
