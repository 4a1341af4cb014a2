//! A request that the schema has no place for.

use std::error::Error;

use xks_core::text::ErrorChain;

/// Why Cedar was not asked. Such a request is denied: a policy that forbids might have applied.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// For the audit record, in the place of a policy. Holds nothing from the request.
    pub(crate) reason: String,
    /// For the log.
    pub(crate) detail: String,
}

impl Misfit {
    /// An extra field that is not what the schema says.
    pub(crate) fn field(name: &str) -> Self {
        Self {
            reason: format!("requestMetadata.{name} is not what the schema declares"),
            detail: "wrong type, missing attribute or duplicate: correct the schema".to_owned(),
        }
    }

    /// Anything else. The proxy lets no such request through; a test of policies may make one.
    pub(crate) fn request(error: &dyn Error) -> Self {
        Self {
            reason: "the request does not fit the schema".to_owned(),
            detail: ErrorChain(error).to_string(),
        }
    }
}
