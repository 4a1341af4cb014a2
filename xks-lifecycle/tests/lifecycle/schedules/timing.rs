//! Due times: of every zone, against a walk through the minutes of UTC; and what follows for a key.

use std::collections::BTreeSet;

use jiff::{
    ToSpan as _,
    civil::DateTime,
    tz::{TimeZone as Zone, TimeZoneDatabase},
};
use proptest::prelude::*;
use xks_core::KeyId;
use xks_lifecycle::{
    Schedule, ScheduleId, TenantId, Timestamp,
    schedule::{JitterMinutes, PeriodDays, Timing},
};

use super::site::{cron, every, time};
use crate::support::at;

const DAY: u64 = 24 * 60 * 60;

/// Gaps and folds of an hour, of half an hour, at midnight, at a minute past midnight, of a day, and none.
const ZONES: &[&str] = &[
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "America/St_Johns",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Santiago",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "UTC",
];

/// Which local times match: cron's rules, written again.
#[derive(Clone, Debug)]
struct Pattern {
    minute: i8,
    hours: BTreeSet<i8>,
    /// Of the month.
    days: Option<BTreeSet<i8>>,
    /// From Sunday, which is 0.
    weekdays: Option<BTreeSet<i8>>,
}

impl Pattern {
    fn text(&self) -> String {
        let list = |numbers: &BTreeSet<i8>| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let or_all = |numbers: &Option<BTreeSet<i8>>| numbers.as_ref().map_or("*".to_owned(), list);
        let (hours, days, weekdays) = (list(&self.hours), or_all(&self.days), or_all(&self.weekdays));
        format!("{} {hours} {days} * {weekdays}", self.minute)
    }

    fn matches(&self, local: DateTime) -> bool {
        let is_day = |days: &BTreeSet<i8>| days.contains(&local.day());
        let is_weekday = |days: &BTreeSet<i8>| days.contains(&local.weekday().to_sunday_zero_offset());
        let is_date = match (&self.days, &self.weekdays) {
            (None, None) => true,
            (Some(days), None) => is_day(days),
            (None, Some(weekdays)) => is_weekday(weekdays),
            (Some(days), Some(weekdays)) => is_day(days) || is_weekday(weekdays),
        };
        is_date && self.hours.contains(&local.hour()) && self.minute == local.minute()
    }
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let hours = prop_oneof![
        3 => proptest::collection::btree_set(0_i8..4, 1..4),
        1 => proptest::collection::btree_set(0_i8..24, 1..24),
    ];
    let days = |range| proptest::option::weighted(0.3, proptest::collection::btree_set(range, 1..7));
    let minutes = prop_oneof![Just(0_i8), Just(30), 0_i8..60];
    (minutes, hours, days(1_i8..29), days(0_i8..7)).prop_map(|(minute, hours, days, weekdays)| Pattern {
        minute,
        hours,
        days,
        weekdays,
    })
}

/// The local time of a minute since 1970.
fn local(zone: &Zone, minute: u64) -> DateTime {
    let time = jiff::Timestamp::from_second(i64::try_from(minute * 60).unwrap()).unwrap();
    zone.to_datetime(time)
}

/// The due times of these minutes: at each minute those local minutes happen that are later than all before,
/// and did not happen yet.
fn walked(pattern: &Pattern, zone: &Zone, minutes: std::ops::Range<u64>) -> Vec<u64> {
    // Two days before, so that the first hour may be one that comes again.
    let mut latest = local(zone, minutes.start - 2 * 24 * 60);
    for minute in minutes.start - 2 * 24 * 60..minutes.start {
        latest = latest.max(local(zone, minute));
    }
    let mut due = Vec::new();
    for minute in minutes {
        let now = local(zone, minute);
        let mut is_due = false;
        while latest < now {
            latest = latest.checked_add(1.minute()).unwrap();
            is_due |= pattern.matches(latest);
        }
        if is_due {
            due.push(minute * 60);
        }
    }
    due
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Each local time in a gap happens once, after it; each in a fold once; and all in their order.
    #[test]
    fn every_local_time_happens_once(
        pattern in patterns(),
        zone in proptest::sample::select(ZONES),
        start in 0_u64..36 * 365 * 24 * 60,
        offset in prop_oneof![0_u64..180, 0_u64..4 * 24 * 60],
    ) {
        let timing = cron(&pattern.text(), zone);
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        // About the next transition, if there is one: before it, or in an hour that comes again.
        let start = 946_684_800 / 60 + start; // 2000
        let from = jiff::Timestamp::from_second(i64::try_from(start * 60).unwrap()).unwrap();
        let transition = zone.following(from).next();
        let start = transition.map_or(start, |transition| transition.timestamp().as_second().unsigned_abs() / 60);
        let start = start + 90 - offset;
        let minutes = start..start + 6 * 24 * 60;
        let end = at(minutes.end * 60 - 1);

        // What is due at the start itself is not after it.
        let expected = walked(&pattern, &zone, minutes.start + 1..minutes.end);
        let mut found = Vec::new();
        let mut after = at(start * 60);
        while let Some(next) = timing.next_after(after).filter(|next| *next <= end) {
            prop_assert!(next > after);
            found.push(next.seconds());
            after = next;
        }
        prop_assert_eq!(found, expected, "{} {:?}", pattern.text(), zone);
    }

    /// What was missed is made up once, and the next time is in the future; the jitter of a key is the same
    /// each time, and within its bounds.
    #[test]
    fn missed_times_are_made_up_once(
        timing in prop_oneof![
            (1_u64..400).prop_map(every),
            (patterns(), proptest::sample::select(ZONES)).prop_map(|(pattern, zone)| cron(&pattern.text(), zone)),
        ],
        jitter in 0_u64..=1440,
        rotated in 1_000_000_000_u64..2_000_000_000,
        late in 0_u64..1000 * DAY,
        key in "[a-z]{1,20}",
    ) {
        let key: KeyId = key.parse().unwrap();
        let mut schedule = schedule(timing);
        let due_exactly = schedule.due_after(at(rotated), &key).unwrap();
        schedule.jitter = JitterMinutes::new(jitter).unwrap();
        let due = schedule.due_after(at(rotated), &key).unwrap();
        let share = due.seconds() - due_exactly.seconds();
        prop_assert!(share <= jitter * 60);
        // The server was down, and rotates now.
        let now = at(due.seconds() + late);
        let next = schedule.due_after(now, &key).unwrap();
        prop_assert!(next > now);
        prop_assert_eq!(next.seconds() - share, schedule.timing.next_after(now).unwrap().seconds());
        // Whatever happens between two times, the later one is due.
        let between = at(rotated + (due_exactly.seconds() - 1 - rotated) / 2);
        if let Timing::Cron { .. } = schedule.timing {
            prop_assert_eq!(schedule.due_after(between, &key), Some(due));
        }
    }

    /// Whatever somebody writes is a pattern that has times to come, or is refused.
    #[test]
    fn any_text_is_a_pattern_or_refused(text in "[0-9*,/LW#+@?A-Za-z -]{0,24}|[0-9*]{1,2}( [0-9,*/-]{1,6}){4}") {
        if let Ok(pattern) = text.parse() {
            let timing = Timing::Cron { pattern, zone: "Europe/Berlin".parse().unwrap() };
            let now = at(1_800_000_000);
            let next = timing.next_after(now).unwrap();
            prop_assert!(next > now);
            prop_assert!(timing.next_after(next).unwrap() > next);
        }
    }
}

