//! The state machine in every state with every event.

mod walk;

use super::*;

const RECOVERY: Duration = Duration::from_millis(500);
const HEALTH: Duration = Duration::from_secs(10);

/// Everything that waits for its time is due after it: the longest wait is an hour.
const LONG: Duration = Duration::from_secs(2 * 60 * 60);

const WORKS: Test = test(Outcome::Works);

const fn test(outcome: Outcome) -> Test {
    Test {
        outcome,
        requests_fail: false,
        is_confirmed: false,
        absence_fails_requests: false,
    }
}

const fn failure(kind: FailureKind) -> Failure {
    Failure {
        kind,
        is_momentary: matches!(kind, FailureKind::NoToken),
        may_pass: !matches!(kind, FailureKind::PinRefused),
        login: match kind {
            FailureKind::PinRefused => Login::Refused,
            _ => Login::Allowed,
        },
    }
}

const fn not_connected(kind: FailureKind) -> Event {
    Event::Connected(Err(failure(kind)))
}

const fn not_reinitialized(problem: NotReinitialized) -> Event {
    Reinitialized(Err(problem))
}

fn machine(state: State) -> Machine {
    Machine {
        state,
        ..Machine::new(RECOVERY, HEALTH)
    }
}

/// A state's name, with the data that matter.
fn name(state: &State) -> String {
    let flags = |flags: &[(&str, bool)]| -> String {
        let set = flags.iter().filter(|(_, is_set)| *is_set);
        set.map(|(name, _)| format!(" {name}")).collect()
    };
    match state {
        State::Connecting(Beginning { attempt, is_in_use }) => {
            format!("Connecting {attempt}{}", flags(&[("in-use", *is_in_use)]))
        }
        State::Up => "Up".to_owned(),
        State::Suspect(Suspicion {
            step,
            absence,
            is_partial,
            is_unconfirmed,
        }) => {
            let step = match step {
                Step::Watching => "watching".to_owned(),
                Step::Replacing(reason, looks) => format!("replacing {reason:?} {looks}"),
                Step::Retesting(_) => "retesting".to_owned(),
            };
            let absence = absence
                .as_ref()
                .map_or_else(String::new, |absence| format!(" missing {}", absence.looks));
            let flags = flags(&[("partial", *is_partial), ("unconfirmed", *is_unconfirmed)]);
            format!("Suspect {step}{absence}{flags}")
        }
        State::Down(outage) => format!(
            "Down{}",
            flags(&[
                ("partial", outage.is_partial),
                ("wedged", outage.is_wedged),
                ("unconfirmed", outage.is_unconfirmed)
            ])
        ),
        State::Halted => "Halted".to_owned(),
    }
}

fn short(effect: &Effect) -> String {
    match effect {
        Connect { is_partial: false } => "Connect".to_owned(),
        Connect { is_partial: true } => "Connect partly".to_owned(),
        effect => format!("{effect:?}"),
    }
}

/// Every event in one form at least, with a name.
fn events() -> Vec<(&'static str, Event)> {
    use FailureKind::{AnotherToken, NoSessions, NoToken, Other, Partial, PinRefused};

    let tested = |outcome| Tested(test(outcome));
    vec![
        ("wake", Wake(Login::Allowed)),
        ("wake, login postponed", Wake(Login::Postponed)),
        ("wake, PIN refused", Wake(Login::Refused)),
        ("works", Tested(WORKS)),
        (
            "works, confirmed",
            Tested(Test {
                is_confirmed: true,
                ..WORKS
            }),
        ),
        (
            "works, requests fail",
            Tested(Test {
                requests_fail: true,
                ..WORKS
            }),
        ),
        (
            "works, requests fail again",
            Tested(Test {
                requests_fail: true,
                is_confirmed: true,
                ..WORKS
            }),
        ),
        ("missing", tested(Outcome::Missing)),
        (
            "missing, requests fail",
            Tested(Test {
                requests_fail: true,
                ..test(Outcome::Missing)
            }),
        ),
        ("unknown", tested(Outcome::Unknown)),
        ("fails", tested(Outcome::Failed { is_partial: false })),
        ("fails partly", tested(Outcome::Failed { is_partial: true })),
        ("connected", Event::Connected(Ok(Connected::Fully))),
        ("partly connected", Event::Connected(Ok(Connected::Partly))),
        ("no token", not_connected(NoToken)),
        ("no sessions", not_connected(NoSessions)),
        ("operation fails", not_connected(Partial)),
        ("PIN refused", not_connected(PinRefused)),
        ("another token", not_connected(AnotherToken)),
        ("not connected", not_connected(Other)),
        (
            "login postponed",
            Event::Connected(Err(Failure {
                login: Login::Postponed,
                ..failure(Other)
            })),
        ),
        ("reinitialized", Reinitialized(Ok(()))),
        ("in use", not_reinitialized(NotReinitialized::InUse)),
        ("refused", not_reinitialized(NotReinitialized::Refused)),
        ("wedged", not_reinitialized(NotReinitialized::Wedged)),
        ("not initialized", not_reinitialized(NotReinitialized::Failed)),
        ("tolerated", Tolerated(failure(Other))),
        ("tolerated, PIN refused", Tolerated(failure(PinRefused))),
        ("stopped", Stopped),
    ]
}

