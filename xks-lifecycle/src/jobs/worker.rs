//! Who works on jobs, and when a job may be taken over from another.

use std::{collections::BTreeMap, time::Duration};

use super::JobRow;
use crate::{
    CommandError, JobId, RandomError,
    commands::Commands,
    generate_key_id,
    nodes::{Moment, NodeRow},
    store::{Claim, ClaimKind},
};

/// One that works on jobs. Its name is the owner of the rows that it has.
///
/// A row is taken over from a worker whose process has no row among the [nodes](crate::nodes) any more, and
/// where it stays as it is for longer than a step may take, on the lease clock of the worker that has seen
/// it: by the same rule as the claim of a [scheduler](crate::schedule).
#[derive(Debug)]
pub struct Worker {
    /// Process and a random id, or that id alone for a process that is no node.
    name: Box<str>,
    is_node: bool,
    limit: Duration,
    seen: BTreeMap<JobId, Seen>,
}

/// A row of another, and when it was seen first as it is.
#[derive(Debug)]
struct Seen {
    owner: Box<str>,
    counter: u64,
    since: Moment,
}

impl Worker {
    /// A worker of this process. `limit` is how long a step may take at most: for so long another worker's
    /// row is left to it.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn new(commands: &Commands, limit: Duration) -> Result<Self, RandomError> {
        let id = generate_key_id()?;
        let process = commands.node().map(|node| node.process());
        let name = process.map_or_else(|| id.to_string(), |process| format!("{process}#{id}"));
        Ok(Self {
            name: name.into(),
            is_node: process.is_some(),
            limit,
            seen: BTreeMap::new(),
        })
    }

    /// Returns its name: the owner of its rows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether this worker may take a row: none has it, or this one, or one that is gone.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn may_take(&mut self, commands: &Commands, row: &JobRow) -> Result<bool, CommandError> {
        if row.owner.is_empty() || row.owner == self.name {
            self.seen.remove(&row.id);
            return Ok(true);
        }
        let now = commands.moment();
        let first = || Seen {
            owner: row.owner.clone(),
            counter: row.counter,
            since: now,
        };
        let seen = self.seen.entry(row.id).or_insert_with(first);
        if (&seen.owner, seen.counter) != (&row.owner, row.counter) {
            *seen = first();
        }
        seen.since = seen.since.min(now); // a process alone measures by the system's clock, which may be set back
        if now >= seen.since.plus(self.limit) {
            return Ok(true);
        }
        let Some((process, _)) = row.owner.split_once('#') else {
            return Ok(false);
        };
        if !self.is_node {
            return Ok(false);
        }
        let rows = commands.repository().store().claims(ClaimKind::Node).await?.0;
        // A row that cannot be read may be its.
        let may_be = |row: &Claim| NodeRow::from_claim(row).map_or(true, |row| *row.process == *process);
        Ok(!rows.iter().any(may_be))
    }

    /// Forgets rows of jobs that are not there any more.
    pub fn retain(&mut self, rows: &[JobRow]) {
        self.seen.retain(|id, _| rows.iter().any(|row| row.id == *id));
    }
}
