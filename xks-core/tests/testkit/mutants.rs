//! The kit finds each defect, and says which contract it breaks.

use std::{sync::Arc, time::Duration};

use xks_core::testkit::conformance::{CONTRACTS, Contract, Problem};

use crate::{
    broken::{Broken, Defect},
    good::fixture,
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
];

fn contract(name: &str) -> &'static Contract {
    CONTRACTS.iter().find(|contract| contract.name == name).unwrap()
}

/// `cargo test -p xks-core --features testkit --test testkit mutants -- --nocapture` prints what was said of each.
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
        match contract(expected).check(&Arc::new(fixture)) {
            Err(Problem::Broken(how)) => println!("{defect:?}\n    {expected}: {how}"),
            other => panic!("{defect:?} passed {expected}: {other:?}"),
        }
    }
}

/// No contract is there that nothing breaks: each has a mutant.
#[test]
fn every_contract_catches_something() {
    for contract in CONTRACTS {
        let has_mutant = MUTANTS.iter().any(|(_, name)| *name == contract.name);
        assert!(has_mutant, "{contract:?}");
    }
}

/// A failure tells a vendor which requirement and which rule it is about.
#[test]
fn a_failure_says_what_the_backend_must_do() {
    let broken = || fixture(Broken::new(Defect::IgnoresAad));
    let name = "any_change_of_the_aad_is_noticed";
    let panic = std::panic::catch_unwind(|| xks_core::testkit::conformance::require(name, broken)).unwrap_err();
    let said = panic.downcast::<String>().unwrap();
    for part in [
        "DEC-3, ENC-7: bit ",
        " of AAD was changed, and it decrypted all the same",
        "The backend must ",
    ] {
        assert!(said.contains(part), "{said}");
    }
}
