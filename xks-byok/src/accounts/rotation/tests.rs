//! The pure part: what is planned from which state. Tests of whole rotations are in `tests/`.

use xks_lifecycle::Timestamp;

use super::{Blocked, Limits, State, Step, plan};
use crate::aws::{AccessKeyMetadata, AccessKeyStatus};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds("now", seconds).unwrap()
}

const NOW: u64 = 1_800_000_000;

/// Access keys, made now: `A` is active, `a` inactive.
fn keys(ids: &str) -> Vec<AccessKeyMetadata> {
    let key = |id: char| {
        let status = if id.is_ascii_uppercase() {
            AccessKeyStatus::Active
        } else {
            AccessKeyStatus::Inactive
        };
        let mut key = AccessKeyMetadata::new("alice", id.to_ascii_uppercase(), status);
        key.create_date = Some(at(NOW));
        key
    };
    ids.chars().map(key).collect()
}

fn planned(state: &State, current: &str, ids: &str) -> Step {
    plan(state, current, &keys(ids), at(NOW), Limits::default())
}

fn creating(since: u64) -> State {
    State::Creating {
        known: vec!["A".into()],
        since: at(since),
    }
}

#[test]
fn a_rotation_begins_only_with_one_access_key_that_works() {
    let known = vec!["A".into()];
    assert_eq!(planned(&State::Idle, "A", "A"), Step::Mark { known });
    let other = "B".to_owned();
    assert_eq!(
        planned(&State::Idle, "A", "AB"),
        Step::Block(Blocked::SecondKey { other })
    );
    let other = "B".to_owned();
    assert_eq!(
        planned(&State::Idle, "A", "Ab"),
        Step::Block(Blocked::SecondKey { other })
    );
    let states = [State::Idle, creating(NOW), proving(NOW), switched(NOW)];
    for (state, ids) in states
        .iter()
        .flat_map(|state| ["", "a", "B", "aB"].map(|ids| (state, ids)))
    {
        let current = "A".to_owned();
        let blocked = Step::Block(Blocked::CurrentMissing { current });
        assert_eq!(planned(state, "A", ids), blocked, "{state:?} {ids}");
    }
}

#[test]
fn a_key_whose_secret_was_lost_is_deleted_and_that_of_somebody_else_is_not() {
    assert_eq!(planned(&creating(NOW), "A", "A"), Step::Create);
    let id = "B".to_owned();
    assert_eq!(planned(&creating(NOW), "A", "AB"), Step::DeleteLost { id });
    // Older than the mark by more than clocks may differ: the list at the mark was read too early.
    let other = "B".to_owned();
    assert_eq!(
        planned(&creating(NOW + 301), "A", "AB"),
        Step::Block(Blocked::SecondKey { other })
    );
    // Younger than any call of ours.
    let other = "B".to_owned();
    assert_eq!(
        planned(&creating(NOW - 421), "A", "AB"),
        Step::Block(Blocked::SecondKey { other })
    );
    let id = "B".to_owned();
    assert_eq!(planned(&creating(NOW - 420), "A", "AB"), Step::DeleteLost { id });
    // A call that comes later has a mark of its own.
    assert_eq!(planned(&creating(NOW - 120), "A", "A"), Step::Create);
    let known = vec!["A".into()];
    assert_eq!(planned(&creating(NOW - 121), "A", "A"), Step::Mark { known });
    let state = State::Creating {
        known: vec!["A".into(), "B".into()],
        since: at(NOW),
    };
    let other = "B".to_owned();
    assert_eq!(planned(&state, "A", "AB"), Step::Block(Blocked::SecondKey { other }));
}

fn proving(since: u64) -> State {
    State::Proving {
        new: "B".into(),
        since: at(since),
    }
}

#[test]
fn a_new_key_is_proven_for_a_while_then_given_up() {
    let limit = Limits::default().proof_secs;
    let (new, old) = ("B".to_owned(), "A".to_owned());
    // IAM may not list it yet.
    for ids in ["AB", "A"] {
        let (new, old) = (new.clone(), old.clone());
        assert_eq!(planned(&proving(NOW - limit), "A", ids), Step::Prove { new, old });
    }
    assert_eq!(planned(&proving(NOW - limit - 1), "A", "AB"), Step::GiveUp { new });
}

fn switched(since: u64) -> State {
    State::Switched {
        old: "B".into(),
        since: at(since),
    }
}

#[test]
fn the_old_key_is_deactivated_before_it_is_deleted_and_not_at_once() {
    let overlap = Limits::default().overlap_secs;
    let old = "B".to_owned();
    let later = switched(NOW - overlap);
    assert_eq!(planned(&later, "A", "AB"), Step::Deactivate { old: old.clone() });
    assert_eq!(planned(&later, "A", "Ab"), Step::Delete { old });
    assert_eq!(planned(&later, "A", "A"), Step::Finish);
    let until = at(NOW + 1);
    assert_eq!(planned(&switched(NOW + 1 - overlap), "A", "AB"), Step::Wait { until });
}

/// Whatever the state and the keys: no step touches the account's credential.
#[test]
fn no_step_ends_the_credential_of_the_account() {
    let states = [
        State::Idle,
        creating(NOW),
        proving(NOW),
        proving(0),
        switched(NOW),
        switched(0),
    ];
    for state in &states {
        for current in ["A", "B"] {
            for ids in ["A", "B", "AB", "aB", "Ab", "ab", ""] {
                let step = planned(state, current, ids);
                let ended = match &step {
                    Step::DeleteLost { id } => id,
                    Step::GiveUp { new } => new,
                    Step::Deactivate { old } | Step::Delete { old } => old,
                    _ => continue,
                };
                assert_ne!(ended, current, "{state:?} {ids}: {step}");
            }
        }
    }
}