fn schedule(timing: Timing) -> Schedule {
    let (id, tenant) = (ScheduleId::generate().unwrap(), TenantId::generate().unwrap());
    Schedule::new(id, tenant, "Schedule", timing).unwrap()
}

/// In the words of the calendar: what an operator may look up.
#[test]
fn gaps_and_folds_are_as_documented() {
    for (pattern, zone, after, expected) in [
        // Berlin goes from 2 to 3 on 2027-03-28, at 01:00 UTC.
        (
            "30 1 * * *",
            "Europe/Berlin",
            "2027-03-27T12:00:00Z",
            "2027-03-28T00:30:00Z",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-03-27T12:00:00Z",
            "2027-03-28T01:00:00Z",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-03-28T01:00:00Z",
            "2027-03-29T00:30:00Z",
        ),
        (
            "0 3 * * *",
            "Europe/Berlin",
            "2027-03-27T12:00:00Z",
            "2027-03-28T01:00:00Z",
        ),
        // Back from 3 to 2 on 2027-10-31, at 01:00 UTC: 02:30 is at 00:30 and at 01:30 UTC.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-10-30T12:00:00Z",
            "2027-10-31T00:30:00Z",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-10-31T00:30:00Z",
            "2027-11-01T01:30:00Z",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-10-31T01:15:00Z",
            "2027-11-01T01:30:00Z",
        ),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2027-10-31T00:30:00Z",
            "2027-10-31T02:30:00Z",
        ),
        // Half an hour.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2027-10-02T12:00:00Z",
            "2027-10-02T15:30:00Z",
        ),
        // Samoa had no 30 December 2011.
        (
            "0 12 30 12 *",
            "Pacific/Apia",
            "2011-12-29T12:00:00Z",
            "2011-12-30T10:00:00Z",
        ),
        ("0 0 1 1 *", "UTC", "2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"),
    ] {
        let next = cron(pattern, zone).next_after(time(after)).unwrap();
        assert_eq!(next, time(expected), "{pattern} {zone} after {after}: {next}");
    }
    let next = every(90).next_after(time("2027-03-27T12:00:00Z"));
    assert_eq!(next, Some(time("2027-06-25T12:00:00Z")));
}

#[test]
fn a_timing_ends_with_its_calendar() {
    assert_eq!(every(1).next_after(Timestamp::MAX), None);
    assert_eq!(cron("0 0 * * *", "UTC").next_after(Timestamp::MAX), None);
    let late = time("6000-01-01T00:00:00Z");
    assert_eq!(cron("0 0 * * *", "UTC").next_after(late), None);
}

#[test]
fn numbers_out_of_range_are_refused() {
    for days in [0, 3651, u64::MAX] {
        let error = PeriodDays::new(days).unwrap_err();
        assert_eq!(error.to_string(), "`every_days` must be a number from 1 to 3650");
    }
    let error = JitterMinutes::new(1441).unwrap_err();
    assert_eq!(error.to_string(), "`jitter_minutes` must be a number from 0 to 1440");
    assert_eq!(JitterMinutes::new(0), Ok(JitterMinutes::NONE));
}

/// Keys that are due together spread over the whole of the jitter.
#[test]
fn keys_share_the_jitter() {
    let mut schedule = schedule(every(1));
    schedule.jitter = JitterMinutes::new(60).unwrap();
    let shares: BTreeSet<_> = (0..600)
        .map(|number| {
            let key: KeyId = format!("key-{number}").parse().unwrap();
            (schedule.due_after(at(0), &key).unwrap().seconds() - DAY) / 600
        })
        .collect();
    assert!((0..6).all(|part| shares.contains(&part)), "{shares:?}");
}
