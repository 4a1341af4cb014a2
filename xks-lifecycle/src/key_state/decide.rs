//! Commands on a key: what each changes, or why it is refused.

use thiserror::Error;

use super::{KeyState, StoredState};
use crate::{
    Description, FieldError, FieldProblem, Key, KeySet, KeyVersion, Minima, Name, Rotation, Timestamp, VersionId,
    VersionState, WaitingDays,
};

/// A command on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyCommand {
    /// Takes a key into use that was made.
    Activate,
    /// Lets a disabled key serve again.
    Enable,
    /// Stops a key at once, until it is enabled.
    Disable,
    /// Ends the encryption with a key now: it expires. A later expiry brings it back.
    Deactivate,
    /// Sets when a key expires, or that it does not. A key that has expired is in use again if this is later.
    SetExpiry(Option<Timestamp>),
    /// Sets when a key rotates. The times of a schedule count from now on.
    SetRotation(Rotation),
    /// Sets name and description.
    Rename {
        /// What it shall be called.
        name: Name,
        /// What it is for.
        description: Description,
    },
    /// Sets which of its versions may encrypt, may decrypt and are kept, by their least numbers.
    SetMinima(Minima),
    /// Stops a key at once, and lets it be destroyed after a time: the key set's, or longer.
    ScheduleDeletion(Option<WaitingDays>),
    /// Takes that back. The key is disabled then; enabling it is a command of its own.
    CancelDeletion,
    /// Destroys a key whose waiting time is over. What it encrypted is lost.
    Destroy {
        /// The key's name, typed by who destroys a key that may be needed.
        typed_name: Option<String>,
    },
}

impl KeyCommand {
    /// Returns the name by which people and events call it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Deactivate => "deactivate",
            Self::SetExpiry(_) => "set-expiry",
            Self::SetRotation(_) => "set-rotation",
            Self::Rename { .. } => "rename",
            Self::SetMinima(_) => "set-minima",
            Self::ScheduleDeletion(_) => "schedule-deletion",
            Self::CancelDeletion => "cancel-deletion",
            Self::Destroy { .. } => "destroy",
        }
    }
}

/// What a command on a key depends on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyContext<'s> {
    /// The key.
    pub key: &'s Key,
    /// Its key set.
    pub key_set: &'s KeySet,
    /// All of its versions, those that were destroyed too.
    pub versions: Vec<&'s KeyVersion>,
    /// How many encryptions were made since it came under management, or may have been: with it, or with the
    /// version that a command is about.
    pub encryptions: u64,
    /// The least number that a new version may have: 1, unless the state was restored from a backup.
    pub first_number: u32,
}

impl<'s> KeyContext<'s> {
    /// What a command depends on.
    #[must_use]
    pub fn new(
        key: &'s Key,
        key_set: &'s KeySet,
        versions: impl IntoIterator<Item = &'s KeyVersion>,
        encryptions: u64,
    ) -> Self {
        Self {
            key,
            key_set,
            versions: versions.into_iter().collect(),
            encryptions,
            first_number: 1,
        }
    }

    /// Why somebody may need the key.
    fn need(&self) -> Option<Need> {
        let earlier = self.versions.iter().map(|version| version.earlier_encryptions);
        let encryptions = earlier.fold(self.encryptions, u64::saturating_add);
        match &self.key.kms_key {
            Some(arn) => Some(Need::KmsKey(arn.to_string())),
            None if encryptions > 0 => Some(Need::Encryptions(encryptions)),
            None => None,
        }
    }
}

/// What a command changes: nothing, if the key is as the command wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The key as it shall be.
    pub key: Option<Key>,
    /// Versions as they shall be.
    pub versions: Vec<KeyVersion>,
    /// Versions that there were not before.
    pub new_versions: Vec<KeyVersion>,
}

impl Change {
    pub(super) const NOTHING: Self = Self {
        key: None,
        versions: Vec::new(),
        new_versions: Vec::new(),
    };

    /// Returns whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.key.is_none() && self.versions.is_empty() && self.new_versions.is_empty()
    }
}

/// Why somebody may need a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Need {
    /// It has encrypted.
    #[error("up to {0} ciphertexts were made with it")]
    Encryptions(u64),
    /// A KMS key uses it.
    #[error("the KMS key {0} uses it")]
    KmsKey(String),
}

