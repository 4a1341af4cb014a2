//! The conformance checks on each module.

use xks_backend_pkcs11::{Dispatch, IvSource, KeyName, Quirks, SessionMode, TestKey};

use crate::{
    checks::check,
    module::Module,
    support::open,
    token::{Token, on_a_thread, with_token},
};

#[test]
#[ignore = "needs scripts/modules"]
fn craton() {
    with_token(Module::Craton, "conformance::craton", in_all_modes);
}

#[test]
#[ignore = "needs scripts/modules"]
fn kryoptic() {
    with_token(Module::Kryoptic, "conformance::kryoptic", in_all_modes);
}

#[test]
#[ignore = "needs scripts/modules"]
fn softoken() {
    with_token(Module::Softoken, "conformance::softoken", in_all_modes);
}

/// In both dispatch modes, and with both sources of IVs that the caller may have.
fn in_all_modes(token: &Token) {
    for source in [IvSource::TokenRandom, IvSource::SystemRandom] {
        let quirks = Quirks::STANDARD.with_iv_source(source);
        for dispatch in [Dispatch::Inline, Dispatch::Threads] {
            on_a_thread(|| check(open(token.config().quirks(quirks).dispatch(dispatch)), quirks));
        }
    }
}

/// All sessions are read-only there.
#[test]
#[ignore = "needs scripts/modules"]
fn write_protected_softoken() {
    with_token(Module::Softoken, "conformance::write_protected_softoken", |token| {
        let parameters = token.parameters().unwrap().replace("flags=", "flags=readOnly");
        check(open(token.config().module_parameters(parameters)), Quirks::STANDARD);
    });
}

/// A session key is no object of the token.
#[test]
#[ignore = "needs scripts/modules"]
fn kryoptic_on_read_only_sessions() {
    with_token(
        Module::Kryoptic,
        "conformance::kryoptic_on_read_only_sessions",
        |token| {
            let quirks = Quirks::STANDARD.with_session_mode(SessionMode::ReadOnly);
            check(open(token.config().quirks(quirks)), quirks);
        },
    );
}

/// craton makes no session keys on read-only sessions; it serves the other keys.
#[test]
#[ignore = "needs scripts/modules"]
fn craton_on_read_only_sessions() {
    with_token(Module::Craton, "conformance::craton_on_read_only_sessions", |token| {
        token.elsewhere("import test 7");
        let quirks = Quirks::STANDARD.with_session_mode(SessionMode::ReadOnly);
        let config = token.config().quirks(quirks);
        check(open(config.clone()), quirks);
        let name = KeyName::Label("test".into());
        check(open(config.test_key(TestKey::Named(name))), quirks);
    });
}
