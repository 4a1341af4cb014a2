//! The last use of a KMS key, as both sides know it.

use xks_lifecycle::Timestamp;

use crate::{
    aws::{KeyLastUsage, Operation},
    caller::{CallError, Caller},
};

/// The last use of a KMS key from both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastUse {
    /// What AWS KMS says. The id of its request is the `kmsRequestId` of the proxy's audit record.
    pub aws: KeyLastUsage,
    /// When this side has last counted a use of the external key, if it has.
    pub ours: Option<Timestamp>,
    /// What to look for in the audit log of the proxy.
    pub kms_request_id: Option<String>,
}

impl LastUse {
    /// Joins what both sides know.
    #[must_use]
    pub fn new(aws: KeyLastUsage, ours: Option<Timestamp>) -> Self {
        let kms_request_id = aws.last_usage.as_ref().and_then(|usage| usage.kms_request_id.clone());
        Self {
            aws,
            ours,
            kms_request_id,
        }
    }

    /// Returns the later one of both.
    #[must_use]
    pub fn latest(&self) -> Option<Timestamp> {
        let theirs = self.aws.last_usage.as_ref().and_then(|usage| usage.timestamp);
        theirs.max(self.ours)
    }

    /// Returns what it says about a deletion. AWS advises to disable a key first, and not to rely on this
    /// alone.
    #[must_use]
    pub fn advice(&self) -> String {
        match (self.latest(), &self.kms_request_id) {
            (Some(time), Some(id)) => format!("last used at {time} (kmsRequestId {id}): disable it first, and wait"),
            (Some(time), None) => format!("last used at {time}: disable it first, and wait"),
            (None, _) => match self.aws.tracking_start_date {
                Some(since) => {
                    format!("not used since {since}, when AWS began to track it: disable it first, and wait")
                }
                None => "no use is known: disable it first, and wait".to_owned(),
            },
        }
    }
}

/// Asks AWS for the last use of a key, and joins it with ours.
///
/// # Errors
/// Of the call.
pub async fn last_use(caller: &Caller, key_id: &str, ours: Option<Timestamp>) -> Result<LastUse, CallError> {
    let call = || caller.kms().get_key_last_usage(key_id);
    let aws = caller.call(Operation::GetKeyLastUsage, call).await?;
    Ok(LastUse::new(aws, ours))
}
