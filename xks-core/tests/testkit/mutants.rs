//! The kit finds each defect, and says which contract it breaks.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use xks_core::{
    backend::{BackendErrorKind, HealthStatus, KeyStatus},
    testkit::{
        FailingBackend, Fault, Method, When,
        conformance::{CONTRACTS, Contract, Finding, Fixture, Problem, check, require},
    },
};

use crate::{
    broken::{Broken, Defect},
    good::{Good, VALUE, fixture},
    sly::{Flaw, Sly},
    weak::{Weak, Weakness},
};

const MUTANTS: &[(Defect, &str)] = &[
    (Defect::RepeatsAnIv, "ivs_never_repeat"),
    (Defect::AlwaysTheSameIv, "ivs_never_repeat"),
    (Defect::ZeroIv, "ivs_never_repeat"),
    (Defect::IvCounterRestarts, "ivs_do_not_begin_anew"),
    (Defect::IgnoresAad, "any_change_of_the_aad_is_noticed"),
    (Defect::CutsAad, "any_change_of_the_aad_is_noticed"),
    (
        Defect::AuthenticatesAadWithoutFrame,
        "any_change_of_the_metadata_is_noticed",
    ),
    (Defect::AuthenticatesAadWithoutFrame, "software_agrees"),
    (Defect::IgnoresMetadata, "any_change_of_the_metadata_is_noticed"),
    (Defect::JoinsAadAndMetadata, "any_change_of_the_metadata_is_noticed"),
    (Defect::TagInsideCiphertext, "lengths"),
    (Defect::PadsCiphertext, "lengths"),
    (Defect::ReturnsPlaintext, "lengths"),
    (Defect::AnotherCipher, "software_agrees"),
    (Defect::OneKeyForAll, "keys_are_kept_apart"),
    (Defect::AcceptsAnyTag, "any_change_of_the_tag_is_noticed"),
    (Defect::AcceptsAnyTag, "any_change_of_the_ciphertext_is_noticed"),
    (Defect::ComparesHalfTheTag, "any_change_of_the_tag_is_noticed"),
    (Defect::AcceptsTagsOfOthers, "parts_of_two_ciphertexts_do_not_mix"),
    (Defect::IgnoresTheEndOfTheIv, "any_change_of_the_iv_is_noticed"),
    (
        Defect::IgnoresBytesAfterTheCiphertext,
        "any_change_of_the_ciphertext_is_noticed",
    ),
    (Defect::SaysEnabledOfDisabled, "disabled_keys_are_refused"),
    (Defect::ServesDisabled, "disabled_keys_are_refused"),
    (Defect::EncryptsWithoutUsage, "keys_that_only_decrypt"),
    (Defect::DecryptsWithoutUsage, "keys_that_only_encrypt"),
    (Defect::SaysAllUsages, "keys_that_only_encrypt"),
    (Defect::SaysAllUsages, "keys_that_only_decrypt"),
    (Defect::DefaultKey, "missing_keys_are_not_found"),
    (Defect::InventsMetadataOfMissing, "missing_keys_are_not_found"),
    (Defect::IgnoresCase, "key_ids_are_taken_exactly"),
    (Defect::MatchesPrefix, "key_ids_are_taken_exactly"),
    (Defect::CallsInvalidInternal, "any_change_of_the_tag_is_noticed"),
    (Defect::StumblesOverNonsense, "missing_keys_are_not_found"),
    (Defect::StumblesOverNonsense, "keys_that_only_encrypt"),
    (Defect::StumblesOverNonsense, "disabled_keys_are_refused"),
    (Defect::TellsWhatIsInvalid, "what_is_invalid_says_no_more"),
    (Defect::TellsPlaintext, "failures_tell_no_plaintext"),
    (Defect::RefusesEmpty, "round_trips"),
    (Defect::RefusesLong, "round_trips"),
    (Defect::RefusesMuchAad, "round_trips"),
    (Defect::RefusesAadThatIsAbsent, "round_trips"),
    (Defect::SharesABuffer, "calls_in_parallel"),
    (Defect::LeaksPlaces, "dropped_futures_leak_nothing"),
    (Defect::StaysBusy, "dropped_futures_leak_nothing"),
    (Defect::AlwaysActive, "health_follows"),
    (Defect::FailsAsOther, "health_follows"),
    (Defect::UnwellWhileItWorks, "health_is_told"),
    (Defect::NoVendor, "health_is_told"),
    (Defect::SaysRsa, "key_metadata_is_told"),
    (Defect::ForgetsAUsage, "key_metadata_is_told"),
    (Defect::BindsOtherAad, "the_requests_aad_is_returned"),
    (Defect::RefusesMetadata, "default_metadata_is_used"),
    (Defect::SmallLimits, "limits_are_the_specifications"),
    (Defect::DecryptsOnce, "an_answer_can_be_decrypted_again"),
    (Defect::AnswersFromACache, "a_request_can_be_encrypted_again"),
    (Defect::Panics, "round_trips"),
    (Defect::SaysNothingOfItsMetadata, "metadata_is_as_long_as_said"),
    (Defect::SaysTooMuchOfItsMetadata, "metadata_is_as_long_as_said"),
    (Defect::ReadsMetadataFromTheFrame, "parts_of_layers_are_kept"),
];

