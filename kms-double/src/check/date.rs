//! Dates as SigV4, HTTP and the report write them.

use std::time::SystemTime;

use time::{OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

const BASIC: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const EXTENDED: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const HTTP: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// `yyyymmddThhmmssZ`.
pub(super) fn basic(time: SystemTime) -> String {
    written(time, BASIC)
}

/// `yyyy-mm-ddThh:mm:ssZ`.
pub(super) fn extended(time: SystemTime) -> String {
    written(time, EXTENDED)
}

pub(super) fn parse_basic(text: &str) -> Option<SystemTime> {
    read(text, BASIC)
}

/// The `Date` of an answer.
pub(super) fn parse_http(text: &str) -> Option<SystemTime> {
    read(text, HTTP)
}

fn written(time: SystemTime, format: &[BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from(time).format(format).unwrap_or_default()
}

fn read(text: &str, format: &[BorrowedFormatItem<'_>]) -> Option<SystemTime> {
    let time = PrimitiveDateTime::parse(text, format).ok()?;
    Some(time.assume_utc().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read_back() {
        let time = parse_http("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(basic(time), "19941106T084937Z");
        assert_eq!(extended(time), "1994-11-06T08:49:37Z");
        assert_eq!(parse_basic("19941106T084937Z"), Some(time));
        for wrong in [
            "",
            "Sun",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_http(wrong), None, "{wrong}");
        }
    }
}
