//! What to do next, as a pure function.

use std::fmt;

use xks_lifecycle::Timestamp;

use crate::aws::{AccessKeyMetadata, AccessKeyStatus};

/// How far a rotation has come: what the caller commits, beside the access keys with their secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// No rotation.
    #[default]
    Idle,
    /// A new access key is being made.
    Creating {
        /// The access keys that the user had before.
        known: Vec<String>,
        /// Since when.
        since: Timestamp,
    },
    /// A new access key is held, with its secret, and is not yet the account's credential.
    Proving {
        /// Its id.
        new: String,
        /// Since when it is held.
        since: Timestamp,
    },
    /// The new access key is the account's credential.
    Switched {
        /// The id of the one before, which is to be deactivated and deleted.
        old: String,
        /// Since when.
        since: Timestamp,
    },
}

/// How long a rotation waits, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How long AWS may take to accept a new access key before it is given up. By default 15 minutes.
    pub proof_secs: u64,
    /// How long the old access key stays active after the switch, for calls that other nodes have begun. By
    /// default one minute.
    pub overlap_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            proof_secs: 15 * 60,
            overlap_secs: 60,
        }
    }
}

/// The next step of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Record that an access key will be made, and which there are.
    Mark {
        /// The access keys that the user has.
        known: Vec<String>,
    },
    /// Make an access key.
    Create,
    /// Delete an access key that was made, and whose secret was lost with the answer.
    DeleteLost {
        /// Its id.
        id: String,
    },
    /// Sign a call with the new access key, and make it the account's credential if that succeeds.
    Prove {
        /// Its id.
        new: String,
        /// The id of the account's credential.
        old: String,
    },
    /// Delete the new access key, which AWS has not accepted in time, and begin from the start.
    GiveUp {
        /// Its id.
        new: String,
    },
    /// Deactivate the old access key.
    Deactivate {
        /// Its id.
        old: String,
    },
    /// Delete the old access key, which is inactive.
    Delete {
        /// Its id.
        old: String,
    },
    /// Nothing before this time.
    Wait {
        /// The time.
        until: Timestamp,
    },
    /// The rotation has ended.
    Finish,
    /// A person has to do something first.
    Block(Blocked),
}

/// Why a rotation does not go on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blocked {
    /// The account's credential is not an active access key of the user.
    CurrentMissing {
        /// Its id.
        current: String,
    },
    /// The user has a second access key, which is not ours.
    SecondKey {
        /// Its id.
        other: String,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CurrentMissing { current } => write!(
                f,
                "the access key {current} of this account is not an active one of its user: give the account another \
                 credential"
            ),
            Self::SecondKey { other } => write!(
                f,
                "the user has a second access key, {other}, which is not ours, and AWS allows two: delete it, or use a \
                 user of its own for this account"
            ),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark { .. } => f.write_str("record that a new access key will be made"),
            Self::Create => f.write_str("create a new access key"),
            Self::DeleteLost { id } => write!(f, "delete access key {id}: its secret was lost with AWS's answer"),
            Self::Prove { new, .. } => write!(f, "sign a call with access key {new}, then use it for the account"),
            Self::GiveUp { new } => write!(f, "delete access key {new}: AWS does not accept it"),
            Self::Deactivate { old } => write!(f, "deactivate access key {old}: the account uses the new one"),
            Self::Delete { old } => write!(f, "delete access key {old}: it is inactive"),
            Self::Wait { until } => write!(f, "wait until {until}"),
            Self::Finish => f.write_str("the rotation has ended"),
            Self::Block(blocked) => write!(f, "blocked: {blocked}"),
        }
    }
}

/// How far the clocks of AWS and of this machine may be apart, in seconds: as far as AWS takes signatures.
const SKEW_SECS: u64 = 5 * 60;

/// For how long after the mark an access key is asked for, in seconds.
const CALL_SECS: u64 = 2 * 60;

/// Decides what to do next. `current` is the id of the account's credential, `keys` are all access keys of
/// its user, as [`observe`](super::observe) reads them with that credential.
#[must_use]
pub fn plan(state: &State, current: &str, keys: &[AccessKeyMetadata], now: Timestamp, limits: Limits) -> Step {
    let find = |id: &str| keys.iter().find(|key| key.access_key_id == id);
    if find(current).is_none_or(|key| key.status != AccessKeyStatus::Active) {
        let current = current.to_owned();
        return Step::Block(Blocked::CurrentMissing { current });
    }
    let other = keys.iter().find(|key| key.access_key_id != current);
    match state {
        State::Idle => match other {
            Some(other) => second_key(other),
            None => Step::Mark {
                known: keys.iter().map(|key| key.access_key_id.clone()).collect(),
            },
        },
        State::Creating { known, since } => match other {
            Some(other) if is_lost(other, known, *since) => Step::DeleteLost {
                id: other.access_key_id.clone(),
            },
            Some(other) => second_key(other),
            None if now <= since.plus_seconds(CALL_SECS) => Step::Create,
            // The next call is told from what others do by its own time.
            None => Step::Mark {
                known: keys.iter().map(|key| key.access_key_id.clone()).collect(),
            },
        },
        // The credential is what the state takes for the new key: nothing of it is touched.
        State::Proving { new, .. } if new == current => Step::Finish,
        State::Proving { new, since } => {
            let new = new.clone();
            if now <= since.plus_seconds(limits.proof_secs) {
                let old = current.to_owned();
                Step::Prove { new, old }
            } else {
                Step::GiveUp { new }
            }
        }
        State::Switched { old, since } => {
            let until = since.plus_seconds(limits.overlap_secs);
            match find(old) {
                _ if old == current => Step::Finish,
                None => Step::Finish,
                Some(_) if now < until => Step::Wait { until },
                Some(key) if key.status == AccessKeyStatus::Inactive => Step::Delete { old: old.clone() },
                Some(_) => Step::Deactivate { old: old.clone() },
            }
        }
    }
}

fn second_key(other: &AccessKeyMetadata) -> Step {
    let other = other.access_key_id.clone();
    Step::Block(Blocked::SecondKey { other })
}

/// Whether an access key was made by a call of ours whose answer was lost: it is not one of those before, and
/// was made in the time of the call. A list that was read too early may lack the key of somebody else.
fn is_lost(key: &AccessKeyMetadata, known: &[String], marked: Timestamp) -> bool {
    let last = marked.plus_seconds(CALL_SECS + SKEW_SECS);
    let is_in_time = |made: Timestamp| made.plus_seconds(SKEW_SECS) >= marked && made <= last;
    !known.contains(&key.access_key_id) && key.create_date.is_some_and(is_in_time)
}
