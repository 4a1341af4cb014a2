//! What is explored, and which broken twin is found where.

use xks_lifecycle::nodes::Fate;

use super::{
    explorer::{Explored, explore},
    world::{Scenario, Twin, World},
};

/// What has happened somewhere, without which a search shows nothing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// A command was confirmed, since a node said that it serves it.
    has_served: bool,
    /// A command was confirmed, since a row was gone.
    has_ended: bool,
    /// A row was deleted whose node was taken for dead.
    has_died: bool,
    has_rejoined: bool,
}

/// Explores what may happen while no rule is broken. With `-- --nocapture` it says how much that is.
fn explore_right(what: &str, scenario: Scenario) -> Seen {
    let mut seen = Seen::default();
    let visit = |world: &World| {
        if world.is_confirmed() {
            seen.has_served |= world.fates().contains(&Fate::Serves);
            seen.has_ended |= world.fates().contains(&Fate::Ended);
            seen.has_died |= world.has_died;
        }
        seen.has_rejoined |= world.joins() > 1;
    };
    let Explored { states, wrong } = explore(&scenario, visit);
    println!("{what}: {states} states");
    if let Some((problem, way)) = wrong {
        let way: Vec<_> = way.iter().map(|step| format!("    {step:?}")).collect();
        panic!("{what}: {problem}\n{}", way.join("\n"));
    }
    seen
}

/// Explores what must come to each end that there is.
fn explore_all_ends(what: &str, scenario: Scenario) {
    let all = Seen {
        has_served: true,
        has_ended: true,
        has_died: true,
        has_rejoined: true,
    };
    assert_eq!(explore_right(what, scenario), all, "{what}");
}

/// One node for as long as it takes to be taken for dead, and some ticks more.
fn one(more: u8) -> Scenario {
    Scenario {
        commit_by: more,
        ..Scenario::new(1, 3 + more)
    }
}

fn explore_one(more: u8) {
    let one = one(more);
    let has_two_moments = true;
    explore_all_ends("statements of two moments", Scenario { has_two_moments, ..one });
    let has_all_clocks = true;
    explore_all_ends("clocks", Scenario { has_all_clocks, ..one });
    let is_joined = false;
    explore_all_ends("a join", Scenario { is_joined, ..one });
    let has_requests = true;
    explore_all_ends("requests", Scenario { has_requests, ..one });
    let may_leave = true;
    explore_all_ends("a node that leaves", Scenario { may_leave, ..one });
    let loads_fail = true;
    let seen = explore_right("a node that cannot read", Scenario { loads_fail, ..one });
    assert!(!seen.has_served && seen.has_died, "{seen:?}");
}

/// A message is lost, late or doubled, or a process ends and restarts.
fn explore_faults(ticks: u8, faults: u8) {
    let one = Scenario {
        faults,
        ..Scenario::new(1, ticks)
    };
    explore_right("messages", one);
    let has_crashes = true;
    explore_right("a node that is killed", Scenario { has_crashes, ..one });
    let has_restarts = true;
    explore_right("a commander that restarts", Scenario { has_restarts, ..one });
    let (has_other, faults) = (true, 0);
    let ticks = ticks + 1;
    explore_right(
        "another command",
        Scenario {
            has_other,
            faults,
            ticks,
            ..one
        },
    );
}

#[test]
fn one_node_serves_nothing_that_is_over() {
    explore_one(0);
}

#[test]
fn faults_let_no_node_serve_what_is_over() {
    explore_faults(1, 1);
}

#[test]
fn two_nodes_serve_nothing_that_is_over() {
    let (slow, commit_by) = (0, 0);
    let two = Scenario::new(2, 2);
    let seen = explore_right("two nodes", Scenario { slow, commit_by, ..two });
    assert!(seen.has_served && seen.has_ended && seen.has_rejoined, "{seen:?}");
}

/// `scripts/test models` does.
#[test]
#[ignore = "takes a minute"]
fn nothing_is_served_that_is_over_in_millions_of_states() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            explore_one(1);
            let (slow, commit_by) = (0, 0);
            let two = Scenario::new(2, 3);
            explore_all_ends("two nodes", Scenario { slow, commit_by, ..two });
        });
        scope.spawn(|| {
            explore_faults(2, 1);
            explore_right(
                "two faults",
                Scenario {
                    faults: 2,
                    ..Scenario::new(1, 2)
                },
            );
            let restart = Scenario {
                faults: 1,
                has_restarts: true,
                ..one(0)
            };
            explore_all_ends("a commander that restarts", restart);
            let (slow, commit_by) = (1, 0);
            let two = Scenario::new(2, 2);
            explore_right("two nodes, one of them slow", Scenario { slow, commit_by, ..two });
        });
    });
}

/// Each rule is needed: without it the search finds a way to a wrong answer.
#[test]
fn every_broken_rule_is_found() {
    let one = one(1);
    let two_moments = Scenario {
        has_two_moments: true,
        ..one
    };
    let requests = Scenario {
        has_requests: true,
        ..one
    };
    let join = Scenario {
        is_joined: false,
        ..one
    };
    let other = Scenario { has_other: true, ..one };
    let unread = Scenario {
        loads_fail: true,
        ..one
    };
    let leaves = Scenario { may_leave: true, ..one };
    let killed = Scenario {
        faults: 1,
        has_crashes: true,
        ..Scenario::new(2, 2)
    };
    let restarts = Scenario {
        faults: 1,
        has_restarts: true,
        commit_by: 0,
        ..one
    };
    let (served, kept, answered) = (
        "the command is confirmed",
        "for longer than a lease",
        "an answer has left a node that is gone",
    );
    for (twin, scenario, problem) in [
        (Twin::ReadsBeforeItJoins, join, served),
        (Twin::NoMargin, one, served),
        (Twin::NoDrift, one, served),
        (Twin::SequenceAsRevision, other, served),
        (Twin::StoreClock, one, served),
        (Twin::WritesOffWithoutDeleting, two_moments, served),
        (Twin::DeletesWhatWasRenewed, two_moments, served),
        (Twin::TrustsWithoutTheHead, unread, kept),
        (Twin::ReplacesItsName, killed, served),
        (Twin::LeavesWhileItServes, leaves, served),
        (Twin::ChecksOnce, requests, answered),
        (Twin::ForgetsTheJoin, requests, answered),
        (Twin::TrustsItsMemory, restarts, served),
    ] {
        let explored = explore(&scenario.broken(twin), |_| {});
        println!("{twin:?}: {} states", explored.states);
        let (found, way) = explored.wrong.unwrap_or_else(|| panic!("{twin:?} was not found"));
        way.iter().for_each(|step| println!("    {step:?}"));
        assert!(found.contains(problem), "{twin:?}: {found}");
    }
}
