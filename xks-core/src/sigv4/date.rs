//! The timestamp of `x-amz-date`: `yyyymmddThhmmssZ`.

use std::time::{Duration, SystemTime};

/// The moment that `text` names, or nothing if it is not of the form or no such moment exists.
pub(super) fn parse(text: &[u8]) -> Option<SystemTime> {
    let [y1, y2, y3, y4, m1, m2, d1, d2, b'T', h1, h2, n1, n2, s1, s2, b'Z'] = *text else {
        return None;
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[n1, n2])?, number(&[s1, s2])?);
    if year < 1970 || day < 1 || day > days_in_month(year, month)? || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in_month(year: u64, month: u64) -> Option<u64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if is_leap(year) => Some(29),
        2 => Some(28),
        _ => None,
    }
}

/// Gregorian, for years from 1970 and a month and day that exist.
const fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Count years from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before_year = year * 365 + year / 4 - year / 100 + year / 400;
    let before_month = (month * 153 + 2) / 5;
    before_year + before_month + day - 1 - 719_468 // the days from 1 March of year 0 to 1 January 1970
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        parse(text.as_bytes()).map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn moments_are_where_the_calendar_has_them() {
        for (text, expected) in [
            ("19700101T000000Z", 0),
            ("19700101T000001Z", 1),
            ("19700301T000000Z", 59 * 86_400),
            ("20000229T235959Z", 951_868_799),
            ("20000301T000000Z", 951_868_800),
            ("20150830T123600Z", 1_440_938_160),
            ("20240229T120000Z", 1_709_208_000),
            ("20380119T031408Z", 2_147_483_648),
            ("99991231T235959Z", 253_402_300_799),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn consecutive_days_are_a_day_apart() {
        let mut previous = None;
        for year in 1970..2110 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month).unwrap() {
                    let days = days_since_1970(year, month, day);
                    assert!(
                        previous.is_none_or(|previous| days == previous + 1),
                        "{year}-{month}-{day}"
                    );
                    previous = Some(days);
                }
            }
        }
    }

    /// SIG-5: a timestamp that is not one authenticates nothing.
    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "20260101",
            "20260101T000000",
            "20260101T000000z",
            "20260101t000000Z",
            "20260101T000000Z0",
            "2026-01-01T00:00:00Z",
            "20260001T000000Z",
            "20261301T000000Z",
            "20260100T000000Z",
            "20260132T000000Z",
            "20260229T000000Z",
            "21000229T000000Z",
            "20260101T240000Z",
            "20260101T006000Z",
            "20260101T000060Z",
            "+0260101T000000Z",
            " 2026101T000000Z",
            "19691231T235959Z",
            "20260101T00000\u{660}Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
