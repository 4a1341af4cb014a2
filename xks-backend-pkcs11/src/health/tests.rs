use xks_core::backend::BackendErrorKind;

use super::*;
use HealthStatus::{Active, Degraded, Unavailable};

const BOUNDS: Bounds = Bounds {
    latency: Duration::from_millis(100),
    deadline: Duration::from_millis(200),
    interval: Duration::from_secs(9),
};

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn well() -> Checkup {
    Checkup {
        at: Instant::now(),
        latency: millis(1),
        encryption: millis(1),
        decryption: millis(1),
        depth: Depth::Full,
    }
}

fn idle() -> Load {
    Load {
        sessions: 4,
        ..Load::default()
    }
}

fn status(checkup: Option<&Checkup>, now: Instant, load: &Load) -> HealthStatus {
    judge(checkup, now, load, None, &Outcomes::new(), BOUNDS).0
}

/// HLT-3: what a test has come to is not told any more after 60 seconds.
#[test]
fn a_test_grows_old() {
    let checkup = well();
    let status = |checkup, seconds| status(checkup, well().at + Duration::from_secs(seconds), &idle());
    assert_eq!(status(Some(&checkup), 59), Active);
    assert_eq!(status(Some(&checkup), 61), Unavailable);
    assert_eq!(status(None, 0), Unavailable);
}

/// HLT-1: what works only in part, slowly, or untested, is not said to be well.
#[test]
fn what_is_not_well_is_said() {
    let status = |checkup: &Checkup, load: &Load| status(Some(checkup), Instant::now(), load);
    assert_eq!(status(&well(), &idle()), Active);
    let slow = Checkup {
        latency: millis(101),
        ..well()
    };
    assert_eq!(status(&slow, &idle()), Degraded);
    let with = |depth| Checkup { depth, ..well() };
    assert_eq!(status(&with(Depth::NoKey("gone".to_owned())), &idle()), Degraded);
    assert_eq!(status(&with(Depth::WithoutKey), &idle()), Active);
    let mut load = Load { abandoned: 1, ..idle() };
    assert_eq!(status(&well(), &load), Degraded);
    load.is_stuck = true;
    assert_eq!(status(&well(), &load), Unavailable);
    let none = Load { sessions: 0, ..idle() };
    assert_eq!(status(&well(), &none), Unavailable);
}

/// HLT-1: health follows what fits into the deadline, by the test, and by what becomes of requests since.
#[test]
fn each_kind_has_its_deadline() {
    let outcomes = Outcomes::new();
    let status = |encryption, decryption| {
        let checkup = Checkup {
            latency: millis(encryption).max(millis(decryption)),
            encryption: millis(encryption),
            decryption: millis(decryption),
            ..well()
        };
        judge(Some(&checkup), Instant::now(), &idle(), None, &outcomes, BOUNDS)
    };
    assert_eq!(status(95, 95).0, Active);
    let (health, problem) = status(105, 96);
    assert_eq!(health, Degraded);
    assert!(problem.unwrap().contains("encryption with integrity value takes 201ms"));
    let (health, problem) = status(20, 400);
    assert_eq!(health, Degraded);
    assert!(problem.unwrap().contains("decryption takes 400ms"));
    assert_eq!(status(400, 400).0, Unavailable);
    // It is faster than the test has it.
    outcomes.note(RequestKind::Decrypt, &Ok(()));
    assert_eq!(status(400, 400).0, Degraded);
    outcomes.note::<()>(RequestKind::Decrypt, &Err(BackendErrorKind::Timeout.into()));
    assert_eq!(status(400, 400).0, Unavailable);
}

/// HLT-1: a call that hangs is one session less, unless nothing else returns either.
#[test]
fn nothing_returns() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let checkup = Checkup { at: start, ..well() };
    let status = |now, abandoned, done, silent_since| {
        let load = Load {
            abandoned,
            done,
            ..idle()
        };
        judge(Some(&checkup), now, &load, silent_since, &Outcomes::new(), BOUNDS).0
    };
    assert_eq!(status(after(11), 1, None, None), Unavailable);
    assert_eq!(status(after(11), 1, Some(start), None), Unavailable);
    assert_eq!(
        status(after(11), 1, Some(after(2)), None),
        Degraded,
        "a request has returned"
    );
    assert_eq!(status(after(9), 1, None, None), Degraded, "the next test is not due");
    assert_eq!(
        status(after(9), 1, None, Some(after(8))),
        Degraded,
        "it hangs for a moment"
    );
    assert_eq!(
        status(after(9), 1, None, Some(after(6))),
        Unavailable,
        "the test hangs too"
    );
    assert_eq!(status(after(9), 0, None, Some(after(6))), Active, "it may be a search");
    assert_eq!(status(after(20), 0, None, Some(after(6))), Unavailable);
}
