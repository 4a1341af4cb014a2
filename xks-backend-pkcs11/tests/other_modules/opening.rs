//! How a backend finds its token on these modules, and what it refuses to open.

use std::{fs, thread, time::Duration};

use xks_backend_pkcs11::{AppendedIv, Dispatch, IvSource, OpenError, Pin, Pkcs11Backend, Quirks, SlotSelector};
use xks_core::backend::BackendErrorKind;

use crate::{
    checks::check,
    module::Module,
    operator::Operator,
    support::{assert_fails, encrypt, open, round_trip, run},
    token::{Token, WRONG_PIN, on_a_thread, with_token},
};

#[test]
#[ignore = "needs scripts/modules"]
fn wrong_quirks_are_seen_on_craton() {
    with_token(Module::Craton, "opening::wrong_quirks_are_seen_on_craton", |token| {
        wrong_quirks_are_seen(token, "CKR_MECHANISM_PARAM_INVALID");
    });
}

/// The module takes an IV of zeros without a word.
#[test]
#[ignore = "needs scripts/modules"]
fn wrong_quirks_are_seen_on_kryoptic() {
    with_token(
        Module::Kryoptic,
        "opening::wrong_quirks_are_seen_on_kryoptic",
        |token| {
            wrong_quirks_are_seen(token, "an IV of zeros");
        },
    );
}

/// The module takes an IV of zeros without a word.
#[test]
#[ignore = "needs scripts/modules"]
fn wrong_quirks_are_seen_on_softoken() {
    with_token(
        Module::Softoken,
        "opening::wrong_quirks_are_seen_on_softoken",
        |token| {
            wrong_quirks_are_seen(token, "an IV of zeros");
        },
    );
}

/// ENC-6: a module that makes no IVs is not opened as one that does; nor later, when it is waited for. It is
/// open to the right quirks right after.
fn wrong_quirks_are_seen(token: &Token, said: &str) {
    for dispatch in [Dispatch::Inline, Dispatch::Threads] {
        on_a_thread(|| {
            let config = token.config().dispatch(dispatch);
            let written_back = Quirks::STANDARD.with_iv_source(IvSource::WrittenBack);
            for open in [Pkcs11Backend::open, Pkcs11Backend::open_when_ready] {
                let error = open(config.clone().quirks(written_back)).unwrap_err();
                assert!(matches!(error, OpenError::SelfTest { .. }), "{error:?}");
                assert!(error.to_string().contains(said), "{error}");
            }
            for length in [AppendedIv::Bytes12, AppendedIv::Bytes16] {
                let appended = Quirks::LUNA.with_iv_source(IvSource::Appended(length));
                let error = Pkcs11Backend::open(config.clone().quirks(appended)).unwrap_err();
                // To NSS, an IV of no length is a lack of memory, which may pass.
                assert!(
                    matches!(error, OpenError::SelfTest { .. } | OpenError::TestCall(_)),
                    "{error:?}"
                );
            }
            let backend = open(config);
            run(round_trip(&backend, "known", b"plaintext")).unwrap();
        });
    }
}

#[test]
#[ignore = "needs scripts/modules"]
fn a_wrong_pin_is_tried_once_on_craton() {
    with_token(
        Module::Craton,
        "opening::a_wrong_pin_is_tried_once_on_craton",
        |token| {
            a_wrong_pin_is_refused(token);
            // The module counts them. One that comes too early does not count, but is answered
            // CKR_PIN_LOCKED.
            let counted = fs::read_to_string(token.folder.join("store/lockout_state.json")).unwrap();
            assert!(counted.contains("\"failed_user_logins\": 1,"), "{counted}");
            thread::sleep(Duration::from_millis(200)); // it takes no PIN until then, not even the right one
            run(round_trip(&open(token.config()), "known", b"plaintext")).unwrap();
        },
    );
}

#[test]
#[ignore = "needs scripts/modules"]
fn a_wrong_pin_is_tried_once_on_kryoptic() {
    with_token(
        Module::Kryoptic,
        "opening::a_wrong_pin_is_tried_once_on_kryoptic",
        |token| {
            a_wrong_pin_is_refused(token);
            // Nine wrong ones do not lock the token, and one more does.
            token.elsewhere("lock 8");
        },
    );
}

