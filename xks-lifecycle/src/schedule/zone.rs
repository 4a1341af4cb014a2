//! Time zones, whose data are built in, and what a local time is in UTC.

use std::{fmt, str::FromStr, sync::LazyLock};

use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone as Zone, TimeZoneDatabase},
};

use crate::{FieldError, FieldProblem, Timestamp};

/// A time zone of the IANA database, by its name. The data are built in, and change with this crate alone.
///
/// ```
/// use xks_lifecycle::schedule::TimeZone;
///
/// let zone: TimeZone = "europe/berlin".parse()?;
/// assert_eq!(zone.to_string(), "Europe/Berlin");
/// # Ok::<(), xks_lifecycle::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TimeZone(Zone);

impl TimeZone {
    /// UTC, which has no daylight saving time.
    pub const UTC: Self = Self(Zone::UTC);

    /// Returns its name in the IANA database.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC") // all that are parsed have a name
    }

    /// The local time at an instant; none at the end of the year 9999.
    pub(super) fn local(&self, instant: Timestamp) -> Option<DateTime> {
        let seconds = i64::try_from(instant.seconds()).ok()?;
        Some(self.0.to_datetime(jiff::Timestamp::from_second(seconds).ok()?))
    }

    /// The one instant at which a local time happens: of two the earlier, when clocks are set back; and when
    /// they are set forward over it, the instant at which they are. So a later local time has no earlier
    /// instant.
    pub(super) fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let ambiguous = self.0.to_ambiguous_timestamp(local);
        let instant = match ambiguous.offset() {
            AmbiguousOffset::Gap { after, .. } => {
                // By the later offset it is less than the gap before its end.
                let before = after.to_timestamp(local).ok()?;
                let mut following = self.0.following(before);
                following.find(|transition| transition.offset() == after)?.timestamp()
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok()?,
        };
        let seconds = u64::try_from(instant.as_second()).ok()?;
        Timestamp::from_seconds("time", seconds).ok()
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeZone({self})")
    }
}

impl FromStr for TimeZone {
    type Err = FieldError;

    fn from_str(name: &str) -> Result<Self, FieldError> {
        // Not the default database, which may be the system's.
        static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        let zone = BUNDLED.get(name).ok().filter(|zone| !zone.is_unknown());
        zone.map(Self).ok_or_else(|| {
            let rule = "a time zone is named as in the IANA database, like Europe/Berlin or UTC";
            FieldError::new("time_zone", FieldProblem::Illegal(rule.to_owned()))
        })
    }
}

impl serde::Serialize for TimeZone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_database_are_time_zones() {
        for (text, name) in [
            ("UTC", "UTC"),
            ("utc", "UTC"),
            ("America/New_York", "America/New_York"),
            ("australia/lord_howe", "Australia/Lord_Howe"),
        ] {
            assert_eq!(text.parse::<TimeZone>().unwrap().name(), name);
        }
        for bad in [
            "",
            "Europe/Atlantis",
            "Etc/Unknown",
            "CET-1CEST",
            "../etc/passwd",
            "+01:00",
        ] {
            assert_eq!(bad.parse::<TimeZone>().unwrap_err().field(), "time_zone", "{bad:?}");
        }
    }

    /// The system's data, or none of it, make no difference.
    #[test]
    fn the_data_are_built_in() {
        let database = TimeZoneDatabase::bundled();
        assert!(!database.is_definitively_empty());
        assert!(database.available().count() > 500);
    }
}
