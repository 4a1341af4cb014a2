//! Commands on a key that was made: its state, its name and its end.

use std::ops::Bound;

use serde::Serialize;
use xks_core::KeyId;

use super::{
    Actor, Call, Commands, Decided,
    seen::{Seen, shown},
    version::{in_use, unfinished},
};
use crate::{
    Changes, CommandError, Event, EventText, Key, KeySetId, KeyVersion, KeyVersionId, Object, Outcome, Snapshot,
    Timestamp, VersionState,
    key_state::{Change, KeyCommand, KeyContext, KeyState, decide, decide_all},
    store::{Claim, Revision, Table},
};

/// A key as it is: what a list shows of it, and what commands answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyEntry {
    /// The key.
    pub key: Key,
    /// Its versions, in the order of their numbers.
    pub versions: Vec<KeyVersion>,
    /// Its state now, with its expiry counted in.
    pub state: KeyState,
    /// The revision that has changed the key or a version of it last: who changes the key says by this what
    /// he saw.
    pub revision: Revision,
}

impl KeyEntry {
    pub(crate) fn find(snapshot: &Snapshot, id: &KeyId, now: Timestamp) -> Option<Self> {
        let key = snapshot.key(id)?;
        let revision = snapshot.versions(id).map(crate::Entry::revision).max();
        let mut versions: Vec<_> = snapshot.versions(id).map(|version| (**version).clone()).collect();
        versions.sort_by_key(|version| version.number);
        Some(Self {
            key: (**key).clone(),
            versions,
            state: key.state_at(now),
            revision: revision.unwrap_or_default().max(key.revision()),
        })
    }

    /// The entry when a change of it is committed as this revision.
    pub(super) fn after(mut self, change: &Change, revision: Revision, now: Timestamp) -> Self {
        if let Some(key) = &change.key {
            self.key = key.clone();
        }
        for changed in &change.versions {
            if let Some(version) = self.versions.iter_mut().find(|version| version.id == changed.id) {
                version.clone_from(changed);
            }
        }
        self.versions.extend_from_slice(&change.new_versions);
        self.state = self.key.state_at(now);
        self.revision = revision;
        self
    }

    pub(super) fn shown(&self) -> serde_json::Value {
        let mut value = shown(&self.key);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("versions".to_owned(), shown(&self.versions));
        }
        value
    }
}

/// What an event shows of a key: the records that its command changes.
#[derive(Serialize)]
struct ShownKey<'k> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'k Key>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    versions: Vec<&'k KeyVersion>,
    /// How many there are, where an event has no room for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    version_count: Option<usize>,
}

fn text(key: Option<&Key>, versions: Vec<&KeyVersion>) -> Option<EventText> {
    if key.is_none() && versions.is_empty() {
        return None;
    }
    let count = versions.len();
    EventText::json(&ShownKey {
        key,
        versions,
        version_count: None,
    })
    .or_else(|| {
        EventText::json(&ShownKey {
            key,
            versions: Vec::new(),
            version_count: Some(count),
        })
    })
}

impl Call<'_> {
    pub(super) fn key<'c>(actor: &'c Actor, command: &'static str, id: &KeyId) -> Call<'c> {
        Call::new(actor, command, &object(id))
    }

    /// The event of a change of a key.
    pub(super) fn change(
        &self,
        time: Timestamp,
        outcome: Outcome,
        before: Option<&KeyEntry>,
        change: &Change,
    ) -> Event {
        let former = |changed: &KeyVersion| {
            let versions = before.map(|entry| entry.versions.iter()).into_iter().flatten();
            versions.into_iter().find(|version| version.id == changed.id)
        };
        Event {
            before: text(
                before.map(|entry| &entry.key).filter(|_| change.key.is_some()),
                change.versions.iter().filter_map(former).collect(),
            ),
            after: text(
                change.key.as_ref(),
                change.versions.iter().chain(&change.new_versions).collect(),
            ),
            ..self.event(time, outcome)
        }
    }
}

pub(super) fn object(id: &KeyId) -> Object {
    Object::new(Table::Keys, id)
}

impl Commands {
    /// Returns a key.
    ///
    /// # Errors
    /// [`CommandError::Unknown`].
    pub fn key(&self, id: &KeyId) -> Result<KeyEntry, CommandError> {
        let now = self.now();
        let entry = self.read(|snapshot| KeyEntry::find(snapshot, id, now));
        entry.ok_or_else(|| CommandError::Unknown(object(id)))
    }