/// States of every kind, the time of the event, and whether the renewal is due then.
fn states(now: Instant) -> Vec<(&'static str, Machine, Instant)> {
    let connecting = |attempt, is_in_use| State::Connecting(Beginning { attempt, is_in_use });
    let suspect = |step| Suspicion {
        step,
        ..Suspicion::default()
    };
    let mut absence = Absence::new(now);
    (0..7).for_each(|_| absence.note_look(false));
    let missing = Suspicion {
        absence: Some(absence),
        ..Suspicion::default()
    };
    let partial = Suspicion {
        is_partial: true,
        ..Suspicion::default()
    };
    let unconfirmed = Suspicion {
        is_unconfirmed: true,
        ..Suspicion::default()
    };
    let down = Outage::default();
    let mut all = Vec::new();
    for (name, state) in [
        ("connecting", connecting(1, false)),
        ("connecting for the last time", connecting(MOST_BEGINNINGS, true)),
        ("up", State::Up),
        ("missing", missing.into()),
        ("partial", partial.into()),
        ("unconfirmed", unconfirmed.into()),
        ("test fails", suspect(Step::Replacing(Reason::TestFails, 1)).into()),
        (
            "test fails, last look",
            suspect(Step::Replacing(Reason::TestFails, MOST_LOOKS)).into(),
        ),
        (
            "requests fail",
            suspect(Step::Replacing(Reason::RequestsFail, 1)).into(),
        ),
        (
            "requests fail, last look",
            suspect(Step::Replacing(Reason::RequestsFail, MOST_LOOKS)).into(),
        ),
        (
            "retesting",
            suspect(Step::Retesting(failure(FailureKind::NoToken))).into(),
        ),
        ("down", State::Down(down)),
        (
            "down, partial",
            State::Down(Outage {
                is_partial: true,
                ..down
            }),
        ),
        (
            "down, wedged",
            State::Down(Outage {
                is_wedged: true,
                ..down
            }),
        ),
        ("halted", State::Halted),
    ] {
        all.push((name, machine(state), now));
    }
    for (name, of) in [
        ("missing for long", "missing"),
        ("partial for long", "partial"),
        ("down for long", "down"),
    ] {
        let (_, machine, _) = all.iter().find(|(name, ..)| *name == of).unwrap();
        let mut machine = machine.clone();
        machine.renewal.needed(now);
        all.push((name, machine, now + LONG));
    }
    all
}

/// Every state with every event: the new state and the effects are those of the table; an event that is not
/// in it changes nothing.
#[test]
fn each_state_with_each_event() {
    let now = Instant::now();
    let mut actual = Vec::new();
    for (state, machine, at) in states(now) {
        for (event, what) in events() {
            let before = name(&machine.state);
            let (after, effects) = machine.clone().next(what, at);
            let after = name(&after.state);
            if after != before || !effects.is_empty() {
                let effects = effects.iter().map(short).collect::<Vec<_>>().join(", ");
                actual.push(
                    format!("{state} | {event} -> {after} | {effects}")
                        .trim_end()
                        .to_owned(),
                );
            }
        }
    }
    let expected: Vec<_> = include_str!("table.txt").lines().collect();
    let surplus: Vec<_> = actual.iter().filter(|row| !expected.contains(&row.as_str())).collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|row| !actual.iter().any(|other| other == *row))
        .collect();
    assert!(
        surplus.is_empty() && missing.is_empty(),
        "{surplus:#?} instead of {missing:#?}"
    );
}
