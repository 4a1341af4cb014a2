//! The life of a node: join, renew, serve, lapse, join again, leave.

use std::{sync::Arc, time::Duration};

use super::{Facts, Moment, NodeRow, Terms, Usable};
use crate::store::Revision;

/// What a node does next, and whether it may serve.
///
/// It asks for one [step](Step) at a time, and is told by an [event](Event) how that went. It knows no store
/// and no clock: each call says what its process's lease clock shows, and which revision it serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    terms: Terms,
    node: Arc<str>,
    process: Arc<str>,
    facts: Facts,
    usable: Arc<Usable>,
    serves_on: bool,
    joins: u32,
    state: State,
    /// The latest revision of which it has heard.
    head: Revision,
    /// Before that nothing is asked of the store, which has failed.
    resume: Option<Moment>,
    leaves: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// There is no row, as far as this knows.
    Out,
    /// A row is being inserted.
    Inserting { row: NodeRow, sent: Moment },
    /// The row is there, and the snapshot is to be read.
    Joining { row: NodeRow, inserted: Moment },
    /// Row and snapshot are there.
    In(Tenure),
    /// Trust has ended. While the row is there, others wait for nothing.
    Lapsed { row: NodeRow },
    /// The row is being deleted for good.
    Leaving { row: NodeRow },
    /// There is nothing left to do.
    Left,
}

/// An unbroken presence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Tenure {
    /// As it was seen last.
    row: NodeRow,
    /// When trust ends.
    end: Moment,
    /// When the lease is to be renewed.
    renew: Moment,
    /// The renewal that is under way: as the row becomes, and when it was sent.
    sent: Option<(NodeRow, Moment)>,
    /// A renewal that has succeeded, while the node did not serve this head: when its trust ends.
    unserved: Option<(Revision, Moment)>,
}

/// What a node wants done. It asks for no other before it was told how this one went.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these are all that a node does")]
pub enum Step {
    /// Insert its row. Then [`Event::Inserted`] or [`Event::Failed`].
    Insert(NodeRow),
    /// Bring what it serves to the head of the store. Then [`Event::Loaded`] or [`Event::Failed`].
    Load,
    /// Replace its row, if it is as it was seen. Then [`Event::Renewed`], [`Event::Missed`] or
    /// [`Event::Failed`].
    Renew {
        /// As it was seen.
        seen: NodeRow,
        /// As it shall be.
        next: NodeRow,
    },
    /// Delete its row. Then [`Event::Deleted`] or [`Event::Failed`].
    Delete(NodeRow),
    /// Wait until then, or until there is news: a later revision, or the wish to leave.
    Wait(Moment),
    /// Nothing any more: it has left.
    End,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these are all outcomes of all steps")]
pub enum Event {
    /// The row is there.
    Inserted,
    /// What the node serves is as the store was when this was asked, or later.
    Loaded,
    /// The row was replaced.
    Renewed {
        /// The revision of the store, at a moment since this was asked.
        head: Revision,
    },
    /// The row is not as it was seen.
    Missed {
        /// Its counter now; none if it is gone.
        counter: Option<u64>,
    },
    /// The row is gone.
    Deleted,
    /// The store has failed, or did not answer in time. Whether anything was done is unknown.
    Failed,
}

/// A lease that is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Trust {
    /// Which join it belongs to. A request that began under another one is not answered.
    pub join: u32,
    /// When it ends.
    pub end: Moment,
}

impl Life {
    /// A node of this name that has not joined yet. `process` is different each time that one starts.
    #[must_use]
    pub fn new(terms: Terms, node: &str, process: &str) -> Self {
        Self {
            terms,
            node: node.into(),
            process: process.into(),
            facts: Facts::default(),
            usable: Arc::default(),
            serves_on: false,
            joins: 0,
            state: State::Out,
            head: Revision::ZERO,
            resume: None,
            leaves: false,
        }
    }

    /// Lets the node serve on when the store is lost, from what it has read last: it has no lease that ends,
    /// and its row says so. Only who finds that its row is gone stops, and joins again.
    #[must_use]
    pub fn serving_on(self) -> Self {
        let serves_on = true;
        Self { serves_on, ..self }
    }

    /// Lets the lease be renewed next.
    pub const fn renew(&mut self) {
        if let State::In(tenure) = &mut self.state {
            tenure.renew = Moment::new(Duration::ZERO);
        }
    }

