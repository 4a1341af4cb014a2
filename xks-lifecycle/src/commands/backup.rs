//! Backing up the state.

use super::{Actor, Call, Commands};
use crate::{CommandError, backup::Backup};

impl Commands {
    /// Makes a [backup](crate::backup) of the state. Other commands, and requests, go on meanwhile.
    ///
    /// # Errors
    /// Those of [`Repository::backup`](crate::Repository::backup).
    pub async fn backup(&self, actor: &Actor) -> Result<Backup, CommandError> {
        let call = Call::new(actor, "backup", &"store");
        let work = async {
            let backup = self.repository.backup(self.now()).await?;
            self.record_nothing(&call).await?;
            Ok(backup)
        };
        self.recorded(&call, work).await
    }
}
