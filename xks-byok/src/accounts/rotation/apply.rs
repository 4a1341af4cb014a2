//! One step of a rotation against AWS.

use std::{error::Error, fmt};

use xks_lifecycle::Timestamp;

use super::{EQUAL_READS, State, Step};
use crate::aws::{AccessKey, AccessKeyStatus, AwsCredentials, AwsError, AwsErrorKind, Connector, Iam};

/// What the caller commits after a step. What is named together is committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The state.
    Record(State),
    /// The state, and the new access key with its secret, which is shown this once.
    Keep(State, AccessKey),
    /// The state; the new access key becomes the account's credential.
    Switch(State),
    /// The state. The new access key, if one is held, is forgotten.
    Forget(State),
    /// Nothing: plan again later.
    Nothing,
}

/// Why a step failed. What is committed stays: observe and plan again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotationError {
    /// A call failed.
    Aws(AwsError),
    /// The new access key is not held any more, though the state says so.
    NotHeld {
        /// Its id.
        new: String,
    },
    /// The new access key belongs to another user than the account's credential.
    OtherUser {
        /// The ARN that the account's credential has.
        current: String,
        /// The ARN that the new access key has.
        new: String,
    },
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws(error) => error.fmt(f),
            Self::NotHeld { new } => write!(
                f,
                "the secret of access key {new} is not kept: it will be deleted, and another one made"
            ),
            Self::OtherUser { current, new } => write!(
                f,
                "the new access key belongs to {new}, and the account's credential to {current}: it is not used"
            ),
        }
    }
}

impl Error for RotationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Aws(error) => Some(error),
            Self::NotHeld { .. } | Self::OtherUser { .. } => None,
        }
    }
}

impl From<AwsError> for RotationError {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

/// Does one step, with `iam`, a client of the account's credential. `held` is the new access key, in state
/// [`Proving`](State::Proving); `connector` and `region` make a client of it.
///
/// # Errors
/// The step failed, or may have been done: what is committed stays as it is, observe and plan again.
///
/// # Cancellation
/// As after an error.
pub async fn apply(
    step: &Step,
    iam: &dyn Iam,
    held: Option<&AccessKey>,
    connector: &dyn Connector,
    region: &str,
    now: Timestamp,
) -> Result<Effect, RotationError> {
    Ok(match step {
        Step::Mark { known } => {
            let known = known.clone();
            Effect::Record(State::Creating { known, since: now })
        }
        Step::Create => {
            let made = iam.create_access_key(None).await?.access_key;
            let new = made.access_key_id.clone();
            Effect::Keep(State::Proving { new, since: now }, made)
        }
        Step::DeleteLost { id } => {
            delete(iam, id).await?;
            Effect::Nothing
        }
        Step::Prove { new, old } => {
            let held = held.filter(|key| key.access_key_id == *new);
            let held = held.ok_or_else(|| RotationError::NotHeld { new: new.clone() })?;
            if is_proven(iam, held, connector, region).await? {
                let old = old.clone();
                Effect::Switch(State::Switched { old, since: now })
            } else {
                Effect::Nothing
            }
        }
        Step::GiveUp { new } => {
            delete(iam, new).await?;
            Effect::Forget(State::Idle)
        }
        Step::Deactivate { old } => {
            iam.update_access_key(None, old, AccessKeyStatus::Inactive).await?;
            Effect::Nothing
        }
        Step::Delete { old } => {
            delete(iam, old).await?;
            Effect::Nothing
        }
        Step::Finish => Effect::Record(State::Idle),
        Step::Wait { .. } | Step::Block(_) => Effect::Nothing,
    })
}

/// An access key that is not there any more is deleted.
async fn delete(iam: &dyn Iam, id: &str) -> Result<(), AwsError> {
    match iam.delete_access_key(None, id).await {
        Err(error) if error.kind == AwsErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Whether the new access key signs calls, for the same user as the account's credential.
async fn is_proven(
    iam: &dyn Iam,
    held: &AccessKey,
    connector: &dyn Connector,
    region: &str,
) -> Result<bool, RotationError> {
    let current = iam.get_caller_identity().await?.arn;
    let client = connector.iam(&AwsCredentials::AccessKey(held.clone()), region).await?;
    // It may be known in one place of AWS, and not yet in another.
    for _ in 0..EQUAL_READS {
        match client.get_caller_identity().await {
            Ok(caller) if caller.arn == current => (),
            Ok(caller) => {
                let new = caller.arn;
                return Err(RotationError::OtherUser { current, new });
            }
            Err(error) if error.is_bad_credential() || error.is_retryable() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}
