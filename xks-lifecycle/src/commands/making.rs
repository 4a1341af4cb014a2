//! Which process is making a version or material, so that another node neither makes it a second time, in an
//! HSM of its own, nor takes it for one that was left half done.
//!
//! The mark is a claim, from the commit that begins with the version to the one that publishes it or gives it
//! up. It counts while its process has a row among the nodes. A process alone has none.

use std::fmt::Display;

use super::Commands;
use crate::{
    CloudMaterialId, CommandError, KeyVersionId, Object,
    nodes::NodeRow,
    store::{Claim, ClaimKind, Swap, Table},
};

/// What one process makes at a time: a version, or material, by its id.
pub(crate) trait Made: Display {
    const TABLE: Table;
}

impl Made for KeyVersionId {
    const TABLE: Table = Table::Versions;
}

impl Made for CloudMaterialId {
    const TABLE: Table = Table::CloudMaterials;
}

/// The id of the mark of what is made.
pub(crate) fn mark_id(id: &impl Made) -> String {
    format!("making {id}")
}

impl Commands {
    /// The mark of what this process makes.
    pub(super) fn mark(&self, id: &impl Made) -> Option<Claim> {
        let node = self.node.as_ref()?;
        let name = node.name();
        Some(Claim::new(ClaimKind::Job, &mark_id(id), node.process(), 1, &name))
    }

    /// Takes over what another process has begun with, or this one, if no live one makes it.
    ///
    /// # Errors
    /// [`CommandError::UnderWay`], and those of the store.
    pub(super) async fn take_over<M: Made>(&self, id: &M) -> Result<(), CommandError> {
        let Some(mark) = self.mark(id) else { return Ok(()) };
        let store = self.repository.store();
        let found = store.claims(ClaimKind::Job).await?.0;
        let found = found.into_iter().find(|claim| claim.id == mark.id);
        let under_way = |claim: &Claim| CommandError::UnderWay {
            object: Object::new(M::TABLE, id),
            node: claim.body.clone(),
        };
        let swap = match found {
            Some(found) if found.owner == mark.owner => return Ok(()),
            Some(found) if self.is_alive(&found.owner).await? => return Err(under_way(&found)),
            Some(seen) => Swap::Replace { seen, next: mark },
            None => Swap::Insert(mark),
        };
        let swapped = store.swap(swap).await?;
        match swapped.claim {
            Some(claim) if !swapped.is_done => Err(under_way(&claim)),
            _ => Ok(()),
        }
    }

    /// Whether a process has a row among the nodes. One that cannot be read may be its.
    async fn is_alive(&self, process: &str) -> Result<bool, CommandError> {
        let rows = self.repository.store().claims(ClaimKind::Node).await?.0;
        let may_be = |row: &Claim| NodeRow::from_claim(row).map_or(true, |row| *row.process == *process);
        Ok(rows.iter().any(may_be))
    }

    /// Leaves what could not be made, so that any node may go on with it.
    pub(super) async fn leave(&self, id: &impl Made) -> Result<(), CommandError> {
        if let Some(mark) = self.mark(id) {
            self.repository.store().swap(Swap::Delete(mark)).await?;
        }
        Ok(())
    }

    /// Waits for what is done with what this process has marked, and leaves it when that fails.
    pub(super) async fn marked<T>(
        &self,
        id: &impl Made,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let outcome = work.await;
        if outcome.is_err() {
            // If that fails too, the mark stays as long as this process, which may go on with it.
            drop(self.leave(id).await);
        }
        outcome
    }
}
