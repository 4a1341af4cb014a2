//! Commands on a version of a key: what each changes, or why it is refused.

use xks_core::KeyId;

use super::{Change, KeyCommand, KeyContext, Need, Refused, StoredState, decide, decide::check_need};
use crate::{
    FieldError, FieldProblem, Key, KeyVersion, KeyVersionId, Material, Timestamp, VersionId, VersionState, view::Tag,
};

/// A command on one version of a key.
///
/// A version begins [pending](add_version). It is *published* when every node can decrypt with it, and only
/// then *promoted*: it encrypts, and the one before it goes on decrypting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionCommand {
    /// Every node can decrypt with it.
    Publish {
        /// The id under which the backend knows it, if a backend has made it.
        backend_key: Option<KeyId>,
    },
    /// It encrypts from now on.
    Promote,
    /// It does nothing until it is restored. Not for the version that encrypts.
    Revoke,
    /// Takes a revocation back: it decrypts again.
    Restore,
    /// Its key manager has refused to make it, and has nothing of it. A key that has no other version ends
    /// with it.
    Abandon,
    /// Destroys a version that is revoked, or whose number is below that of all that are kept. What it
    /// encrypted is lost.
    Destroy {
        /// The key's name, typed by who destroys a version that has encrypted.
        typed_name: Option<String>,
    },
}

impl VersionCommand {
    /// Returns the name by which people and events call it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Promote => "promote",
            Self::Revoke => "revoke",
            Self::Restore => "restore",
            Self::Abandon => "abandon",
            Self::Destroy { .. } => "destroy-version",
        }
    }
}

/// Decides whether a key gets a new version, which is pending: it is made after this is committed.
///
/// # Errors
/// Why it does not: the key is expired or about to be destroyed, or a version is being made already.
pub fn add_version(
    context: &KeyContext<'_>,
    id: VersionId,
    material: Material,
    now: Timestamp,
) -> Result<Change, Refused> {
    check_key(context, "add-version", now)?;
    if let Some(expires) = context.key.expires.filter(|expires| *expires <= now) {
        return Err(Refused::Expired(expires));
    }
    let pending = context
        .versions
        .iter()
        .find(|version| version.state == VersionState::Pending);
    if let Some(pending) = pending {
        return Err(Refused::Unfinished(pending.number));
    }
    // A tag of new ciphertexts must not look like the constant metadata of earlier ones.
    let looks_legacy = |version: &&KeyVersion| {
        let legacy = version.legacy_metadata.as_ref();
        legacy.is_some_and(|legacy| Tag::of(id).begins(legacy))
    };
    let mut versions = context.versions.iter();
    if versions.any(|version| version.id.version == id || looks_legacy(version)) {
        let rule = "a version of the key has, or had, this id".to_owned();
        return Err(FieldError::new("version", FieldProblem::Illegal(rule)).into());
    }
    let newest = context.versions.iter().map(|version| version.number).max();
    let number = newest.unwrap_or_default().checked_add(1).ok_or_else(|| {
        let (min, max) = (1, u32::MAX.into());
        FieldError::new("number", FieldProblem::Range { min, max })
    })?;
    let number = number.max(context.first_number);
    let id = KeyVersionId::new(context.key.id.clone(), id);
    Ok(Change {
        new_versions: vec![KeyVersion::new(id, number, material, now)?],
        ..Change::NOTHING
    })
}

/// Decides what a command changes. A command that finds the version as it wants it changes nothing, so that
/// it can be repeated.
///
/// # Errors
/// Why the command is refused.
pub fn decide_version(
    context: &KeyContext<'_>,
    id: VersionId,
    command: &VersionCommand,
    now: Timestamp,
) -> Result<Change, Refused> {
    let unknown = Refused::UnknownVersion(id);
    let version = context.versions.iter().find(|version| version.id.version == id);
    let version: &KeyVersion = version.ok_or(unknown)?;
    if version.state == VersionState::Destroyed && matches!(command, VersionCommand::Destroy { .. }) {
        return Ok(Change::NOTHING);
    }
    check_key(context, command.name(), now)?;
    let refuse = || {
        Err(Refused::Version {
            command: command.name(),
            number: version.number,
            state: version.state,
        })
    };
    match (command, version.state) {
        (VersionCommand::Publish { backend_key }, VersionState::Pending) => publish(version, backend_key.as_ref()),
        (
            VersionCommand::Publish { .. },
            VersionState::Published | VersionState::Current | VersionState::DecryptOnly,
        )
        | (VersionCommand::Promote, VersionState::Current)
        | (VersionCommand::Revoke, VersionState::Revoked)
        | (VersionCommand::Restore, VersionState::DecryptOnly) => Ok(Change::NOTHING),
        (VersionCommand::Promote, VersionState::Published | VersionState::DecryptOnly) => {
            promote(context, version, now)
        }
        (VersionCommand::Revoke, VersionState::Published | VersionState::DecryptOnly) => {
            Ok(with_state(version, VersionState::Revoked))
        }
        (VersionCommand::Restore, VersionState::Revoked) => Ok(with_state(version, VersionState::DecryptOnly)),
        (VersionCommand::Abandon, VersionState::Pending) => Ok(abandon(context, version)),
        (VersionCommand::Revoke | VersionCommand::Destroy { .. }, VersionState::Current) => {
            Err(Refused::CurrentVersion(version.number))
        }
        (VersionCommand::Destroy { .. }, VersionState::Pending) => Ok(changed(version.destroyed())),
        (VersionCommand::Destroy { typed_name }, _) => destroy(context, version, typed_name.as_deref()),
        _ => refuse(),
    }
}