/// Each by the contract that is there for it.
const SLY: &[(Flaw, &str)] = &[
    (Flaw::CachesWithoutAad, "any_change_of_the_aad_is_noticed"),
    (Flaw::CachesWithoutAad, "any_change_of_the_metadata_is_noticed"),
    (Flaw::CachesWithoutCiphertext, "any_change_of_the_ciphertext_is_noticed"),
    (Flaw::CachesWithoutIv, "any_change_of_the_iv_is_noticed"),
    (Flaw::CachesWithoutKey, "keys_are_kept_apart"),
    (Flaw::CachesWithoutTag, "any_change_of_the_tag_is_noticed"),
    (Flaw::SkipsABlockOfAad, "any_change_of_the_aad_is_noticed"),
    (Flaw::IgnoresAadOfEmptyTexts, "any_change_of_the_aad_is_noticed"),
    (Flaw::TrimsZeros, "any_bytes_are_taken"),
    (Flaw::StripsPadding, "any_bytes_are_taken"),
    (Flaw::RefusesLongMetadata, "default_metadata_is_used"),
    (Flaw::SharesAad, "calls_in_parallel"),
    (Flaw::SharesTheKey, "calls_in_parallel"),
    (Flaw::OneSlotForAnswers, "calls_in_one_task"),
    (Flaw::GivesAnswersOfDroppedCalls, "dropped_futures_leak_nothing"),
    (Flaw::LeaksPlacesOfMetadata, "dropped_futures_leak_nothing"),
    (Flaw::LosesAnswersThatWait, "slow_callers_get_their_answers"),
    (Flaw::RemembersForTrials, "verifications_are_decryptions"),
    (Flaw::TriesSomethingElse, "verified_encryptions_are_encryptions"),
    (Flaw::StumblesAfterABadTag, "any_change_of_the_tag_is_noticed"),
    (Flaw::CachesStatus, "a_change_of_status_is_seen"),
    (Flaw::ForgetsAtARestart, "ciphertexts_outlive_a_restart"),
    (Flaw::StaysDegraded, "health_follows"),
    (Flaw::TwoMembersOfOneName, "health_is_told"),
    (Flaw::ControlCharacterInAName, "health_is_told"),
    (Flaw::TellsPlaintextWhenItFails, "outages_tell_no_plaintext"),
];

/// Their fixture has no value of the key, but for the one that tells it.
const WEAK: &[(Weakness, &str)] = &[
    (Weakness::ShowsIvsThatItDoesNotUse, "ciphertexts_hide_the_plaintext"),
    (Weakness::EncryptsOnlyTheStart, "ciphertexts_hide_the_plaintext"),
    (Weakness::RepeatsItsKeystream, "ciphertexts_hide_the_plaintext"),
    (Weakness::PadsAShortTag, "ciphertexts_hide_the_plaintext"),
    (Weakness::RacesForIvs, "ivs_never_repeat"),
    (Weakness::LogsPlaintext, "logs_tell_no_plaintext"),
    (Weakness::LogsPlaintextOfDecryptions, "logs_tell_no_plaintext"),
    (Weakness::TellsTheKey, "failures_tell_no_plaintext"),
];

fn contract(name: &str) -> &'static Contract {
    CONTRACTS.iter().find(|contract| contract.name == name).unwrap()
}

/// `cargo test -p xks-core --features testkit --test testkit mutants -- --nocapture` prints the findings on
/// each.
#[test]
fn every_broken_backend_is_caught() {
    for (defect, expected) in MUTANTS {
        let backend = Broken::new(*defect);
        let to_break = Arc::clone(&backend);
        let mut fixture = fixture(backend)
            .restarted(Broken::new(*defect))
            .break_down(move || to_break.break_down());
        if matches!(defect, Defect::LeaksPlaces | Defect::StaysBusy | Defect::AlwaysActive) {
            fixture = fixture.patience(Duration::from_secs(2)); // they hang, or say something for a minute
        }
        assert_is_caught(defect, expected, fixture);
    }
}

#[test]
fn every_sly_backend_is_caught() {
    for (flaw, expected) in SLY {
        let backend = Sly::new(*flaw);
        let (to_break, to_switch) = (Arc::clone(&backend), Arc::clone(&backend));
        let mut fixture = fixture(backend)
            .restarted(Sly::new(*flaw))
            .switch("switched", move |on| {
                to_switch.good().is_switched_off.store(!on, SeqCst);
            })
            .break_down(move || to_break.good().is_broken.store(true, SeqCst));
        if matches!(
            flaw,
            Flaw::LosesAnswersThatWait | Flaw::CachesStatus | Flaw::StaysDegraded
        ) {
            fixture = fixture.patience(Duration::from_secs(2)); // they hang, or say something for a minute
        }
        assert_is_caught(flaw, expected, fixture);
    }
}

