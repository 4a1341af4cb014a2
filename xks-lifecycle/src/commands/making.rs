//! Which process is making a version, so that another node neither makes it a second time, in an HSM of its
//! own, nor takes it for one that was left half done.
//!
//! The mark is a claim, from the commit that begins with the version to the one that publishes it or gives it
//! up. It counts while its process has a row among the nodes. A process alone has none.

use super::Commands;
use crate::{
    CommandError, KeyVersionId,
    nodes::NodeRow,
    store::{Claim, ClaimKind, Swap},
};

/// The id of the mark of a version.
pub(crate) fn mark_id(version: &KeyVersionId) -> String {
    format!("making {version}")
}

impl Commands {
    /// The mark of a version that this process makes.
    pub(super) fn mark(&self, version: &KeyVersionId) -> Option<Claim> {
        let node = self.node.as_ref()?;
        let name = node.name();
        Some(Claim::new(ClaimKind::Job, &mark_id(version), node.process(), 1, &name))
    }

    /// Takes a version over that another process has begun with, or this one, if no live one makes it.
    ///
    /// # Errors
    /// [`CommandError::UnderWay`], and those of the store.
    pub(super) async fn take_over(&self, version: &KeyVersionId) -> Result<(), CommandError> {
        let Some(mark) = self.mark(version) else { return Ok(()) };
        let store = self.repository.store();
        let found = store.claims(ClaimKind::Job).await?.0;
        let found = found.into_iter().find(|claim| claim.id == mark.id);
        let under_way = |claim: &Claim| CommandError::UnderWay {
            version: version.clone(),
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

    /// Leaves a version that could not be made, so that any node may go on with it.
    pub(super) async fn leave(&self, version: &KeyVersionId) -> Result<(), CommandError> {
        if let Some(mark) = self.mark(version) {
            self.repository.store().swap(Swap::Delete(mark)).await?;
        }
        Ok(())
    }

    /// Waits for what is done with a version that this process has marked, and leaves it when that fails.
    pub(super) async fn marked<T>(
        &self,
        version: &KeyVersionId,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let outcome = work.await;
        if outcome.is_err() {
            // If that fails too, the mark stays as long as this process, which may go on with the version.
            drop(self.leave(version).await);
        }
        outcome
    }
}
