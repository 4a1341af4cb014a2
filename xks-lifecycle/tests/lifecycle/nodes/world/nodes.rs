//! What nodes do, and what happens to them.

use xks_lifecycle::{
    nodes::{Event, Fate, Moment, Step, Trust},
    store::Revision,
};

use super::{COMMAND, Happens, Node, Op, Phase, Scenario, Shared, Twin, View, World};

impl Scenario {
    pub(super) fn steps_of_node(&self, world: &World, index: usize, add: &mut impl FnMut(Happens, World)) {
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

    pub(super) fn is_answered_at_once(&self, world: &mut World, index: usize) {
        let now = world.clock(index);
        if let Some(Op { step, phase }) = world.nodes[index].op.clone() {
            let (event, view, head) = match phase {
                Phase::Done(event, view, head) => (event, view, head),
                Phase::Sent | Phase::Begun(_) => (world.execute(self, &step, world.head), world.visible, world.head),
            };
            self.is_answered(world.node(index), now, event, (view, head));
        }
    }

    pub(super) fn is_answered(&self, node: &mut Node, now: Moment, event: Event, seen: (View, u8)) {
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