    /// Returns the node's name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.node
    }

    /// Sets what else the row tells of the node, from the next renewal on.
    pub fn set_facts(&mut self, facts: Facts) {
        self.facts = facts;
    }

    /// Sets which published versions the node can use. If that is news, the lease is renewed at once.
    pub fn set_usable(&mut self, usable: &Usable) {
        if *self.usable != *usable {
            self.usable = Arc::new(usable.clone());
        }
    }

    /// Returns whether the row does not say yet which versions the node can use, and the store was asked for
    /// nothing that waits.
    #[must_use]
    pub fn has_news(&self) -> bool {
        let is_news = matches!(&self.state, State::In(tenure) if tenure.row.usable != self.usable);
        is_news && self.resume.is_none() && !self.leaves
    }

    /// The store is at this revision, or at a later one.
    pub fn hear(&mut self, head: Revision) {
        self.head = self.head.max(head);
    }

    /// Returns the latest revision of which it has heard.
    #[must_use]
    pub const fn head(&self) -> Revision {
        self.head
    }

    /// Ends trust, and deletes the row next. To be called when the last answer has gone.
    pub const fn leave(&mut self) {
        self.leaves = true;
    }

    /// Returns the lease while it is trusted, which is until its end. It may be trusted for longer after the
    /// next event, and for shorter when a row is gone.
    #[must_use]
    pub fn trust(&self) -> Option<Trust> {
        match &self.state {
            State::In(tenure) if !self.leaves => Some(Trust {
                join: tenure.row.join,
                end: if self.serves_on { Moment::NEVER } else { tenure.end },
            }),
            _ => None,
        }
    }

    /// Returns the row as it was seen last, if it is there.
    #[must_use]
    pub fn row(&self) -> Option<&NodeRow> {
        match &self.state {
            State::Joining { row, .. } | State::Lapsed { row } | State::Leaving { row } => Some(row),
            State::In(tenure) => Some(&tenure.row),
            State::Out | State::Inserting { .. } | State::Left => None,
        }
    }

    /// Returns what is to be done next. `now` is read before it is done; `served` is the revision that the
    /// node serves.
    pub fn next(&mut self, now: Moment, served: Revision) -> Step {
        if self.leaves {
            return self.next_to_leave();
        }
        if let State::In(tenure) = &mut self.state {
            tenure.settle(served);
            if now >= tenure.end && !self.serves_on {
                let row = tenure.row.clone();
                self.state = State::Lapsed { row };
            }
        }
        if let Some(resume) = self.resume.filter(|resume| now < *resume) {
            return Step::Wait(resume.min(self.lapse().unwrap_or(resume)));
        }
        self.resume = None;
        match &mut self.state {
            State::Out | State::Inserting { .. } => self.insert(now),
            State::Joining { .. } => Step::Load,
            State::In(_) if served < self.head => Step::Load,
            State::In(tenure) => {
                if now < tenure.renew && tenure.row.serves(served) && tenure.row.usable == self.usable {
                    return Step::Wait(tenure.renew.min(tenure.end));
                }
                let seen = tenure.row.clone();
                let next = NodeRow {
                    counter: seen.counter + 1,
                    served: Some(served),
                    facts: self.facts.clone(),
                    usable: Arc::clone(&self.usable),
                    ..seen.clone()
                };
                tenure.sent = Some((next.clone(), now));
                Step::Renew { seen, next }
            }
            State::Lapsed { row } | State::Leaving { row } => Step::Delete(row.clone()),
            State::Left => Step::End,
        }
    }

    fn next_to_leave(&mut self) -> Step {
        let Some(row) = self.row().cloned() else {
            self.state = State::Left;
            return Step::End;
        };
        self.state = State::Leaving { row: row.clone() };
        Step::Delete(row)
    }

    fn insert(&mut self, now: Moment) -> Step {
        self.joins += 1;
        let row = NodeRow {
            node: self.node.clone(),
            process: self.process.clone(),
            join: self.joins,
            counter: 1,
            served: None,
            lease: self.terms.lease(),
            facts: self.facts.clone(),
            usable: Arc::clone(&self.usable),
            serves_on: self.serves_on,
        };
        self.state = State::Inserting {
            row: row.clone(),
            sent: now,
        };
        Step::Insert(row)
    }

    /// When trust ends.
    fn lapse(&self) -> Option<Moment> {
        match &self.state {
            State::In(tenure) if !self.serves_on => Some(tenure.end),
            _ => None,
        }
    }

    /// Takes in how the last step went. `now` is read when that is known; `served` is the revision that the
    /// node serves.
    pub fn on(&mut self, now: Moment, served: Revision, event: Event) {
        if event == Event::Failed {
            self.wait(now, self.terms.retry());
        }
        self.state = match (std::mem::replace(&mut self.state, State::Out), event) {
            (State::Inserting { row, sent }, Event::Inserted) => State::Joining { row, inserted: sent },
            (State::Joining { row, inserted }, Event::Loaded) => State::In(Tenure {
                row,
                end: inserted.plus(self.terms.lease()),
                renew: now,
                sent: None,
                unserved: None,
            }),
            (State::In(mut tenure), Event::Renewed { head }) => {
                self.head = self.head.max(head);
                tenure.renewed(head, &self.terms);
                tenure.settle(served);
                State::In(tenure)
            }
            // An earlier renewal of its own came late, or its answer was lost.
            (State::In(mut tenure), Event::Missed { counter: Some(counter) }) => {
                tenure.row.counter = counter;
                State::In(tenure)
            }
            (State::Lapsed { mut row }, Event::Missed { counter: Some(counter) }) => {
                row.counter = counter;
                State::Lapsed { row }
            }
            (State::Leaving { mut row }, Event::Missed { counter: Some(counter) }) => {
                row.counter = counter;
                State::Leaving { row }
            }
            (State::In(mut tenure), Event::Loaded) => {
                tenure.settle(served);
                State::In(tenure)
            }
            (State::Leaving { .. }, Event::Deleted | Event::Missed { .. } | Event::Failed) => State::Left,
            // Its row is gone, or is not renewed any more.
            (State::In(_), Event::Missed { .. })
            | (State::Lapsed { .. }, Event::Deleted | Event::Missed { .. } | Event::Failed)
            | (State::Inserting { .. }, _) => State::Out,
            (state, _) => state,
        };
        if event == Event::Loaded && served < self.head {
            self.wait(now, self.terms.retry()); // what was read was not the latest
        }
    }

    fn wait(&mut self, now: Moment, duration: Duration) {
        self.resume = Some(now.plus(duration));
    }
}

impl Tenure {
    fn renewed(&mut self, head: Revision, terms: &Terms) {
        let Some((row, sent)) = self.sent.take() else { return };
        self.row = row;
        self.renew = sent.plus(terms.renewal());
        self.unserved = Some((head, sent.plus(terms.lease())));
    }

    /// Gives the trust of the last renewal, if the node serves the head that it returned.
    fn settle(&mut self, served: Revision) {
        if let Some((_, end)) = self.unserved.take_if(|(head, _)| served >= *head) {
            self.end = end;
        }
    }
}
