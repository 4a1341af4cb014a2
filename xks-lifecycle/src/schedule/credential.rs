//! What is due for the credential of an external key store, and when: pure functions of the state.

use std::collections::BTreeMap;

use super::Task;
use crate::{ExternalKeyStore, KeyStoreCredential, KeyStoreId, Schedule, Snapshot, Timestamp};

/// The credentials of a key store that were not revoked and have not ended, as a schedule sees them.
pub(super) struct Planned<'s> {
    pub(super) schedule: &'s Schedule,
    key_store: &'s ExternalKeyStore,
    /// Oldest first.
    live: Vec<&'s KeyStoreCredential>,
}

impl<'s> Planned<'s> {
    /// Of a key store that a schedule rotates, and that has a credential.
    pub(super) fn find(snapshot: &'s Snapshot, id: KeyStoreId, now: Timestamp) -> Option<Self> {
        let key_store = snapshot.key_store(id)?;
        let live = snapshot.live_credentials(id, now);
        Self::of(snapshot, key_store, live)
    }

    /// Of all key stores.
    pub(super) fn all(snapshot: &'s Snapshot, now: Timestamp) -> impl Iterator<Item = Self> {
        let mut live: BTreeMap<_, Vec<_>> = BTreeMap::new();
        if snapshot.key_stores().any(|key_store| key_store.schedule.is_some()) {
            for credential in snapshot.credentials().filter(|credential| credential.is_live(now)) {
                live.entry(credential.key_store).or_default().push(&**credential);
            }
        }
        live.into_iter().filter_map(|(id, mut live)| {
            live.sort_by_key(|credential| credential.age());
            Self::of(snapshot, snapshot.key_store(id)?, live)
        })
    }

    fn of(snapshot: &'s Snapshot, key_store: &'s ExternalKeyStore, live: Vec<&'s KeyStoreCredential>) -> Option<Self> {
        Some(Self {
            schedule: snapshot.schedule(key_store.schedule?)?,
            key_store,
            live,
        })
    }

    /// The next task, and when it is due. While a former credential goes on, its end comes first: that which
    /// a person gave it, or the overlap after which this revokes it.
    pub(super) fn next(&self) -> Option<(Task, Timestamp)> {
        match &self.live[..] {
            [] => None,
            [only] => Some((self.rotation(), self.due_after(only.created)?)),
            [former, latter, ..] => match former.expires {
                Some(end) => Some((self.rotation(), self.due_after(latter.created)?.max(end))),
                None => Some((
                    Task::RevokeCredential(former.access_key_id.clone()),
                    latter.created.plus_seconds(self.key_store.overlap.seconds()),
                )),
            },
        }
    }

    /// The rotation that comes after a task that is done at this time.
    pub(super) fn rotation_after(&self, task: &Task, done: Timestamp) -> Option<(Task, Timestamp)> {
        let (made, earliest) = match task {
            Task::RevokeCredential(_) => (self.live.last()?.created, done),
            _ => (done, done.plus_seconds(self.key_store.overlap.seconds())),
        };
        Some((self.rotation(), self.due_after(made)?.max(earliest)))
    }

    /// The credential that stays when the former one is revoked.
    pub(super) fn latter(&self) -> Option<&'s KeyStoreCredential> {
        self.live.last().copied()
    }

    fn rotation(&self) -> Task {
        Task::RotateCredential(self.key_store.id)
    }

    fn due_after(&self, made: Timestamp) -> Option<Timestamp> {
        let since = self.key_store.schedule_since.map_or(made, |since| since.max(made));
        self.schedule.due_after(since, &self.key_store.id)
    }
}
