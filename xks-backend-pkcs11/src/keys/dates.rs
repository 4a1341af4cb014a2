//! The days between which a key is to be used: `CKA_START_DATE` and `CKA_END_DATE`. Most modules only store
//! them. Some refuse a key by them, with a code that does not say so. They are read in a call of their own,
//! and only for the log: modules that do not know them, or fail when they are asked, lose nothing else by it.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use cryptoki_sys as ck;

use super::{Key, Keys, on_token::On};
use crate::attribute::Wanted;

/// What a key says of the days of its use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dates {
    start: Option<Day>,
    end: Option<Day>,
}

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Day {
    year: u64,
    month: u64,
    day: u64,
}

impl Keys {
    /// The dates of a key, read from the module when they are first asked for.
    pub(crate) fn dates<'a>(&self, on: On<'_>, handle: ck::CK_OBJECT_HANDLE, key: &'a Key) -> &'a Dates {
        key.dates.get_or_init(|| {
            let wanted = [Wanted::Bytes(ck::CKA_START_DATE), Wanted::Bytes(ck::CKA_END_DATE)];
            let told = self.manner.read(on.cryptoki, on.session, handle, &wanted);
            told.map_or_else(
                |_| Dates::default(),
                |told| Dates {
                    start: told.bytes(ck::CKA_START_DATE).and_then(Day::read),
                    end: told.bytes(ck::CKA_END_DATE).and_then(Day::read),
                },
            )
        })
    }
}

impl Dates {
    pub(crate) const fn are_none(&self) -> bool {
        self.start.is_none() && self.end.is_none()
    }

    /// Which of them a module may refuse the key by on this day: its clock may be in another zone, and the
    /// last day may count or not.
    pub(crate) fn against(&self, now: SystemTime) -> Option<String> {
        let days = now.duration_since(UNIX_EPOCH).ok()?.as_secs() / (24 * 60 * 60);
        let (yesterday, tomorrow) = (Day::after(days.saturating_sub(1)), Day::after(days + 1));
        if let Some(end) = self.end.filter(|end| *end <= tomorrow) {
            return Some(format!("its CKA_END_DATE is {end}"));
        }
        let start = self.start.filter(|start| *start > yesterday)?;
        Some(format!("its CKA_START_DATE is {start}"))
    }
}

impl fmt::Display for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start, self.end) {
            (None, None) => f.write_str("none"),
            (Some(start), None) => write!(f, "from {start}"),
            (None, Some(end)) => write!(f, "until {end}"),
            (Some(start), Some(end)) => write!(f, "{start} to {end}"),
        }
    }
}

impl Day {
    /// From eight digits; an empty value is none.
    fn read(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let is_date = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = text.parse().ok().filter(|_| is_date)?;
        Some(Self {
            year: number / 10_000,
            month: number / 100 % 100,
            day: number % 100,
        })
    }

    /// The day that is so many days after the first of 1970. Years begin in March here, so that a leap day is
    /// the last.
    const fn after(days: u64) -> Self {
        const DAYS_OF_400_YEARS: u64 = 146_097;
        // From the first of March of the year 0.
        let days = days + 719_468;
        let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let is_next_year = month >= 10;
        Self {
            year: 400 * era + year + is_next_year as u64,
            month: if is_next_year { month - 9 } else { month + 3 },
            day: day - (153 * month + 2) / 5 + 1,
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn dates(start: &[u8], end: &[u8]) -> Dates {
        Dates {
            start: Day::read(start),
            end: Day::read(end),
        }
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (days, text) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_786, "2026-11-29"),
            (20_818, "2026-12-31"),
            (20_819, "2027-01-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Day::after(days).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for value in [
            &b""[..],
            b"2026112",
            b"202611290",
            b"2026-1-2",
            b"\xff0261129",
            b"+0261129",
        ] {
            assert_eq!(Day::read(value), None, "{value:?}");
        }
        assert_eq!(Day::read(b"20261129").unwrap().to_string(), "2026-11-29");
        assert!(dates(b"", b"").are_none());
    }

    #[test]
    fn a_key_is_refused_by_a_date_that_is_over_or_to_come() {
        let now = UNIX_EPOCH + Duration::from_secs(20_786 * 24 * 60 * 60 + 3600);
        let against = |start, end| dates(start, end).against(now);
        let end = |day: &str| Some(format!("its CKA_END_DATE is {day}"));
        let start = |day: &str| Some(format!("its CKA_START_DATE is {day}"));
        assert_eq!(against(b"", b""), None);
        assert_eq!(against(b"20200101", b"20261231"), None);
        assert_eq!(against(b"", b"20261201"), None);
        assert_eq!(against(b"", b"20261130"), end("2026-11-30"), "where it is a day later");
        assert_eq!(against(b"20200101", b"20251129"), end("2025-11-29"));
        assert_eq!(against(b"20261128", b""), None);
        assert_eq!(
            against(b"20261129", b"20270101"),
            start("2026-11-29"),
            "where it is a day earlier"
        );
        assert_eq!(against(b"20270301", b""), start("2027-03-01"));
    }
}