    /// Returns at most `limit` keys after the key of this id, in the order of their ids: of one key set, or
    /// of all.
    #[must_use]
    pub fn keys(&self, key_set: Option<KeySetId>, after: Option<&KeyId>, limit: usize) -> Vec<KeyEntry> {
        let now = self.now();
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|snapshot| {
            let keys = snapshot.keys.range::<KeyId, _>((first, Bound::Unbounded));
            keys.filter(|(_, key)| key_set.is_none_or(|set| key.key_set == set))
                .filter_map(|(id, _)| KeyEntry::find(snapshot, id, now))
                .take(limit)
                .collect()
        })
    }

    /// Gives a [command](KeyCommand) on a key. `seen` is the revision at which the caller has seen it.
    ///
    /// `Activate` ends a creation that has left the first version published, since not every node could use
    /// it: it promotes the version when they all can.
    ///
    /// After `Destroy` the key's material is gone in its key manager too. If that could not be reached, the
    /// command fails; the key is destroyed then, for KMS as for every other command, and giving the command
    /// again, or [`recover`](Self::recover), destroys the material.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn change_key(
        &self,
        actor: &Actor,
        id: &KeyId,
        seen: Option<Revision>,
        command: KeyCommand,
    ) -> Result<KeyEntry, CommandError> {
        let call = Call::key(actor, command.name(), id);
        let work = async {
            let (mut encryptions, mut first) = (0, None);
            if let KeyCommand::Destroy { .. } = command {
                self.check_destroys(id)?;
                encryptions = self.encryptions(id).await?;
            }
            if let KeyCommand::Activate = command {
                first = self.first_in_use(id).await?;
            }
            let decide = |context: &KeyContext<'_>, now| {
                let context = KeyContext {
                    encryptions,
                    ..context.clone()
                };
                Ok(match &first {
                    Some(first) => decide_all(&context, &in_use(first.version, true)(&context), now),
                    None => decide(&context, &command, now),
                }?)
            };
            let entry = self.decide_key(&call, id, seen, Outcome::Done, decide).await?;
            if let KeyCommand::Destroy { .. } = command {
                return self.remove_material(&call, id).await;
            }
            Ok(entry)
        };
        self.recorded(&call, work).await
    }

    /// The version that a key begins with, which every node can use, if none encrypts yet.
    async fn first_in_use(&self, id: &KeyId) -> Result<Option<KeyVersionId>, CommandError> {
        self.refresh().await?;
        let entry = self.key(id)?;
        let encrypts = entry
            .versions
            .iter()
            .any(|version| version.state == VersionState::Current);
        let first = unfinished(&entry).filter(|first| !encrypts && first.state == VersionState::Published);
        let Some(first) = first else { return Ok(None) };
        self.usable_everywhere(std::slice::from_ref(&first.id)).await?;
        Ok(Some(first.id.clone()))
    }

    /// Commits what is decided of a key, with its event.
    pub(super) async fn decide_key(
        &self,
        call: &Call<'_>,
        id: &KeyId,
        seen: Option<Revision>,
        outcome: Outcome,
        decide: impl Fn(&KeyContext<'_>, Timestamp) -> Result<Change, CommandError> + Send + Sync,
    ) -> Result<KeyEntry, CommandError> {
        self.decide_with(call, id, seen, (outcome, None), decide).await
    }

    /// As [`decide_key`](Self::decide_key), with a claim that begins with it.
    pub(super) async fn decide_with(
        &self,
        call: &Call<'_>,
        id: &KeyId,
        seen: Option<Revision>,
        (outcome, claim): (Outcome, Option<Claim>),
        decide: impl Fn(&KeyContext<'_>, Timestamp) -> Result<Change, CommandError> + Send + Sync,
    ) -> Result<KeyEntry, CommandError> {
        let mut seen = Seen::new(object(id), seen);
        let answer = self
            .commit(call.actor, |snapshot, now| {
                let unknown = || CommandError::Unknown(object(id));
                let entry = KeyEntry::find(snapshot, id, now).ok_or_else(unknown)?;
                let set = snapshot.key_set(entry.key.key_set).ok_or_else(unknown)?;
                let context = KeyContext {
                    first_number: snapshot.first_number(id),
                    ..KeyContext::new(&entry.key, set, &entry.versions, 0)
                };
                let decided = decide(&context, now);
                // A change by another command is reported first, since it may be why this one is refused.
                let has_work = decided.as_ref().map_or(true, |change| !change.is_empty());
                seen.check(entry.revision, || entry.shown(), has_work)?;
                let change = decided?;
                if change.is_empty() {
                    return Ok(Decided::nothing((entry, false)));
                }
                let event = call.change(now, outcome, Some(&entry), &change);
                let after = entry.after(&change, snapshot.revision().next(), now);
                let changes = Changes::new().apply(change).event(event);
                let changes = changes.claim(claim.clone());
                Ok(Decided::change(changes, (after, true)))
            })
            .await?;
        self.unless_changed(call, answer).await
    }
}
