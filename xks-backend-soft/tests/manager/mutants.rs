//! The kit finds each defect of a key manager, and says which contract it breaks.

use std::{sync::Arc, time::Duration};

use xks_backend_soft::SoftBackend;
use xks_core::testkit::conformance::{
    Problem, check,
    manager::{CONTRACTS, Fixture},
};

use crate::{
    broken::{Broken, Defect},
    of,
};

const MUTANTS: &[(Defect, &str)] = &[
    (Defect::DisablesThoughItCannot, "capabilities_are_kept"),
    (Defect::WrapsThoughItCannot, "capabilities_are_kept"),
    (Defect::ServesLater, "created_keys_are_served"),
    (Defect::CreatesDisabled, "created_keys_are_served"),
    (Defect::ForgetsTokens, "created_keys_are_described"),
    (Defect::ForgetsLabels, "created_keys_are_described"),
    (Defect::ListsOtherUsages, "created_keys_are_described"),
    (Defect::GivesAllUsages, "created_keys_have_these_usages"),
    (Defect::OneMaterialForAll, "created_keys_differ"),
    (Defect::IgnoresTokens, "a_token_makes_one_key"),
    (Defect::MakesTheKeyAgain, "a_token_makes_one_key"),
    (Defect::RacesForTokens, "a_token_makes_one_key_at_once"),
    (Defect::TakesTokensForOtherKeys, "a_token_is_of_one_key"),
    (Defect::ReplacesKeysOfALabel, "a_label_is_of_one_key"),
    (Defect::AdoptsKeysOfALabel, "a_label_is_of_one_key"),
    (Defect::StaysBusy, "dropped_calls_can_be_repeated"),
    (Defect::IgnoresDeadlines, "late_calls_change_nothing"),
    (Defect::ActsBeforeItLooksAtTheTime, "late_calls_change_nothing"),
    (Defect::DestroysWhatIsNotThere, "missing_keys_are_not_found"),
    (Defect::DescribesWhatIsNotThere, "key_ids_are_taken_exactly"),
    (Defect::FailsForWhatIsNotThere, "missing_keys_are_not_found"),
    (Defect::IgnoresCase, "key_ids_are_taken_exactly"),
    (Defect::KeepsServing, "destroyed_keys_are_gone"),
    (Defect::ListsDestroyedKeys, "destroyed_keys_are_gone"),
    (Defect::DisablesInsteadOfDestroying, "destroyed_keys_are_gone"),
    (Defect::DestroysOthersToo, "destruction_is_of_one_key"),
    (Defect::SaysDisabledAndServes, "a_status_is_set"),
    (Defect::NeverEnablesAgain, "a_status_is_set"),
    (Defect::WrapsDisabledKeys, "disabled_keys_do_nothing"),
    (Defect::LosesTheLastOfAPage, "pages_are_complete"),
    (Defect::ListsBackwards, "pages_are_complete"),
    (Defect::RepeatsTheLastOfAPage, "pages_are_complete"),
    (Defect::EndsAfterAPage, "pages_are_complete"),
    (Defect::CountsPages, "pages_go_on_through_changes"),
    (Defect::WrapsWhatIsNotExtractable, "only_extractable_keys_are_wrapped"),
    (Defect::WrapsAnotherKey, "wrapped_keys_are_the_keys"),
    (Defect::WrapsByAnotherAlgorithm, "wrapped_keys_are_the_keys"),
    (Defect::CutsWhatItWraps, "wrapped_keys_are_the_keys"),
    (Defect::RepeatsWrappings, "wrappings_differ"),
    (Defect::CutsMessages, "cmacs_are_of_the_material"),
    (Defect::SignsWithEveryKey, "cmacs_are_of_the_material"),
    (Defect::OneAnswerForAll, "calls_in_parallel"),
    (Defect::LogsKeyMaterial, "nothing_tells_key_material"),
    (Defect::TellsKeyMaterial, "nothing_tells_key_material"),
];

/// Its mutant needs no defect: a key manager that forgets everything at a restart.
const FORGETS: &str = "changes_outlive_a_restart";

/// With `-- --nocapture` it prints the finding on each.
#[test]
fn every_broken_manager_is_caught() {
    for (defect, expected) in MUTANTS {
        let broken = Broken::new(*defect);
        let fixture = Fixture::new(Arc::clone(&broken) as _, broken);
        assert_is_caught(&format!("{defect:?}"), expected, fixture);
    }
    let forgets = of(SoftBackend::new()).restart(|| {
        let backend = Arc::new(SoftBackend::new());
        (Arc::clone(&backend) as _, backend)
    });
    assert_is_caught("forgets", FORGETS, forgets);
}

fn assert_is_caught(defect: &str, expected: &str, fixture: Fixture) {
    let contract = CONTRACTS.iter().find(|contract| contract.name == expected).unwrap();
    match contract.check(&Arc::new(fixture.many(6).patience(Duration::from_secs(60)))) {
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

/// What a manager cannot do is not tried, and all that it can is.
#[test]
fn what_was_not_tried_is_said() {
    let not_tried: Vec<_> = check(of(SoftBackend::new()).many(4))
        .into_iter()
        .filter_map(|finding| match finding.problem {
            Some(Problem::NotTried(_)) => Some(finding.contract.name),
            Some(Problem::Broken(how)) => panic!("{}: {how}", finding.contract.name),
            None => None,
        })
        .collect();
    assert_eq!(not_tried, [FORGETS]);
}
