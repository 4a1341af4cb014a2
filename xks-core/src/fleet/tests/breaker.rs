//! The breaker over given times.

use std::time::Duration;

use proptest::prelude::*;

use super::super::breaker::{Breaker, Change, MAX_OPENINGS, Policy, State};

const POLICY: Policy = Policy {
    failures: 3,
    first: 1000,
    longest: 5000,
};

fn opened(millis: u64) -> Change {
    Change::Opened {
        back_off: Duration::from_millis(millis),
    }
}

#[test]
fn failures_in_a_row_open_and_a_success_closes() {
    let breaker = Breaker::new(POLICY);
    for _ in 0..2 {
        assert_eq!([breaker.fail(false, 0), breaker.fail(false, 1)], [Change::None; 2]);
        assert_eq!(breaker.succeed(), Change::None, "not in a row");
    }
    breaker.fail(false, 10);
    breaker.fail(false, 11);
    assert_eq!(breaker.fail(false, 12), opened(1000));
    assert!(!breaker.is_due(1011) && !breaker.try_probe(1011));
    assert!(breaker.is_due(1012) && breaker.try_probe(1012));
    assert!(!breaker.try_probe(1013), "one probe at a time");
    assert_eq!(breaker.succeed(), Change::Closed);
    assert_eq!(breaker.state(), State::NEW);
}

#[test]
fn the_back_off_doubles_up_to_its_cap_with_each_failed_probe() {
    let breaker = Breaker::new(POLICY);
    let mut now = 0;
    assert_eq!(breaker.hear_that_it_fails(now), opened(1000));
    for back_off in [2000, 4000, 5000, 5000] {
        now += 5000;
        assert!(breaker.try_probe(now));
        breaker.fail(true, now);
        assert!(!breaker.is_due(now + back_off - 1) && breaker.is_due(now + back_off));
    }
    for _ in 0..100 {
        now += 5000;
        assert!(breaker.try_probe(now));
        breaker.fail(true, now);
        assert!(!breaker.is_due(now + 4999) && breaker.is_due(now + 5000));
    }
    breaker.succeed();
    assert_eq!(breaker.hear_that_it_fails(now), opened(1000), "as good as new");
}

#[test]
fn a_probe_that_told_nothing_can_be_repeated() {
    let breaker = Breaker::new(POLICY);
    breaker.hear_that_it_fails(0);
    assert!(breaker.try_probe(1000));
    breaker.release_probe();
    assert!(breaker.try_probe(1000));
}

#[test]
fn late_failures_do_not_double_the_back_off() {
    let breaker = Breaker::new(POLICY);
    for now in 0..200 {
        breaker.fail(false, now);
    }
    assert!(!breaker.is_due(1198) && breaker.is_due(1199));
}

/// HLT-1: health closes what is due, on parole, and opens what does not work.
#[test]
fn health_moves_the_breaker() {
    let breaker = Breaker::new(POLICY);
    assert_eq!(breaker.hear_that_it_works(0), Change::None);
    assert_eq!(breaker.hear_that_it_fails(0), opened(1000));
    assert_eq!(breaker.hear_that_it_fails(500), Change::None);
    assert_eq!(breaker.hear_that_it_works(999), Change::None, "not yet");
    assert_eq!(
        breaker.hear_that_it_fails(1000),
        Change::None,
        "and stays so for longer"
    );
    assert_eq!(breaker.hear_that_it_works(2999), Change::None);
    assert_eq!(breaker.hear_that_it_works(3000), Change::Closed);
    assert_eq!(breaker.fail(false, 3001), opened(4000), "one failure is enough now");
    assert_eq!(breaker.hear_that_it_works(7001), Change::Closed);
    breaker.succeed();
    assert_eq!(breaker.fail(false, 7002), Change::None);
}

proptest! {
    #[test]
    fn a_state_survives_its_word(
        is_open: bool, is_probed: bool, failures: u16, openings in 0..=MAX_OPENINGS, since in 0_u64..1 << 40,
    ) {
        let state = if is_open {
            State::Open { since, openings, is_probed }
        } else {
            State::Closed { failures, openings }
        };
        prop_assert_eq!(State::from(u64::from(state)), state);
    }

    /// Whatever happens, a member that starts to answer is asked again by and by.
    #[test]
    fn no_state_is_for_ever(events in prop::collection::vec((0_u8..6, 0_u64..2000), 0..60)) {
        let breaker = Breaker::new(POLICY);
        let mut now = 0;
        for (event, passed) in events {
            now += passed;
            match event {
                0 => drop(breaker.succeed()),
                1 => drop(breaker.fail(false, now)),
                2 => if breaker.try_probe(now) { breaker.fail(true, now); },
                3 => if breaker.try_probe(now) { breaker.release_probe(); },
                4 => drop(breaker.hear_that_it_works(now)),
                _ => drop(breaker.hear_that_it_fails(now)),
            }
        }
        let is_closed = matches!(breaker.state(), State::Closed { .. });
        prop_assert!(is_closed || breaker.try_probe(now + POLICY.longest));
    }
}
