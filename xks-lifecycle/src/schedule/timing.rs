//! When a schedule is due.

use super::{CronPattern, TimeZone};
use crate::{Timestamp, field::bounded};

bounded! {
    /// Every how many days a schedule is due: 1 to 3 650.
    PeriodDays, "every_days", 1, 3_650
}
bounded! {
    /// By how many minutes, at most, what a schedule does is spread: 0 to 1 440, which is a day.
    JitterMinutes, "jitter_minutes", 0, 1_440
}

impl JitterMinutes {
    /// Not at all.
    pub const NONE: Self = Self(0);
}

/// When a schedule is due.
///
/// ```
/// use xks_lifecycle::{Timestamp, schedule::Timing};
///
/// let timing = Timing::Cron { pattern: "30 2 * * *".parse()?, zone: "Europe/Berlin".parse()? };
/// let saturday = Timestamp::from_seconds("time", 1_806_181_200)?; // 2027-03-27T21:00:00Z
/// // On Sunday clocks go from 2 to 3 in the morning.
/// let sunday = timing.next_after(saturday).unwrap();
/// assert_eq!(sunday.to_string(), "2027-03-28T01:00:00Z");
/// assert_eq!(timing.next_after(sunday).unwrap().to_string(), "2027-03-29T00:30:00Z");
/// # Ok::<(), xks_lifecycle::FieldError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Timing {
    /// So many days after the last time. A day has 24 hours.
    EveryDays(PeriodDays),
    /// At local times. One that clocks are set forward over happens when they are; of one that happens twice
    /// the first counts.
    Cron {
        /// Which local times.
        pattern: CronPattern,
        /// Of which time zone.
        #[serde(rename = "time_zone")]
        zone: TimeZone,
    },
}

impl Timing {
    /// Returns the first time after this one, if there is any.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::EveryDays(days) => Some(after.plus_days(days.get())).filter(|next| *next < Timestamp::MAX),
            Self::Cron { pattern, zone } => {
                // No local time up to this one happens later.
                let mut local = zone.local(after)?;
                loop {
                    local = pattern.next_after(local)?;
                    let next = zone.instant(local)?;
                    if next > after {
                        return Some(next);
                    }
                }
            }
        }
    }
}
