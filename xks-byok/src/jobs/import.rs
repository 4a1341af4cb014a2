//! What wraps material for an import: the key manager that has it, or software for what is in the store.

use std::sync::Arc;

use xks_core::{
    async_trait,
    manage::{WrappingAlgorithm, WrappingKey},
};
use xks_lifecycle::{
    CommandError,
    commands::{Actor, Commands},
};

use crate::apply::Wrapper;

/// The materials of a state. Each that is wrapped is an event in the name of the actor.
pub(super) struct Materials {
    pub(super) commands: Arc<Commands>,
    pub(super) actor: Actor,
}

#[async_trait]
impl Wrapper for Materials {
    async fn algorithms(&self, material: &str) -> Result<Vec<WrappingAlgorithm>, CommandError> {
        self.commands.wrappings_of(material.parse()?).await
    }

    async fn wrap(&self, material: &str, key: &WrappingKey) -> Result<Vec<u8>, CommandError> {
        let id = material.parse()?;
        self.commands.wrap_material(&self.actor, id, key).await
    }
}
