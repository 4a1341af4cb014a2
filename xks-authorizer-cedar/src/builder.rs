//! An authorizer with a schema and entities of one's own.

use crate::{CedarError, SCHEMA, authorizer::CedarAuthorizer, known::Known, model::Model, policies::Policies};

/// What a [`CedarAuthorizer`] is made of. [`CedarAuthorizer::builder`] makes one; the crate's first page has
/// examples.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct CedarAuthorizerBuilder<'a> {
    policies: &'a str,
    schema: &'a str,
    entities: &'a str,
}

impl<'a> CedarAuthorizerBuilder<'a> {
    pub(crate) const fn new(policies: &'a str) -> Self {
        Self {
            policies,
            schema: SCHEMA,
            entities: "[]",
        }
    }

    /// Sets a schema, in Cedar's schema syntax, in place of the built-in [`SCHEMA`]. It declares all that
    /// that one does, and besides it further fields of `requestMetadata`, attributes, entity types or groups
    /// of actions. The fields and the attributes are optional, since not every request has them.
    pub const fn schema(self, schema: &'a str) -> Self {
        Self { schema, ..self }
    }

    /// Entities, in Cedar's JSON format: which principals and keys are in which groups.
    pub const fn entities(self, entities: &'a str) -> Self {
        Self { entities, ..self }
    }

    /// Reads all of it, and checks that it fits together.
    ///
    /// # Errors
    /// Any [`CedarError`].
    pub fn build(self) -> Result<CedarAuthorizer, CedarError> {
        let model = Model::new(self.schema)?;
        let policies = Policies::read(self.policies, &model)?;
        let known = Known::new(self.entities, &model, policies.named())?;
        Ok(CedarAuthorizer::assembled(model, known, policies))
    }
}
