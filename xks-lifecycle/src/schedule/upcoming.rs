//! What will happen by itself.

use std::collections::BTreeSet;

use xks_core::{KeyId, key_store::AccessKeyId};

use super::{
    CloudKeyRotation, Task, credential,
    due::{Planned, visit},
};
use crate::{
    CloudKeyId, CloudMaterialId, Key, ScheduleId, Snapshot, Timestamp, commands::Commands, key_state::KeyState,
};

/// Something that will happen by itself, if nothing changes until then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[non_exhaustive]
pub struct Upcoming {
    /// When. What is due already, and was not done yet, has a time in the past.
    pub time: Timestamp,
    /// What.
    pub happening: Happening,
}

/// What happens by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Happening {
    /// A scheduler does something.
    Scheduled {
        /// What.
        task: Task,
        /// By which schedule.
        schedule: ScheduleId,
    },
    /// A key expires: it encrypts no more.
    KeyExpires(KeyId),
    /// A credential of an external key store ends: no request that is signed with it is served any more.
    CredentialEnds(AccessKeyId),
    /// A job rotates a KMS key with imported material.
    CloudKeyRotates {
        /// Which.
        cloud_key: CloudKeyId,
        /// By which schedule.
        schedule: ScheduleId,
    },
    /// A job disables the KMS key that a former material belongs to.
    FormerKeyDisabled(CloudMaterialId),
}

impl Commands {
    /// Returns what will happen until a time, this included, earliest first and `limit` at most: what
    /// schedules do, the expiry of keys, the end of credentials, and what becomes of former KMS keys. The end
    /// of a credential that a schedule has still to make is not in it, nor the rotation of a key near the
    /// limit of its encryptions, nor what follows a rotation that waits for the end of material.
    #[must_use]
    pub fn upcoming(&self, until: Timestamp, limit: usize) -> Vec<Upcoming> {
        let now = self.now();
        let mut next = Earliest {
            until,
            limit,
            set: BTreeSet::new(),
        };
        visit(self, |snapshot, key| {
            if let Some(expires) = key.expires.filter(|_| key.state_at(now) == KeyState::Enabled) {
                let happening = Happening::KeyExpires(key.id.clone());
                next.add(Upcoming {
                    time: expires,
                    happening,
                });
            }
            next.add_next(rotation(snapshot, key, now, |planned| planned.due(key)));
        });
        self.read(|snapshot| {
            for credential in snapshot.credentials().filter(|credential| credential.is_live(now)) {
                if let Some(time) = credential.expires {
                    let happening = Happening::CredentialEnds(credential.access_key_id.clone());
                    next.add(Upcoming { time, happening });
                }
            }
            for planned in credential::Planned::all(snapshot, now) {
                next.add_next(planned.next().map(|(task, time)| of_credential(&planned, task, time)));
            }
            for rotation in CloudKeyRotation::all(snapshot, now) {
                next.add_next(of_cloud_key(&rotation, rotation.due()));
            }
            for material in snapshot.cloud_materials() {
                if let Some(time) = material.kept_until {
                    let happening = Happening::FormerKeyDisabled(material.id);
                    next.add(Upcoming { time, happening });
                }
            }
        });
        let mut upcoming = Vec::new();
        while let Some(first) = next.take() {
            let done = first.time.max(now);
            let following = self.read(|snapshot| match &first.happening {
                Happening::Scheduled { task, .. } => following(snapshot, task, done, now),
                Happening::CloudKeyRotates { cloud_key, .. } => {
                    let rotation = CloudKeyRotation::find(snapshot, snapshot.cloud_key(*cloud_key)?, now)?;
                    of_cloud_key(&rotation, rotation.next_due(done))
                }
                _ => None,
            });
            next.add_next(following);
            upcoming.push(first);
        }
        upcoming
    }
}

/// What a schedule does next after a task that is done at a time.
fn following(snapshot: &Snapshot, task: &Task, done: Timestamp, now: Timestamp) -> Option<Upcoming> {
    let key_store = match task {
        Task::RotateKey(id) | Task::RotateNearLimit(id) => {
            let key = snapshot.key(id)?;
            return rotation(snapshot, key, now, |planned| planned.due_after(done, key));
        }
        Task::RotateCredential(id) => *id,
        Task::RevokeCredential(id) => snapshot.credential(id)?.key_store,
    };
    let planned = credential::Planned::find(snapshot, key_store, now)?;
    let (task, time) = planned.rotation_after(task, done)?;
    Some(of_credential(&planned, task, time))
}

fn of_credential(planned: &credential::Planned<'_>, task: Task, time: Timestamp) -> Upcoming {
    let schedule = planned.schedule.id;
    Upcoming {
        time,
        happening: Happening::Scheduled { task, schedule },
    }
}

fn of_cloud_key(rotation: &CloudKeyRotation<'_>, due: Option<Timestamp>) -> Option<Upcoming> {
    let happening = Happening::CloudKeyRotates {
        cloud_key: rotation.cloud_key.id,
        schedule: rotation.schedule.id,
    };
    due.map(|time| Upcoming { time, happening })
}

fn rotation(
    snapshot: &Snapshot,
    key: &Key,
    now: Timestamp,
    due: impl FnOnce(&Planned<'_>) -> Option<Timestamp>,
) -> Option<Upcoming> {
    let planned = Planned::find(snapshot, key, now)?;
    let happening = Happening::Scheduled {
        task: Task::RotateKey(key.id.clone()),
        schedule: planned.schedule.id,
    };
    Some(Upcoming {
        time: due(&planned)?,
        happening,
    })
}

/// The earliest of what is added: no more than there is room for.
struct Earliest {
    until: Timestamp,
    limit: usize,
    set: BTreeSet<Upcoming>,
}

impl Earliest {
    fn add(&mut self, upcoming: Upcoming) {
        if upcoming.time <= self.until {
            self.set.insert(upcoming);
            if self.set.len() > self.limit {
                self.set.pop_last();
            }
        }
    }

    fn add_next(&mut self, upcoming: Option<Upcoming>) {
        if let Some(upcoming) = upcoming {
            self.add(upcoming);
        }
    }

    /// The first of all, for which no room is needed any more.
    fn take(&mut self) -> Option<Upcoming> {
        let first = self.set.pop_first()?;
        self.limit -= 1;
        Some(first)
    }
}