/// Versions change only of a key that is not about to be destroyed.
fn check_key(context: &KeyContext<'_>, command: &'static str, now: Timestamp) -> Result<(), Refused> {
    match context.key.state {
        StoredState::PreActive | StoredState::Enabled | StoredState::Disabled => Ok(()),
        StoredState::PendingDeletion { .. } | StoredState::Destroyed => {
            let state = context.key.state_at(now);
            Err(Refused::State { command, state })
        }
    }
}

fn publish(version: &KeyVersion, backend_key: Option<&KeyId>) -> Result<Change, Refused> {
    let mut published = KeyVersion {
        state: VersionState::Published,
        ..version.clone()
    };
    match (&mut published.material, backend_key) {
        (Material::Vault(_), None) | (Material::Backend { key: Some(_), .. }, None) => {}
        (Material::Backend { key, .. }, Some(made)) if key.is_none() => *key = Some(made.clone()),
        (Material::Backend { key: Some(key), .. }, Some(made)) if key == made => {}
        _ => return Err(Refused::NotMade(version.number)),
    }
    Ok(changed(published))
}

fn promote(context: &KeyContext<'_>, version: &KeyVersion, now: Timestamp) -> Result<Change, Refused> {
    let min_encrypt = context.key.minima.encrypt();
    if version.number < min_encrypt {
        let number = version.number;
        return Err(Refused::BelowMinimum { number, min_encrypt });
    }
    let current = context
        .versions
        .iter()
        .filter(|known| known.state == VersionState::Current);
    let former = current.map(|current| KeyVersion {
        state: VersionState::DecryptOnly,
        ..(*current).clone()
    });
    let promoted = KeyVersion {
        state: VersionState::Current,
        promoted: Some(now),
        ..version.clone()
    };
    Ok(Change {
        versions: former.chain([promoted]).collect(),
        ..Change::NOTHING
    })
}

fn abandon(context: &KeyContext<'_>, version: &KeyVersion) -> Change {
    let ends = context.key.state == StoredState::PreActive && context.versions.len() == 1;
    Change {
        key: ends.then(|| Key {
            state: StoredState::Destroyed,
            ..context.key.clone()
        }),
        ..changed(version.without_material())
    }
}

fn destroy(context: &KeyContext<'_>, version: &KeyVersion, typed_name: Option<&str>) -> Result<Change, Refused> {
    let (number, min_kept) = (version.number, context.key.minima.kept());
    if number >= min_kept && version.state != VersionState::Revoked {
        return Err(Refused::Kept { number, min_kept });
    }
    let encryptions = context.encryptions.saturating_add(version.earlier_encryptions);
    let need = (encryptions > 0).then_some(Need::Encryptions(encryptions));
    check_need(context, need, typed_name)?;
    Ok(changed(version.destroyed()))
}

fn changed(version: KeyVersion) -> Change {
    Change {
        versions: vec![version],
        ..Change::NOTHING
    }
}

fn with_state(version: &KeyVersion, state: VersionState) -> Change {
    changed(KeyVersion {
        state,
        ..version.clone()
    })
}

/// One of several commands that are committed together.
pub(crate) enum Step {
    Key(KeyCommand),
    Version(VersionId, VersionCommand),
}

/// Decides commands one after the other, each on what those before it have left. Together they are one
/// change.
pub(crate) fn decide_all(context: &KeyContext<'_>, steps: &[Step], now: Timestamp) -> Result<Change, Refused> {
    let mut key = context.key.clone();
    let mut versions: Vec<KeyVersion> = context.versions.iter().map(|version| (*version).clone()).collect();
    let mut all = Change::NOTHING;
    for step in steps {
        let context = KeyContext {
            key: &key,
            versions: versions.iter().collect(),
            ..context.clone()
        };
        let change = match step {
            Step::Key(command) => decide(&context, command, now),
            Step::Version(id, command) => decide_version(&context, *id, command, now),
        }?;
        if let Some(changed) = change.key {
            key = changed.clone();
            all.key = Some(changed);
        }
        for changed in change.versions {
            all.versions.retain(|version| version.id != changed.id);
            all.versions.push(changed.clone());
            versions.retain(|version| version.id != changed.id);
            versions.push(changed);
        }
    }
    Ok(all)
}
