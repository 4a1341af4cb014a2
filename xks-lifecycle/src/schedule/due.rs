//! What is due, and when: pure functions of the state.

use std::{fmt, ops::Bound};

use xks_core::{KeyId, key_store::AccessKeyId};

use crate::{
    Key, KeySetId, KeyStoreId, Rotation, Schedule, Snapshot, Timestamp, VersionState, commands::Commands,
    key_state::KeyState,
};

/// How many keys are looked at before a command that waits for the state has its turn.
const PAGE: usize = 1000;

/// What a scheduler does when it is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Task {
    /// Rotates a key.
    RotateKey(KeyId),
    /// Rotates a key whose version has three quarters of the encryptions reserved that it may make, whatever
    /// the key's schedule.
    RotateNearLimit(KeyId),
    /// Makes a credential in the place of the one that an external key store has.
    RotateCredential(KeyStoreId),
    /// Revokes the former credential of an external key store, once the one in its place was used.
    RevokeCredential(AccessKeyId),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RotateKey(id) => write!(f, "rotate key {id}"),
            Self::RotateNearLimit(id) => write!(f, "rotate key {id}, which has made most of its encryptions"),
            Self::RotateCredential(id) => write!(f, "rotate the credential of key store {id}"),
            Self::RevokeCredential(id) => write!(f, "revoke the former credential {id}"),
        }
    }
}

/// A key that a schedule rotates.
pub(super) struct Planned<'s> {
    pub(super) schedule: &'s Schedule,
    /// The times of the schedule count from this one.
    pub(super) since: Timestamp,
}

impl<'s> Planned<'s> {
    /// The schedule of a key that is enabled, if it has one.
    pub(super) fn find(snapshot: &'s Snapshot, key: &Key, now: Timestamp) -> Option<Self> {
        if key.state_at(now) != KeyState::Enabled {
            return None;
        }
        let (schedule, set_since) = schedule_of(snapshot, key.rotation, key.key_set)?;
        let rotated = snapshot.versions(&key.id).filter_map(|version| match version.state {
            VersionState::Current => Some(version.promoted.unwrap_or(version.created)),
            _ => version.promoted,
        });
        let since = rotated.chain(set_since).chain(key.rotation_since).max();
        Some(Self {
            schedule,
            since: since.unwrap_or(Timestamp::MIN),
        })
    }

    /// When the key is due.
    pub(super) fn due(&self, key: &Key) -> Option<Timestamp> {
        self.due_after(self.since, key)
    }

    /// When the key is due that was rotated at this time; not after its expiry.
    pub(super) fn due_after(&self, rotated: Timestamp, key: &Key) -> Option<Timestamp> {
        let due = self.schedule.due_after(rotated, &key.id);
        due.filter(|due| !key.is_expired(*due))
    }
}

/// The schedule by which something rotates, and since when its key set has it, if it is that one's.
pub(super) fn schedule_of(
    snapshot: &Snapshot,
    rotation: Rotation,
    key_set: KeySetId,
) -> Option<(&Schedule, Option<Timestamp>)> {
    let (id, since) = match rotation {
        Rotation::Never => return None,
        Rotation::By(id) => (id, None),
        Rotation::Inherited => {
            let set = snapshot.key_set(key_set)?;
            (set.schedule?, set.schedule_since)
        }
    };
    Some((snapshot.schedule(id)?, since))
}

/// Visits all keys, as they are when it is their turn.
pub(super) fn visit(commands: &Commands, mut visit: impl FnMut(&Snapshot, &Key)) {
    let mut after = Bound::Unbounded;
    loop {
        let last = commands.read(|snapshot| {
            let mut last = None;
            for (id, key) in snapshot
                .keys
                .range::<KeyId, _>((after.as_ref(), Bound::Unbounded))
                .take(PAGE)
            {
                visit(snapshot, key);
                last = Some(id);
            }
            last.cloned()
        });
        match last {
            Some(id) => after = Bound::Excluded(id),
            None => return,
        }
    }
}
