//! When a KMS key with imported material is due: pure functions of the state.

use super::due::schedule_of;
use crate::{
    CloudKey, CloudMaterial, EndingWithinDays, Import, MaterialState, Schedule, Snapshot, Timestamp, WantedKey,
    WantedMaterial,
};

/// A KMS key with imported material that a schedule rotates.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CloudKeyRotation<'s> {
    /// The KMS key.
    pub cloud_key: &'s CloudKey,
    /// By which schedule.
    pub schedule: &'s Schedule,
    /// Its newest material, which AWS has.
    pub newest: &'s CloudMaterial,
    import: &'s Import,
    /// The times of the schedule count from this one.
    since: Timestamp,
}

impl<'s> CloudKeyRotation<'s> {
    /// Returns the rotation of a KMS key that a schedule rotates, and that can be rotated: its newest
    /// material is in AWS, it is wanted enabled, and its end has not come.
    #[must_use]
    pub fn find(snapshot: &'s Snapshot, cloud_key: &'s CloudKey, now: Timestamp) -> Option<Self> {
        let import = cloud_key.import()?;
        if cloud_key.wanted != WantedKey::Enabled || import.has_ended(now) {
            return None;
        }
        let (schedule, set_since) = schedule_of(snapshot, import.rotation, cloud_key.key_set)?;
        let newest = &**snapshot.materials_of(cloud_key.id).next_back()?;
        // What a person has removed from AWS does not come back by itself; what is not there yet is awaited.
        let is_there = newest.kms_material.is_some()
            && newest.wanted == WantedMaterial::Imported
            && newest.state() == MaterialState::Made;
        if !is_there {
            return None;
        }
        let retired = snapshot
            .materials_of(cloud_key.id)
            .filter_map(|material| material.retired);
        let since = retired.chain(set_since).chain(import.rotation_since).max();
        Some(Self {
            cloud_key,
            schedule,
            newest,
            import,
            since: since.map_or(newest.created, |since| since.max(newest.created)),
        })
    }

    /// Returns those of all KMS keys.
    pub fn all(snapshot: &'s Snapshot, now: Timestamp) -> impl Iterator<Item = Self> {
        snapshot
            .cloud_keys()
            .filter_map(move |key| Self::find(snapshot, key, now))
    }

    /// Returns when it is due.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.due_after(Timestamp::MIN)
    }

    /// Returns when it is due if the times up to this one count as passed; not after its end.
    #[must_use]
    pub fn due_after(&self, passed: Timestamp) -> Option<Timestamp> {
        let (since, id) = (self.since.max(passed), &self.cloud_key.id);
        let due = match self.import.ending_within {
            None => self.schedule.due_after(since, id),
            Some(days) => self.schedule.due_from(self.end_is_near(days)?, since, id),
        };
        due.filter(|due| self.import.expires.is_none_or(|end| *due < end))
    }

    /// Returns when it is due next if it is rotated at this time, as far as that is known: how long AWS will
    /// have the material that it gets is not.
    #[must_use]
    pub fn next_due(&self, rotated: Timestamp) -> Option<Timestamp> {
        self.due_after(rotated).filter(|_| self.import.ending_within.is_none())
    }

    /// From when on its material ends within so many days. Material that was added later was made for this
    /// end: another one would end no later.
    fn end_is_near(&self, days: EndingWithinDays) -> Option<Timestamp> {
        let end = self.newest.valid_to?.seconds();
        let near = end.saturating_sub(u64::from(days.get()) * 24 * 3600);
        let near = Timestamp::from_seconds("valid_to", near).ok()?;
        (self.newest.created < near).then_some(near)
    }
}
