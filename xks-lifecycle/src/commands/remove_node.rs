//! The removal of a row of a node, by a person.

use super::{Actor, Call, Commands};
use crate::{CommandError, Outcome};

impl Commands {
    /// Removes the row of a node that has ended, by its id: the node's name, a slash, and its incarnation.
    ///
    /// The rows of other nodes go when they leave, or when their leases have ended. Left are those of nodes
    /// that serve on without the store, and claims that cannot be read: only a person knows that such a node
    /// has ended, and says so by this. It must not have renewed for as long as a lease lasts, as this process
    /// has seen.
    ///
    /// # Errors
    /// [`CommandError::UnknownNode`]; [`CommandError::NodeLives`]; those of the store.
    pub async fn remove_node(&self, actor: &Actor, id: &str) -> Result<(), CommandError> {
        let call = Call::new(actor, "remove-node", &format!("nodes/{id}"));
        let work = async {
            let unknown = || CommandError::UnknownNode(id.into());
            let node = self.node.as_ref().ok_or_else(unknown)?;
            match node.remove(&**self.repository.store(), id).await? {
                Some(true) => Ok(()),
                Some(false) => Err(CommandError::NodeLives(id.into())),
                None => Err(unknown()),
            }
        };
        self.recorded(&call, work).await?;
        let event = call.event(self.now(), Outcome::Done);
        self.record(vec![event]).await.map_err(CommandError::DoneUnrecorded)
    }
}