/// Why a command is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// The key is in a state in which the command means nothing.
    #[error("`{command}` cannot be applied to a key that is {state}")]
    State {
        /// The command.
        command: &'static str,
        /// The state of the key.
        state: KeyState,
    },
    /// The key has expired.
    #[error("the key has expired on {0}: set a later expiry first")]
    Expired(Timestamp),
    /// A version is in a state in which the command means nothing.
    #[error("`{command}` cannot be applied to version {number}, which is {state}")]
    Version {
        /// The command.
        command: &'static str,
        /// The version's number.
        number: u32,
        /// Its state.
        state: VersionState,
    },
    /// The key has no such version.
    #[error("the key has no version {0}")]
    UnknownVersion(VersionId),
    /// The key manager has not made the version's key yet.
    #[error("version {0} is not made yet")]
    NotMade(u32),
    /// The command is not for the version that encrypts.
    #[error("version {0} is the one that encrypts: promote another one first")]
    CurrentVersion(u32),
    /// A version is being made already.
    #[error("version {0} is being made already: finish it, or destroy it")]
    Unfinished(u32),
    /// The version's number is below the minimum.
    #[error("version {number} is below the least that may encrypt ({min_encrypt})")]
    BelowMinimum {
        /// The version's number.
        number: u32,
        /// The minimum.
        min_encrypt: u32,
    },
    /// The version is kept.
    #[error("version {number} is kept: revoke it, or raise `min_kept` ({min_kept}) above it first")]
    Kept {
        /// The version's number.
        number: u32,
        /// The minimum.
        min_kept: u32,
    },
    /// No version of the key encrypts.
    #[error("the key has no current version: promote one first")]
    NoVersion,
    /// The waiting time is not over.
    #[error("the key can be destroyed after {0}")]
    Waiting(Timestamp),
    /// Somebody may need the key.
    #[error("the key may be needed: {0}; type the key's name to destroy it nevertheless")]
    Needed(Need),
    /// The name that was typed is another.
    #[error("the name that was typed is not the key's name")]
    TypedName,
    /// The key set demands two people.
    #[error("the key may be needed ({0}), and its key set demands that two people agree to destroy it")]
    TwoPeople(Need),
    /// A value that is not legal.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Decides what a command changes at a time. A command that finds the key as it wants it changes nothing, so
/// that it can be repeated.
///
/// ```
/// use xks_lifecycle::{
///     Key, KeySet, KeySetId, KeySource, TenantId, Timestamp,
///     key_state::{KeyCommand, KeyContext, KeyState, Refused, decide},
/// };
///
/// let key_set = KeySet::new(KeySetId::generate()?, TenantId::generate()?, "payroll", KeySource::Vault)?;
/// let key = Key::new("key".parse()?, key_set.id, "salaries")?;
/// let context = KeyContext::new(&key, &key_set, [], 0);
/// let refused = decide(&context, &KeyCommand::Enable, Timestamp::MIN).unwrap_err();
/// assert_eq!(refused, Refused::State { command: "enable", state: KeyState::PreActive });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Why the command is refused.
pub fn decide(context: &KeyContext<'_>, command: &KeyCommand, now: Timestamp) -> Result<Change, Refused> {
    let key = context.key;
    let refuse = || {
        Err(Refused::State {
            command: command.name(),
            state: key.state_at(now),
        })
    };
    match (command, key.state) {
        (KeyCommand::Activate, StoredState::PreActive) | (KeyCommand::Enable, StoredState::Disabled) => {
            enable(context, now)
        }
        (KeyCommand::Activate | KeyCommand::Enable, StoredState::Enabled) => match key.expires {
            Some(expires) if expires <= now => Err(Refused::Expired(expires)),
            _ => Ok(Change::NOTHING),
        },
        (KeyCommand::Disable, StoredState::Enabled) => Ok(with_state(key, StoredState::Disabled)),
        (KeyCommand::Disable, StoredState::Disabled) => Ok(Change::NOTHING),
        (KeyCommand::Deactivate, StoredState::Enabled | StoredState::Disabled) if key.is_expired(now) => {
            Ok(Change::NOTHING)
        }
        (KeyCommand::Deactivate, StoredState::Enabled | StoredState::Disabled) => Ok(with_expiry(key, Some(now))),
        (KeyCommand::SetExpiry(expires), StoredState::PreActive | StoredState::Enabled | StoredState::Disabled) => {
            match expires {
                _ if *expires == key.expires => Ok(Change::NOTHING),
                Some(expires) if *expires <= now => Err(FieldError::new("expires", FieldProblem::Past).into()),
                expires => Ok(with_expiry(key, *expires)),
            }
        }
        (KeyCommand::SetRotation(rotation), StoredState::PreActive | StoredState::Enabled | StoredState::Disabled) => {
            if *rotation == key.rotation {
                return Ok(Change::NOTHING);
            }
            Ok(changed(Key {
                rotation: *rotation,
                rotation_since: Some(now),
                ..key.clone()
            }))
        }
        (KeyCommand::SetMinima(minima), StoredState::PreActive | StoredState::Enabled | StoredState::Disabled) => {
            set_minima(context, *minima)
        }
        (KeyCommand::Rename { .. }, StoredState::Destroyed) => refuse(),
        (KeyCommand::Rename { name, description }, _) if (name, description) == (&key.name, &key.description) => {
            Ok(Change::NOTHING)
        }
        (KeyCommand::Rename { name, description }, _) => Ok(changed(Key {
            name: name.clone(),
            description: description.clone(),
            ..key.clone()
        })),
        (KeyCommand::ScheduleDeletion(days), StoredState::PreActive | StoredState::Enabled | StoredState::Disabled) => {
            schedule_deletion(context, *days, now)
        }
        (KeyCommand::CancelDeletion, StoredState::PendingDeletion { .. }) => Ok(with_state(key, StoredState::Disabled)),
        (KeyCommand::CancelDeletion, StoredState::Disabled) => Ok(Change::NOTHING),
        (KeyCommand::Destroy { typed_name }, StoredState::PendingDeletion { until }) => {
            if now < until {
                return Err(Refused::Waiting(until));
            }
            destroy(context, typed_name.as_deref())
        }
        (KeyCommand::Destroy { .. }, StoredState::Destroyed) => Ok(Change::NOTHING),
        _ => refuse(),
    }
}