#[test]
#[ignore = "needs scripts/modules"]
fn a_wrong_pin_is_refused_on_softoken() {
    with_token(
        Module::Softoken,
        "opening::a_wrong_pin_is_refused_on_softoken",
        |token| {
            a_wrong_pin_is_refused(token);
            run(round_trip(&open(token.config()), "known", b"plaintext")).unwrap();
        },
    );
}

/// A PIN is never tried twice, for tokens lock.
fn a_wrong_pin_is_refused(token: &Token) {
    let config = token.config().recovery_interval(Duration::from_millis(50));
    let error = Pkcs11Backend::open_when_ready(config.pin(Pin::new(WRONG_PIN))).unwrap_err();
    let OpenError::PinRefused(call) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(call.to_string(), "C_Login: CKR_PIN_INCORRECT");
    // An attempt that the backend made in the background would come now.
    thread::sleep(Duration::from_millis(200));
}

#[test]
#[ignore = "needs scripts/modules"]
fn craton_may_be_initialized_already() {
    with_token(
        Module::Craton,
        "opening::craton_may_be_initialized_already",
        it_may_be_initialized_already,
    );
}

#[test]
#[ignore = "needs scripts/modules"]
fn kryoptic_may_be_initialized_already() {
    with_token(
        Module::Kryoptic,
        "opening::kryoptic_may_be_initialized_already",
        it_may_be_initialized_already,
    );
}

#[test]
#[ignore = "needs scripts/modules"]
fn softoken_may_be_initialized_already() {
    with_token(
        Module::Softoken,
        "opening::softoken_may_be_initialized_already",
        it_may_be_initialized_already,
    );
}

/// Another component of the process uses the module and is logged in: it stays so, whatever backends come and
/// go.
fn it_may_be_initialized_already(token: &Token) {
    let operator = Operator::log_in(token);
    let slot = operator.session.get_session_info().unwrap().slot_id();
    let sessions = || operator.pkcs11.get_token_info(slot).unwrap().session_count();
    let before = sessions();
    for dispatch in [Dispatch::Inline, Dispatch::Threads] {
        check(open(token.config().dispatch(dispatch)), Quirks::STANDARD);
        assert_eq!(sessions(), before, "sessions were left open");
        operator.key("known");
        operator.import("another", [3; 32]);
        operator.delete("another");
    }
    operator.leave();
}

/// A module that another component has initialized and finalized is the backend's own after that.
#[test]
#[ignore = "needs scripts/modules"]
fn a_module_that_its_first_user_has_left() {
    with_token(
        Module::Kryoptic,
        "opening::a_module_that_its_first_user_has_left",
        |token| {
            let operator = Operator::log_in(token);
            drop(open(token.config()));
            operator.leave();
            check(open(token.config()), Quirks::STANDARD);
            // The backend has finalized it: else its state would be the old one.
            Operator::log_in(token).leave();
        },
    );
}

/// Both tokens of the module have the same serial number, and only one of them has keys.
#[test]
#[ignore = "needs scripts/modules"]
fn softokens_two_tokens_are_told_apart() {
    with_token(
        Module::Softoken,
        "opening::softokens_two_tokens_are_told_apart",
        |token| {
            let by_serial = SlotSelector::Serial("0000000000000000".into());
            let error = Pkcs11Backend::open(token.config().slot(by_serial)).unwrap_err();
            assert!(matches!(error, OpenError::Ambiguous { count: 2, .. }), "{error:?}");
            let absent = SlotSelector::TokenLabel("absent".into());
            let error = Pkcs11Backend::open(token.config().slot(absent)).unwrap_err();
            assert!(error.to_string().contains("\"main\" (serial number 0"), "{error}");
            let second = open(token.config().slot(SlotSelector::Index(1)));
            run(round_trip(&second, "known", b"plaintext")).unwrap();
            // The first one wants no login and has no keys.
            let first = open(token.config().slot(SlotSelector::First));
            assert_fails(run(encrypt(&first, "known", b"")), BackendErrorKind::KeyNotFound);

            let others = token.parameters().unwrap().replace("main", "other");
            let error = Pkcs11Backend::open(token.config().module_parameters(others)).unwrap_err();
            assert!(matches!(error, OpenError::Parameters { .. }), "{error:?}");
        },
    );
}
