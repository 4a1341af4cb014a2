//! A schedule: when keys, and the credentials of key stores, rotate by themselves.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{
    Description, FieldError, FieldProblem, Name, ScheduleId, TenantId, Timestamp,
    record::{CellReader, CellWriter, Record, RowProblem},
    schedule::{JitterMinutes, PeriodDays, Timing},
    snapshot::Object,
    store::Table,
};

/// When the keys rotate that have this schedule, or whose key set has it, and the credentials of the key
/// stores that have it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is called.
    pub name: Name,
    /// What it is for.
    pub description: Description,
    /// When it is due.
    #[serde(flatten)]
    pub timing: Timing,
    /// By how much, at most, what it does is spread, so that many keys do not rotate at once.
    #[serde(rename = "jitter_minutes")]
    pub jitter: JitterMinutes,
    /// Since when it has this timing. [Commands](crate::commands) set it.
    pub since: Timestamp,
}

impl Schedule {
    /// A schedule without description and jitter.
    ///
    /// # Errors
    /// Of the field `name`.
    pub fn new(id: ScheduleId, tenant: TenantId, name: &str, timing: Timing) -> Result<Self, FieldError> {
        Ok(Self {
            id,
            tenant,
            name: Name::new("name", name)?,
            description: Description::new("description", "")?,
            timing,
            jitter: JitterMinutes::NONE,
            since: Timestamp::MIN,
        })
    }

    /// Returns when what has this id rotates, a key or the credential of a key store, whose last rotation was
    /// at this time: the first time of the schedule after that, and its share of the jitter later. So times
    /// that were missed are made up once.
    #[must_use]
    pub fn due_after(&self, rotated: Timestamp, id: &impl fmt::Display) -> Option<Timestamp> {
        let next = self.timing.next_after(rotated.max(self.since))?;
        Some(next.plus_seconds(self.jitter_of(id)))
    }

    /// As [`due_after`](Self::due_after), for what rotates only from a time on: the first time of the
    /// schedule that is not before it. Times before it pass, and of a period the times count from the last
    /// rotation.
    #[must_use]
    pub fn due_from(&self, from: Timestamp, rotated: Timestamp, id: &impl fmt::Display) -> Option<Timestamp> {
        let since = rotated.max(self.since);
        let before = match &self.timing {
            Timing::EveryDays(days) => {
                let period = u64::from(days.get()) * 24 * 3600;
                let passed = from.seconds().saturating_sub(since.seconds()).div_ceil(period);
                since.plus_seconds(passed.saturating_sub(1).saturating_mul(period))
            }
            Timing::Cron { .. } => {
                let before = Timestamp::from_seconds("time", from.seconds().saturating_sub(1));
                since.max(before.unwrap_or(Timestamp::MIN))
            }
        };
        self.due_after(before, id)
    }

    /// Its share of the jitter, in seconds: the same each time, and as random as a hash.
    fn jitter_of(&self, id: &impl fmt::Display) -> u64 {
        let hash = Sha256::new()
            .chain_update(self.id.to_string())
            .chain_update(id.to_string())
            .finalize();
        let number = hash
            .iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        number % (u64::from(self.jitter.get()) * 60 + 1)
    }
}

impl Record for Schedule {
    type Id = ScheduleId;
    const TABLE: Table = Table::Schedules;

    fn id(&self) -> ScheduleId {
        self.id
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        vec![("tenant", Object::new(Table::Tenants, &self.tenant))]
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        (self.tenant != former.tenant).then_some("tenant")
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        let (days, cron) = match &self.timing {
            Timing::EveryDays(days) => (Some(days.get().into()), None),
            Timing::Cron { pattern, zone } => (None, Some((pattern, zone))),
        };
        cells.text("tenant", &self.tenant);
        cells.text("name", &self.name);
        cells.text("description", &self.description);
        cells.optional_number("every_days", days);
        cells.optional("cron", cron.map(|(pattern, _)| pattern));
        cells.optional("time_zone", cron.map(|(_, zone)| zone));
        cells.number("jitter_minutes", self.jitter.get().into());
        cells.number("since", self.since.seconds());
    }

    fn read(id: ScheduleId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            id,
            tenant: cells.parsed("tenant")?,
            name: Name::new("name", cells.text("name")?)?,
            description: Description::new("description", cells.text("description")?)?,
            timing: match (
                cells.optional_number("every_days")?,
                cells.optional_parsed("cron")?,
                cells.optional_parsed("time_zone")?,
            ) {
                (Some(days), None, None) => Timing::EveryDays(PeriodDays::new(days)?),
                (None, Some(pattern), Some(zone)) => Timing::Cron { pattern, zone },
                (None, Some(_), None) => return Err(FieldError::new("time_zone", FieldProblem::Missing).into()),
                (Some(_), Some(_), _) => return Err(FieldError::new("cron", FieldProblem::Unexpected).into()),
                (_, None, Some(_)) => return Err(FieldError::new("time_zone", FieldProblem::Unexpected).into()),
                (None, None, None) => return Err(FieldError::new("every_days", FieldProblem::Missing).into()),
            },
            jitter: JitterMinutes::new(cells.number("jitter_minutes")?)?,
            since: cells.time("since")?,
        })
    }
}
