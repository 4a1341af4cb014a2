//! Walks through every state that the machine comes to, by whatever happens and in whatever time.

use std::collections::{HashSet, VecDeque};

use super::*;

/// What a walk has come to: a state, and what is awaited in it.
#[derive(Clone)]
struct Node {
    machine: Machine,
    /// The last effect, if an event is to come of it.
    awaited: Option<Effect>,
    /// The PIN was refused, by whatever.
    is_refused: bool,
}

impl Node {
    /// Nodes of one shape have the same future, where time either stands still or everything becomes due.
    fn shape(&self, now: Instant) -> String {
        let Machine {
            state,
            renewal,
            reinitialized,
            ..
        } = &self.machine;
        let absence = match state {
            State::Suspect(suspicion) => suspicion.absence.as_ref(),
            _ => None,
        };
        let absence = absence.map(|absence| (absence.looks.min(8), absence.since < now, absence.fails_requests));
        let due = renewal.due.map(|due| due <= now);
        let may_reinitialize = reinitialized.is_none_or(|last| now.saturating_duration_since(last) >= HEALTH);
        let step = match state {
            State::Suspect(Suspicion { step, .. }) => format!("{step:?}"),
            _ => String::new(),
        };
        let name = name(state).replace(|digit: char| digit.is_ascii_digit() && absence.is_some(), "");
        format!(
            "{name} {step} {absence:?} {due:?} {may_reinitialize} {:?} {}",
            self.awaited, self.is_refused
        )
    }

    /// What may happen now.
    fn events(&self) -> Vec<Event> {
        let logins = [Login::Allowed, Login::Postponed, Login::Refused];
        let logins = logins
            .into_iter()
            .filter(|login| !self.is_refused || *login == Login::Refused);
        let failures = || {
            use FailureKind::{AnotherToken, NoSessions, NoToken, Other, Partial, PinRefused};

            let flags = [(false, false), (false, true), (true, true)];
            logins.clone().flat_map(move |login| {
                [NoToken, NoSessions, Partial, PinRefused, AnotherToken, Other]
                    .into_iter()
                    .filter(move |kind| *kind != PinRefused || login == Login::Refused)
                    .flat_map(move |kind| {
                        flags.map(|(is_momentary, may_pass)| Failure {
                            kind,
                            is_momentary,
                            may_pass,
                            login,
                        })
                    })
            })
        };
        match self.awaited {
            Some(Effect::Test | Effect::Retest) => [
                Outcome::Works,
                Outcome::Missing,
                Outcome::Unknown,
                Outcome::Failed { is_partial: false },
                Outcome::Failed { is_partial: true },
            ]
            .into_iter()
            .flat_map(|outcome| {
                (0..8).map(move |bits| {
                    Tested(Test {
                        outcome,
                        requests_fail: bits & 1 != 0,
                        is_confirmed: bits & 2 != 0,
                        absence_fails_requests: bits & 4 != 0,
                    })
                })
            })
            .collect(),
            Some(Connect { is_partial }) => {
                let partly = is_partial.then_some(Event::Connected(Ok(Connected::Partly)));
                let failed = failures().map(|failure| Event::Connected(Err(failure)));
                let connected = Some(Event::Connected(Ok(Connected::Fully)));
                connected.into_iter().chain(partly).chain(failed).collect()
            }
            Some(Reinitialize | ReinitializeBesideOthers) => {
                use NotReinitialized::{Failed, InUse, Refused, Wedged};

                let failed = [InUse, Refused, Wedged, Failed].map(not_reinitialized);
                [Reinitialized(Ok(()))].into_iter().chain(failed).collect()
            }
            _ if matches!(self.machine.state, State::Connecting(_)) => failures()
                .map(Tolerated)
                .chain([Wake(Login::Allowed), Stopped])
                .collect(),
            _ => logins.clone().map(Wake).chain([Stopped]).collect(),
        }
    }

    fn next(&self, event: Event, now: Instant) -> (Self, Vec<Effect>) {
        let (machine, effects) = self.machine.clone().next(event, now);
        let next = Self {
            machine,
            awaited: effects.last().copied().filter(has_outcome),
            is_refused: self.is_refused || login(event) == Some(Login::Refused),
        };
        (next, effects)
    }
}

