//! The keys that a fleet knows of, from requests and from who watches over it, and where each of them stands.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{breaker::Millis, set::Set, standing::Standing};
use crate::KeyId;

/// Of more keys the fleet remembers nothing: they are served, and not compared.
const MOST_KEYS: usize = 65_536;

/// When keys are compared again, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intervals {
    /// If all members have answered, and agree.
    pub(super) settled: Millis,
    /// If not.
    pub(super) unsettled: Millis,
}

#[derive(Debug)]
pub(super) struct Keys {
    records: RwLock<HashMap<KeyId, Record>>,
    again: Intervals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    standing: Standing,
    is_used: bool,
    /// When it is to be compared; as soon as possible if there is no time.
    due: Option<Millis>,
}

impl Keys {
    pub(super) fn new(again: Intervals) -> Self {
        Self {
            records: RwLock::default(),
            again,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<KeyId, Record>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<KeyId, Record>> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a key stands, and whether a request has used it before.
    pub(super) fn standing(&self, key: &KeyId) -> (Standing, bool) {
        let record = self.read().get(key).copied().unwrap_or_default();
        (record.standing, record.is_used)
    }

    /// Keys that are to be compared, also before a request uses them.
    pub(super) fn watch(&self, keys: &[KeyId]) {
        if keys.iter().all(|key| self.read().contains_key(key)) {
            return;
        }
        let mut records = self.write();
        for key in keys {
            if records.len() >= MOST_KEYS {
                break;
            }
            records.entry(key.clone()).or_default();
        }
    }

    /// A request for this key was answered: it moves where it stands. What it was, and what it is now.
    pub(super) fn used(&self, key: &KeyId, moved: impl FnOnce(Standing) -> Standing) -> Option<(Standing, Standing)> {
        let mut records = self.write();
        if records.len() >= MOST_KEYS && !records.contains_key(key) {
            return None;
        }
        let record = records.entry(key.clone()).or_default();
        record.is_used = true;
        let former = record.standing;
        record.standing = moved(former);
        if record.standing.is_suspect && !former.is_suspect {
            record.due = None;
        }
        Some((former, record.standing))
    }

    /// The key that is to be compared first, and where it stands: one that requests use, and was never
    /// compared, before all others. It is not due again before its time, whatever becomes of the comparison.
    pub(super) fn next_due(&self, now: Millis) -> Option<(KeyId, Standing)> {
        let urgency = |record: &Record| (record.due, !record.is_used);
        let is_due = |record: &Record| record.due.is_none_or(|due| due <= now);
        let records = self.read();
        let due = records.iter().filter(|(_, record)| is_due(record));
        let (key, record) = due.min_by_key(|(_, record)| urgency(record))?;
        let found = (key.clone(), record.standing);
        drop(records);
        if let Some(record) = self.write().get_mut(&found.0) {
            record.due = Some(now.saturating_add(self.again.unsettled));
        }
        Some(found)
    }

    /// How many are due.
    pub(super) fn count_due(&self, now: Millis) -> usize {
        let records = self.read();
        let due = records
            .values()
            .filter(|record| record.due.is_none_or(|due| due <= now));
        due.count()
    }

    /// What came of a comparison. A key that no member has is forgotten.
    pub(super) fn compared(&self, key: &KeyId, standing: Option<Standing>, is_settled: bool, now: Millis) {
        let mut records = self.write();
        match (standing, records.get_mut(key)) {
            (None, _) => drop(records.remove(key)),
            (Some(standing), Some(record)) => {
                record.standing = standing;
                record.due = Some(now.saturating_add(if is_settled {
                    self.again.settled
                } else {
                    self.again.unsettled
                }));
            }
            (Some(_), None) => {}
        }
    }

    /// Every key of which a member is odd, with those members.
    pub(super) fn odd(&self) -> Vec<(KeyId, Standing)> {
        let records = self.read();
        let odd = records.iter().filter(|(_, record)| !record.standing.odd().is_empty());
        odd.map(|(key, record)| (key.clone(), record.standing)).collect()
    }

    /// The members that are odd for one key at least.
    pub(super) fn odd_members(&self) -> Set {
        let records = self.read();
        records
            .values()
            .fold(Set::NONE, |all, record| all.and(record.standing.odd()))
    }
}
