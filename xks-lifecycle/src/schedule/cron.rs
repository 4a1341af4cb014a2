//! Cron patterns: which local times match.
//!
//! A pattern is asked for the next local time, as if there were no daylight saving time; what that is in UTC,
//! [`TimeZone`](super::TimeZone) decides. So the rule for gaps and folds is in one place, and the same for
//! all patterns.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use croner::{
    CivilDate, CivilDateTime, CivilTime, Cron, CronDateTime, Resolution, Weekday,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration,
    civil::{DateTime, date},
};

use crate::{FieldError, FieldProblem};

/// A cron pattern of five fields: minute, hour, day of the month, month, day of the week. At most 128
/// characters; it names one minute of the hour, and local times that come.
///
/// Fields hold numbers, names (`JAN`, `MON`), ranges, lists, `*` and steps (`*/2`); for days also `L` (the
/// last), `15W` (the working day next to the 15th) and `MON#1` (the first Monday of the month). If both
/// fields of days are given, a day that matches one of them matches.
///
/// ```
/// use xks_lifecycle::schedule::CronPattern;
///
/// assert!("30 3 1 */3 *".parse::<CronPattern>().is_ok());
/// let error = "* 3 1 * *".parse::<CronPattern>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`cron` is not legal: the first field must be one minute, 0 to 59; a schedule is due once an hour at most"
/// );
/// ```
#[derive(Clone)]
pub struct CronPattern {
    text: Box<str>,
    cron: Arc<Cron>,
}

impl CronPattern {
    const MAX: usize = 128;

    /// Returns the pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first local time after this one that matches; none if it is beyond the year 5000.
    pub(super) fn next_after(&self, local: DateTime) -> Option<DateTime> {
        let next = self.cron.find_next_occurrence(&Local(local), false);
        next.ok().map(|Local(next)| next)
    }
}

impl FromStr for CronPattern {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let error = |problem| FieldError::new("cron", problem);
        let illegal = |rule: &str| error(FieldProblem::Illegal(rule.to_owned()));
        let text = text.trim();
        if text.is_empty() || text.len() > Self::MAX {
            let max = Self::MAX;
            return Err(error(FieldProblem::Length { min: 1, max }));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed);
        let cron = parser
            .build()
            .parse(text)
            .map_err(|source| FieldError::illegal("cron", &source))?;
        if cron.pattern.minutes.values().len() != 1 {
            let rule = "the first field must be one minute, 0 to 59; a schedule is due once an hour at most";
            return Err(illegal(rule));
        }
        let cron = Arc::new(cron);
        let pattern = Self {
            text: text.into(),
            cron,
        };
        if pattern.next_after(date(2000, 1, 1).at(0, 0, 0, 0)).is_none() {
            return Err(illegal("there is no such day"));
        }
        Ok(pattern)
    }
}

impl PartialEq for CronPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronPattern {}

impl fmt::Display for CronPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CronPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CronPattern({self})")
    }
}

impl serde::Serialize for CronPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A local time, which happens once.
#[derive(Clone)]
struct Local(DateTime);

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let number = |part: i8| u32::from(part.unsigned_abs()); // none is negative
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(self.0.year().into(), number(self.0.month()), number(self.0.day())),
            CivilTime::from_parts_unchecked(number(self.0.hour()), number(self.0.minute()), number(self.0.second())),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.0.weekday().to_sunday_zero_offset().unsigned_abs().into())
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |number: u32| i8::try_from(number).map_err(|_| CronError::InvalidDate);
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (part(civil.month())?, part(civil.day())?);
        let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
        let local = DateTime::new(year, month, day, hour, minute, second, 0);
        local
            .map(|local| Resolution::Single(Self(local)))
            .map_err(|_| CronError::InvalidDate)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pattern: &str, after: &str) -> String {
        let pattern: CronPattern = pattern.parse().unwrap();
        let next = pattern.next_after(after.parse().unwrap()).unwrap();
        next.to_string()
    }

    #[test]
    fn patterns_match_as_cron_has_them() {
        for (pattern, after, expected) in [
            ("0 3 * * *", "2027-01-15T02:59:59", "2027-01-15T03:00:00"),
            ("0 3 * * *", "2027-01-15T03:00:00", "2027-01-16T03:00:00"),
            ("15 */6 * * *", "2027-01-15T12:15:00", "2027-01-15T18:15:00"),
            ("0 0 29 2 *", "2027-01-01T00:00:00", "2028-02-29T00:00:00"),
            ("0 0 1 jan,JUL *", "2027-01-01T00:00:00", "2027-07-01T00:00:00"),
            ("0 0 L * *", "2027-02-01T00:00:00", "2027-02-28T00:00:00"),
            ("0 0 * * SUN", "2027-01-15T00:00:00", "2027-01-17T00:00:00"),
            ("0 0 * * 7", "2027-01-15T00:00:00", "2027-01-17T00:00:00"),
            ("0 0 * * MON#1", "2027-01-15T00:00:00", "2027-02-01T00:00:00"),
            // The 20th, or a Sunday.
            ("0 0 20 * 0", "2027-01-15T00:00:00", "2027-01-17T00:00:00"),
            ("0 0 20 * 0", "2027-01-17T00:00:00", "2027-01-20T00:00:00"),
            ("@monthly", "2027-01-15T00:00:00", "2027-02-01T00:00:00"),
        ] {
            assert_eq!(next(pattern, after), expected, "{pattern} after {after}");
        }
    }

    #[test]
    fn only_legal_patterns_are_patterns() {
        let long = format!("0 3 {} * *", "1,".repeat(70));
        for bad in [
            "",
            " ",
            "0 3 * *",
            "0 0 3 * * *",
            "0 0 3 * * * 2027",
            "60 3 * * *",
            "0 24 * * *",
            "0 3 0 * *",
            "0 3 32 * *",
            "0 3 * 13 *",
            "0 3 * * 8",
            "0 3 * * MOO",
            "0 3 */0 * *",
            "0 3 5-1 * *",
            "0 3 30 2 *", // never
            "0 3 , * *",
            "0,30 3 * * *",
            "* 3 * * *",
            "L 3 * * *",
            "@reboot",
            "0 3 \u{663} * *",
            &long,
        ] {
            assert_eq!(bad.parse::<CronPattern>().unwrap_err().field(), "cron", "{bad:?}");
        }
    }
}