fn login(event: Event) -> Option<Login> {
    match event {
        Wake(login) => Some(login),
        Event::Connected(Err(failure)) | Tolerated(failure) => Some(failure.login),
        _ => None,
    }
}

fn has_outcome(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Test | Effect::Retest | Connect { .. } | Reinitialize | ReinitializeBesideOthers
    )
}

/// What every step of every walk keeps to.
fn check(before: &Node, event: Event, after: &Node, effects: &[Effect]) {
    let (was, is) = (before.machine.is_connected(), after.machine.is_connected());
    let reinitializes = effects.contains(&Reinitialize) || effects.contains(&ReinitializeBesideOthers);
    let row = || {
        let (before, after) = (name(&before.machine.state), name(&after.machine.state));
        format!("{before} | {event:?} -> {after} | {effects:?}")
    };

    let with_outcome = effects.iter().position(has_outcome);
    assert!(
        with_outcome.is_none_or(|at| at + 1 == effects.len()),
        "two things at once: {}",
        row()
    );
    if matches!(before.machine.state, State::Halted) {
        assert!(
            matches!(after.machine.state, State::Halted) && effects.is_empty(),
            "{}",
            row()
        );
    }
    if matches!(after.machine.state, State::Halted) {
        assert!(
            with_outcome.is_none(),
            "the module is called for a halted token: {}",
            row()
        );
    }
    let is_refused = login(event) == Some(Login::Refused);
    if is_refused && !is && !matches!(after.machine.state, State::Connecting(_)) {
        assert!(
            matches!(after.machine.state, State::Halted),
            "a refused PIN may be sent again: {}",
            row()
        );
    }
    assert!(
        !reinitializes || !is,
        "requests are in a module that is finalized: {}",
        row()
    );
    assert!(
        !was || is || event == Stopped || effects.contains(&Disconnect),
        "requests are not refused: {}",
        row()
    );
    if event == not_reinitialized(NotReinitialized::Wedged) {
        assert!(!reinitializes, "a call hangs in the module: {}", row());
    }
    if effects.contains(&ReinitializeBesideOthers) && !matches!(before.machine.state, State::Connecting(_)) {
        assert_eq!(event, not_reinitialized(NotReinitialized::InUse), "{}", row());
    }
}

/// Leads a token that works to `Up`, in a few steps.
fn recover(mut node: Node, now: Instant) {
    for _ in 0..8 {
        if matches!(node.machine.state, State::Up) && node.awaited.is_none() {
            return;
        }
        let event = match node.awaited {
            Some(Effect::Test | Effect::Retest) => Tested(Test {
                is_confirmed: true,
                ..WORKS
            }),
            Some(Connect { .. }) => Event::Connected(Ok(Connected::Fully)),
            Some(_) => Reinitialized(Ok(())),
            None => Wake(Login::Allowed),
        };
        (node, _) = node.next(event, now);
    }
    panic!("a token that works stays {}", name(&node.machine.state));
}

/// Every state that the machine comes to by whatever happens, in whatever time.
#[test]
fn each_walk_keeps_the_rules_and_leads_back() {
    let start = Instant::now();
    let first = Node {
        machine: Machine::new(RECOVERY, HEALTH),
        awaited: None,
        is_refused: false,
    };
    let mut seen = HashSet::from([first.shape(start)]);
    let mut names = HashSet::new();
    let mut queue = VecDeque::from([(first, start)]);
    while let Some((node, now)) = queue.pop_front() {
        names.insert(std::mem::discriminant(&node.machine.state));
        if !matches!(node.machine.state, State::Halted) && !node.is_refused {
            recover(node.clone(), now);
        }
        for now in [now, now + LONG] {
            for event in node.events() {
                let (next, effects) = node.next(event, now);
                check(&node, event, &next, &effects);
                if seen.insert(next.shape(now)) {
                    queue.push_back((next, now));
                }
            }
        }
    }
    assert_eq!(names.len(), 5, "each state is come to");
    assert!(seen.len() > 1000, "{} shapes", seen.len());
}
