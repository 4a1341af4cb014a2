//! The nodes on the store, as this one sees them.

use std::time::Duration;

use super::Commands;
use crate::{
    CommandError,
    nodes::NodeRow,
    store::{ClaimKind, Revision},
};

/// The nodes on the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nodes {
    /// The revision of the store.
    pub head: Revision,
    /// The nodes, in the order of their names and incarnations.
    pub nodes: Vec<NodeEntry>,
    /// Why rows of the store cannot be read as those of nodes: no command is confirmed while there is one.
    pub unreadable: Vec<String>,
}

/// A node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeEntry {
    /// What it says of itself.
    pub row: NodeRow,
    /// Whether it is this process.
    pub is_this: bool,
    /// How long ago this process saw it renew its lease: zero if it has just seen the row for the first time.
    pub unchanged: Duration,
}

impl Nodes {
    /// No nodes, at a revision of the store.
    #[must_use]
    pub const fn none(head: Revision) -> Self {
        Self {
            head,
            nodes: Vec::new(),
            unreadable: Vec::new(),
        }
    }
}

impl Commands {
    /// Returns the nodes on the store; none if the state belongs to this process alone.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn nodes(&self) -> Result<Option<Nodes>, CommandError> {
        let Some(node) = self.node() else { return Ok(None) };
        let (claims, head) = self.repository().store().claims(ClaimKind::Node).await?;
        let (rows, unreadable) = node.observe(&claims);
        let unreadable = unreadable.iter().map(ToString::to_string).collect();
        let entry = |row: NodeRow| NodeEntry {
            is_this: node.is_of(&row),
            unchanged: node.unchanged(&row),
            row,
        };
        Ok(Some(Nodes {
            head,
            nodes: rows.into_iter().map(entry).collect(),
            unreadable,
        }))
    }
}
