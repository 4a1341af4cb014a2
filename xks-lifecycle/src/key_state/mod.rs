//! The states of a key, what AWS KMS sees of each, and the commands that change them: pure functions of what
//! is known and of the time.
//!
//! # A key that has expired can come back
//! In NIST SP 800-57, part 1, a deactivated key never becomes active again. Here it does when, and only when,
//! a command sets a later expiry: [`KeyCommand::SetExpiry`]. Enabling it is refused until then, and no
//! schedule, restart or other command brings it back.
//!
//! An expiry is a date that a person sets, and may have set too early: a key serves data that is in use, and
//! an administrator who sees users fail on that date must be able to put it off, as in other external key
//! managers, and as AWS KMS lets expired key material be imported again. In terms of NIST the person sets a
//! longer cryptoperiod, and until then the key was suspended. The event of the command shows both dates. What
//! must not come back is revoked as a version, or scheduled for deletion.
//!
//! The clock alone brings back a key that it had deactivated: one that is set back. The expiry is derived
//! from it, and never stored.

mod decide;
mod version;
mod view;

use std::fmt;

use crate::{FieldError, FieldProblem, Key, Timestamp, field::named_enum};

pub(crate) use self::version::{Step, decide_all};
pub use self::{
    decide::{Change, KeyCommand, KeyContext, Need, Refused, decide},
    version::{VersionCommand, add_version, decide_version},
    view::{Conditions, KmsView, Standing, view},
};

/// The state of a key as the last command left it. It is stored; the expiry is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StoredState {
    /// It was made, and serves nothing yet.
    PreActive,
    /// It serves, until it expires.
    Enabled,
    /// It serves nothing until it is enabled.
    Disabled,
    /// It serves nothing, and can be destroyed after a time.
    PendingDeletion {
        /// After which time.
        until: Timestamp,
    },
    /// It is gone; its ids remain.
    Destroyed,
}

/// The state of a key at a time, as NIST SP 800-57 names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// It was made, and serves nothing yet.
    PreActive,
    /// It serves.
    Enabled,
    /// It serves nothing until it is enabled.
    Disabled,
    /// It has expired: it encrypts no more, and decrypts if its key set keeps that.
    Deactivated,
    /// It serves nothing, and is about to be destroyed.
    PendingDeletion,
    /// It is gone.
    Destroyed,
}

named_enum! {
    KeyState,
    PreActive => "pre-active",
    Enabled => "enabled",
    Disabled => "disabled",
    Deactivated => "deactivated",
    PendingDeletion => "pending-deletion",
    Destroyed => "destroyed",
}

impl KeyState {
    /// The state of a key that has expired, or has not, whose state is this one without its expiry.
    pub(crate) const fn expired(self, is_expired: bool) -> Self {
        match self {
            Self::Enabled if is_expired => Self::Deactivated,
            state => state,
        }
    }
}

impl StoredState {
    const NAMES: &'static str = "pre-active, enabled, disabled, pending-deletion, destroyed";

    /// Returns the name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.without_expiry().as_str()
    }

    /// The state, if the key does not expire.
    pub(crate) const fn without_expiry(self) -> KeyState {
        match self {
            Self::PreActive => KeyState::PreActive,
            Self::Enabled => KeyState::Enabled,
            Self::Disabled => KeyState::Disabled,
            Self::PendingDeletion { .. } => KeyState::PendingDeletion,
            Self::Destroyed => KeyState::Destroyed,
        }
    }

    /// After which time it can be destroyed.
    pub(crate) const fn deleted_after(self) -> Option<Timestamp> {
        match self {
            Self::PendingDeletion { until } => Some(until),
            _ => None,
        }
    }

    pub(crate) fn from_parts(name: &str, deleted_after: Option<Timestamp>) -> Result<Self, FieldError> {
        let state = match (name, deleted_after) {
            ("pre-active", None) => Self::PreActive,
            ("enabled", None) => Self::Enabled,
            ("disabled", None) => Self::Disabled,
            ("pending-deletion", Some(until)) => Self::PendingDeletion { until },
            ("destroyed", None) => Self::Destroyed,
            ("pending-deletion", None) => return Err(FieldError::new("deleted_after", FieldProblem::Missing)),
            ("pre-active" | "enabled" | "disabled" | "destroyed", Some(_)) => {
                return Err(FieldError::new("deleted_after", FieldProblem::Unexpected));
            }
            _ => return Err(FieldError::new("state", FieldProblem::Unknown(Self::NAMES))),
        };
        Ok(state)
    }
}

impl fmt::Display for StoredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Key {
    /// Returns the state at a time.
    ///
    /// Only an enabled key is deactivated by its expiry. One that was disabled stays so: deactivation can
    /// mean that it decrypts, and nothing that a clock does may open a key that a person has closed.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> KeyState {
        self.state.without_expiry().expired(self.is_expired(now))
    }

    /// Returns whether its expiry has come.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_state_has_one_form() {
        let until = Timestamp::MAX;
        for state in [
            StoredState::PreActive,
            StoredState::Enabled,
            StoredState::Disabled,
            StoredState::PendingDeletion { until },
            StoredState::Destroyed,
        ] {
            let (name, after) = (state.as_str(), state.deleted_after());
            assert!(StoredState::NAMES.contains(name));
            assert_eq!(StoredState::from_parts(name, after), Ok(state));
            let other = if after.is_some() { None } else { Some(until) };
            assert_eq!(
                StoredState::from_parts(name, other).unwrap_err().field(),
                "deleted_after"
            );
        }
        assert_eq!(
            StoredState::from_parts("deactivated", None).unwrap_err().field(),
            "state"
        );
    }
}
