//! Schedules, and what will happen by itself.

use serde::Deserialize;
use xks_lifecycle::{
    Description, Entry, FieldError, FieldProblem, Name, Schedule, ScheduleId, Snapshot, TenantId,
    schedule::{JitterMinutes, PeriodDays, Timing},
};

use super::{
    Routes,
    resource::{Limit, Resource},
};
use crate::{
    answer::{Answer, Page},
    call::Call,
    problem::Problem,
    read::{Patch, parse, required},
};

/// The local times at which a schedule is due.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cron {
    pattern: String,
    time_zone: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSchedule {
    tenant: Option<TenantId>,
    name: Option<String>,
    #[serde(default)]
    description: String,
    every_days: Option<u64>,
    cron: Option<Cron>,
    jitter_minutes: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SchedulePatch {
    name: Patch<String>,
    description: Patch<String>,
    every_days: Option<u64>,
    cron: Option<Cron>,
    jitter_minutes: Patch<u64>,
}

/// The one of both that is given, if any.
fn timing(every_days: Option<u64>, cron: Option<Cron>) -> Result<Option<Timing>, FieldError> {
    match (every_days, cron) {
        (None, None) => Ok(None),
        (Some(days), None) => Ok(Some(Timing::EveryDays(PeriodDays::new(days)?))),
        (None, Some(cron)) => Ok(Some(Timing::Cron {
            pattern: cron.pattern.parse()?,
            zone: cron.time_zone.parse()?,
        })),
        (Some(_), Some(_)) => Err(FieldError::new("cron", FieldProblem::Unexpected)),
    }
}

impl Resource for Schedule {
    const PATH: &'static str = "schedules";
    type New = NewSchedule;
    type Patch = SchedulePatch;

    fn make(new: NewSchedule, _: &Snapshot) -> Result<Self, Problem> {
        let tenant = required("tenant", new.tenant)?;
        let name = required("name", new.name)?;
        let timing = required("every_days", timing(new.every_days, new.cron)?)?;
        let mut schedule = Self::new(ScheduleId::generate()?, tenant, &name, timing)?;
        schedule.description = Description::new("description", new.description)?;
        if let Some(minutes) = new.jitter_minutes {
            schedule.jitter = JitterMinutes::new(minutes)?;
        }
        Ok(schedule)
    }

    fn patch(&mut self, patch: SchedulePatch) -> Result<(), FieldError> {
        patch
            .name
            .replace("name", &mut self.name, |text| Name::new("name", text))?;
        let describe = |text| Description::new("description", text);
        patch
            .description
            .replace("description", &mut self.description, describe)?;
        if let Some(timing) = timing(patch.every_days, patch.cron)? {
            self.timing = timing;
        }
        patch
            .jitter_minutes
            .replace("jitter_minutes", &mut self.jitter, JitterMinutes::new)
    }

    fn id(&self) -> ScheduleId {
        self.id
    }

    fn tenant(&self, _: &Snapshot) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn find(snapshot: &Snapshot, id: ScheduleId) -> Option<&Entry<Self>> {
        snapshot.schedule(id)
    }

    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>> {
        snapshot.schedules()
    }
}

/// What happens by itself.
pub(super) fn routes() -> Routes {
    Routes::new().get("/schedules/upcoming", upcoming)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpcomingQuery {
    /// How far to look ahead; 30 days by default.
    days: Option<String>,
    #[serde(default)]
    limit: Limit,
}

async fn upcoming(call: Call) -> Result<Answer, Problem> {
    const DAYS: u32 = 30;
    let query: UpcomingQuery = call.query()?;
    let days = query.days.map(|text| parse("days", &text)).transpose()?.unwrap_or(DAYS);
    let until = call.commands.now().plus_days(days);
    Answer::json(&Page::whole(call.commands.upcoming(until, query.limit.get())))
}
