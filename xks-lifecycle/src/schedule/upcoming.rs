//! What will happen by itself.

use std::collections::BTreeSet;

use xks_core::KeyId;

use super::{
    Task,
    due::{Planned, visit},
};
use crate::{Key, ScheduleId, Snapshot, Timestamp, commands::Commands, key_state::KeyState};

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
}

impl Commands {
    /// Returns what will happen until a time, this included, earliest first and `limit` at most: rotations by
    /// schedule, and the expiry of keys.
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
        let mut upcoming = Vec::new();
        while let Some(first) = next.take() {
            if let Happening::Scheduled {
                task: Task::RotateKey(id),
                ..
            } = &first.happening
            {
                let done = first.time.max(now);
                next.add_next(self.read(|snapshot| {
                    let key = snapshot.key(id)?;
                    rotation(snapshot, key, now, |planned| planned.due_after(done, key))
                }));
            }
            upcoming.push(first);
        }
        upcoming
    }
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
