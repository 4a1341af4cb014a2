//! Who is dead: rows that do not change.

use std::collections::BTreeMap;

use super::{Moment, NodeRow, Terms};

/// Watches the rows of nodes, on the clock of its own process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observer {
    terms: Terms,
    seen: BTreeMap<String, Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    row: NodeRow,
    /// When the counter was seen first.
    since: Moment,
}

impl Observer {
    /// One that has seen no row yet.
    #[must_use]
    pub const fn new(terms: Terms) -> Self {
        let seen = BTreeMap::new();
        Self { terms, seen }
    }

    /// Takes in all rows. `now` is read after they have arrived: a renewal that they show was sent before.
    pub fn observe(&mut self, now: Moment, rows: &[NodeRow]) {
        let mut before = std::mem::take(&mut self.seen);
        for row in rows {
            let id = row.id();
            let since = match before.remove(&id) {
                Some(seen) if seen.row.counter == row.counter => seen.since,
                _ => now,
            };
            let row = row.clone();
            self.seen.insert(id, Seen { row, since });
        }
    }

    /// Returns the rows whose nodes have no lease any more. Each is dead when its row was deleted as it is
    /// here; if it cannot be, it was renewed. Of a node that serves on without a lease, silence says nothing.
    pub fn ended(&self, now: Moment) -> impl Iterator<Item = &NodeRow> {
        let rows = self.seen.values().filter(move |seen| self.is_silent(now, seen));
        rows.map(|seen| &seen.row).filter(|row| !row.serves_on)
    }

    /// Returns whether a row has stayed as it is for as long as a lease lasts, with drift and margin.
    #[must_use]
    pub fn has_ended(&self, now: Moment, row: &NodeRow) -> bool {
        let seen = self.seen.get(&row.id()).filter(|seen| seen.row.counter == row.counter);
        seen.is_some_and(|seen| self.is_silent(now, seen))
    }

    fn is_silent(&self, now: Moment, seen: &Seen) -> bool {
        now >= seen.since.plus(self.terms.wait(seen.row.lease))
    }

    /// Returns when the counter of a row was seen first.
    pub(super) fn since(&self, row: &NodeRow) -> Option<Moment> {
        let seen = self.seen.get(&row.id());
        seen.filter(|seen| seen.row.counter == row.counter)
            .map(|seen| seen.since)
    }

    /// Returns when the next lease ends, if no row changes.
    #[must_use]
    pub fn next_end(&self) -> Option<Moment> {
        let ends = self
            .seen
            .values()
            .filter(|seen| !seen.row.serves_on)
            .map(|seen| seen.since.plus(self.terms.wait(seen.row.lease)));
        ends.min()
    }
}
