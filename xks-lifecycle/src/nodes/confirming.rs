//! A command's wait for all nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{NodeRow, usable::Versions};
use crate::store::Revision;

/// Waits until every node serves a revision, or can use what was published, has left, or is dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Confirming {
    revision: Revision,
    wanted: Wanted,
    /// The rows that were there when they were read first, and later ones if these are waited for too. None:
    /// they were not read yet.
    nodes: Option<BTreeMap<String, Node>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    row: NodeRow,
    fate: Fate,
}

/// What every node is waited for to say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    /// That it serves the revision. A process of its own does already.
    Serves(Option<Arc<str>>),
    /// That it can use what was published at the revision or before.
    Uses(Versions),
}

/// What is known of a node that had a row when the command was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a row is there or not, and its revision is reached or not"
)]
pub enum Fate {
    /// It serves the revision, or can use what was published.
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
            wanted: Wanted::Serves(own),
            nodes: None,
        }
    }

    /// A wait until every node can use what was published at this revision or before: these versions, by
    /// their names; or all.
    #[must_use]
    pub fn uses(revision: Revision, versions: Option<BTreeSet<Box<str>>>) -> Self {
        Self {
            revision,
            wanted: Wanted::Uses(versions.map(Arc::new)),
            nodes: None,
        }
    }

    /// Returns the revision that is waited for.
    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns the versions that are waited for, if versions are.
    pub(super) const fn versions(&self) -> Option<&Versions> {
        match &self.wanted {
            Wanted::Serves(_) => None,
            Wanted::Uses(versions) => Some(versions),
        }
    }

    /// Takes in all rows, as they were read since the commit returned. Returns whether the wait is over.
    ///
    /// A row that comes later is of a node that joins, and reads a snapshot with the revision in it. Whether
    /// it can use what was published is another question: it is waited for.
    pub fn observe(&mut self, rows: &[NodeRow]) -> bool {
        let fate = Fate::Awaited;
        let node = |row: &NodeRow| (row.id(), Node { row: row.clone(), fate });
        let nodes = self.nodes.get_or_insert_with(|| rows.iter().map(node).collect());
        if let Wanted::Uses(_) = self.wanted {
            for (id, node) in rows.iter().map(node) {
                nodes.entry(id).or_insert(node);
            }
        }
        let rows: BTreeMap<_, _> = rows.iter().map(|row| (row.id(), row)).collect();
        for (id, node) in nodes.iter_mut().filter(|(_, node)| node.fate == Fate::Awaited) {
            match rows.get(id) {
                None => node.fate = Fate::Ended,
                Some(row) => {
                    node.row = NodeRow::clone(row);
                    let is_done = match &self.wanted {
                        Wanted::Serves(own) => row.serves(self.revision) || own.as_ref() == Some(&row.process),
                        Wanted::Uses(versions) => row.usable.can_use(self.revision, versions),
                    };
                    if is_done {
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

    /// Returns whether the rows were read at all.
    pub(super) const fn is_begun(&self) -> bool {
        self.nodes.is_some()
    }

    /// Returns what is known of each node, with the last that was seen of its row.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeRow, Fate)> {
        let nodes = self.nodes.iter().flat_map(BTreeMap::values);
        nodes.map(|node| (&node.row, node.fate))
    }
}