#[test]
fn every_weak_backend_is_caught() {
    for (weakness, expected) in WEAK {
        let mut fixture = Fixture::new(Weak::new(*weakness), "usable");
        if *weakness == Weakness::TellsTheKey {
            fixture = fixture.value(VALUE);
        }
        assert_is_caught(weakness, expected, fixture);
    }
}

/// Each fault that [`FailingBackend`] knows, now and then or, where few calls are made, always.
#[test]
fn what_fails_now_and_then_is_noticed() {
    let now_and_then = [
        (Method::Encrypt, Fault::FlipCiphertext),
        (Method::Encrypt, Fault::FlipTag),
        (Method::Encrypt, Fault::FlipIv),
        (Method::Encrypt, Fault::Lengthen),
        (Method::Encrypt, Fault::Shorten),
        (Method::Encrypt, Fault::AppendTag),
        (Method::Encrypt, Fault::OtherAad),
        (Method::Encrypt, Fault::Error(BackendErrorKind::Throttled)),
        (Method::Decrypt, Fault::FlipPlaintext),
        (Method::Decrypt, Fault::Lengthen),
        (Method::Decrypt, Fault::Shorten),
        (Method::Decrypt, Fault::Error(BackendErrorKind::InvalidCiphertext)),
        (Method::Decrypt, Fault::Panic),
    ];
    let always = [
        (Method::Encrypt, Fault::DropMetadata),
        (Method::KeyMetadata, Fault::Status(KeyStatus::Disabled)),
        (Method::KeyMetadata, Fault::OtherSpec),
        (Method::Verification, Fault::FlipPlaintext),
        (Method::Health, Fault::Health(HealthStatus::Unavailable)),
    ];
    let now_and_then = now_and_then.map(|(method, fault)| (method, fault, When::every(41)));
    let always = always.map(|(method, fault)| (method, fault, When::always()));
    for (method, fault, when) in now_and_then.into_iter().chain(always) {
        let backend = FailingBackend::around(Arc::new(Good::new()));
        backend.faults().set(method, fault, when);
        let findings = check(Fixture::new(Arc::new(backend), "usable").iv_calls(40));
        let broken = |finding: &&Finding| matches!(finding.problem, Some(Problem::Broken(_)));
        let caught: Vec<_> = findings
            .iter()
            .filter(broken)
            .map(|finding| finding.contract.name)
            .collect();
        println!("{method:?} {fault:?}\n    {}", caught.join(" "));
        assert!(!caught.is_empty(), "{method:?} {fault:?} {when:?} was not noticed");
    }
}

fn assert_is_caught(defect: impl Debug, expected: &str, fixture: Fixture) {
    match contract(expected).check(&Arc::new(fixture)) {
        Err(Problem::Broken(how)) => println!("{defect:?}\n    {expected}: {how}"),
        other => panic!("{defect:?} passed {expected}: {other:?}"),
    }
}

/// No contract is there that nothing breaks: each has a mutant.
#[test]
fn every_contract_catches_something() {
    let broken: Vec<_> = MUTANTS.iter().map(|(_, name)| *name).collect();
    let sly = SLY.iter().map(|(_, name)| *name);
    let weak = WEAK.iter().map(|(_, name)| *name);
    let caught: Vec<_> = broken.into_iter().chain(sly).chain(weak).collect();
    for contract in CONTRACTS {
        assert!(caught.contains(&contract.name), "{contract:?}");
    }
}

/// A failure tells a vendor which requirement and which rule it is about.
#[test]
fn a_failure_says_what_the_backend_must_do() {
    let broken = || fixture(Broken::new(Defect::IgnoresAad));
    let name = "any_change_of_the_aad_is_noticed";
    let said = failure(name, broken, None).unwrap();
    for part in [
        "DEC-3, ENC-7: bit ",
        " of AAD was changed, and it decrypted all the same",
        "The backend must ",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// What a test says when it fails.
fn failure(name: &str, fixture: impl FnOnce() -> Fixture, left_out: Option<&[&str]>) -> Option<String> {
    let test = AssertUnwindSafe(|| require(name, fixture, left_out));
    let panic = catch_unwind(test).err()?;
    Some(*panic.downcast::<String>().unwrap())
}

/// What cannot be tried fails where all was asked for, unless it is named.
#[test]
fn nothing_is_left_out_that_is_not_named() {
    let name = "disabled_keys_are_refused";
    let bare = || Fixture::new(Arc::new(Good::new()), "usable");
    assert_eq!(failure(name, bare, None), None);
    let said = failure(name, bare, Some(&[])).unwrap();
    assert!(
        said.contains("the fixture has no disabled key") && said.contains("all but disabled_keys"),
        "{said}"
    );
    assert!(failure(name, bare, Some(&["health_follows"])).is_some());
    assert_eq!(failure(name, bare, Some(&["health_follows", name])), None);
    let said = failure(name, bare, Some(&["disabled_keys"])).unwrap();
    assert_eq!(said, "there is no contract disabled_keys");
}