fn enable(context: &KeyContext<'_>, now: Timestamp) -> Result<Change, Refused> {
    let key = context.key;
    if let Some(expires) = key.expires.filter(|expires| *expires <= now) {
        return Err(Refused::Expired(expires));
    }
    if !context
        .versions
        .iter()
        .any(|version| version.state == VersionState::Current)
    {
        return Err(Refused::NoVersion);
    }
    Ok(with_state(key, StoredState::Enabled))
}

/// The version that encrypts goes on.
fn set_minima(context: &KeyContext<'_>, minima: Minima) -> Result<Change, Refused> {
    if minima == context.key.minima {
        return Ok(Change::NOTHING);
    }
    let current = context
        .versions
        .iter()
        .find(|version| version.state == VersionState::Current);
    let greatest = current.map_or(1, |version| version.number);
    if minima.encrypt() > greatest {
        let (min, max) = (1, greatest.into());
        return Err(FieldError::new("min_encrypt", FieldProblem::Range { min, max }).into());
    }
    Ok(changed(Key {
        minima,
        ..context.key.clone()
    }))
}

fn schedule_deletion(context: &KeyContext<'_>, days: Option<WaitingDays>, now: Timestamp) -> Result<Change, Refused> {
    let least = context.key_set.waiting;
    let days = days.unwrap_or(least);
    if days < least {
        let (min, max) = (least.get().into(), WaitingDays::MAX.get().into());
        return Err(FieldError::new("waiting_days", FieldProblem::Range { min, max }).into());
    }
    let until = now.plus_days(days.get());
    Ok(with_state(context.key, StoredState::PendingDeletion { until }))
}

fn destroy(context: &KeyContext<'_>, typed_name: Option<&str>) -> Result<Change, Refused> {
    check_need(context, context.need(), typed_name)?;
    let left = context
        .versions
        .iter()
        .filter(|version| version.state != VersionState::Destroyed);
    Ok(Change {
        versions: left.map(|version| version.destroyed()).collect(),
        ..with_state(context.key, StoredState::Destroyed)
    })
}

/// Checks that what somebody may need is destroyed by its typed name, and by two people if the key set says
/// so.
pub(super) fn check_need(
    context: &KeyContext<'_>,
    need: Option<Need>,
    typed_name: Option<&str>,
) -> Result<(), Refused> {
    let Some(need) = need else { return Ok(()) };
    if context.key_set.needs_two {
        return Err(Refused::TwoPeople(need));
    }
    match typed_name {
        None => Err(Refused::Needed(need)),
        Some(name) if name != context.key.name.as_str() => Err(Refused::TypedName),
        Some(_) => Ok(()),
    }
}

fn changed(key: Key) -> Change {
    Change {
        key: Some(key),
        ..Change::NOTHING
    }
}

fn with_state(key: &Key, state: StoredState) -> Change {
    changed(Key { state, ..key.clone() })
}

fn with_expiry(key: &Key, expires: Option<Timestamp>) -> Change {
    changed(Key { expires, ..key.clone() })
}
