//! A command's wait for all nodes.

use std::{collections::BTreeMap, sync::Arc};

use super::NodeRow;
use crate::store::Revision;

/// Waits until every node serves a revision, has left, or is dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Confirming {
    revision: Revision,
    own: Option<Arc<str>>,
    /// The rows that were there when they were read first. None: they were not read yet.
    nodes: Option<BTreeMap<String, Node>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    row: NodeRow,
    fate: Fate,
}

/// What is known of a node that had a row when the command was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a row is there or not, and its revision is reached or not"
)]
pub enum Fate {
    /// It serves the revision.
    Serves,
    /// Its row is gone: it has left, or it is dead.
    Ended,
    /// Neither.
    Awaited,
}

impl Confirming {
    /// A wait for this revision, which was committed. `own` is the process that waits, and serves it already.
    #[must_use]
    pub const fn new(revision: Revision, own: Option<Arc<str>>) -> Self {
        Self {
            revision,
            own,
            nodes: None,
        }
    }

    /// Takes in all rows, as they were read since the commit returned. Returns whether the wait is over.
    ///
    /// A row that comes later is of a node that joins, and reads a snapshot with the revision in it.
    pub fn observe(&mut self, rows: &[NodeRow]) -> bool {
        let nodes = self.nodes.get_or_insert_with(|| {
            let fate = Fate::Awaited;
            let node = |row: &NodeRow| (row.id(), Node { row: row.clone(), fate });
            rows.iter().map(node).collect()
        });
        let rows: BTreeMap<_, _> = rows.iter().map(|row| (row.id(), row)).collect();
        for (id, node) in nodes.iter_mut().filter(|(_, node)| node.fate == Fate::Awaited) {
            match rows.get(id) {
                None => node.fate = Fate::Ended,
                Some(row) => {
                    node.row = NodeRow::clone(row);
                    if row.serves(self.revision) || self.own.as_ref() == Some(&row.process) {
                        node.fate = Fate::Serves;
                    }
                }
            }
        }
        self.is_over()
    }

    /// Returns whether the wait is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let nodes = self.nodes.as_ref();
        nodes.is_some_and(|nodes| nodes.values().all(|node| node.fate != Fate::Awaited))
    }

    /// Returns what is known of each node, with the last that was seen of its row.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeRow, Fate)> {
        let nodes = self.nodes.iter().flat_map(BTreeMap::values);
        nodes.map(|node| (&node.row, node.fate))
    }
}
