//! The authorizer: a request's decision by the policies.

use std::{fmt, sync::Arc};

use cedar_policy::{AuthorizationError, PolicyId, Response};
use xks_core::{
    authorize::{Authorizer, Decision, Subject},
    dependency::Reply,
};

use crate::{
    builder::CedarAuthorizerBuilder, error::CedarError, known::Known, misfit::Misfit, model::Model, policies::Policies,
};

/// The longest text that goes to the log, in characters.
const MAX_LOGGED: usize = 2048;

/// Secondary authorization by Cedar policies. Specification: Authorization.
///
/// A request is allowed when at least one `permit` applies to it and no `forbid` does. It is denied as well
/// when a policy cannot be evaluated for it, whatever the others say: that policy might have been the one
/// that forbids.
///
/// The [`Decision`] names the policies that made it, each by its `@id`, or else by Cedar's id `policyN`,
/// where N is its place in the text, from 0; several are joined by `, `.
///
/// It has no state and does no I/O. Other policies are another authorizer, for a key store that replaces the
/// first.
pub struct CedarAuthorizer {
    cedar: cedar_policy::Authorizer,
    policies: Policies,
    model: Model,
    known: Known,
    unmatched: Arc<str>,
}

impl CedarAuthorizer {
    /// Parses policies that fit the built-in [`SCHEMA`](crate::SCHEMA).
    ///
    /// # Errors
    /// Any [`CedarError`] but those about schema and entities.
    pub fn new(policies: &str) -> Result<Self, CedarError> {
        Self::builder(policies).build()
    }

    /// Starts an authorizer with these policies and a schema or entities of one's own.
    pub const fn builder(policies: &str) -> CedarAuthorizerBuilder<'_> {
        CedarAuthorizerBuilder::new(policies)
    }

    pub(crate) fn assembled(model: Model, known: Known, policies: Policies) -> Self {
        Self {
            cedar: cedar_policy::Authorizer::new(),
            policies,
            model,
            known,
            unmatched: "no policy allows it".into(),
        }
    }

    /// Decides at once.
    #[must_use]
    pub fn decide(&self, subject: &Subject<'_>) -> Decision {
        match self.ask(subject) {
            Ok(response) => self.decision(subject, &response),
            Err(misfit) => {
                tracing::error!(
                    target: "xks::authorize",
                    kms_request_id = subject.request_metadata.kms_request_id().map(clipped),
                    reason = &*misfit.reason,
                    cause = &*clipped(&misfit.detail),
                    "the policies cannot be evaluated: request denied"
                );
                Decision::deny(misfit.reason)
            }
        }
    }

    fn ask(&self, subject: &Subject<'_>) -> Result<Response, Misfit> {
        let request = self.model.request(subject)?;
        let entities = self.model.types.of(subject, &self.known)?;
        Ok(self.cedar.is_authorized(&request, &self.policies.set, &entities))
    }

    fn decision(&self, subject: &Subject<'_>, response: &Response) -> Decision {
        let said = response.diagnostics();
        let failed = said.errors().map(|error| self.failed(subject, error));
        let failed = self.policies.names(failed);
        let is_allowed = response.decision() == cedar_policy::Decision::Allow;
        match (self.policies.names(said.reason()), failed) {
            (Some(forbids), _) if !is_allowed => Decision::deny(forbids),
            (_, Some(failed)) => Decision::deny(format!("cannot be evaluated: {failed}")),
            (Some(permits), None) => Decision::allow_by(permits),
            (None, None) => Decision::deny(Arc::clone(&self.unmatched)),
        }
    }

    /// Cedar goes on without a policy that fails: the operator has to know.
    fn failed<'a>(&self, subject: &Subject<'_>, error: &'a AuthorizationError) -> &'a PolicyId {
        let AuthorizationError::PolicyEvaluationError(error) = error;
        tracing::error!(
            target: "xks::authorize",
            kms_request_id = subject.request_metadata.kms_request_id().map(clipped),
            policy = &*self.policies.name(error.policy_id()),
            cause = &*clipped(&error.inner().to_string()),
            "a policy cannot be evaluated: request denied"
        );
        error.policy_id()
    }
}

impl Authorizer for CedarAuthorizer {
    fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
        Reply::Now(self.decide(subject))
    }
}

// LOG-2: the formatter quotes and escapes texts; their length is bounded here.
fn clipped(text: &str) -> String {
    text.chars().take(MAX_LOGGED).collect()
}

impl fmt::Debug for CedarAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CedarAuthorizer")
            .field("policies", &self.policies.all())
            .field("entities", &self.known.len())
            .finish_non_exhaustive()
    }
}
