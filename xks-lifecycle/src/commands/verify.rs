//! Whether a key set's backend can be reached.

use xks_core::backend::Health;

use super::{Actor, Call, Commands};
use crate::{CommandError, KeySetId, Object, store::Table};

impl Commands {
    /// Asks the backend of a key set for its health: it encrypts and decrypts with a test key of its own.
    ///
    /// # Errors
    /// [`CommandError`]: the key set has no backend, or that does not work.
    pub async fn verify_backend(&self, actor: &Actor, id: KeySetId) -> Result<Health, CommandError> {
        let call = Call::new(actor, "verify-backend", &Object::new(Table::KeySets, &id));
        let work = async {
            let backend = self.backends.of(&self.key_set(id)?)?;
            let health = backend.keys.health().await.map_err(|source| CommandError::Backend {
                backend: backend.name.to_string(),
                action: "it does not work",
                source,
            })?;
            self.unless_changed(&call, (health, false)).await
        };
        self.recorded(&call, work).await
    }
}
