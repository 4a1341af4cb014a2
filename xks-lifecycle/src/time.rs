//! Times to the second, in UTC, and where the time comes from.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::field::{FieldError, FieldProblem};

/// A time to the second, UTC, from 1970 to 9999.
///
/// ```
/// use xks_lifecycle::Timestamp;
///
/// let time = Timestamp::from_seconds("expires", 1_800_000_000)?;
/// assert_eq!(time.to_string(), "2027-01-15T08:00:00Z");
/// # Ok::<(), xks_lifecycle::FieldError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

const DAY: u64 = 24 * 60 * 60;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self(253_402_300_799);

    /// A time in seconds since 1970. `field` is what an error calls it.
    ///
    /// # Errors
    /// A [`FieldError`] of this field: a time after the year 9999.
    pub const fn from_seconds(field: &'static str, seconds: u64) -> Result<Self, FieldError> {
        if seconds > Self::MAX.0 {
            return Err(FieldError::new(field, FieldProblem::Time));
        }
        Ok(Self(seconds))
    }

    /// Reads a time as RFC 3339 writes it, such as `2027-01-15T08:00:00Z`; fractions of a second are dropped.
    /// `field` is what an error calls it.
    ///
    /// # Errors
    /// A [`FieldError`] of this field: no such time, or one before 1970 or after the year 9999.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, FieldError> {
        let Ok(instant) = text.parse::<jiff::Timestamp>() else {
            let rule = "a time is written like 2027-01-15T08:00:00Z".to_owned();
            return Err(FieldError::new(field, FieldProblem::Illegal(rule)));
        };
        match u64::try_from(instant.as_second()) {
            Ok(seconds) => Self::from_seconds(field, seconds),
            Err(_) => Err(FieldError::new(field, FieldProblem::Time)),
        }
    }

    /// Returns the seconds since 1970.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// Returns the time so many days of 24 hours later, 9999 at the latest.
    #[must_use]
    pub const fn plus_days(self, days: u32) -> Self {
        self.plus_seconds(days as u64 * DAY)
    }

    /// Returns the time so many seconds later, 9999 at the latest.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        let seconds = self.0.saturating_add(seconds);
        if seconds > Self::MAX.0 {
            Self::MAX
        } else {
            Self(seconds)
        }
    }
}

/// To the second; what is before 1970 becomes 1970, what is after 9999 the end of 9999.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self(seconds.min(Self::MAX.0))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_secs(time.0)
    }
}

/// As RFC 3339 has it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, second) = (self.0 / DAY, self.0 % DAY);
        let (year, month, day) = civil(day);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
            second % 60
        )
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
const fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March have their leap day at the end; 719 468 days before 1970 one of 400 began.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let (day, year) = (day - (153 * month + 2) / 5 + 1, era * 400 + year);
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (Timestamp::MAX.0, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
        // Every day has the date after the one before it; the calendar repeats itself after 400 years.
        let mut expected = (1970, 1, 1);
        for day in 0..146_097 {
            assert_eq!(civil(day), expected);
            let (year, month, date) = expected;
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, date == length) {
                (_, false) => (year, month, date + 1),
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
            };
        }
    }

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        let read = |text| Timestamp::parse("expires", text);
        for text in ["1970-01-01T00:00:00Z", "2000-02-29T00:00:00Z", "2027-01-15T08:00:00Z"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        let eight = Timestamp(1_800_000_000);
        for text in ["2027-01-15T09:30:00+01:30", "2027-01-15T08:00:00.999Z"] {
            assert_eq!(read(text), Ok(eight), "{text}");
        }
        assert_eq!(read("1969-12-31T23:59:59Z").unwrap_err().problem(), &FieldProblem::Time);
        for bad in [
            "",
            "2027-01-15",
            "2027-01-15T08:00:00",
            "2027-02-30T08:00:00Z",
            "1800000000",
            "now",
        ] {
            assert!(
                matches!(read(bad).unwrap_err().problem(), FieldProblem::Illegal(_)),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_or_cut() {
        let error = Timestamp::from_seconds("expires", Timestamp::MAX.0 + 1).unwrap_err();
        assert_eq!((error.field(), error.problem()), ("expires", &FieldProblem::Time));
        assert_eq!(Timestamp::MAX.plus_days(u32::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::MIN);
        assert_eq!(SystemTime::from(Timestamp(5)), UNIX_EPOCH + Duration::from_secs(5));
    }
}
