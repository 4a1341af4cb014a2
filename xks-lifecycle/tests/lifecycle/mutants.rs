//! The kit finds each defect of a store, and says which contract it breaks.

use std::{sync::Arc, time::Duration};

use xks_lifecycle::{
    store::MemoryStore,
    testkit::{CONTRACTS, Fixture, Problem},
};

use crate::broken::{Broken, Defect};

const MUTANTS: &[(Defect, &str)] = &[
    (Defect::BeginsAtOne, "an_empty_store_is_at_revision_zero"),
    (Defect::TakesEmptyForNothing, "cells_are_kept"),
    (Defect::CutsTexts, "cells_are_kept"),
    (Defect::LoadsOtherTables, "rows_come_table_by_table"),
    (Defect::LoadsBackwards, "rows_come_table_by_table"),
    (Defect::KeepsRemovedRows, "rows_are_replaced_and_removed"),
    (Defect::AddsBesideReplaced, "rows_are_replaced_and_removed"),
    (
        Defect::IgnoresTheExpectedRevision,
        "commits_at_another_revision_are_refused",
    ),
    (Defect::KeepsEventsOfRefused, "events_of_commits_have_its_revision"),
    (Defect::LooksBeforeItLocks, "one_of_several_commits_wins"),
    (Defect::LoadsInParts, "a_load_shows_one_revision"),
    (Defect::ForgetsRemovals, "changes_are_remembered"),
    (Defect::RemembersTheFirstChange, "changes_are_remembered"),
    (Defect::NeverTells, "followers_are_told"),
    (Defect::TellsAtOnce, "followers_are_told"),
    (Defect::TellsOfClaims, "followers_are_told"),
    (Defect::SwapsUnseen, "claims_change_as_seen"),
    (Defect::LooksAtTheCounterAlone, "claims_change_as_seen"),
    (Defect::SwapsInTwoSteps, "claims_change_one_by_one"),
    (Defect::CommitsWithoutTheClaim, "commits_are_made_under_a_claim"),
    (Defect::CommitsUnderTheOwnerAlone, "commits_are_made_under_a_claim"),
    (Defect::ListsBackwards, "claims_are_listed"),
    (Defect::ListsAllKinds, "claims_are_listed"),
    (Defect::ListsBeforeItSwaps, "swaps_list_their_kind"),
    (Defect::SwapsMoveTheRevision, "claims_do_not_move_the_revision"),
    (Defect::LosesReasons, "events_are_appended"),
    (Defect::NumbersFromThePage, "events_are_appended"),
    (Defect::RecordsMoveTheRevision, "events_do_not_move_the_revision"),
    (
        Defect::ForgetsTheRevisionOfEvents,
        "events_of_commits_have_its_revision",
    ),
    (Defect::ForgetsClaimsOfCommits, "a_backup_is_one_commit"),
    (Defect::KeepsEndedClaims, "a_backup_is_one_commit"),
    (Defect::RenumbersWhatIsPut, "a_backup_is_one_commit"),
    (Defect::StaysBusyWhenDropped, "dropped_calls_leave_it_whole"),
    (Defect::CommitsHalfWhenDropped, "dropped_calls_leave_it_whole"),
];

/// Its mutant needs no defect: a store that forgets everything at a restart.
const FORGETS: &str = "changes_outlive_a_restart";

/// With `-- --nocapture` it prints what was said of each.
#[test]
fn every_broken_store_is_caught() {
    for (defect, expected) in MUTANTS {
        let fixture = Fixture::new(|| Arc::new(Broken::new(*defect)));
        assert_is_caught(&format!("{defect:?}"), expected, fixture);
    }
    assert_is_caught(
        "forgets",
        FORGETS,
        Fixture::new(|| Arc::new(MemoryStore::new())).outlives(),
    );
}

fn assert_is_caught(defect: &str, expected: &str, fixture: Fixture) {
    let contract = CONTRACTS.iter().find(|contract| contract.name == expected).unwrap();
    // One of them never returns, and is caught by that.
    let patience = Duration::from_secs(if defect == "NeverTells" { 1 } else { 60 });
    match contract.check(&Arc::new(fixture.patience(patience))) {
        Err(Problem::Broken(how)) => println!("{defect}\n    {expected}: {how}"),
        other => panic!("{defect} passed {expected}: {other:?}"),
    }
}

/// No contract is there that nothing breaks: each has a mutant.
#[test]
fn every_contract_catches_something() {
    for contract in CONTRACTS {
        let has_mutant = MUTANTS.iter().any(|(_, name)| *name == contract.name);
        assert!(has_mutant || contract.name == FORGETS, "{contract:?}");
    }
}

/// What cannot be tried is said, and all else passes.
#[test]
fn what_was_not_tried_is_said() {
    let not_tried: Vec<_> = CONTRACTS
        .iter()
        .filter_map(|contract| {
            let fixture = Fixture::new(|| Arc::new(MemoryStore::new()));
            Some((contract.name, contract.check(&Arc::new(fixture)).err()?))
        })
        .collect();
    assert!(
        matches!(&not_tried[..], [(FORGETS, Problem::NotTried(_))]),
        "{not_tried:?}"
    );
}
