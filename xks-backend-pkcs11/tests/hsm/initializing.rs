//! How a module is initialized: with which arguments, and what is reported when it cannot be.

use xks_backend_pkcs11::{Dispatch, OpenError, Pkcs11Backend};
use xks_pkcs11_fixture::{
    Function, KeyTemplate, Shim, When, own_process,
    sys::{CKR_ARGUMENTS_BAD, CKR_CANT_LOCK, CKR_DEVICE_ERROR, CKR_GENERAL_ERROR},
};

use crate::{
    faults::Scene,
    support::{PIN, TOKEN, config, open, round_trip, run, wait_until},
};

/// A module that rejects `CKF_OS_LOCKING_OK`, or all arguments, is initialized as the standard allows. Then
/// no two threads call it at once, also after a reinitialization.
#[test]
fn a_module_without_locks_is_called_by_one_thread_at_a_time() {
    let test = "initializing::a_module_without_locks_is_called_by_one_thread_at_a_time";
    own_process(test, |hsm| {
        crate::faults::make_keys(hsm);
        let shim = Shim::load();
        for takes in ["no-locks", "no-threads", "null"] {
            for dispatch in [Dispatch::Inline, Dispatch::Threads] {
                shim.initialize_takes(takes);
                shim.reset();
                let scene = Scene::again(&shim, xks_pkcs11_fixture::Profile::SoftHsm, |config| {
                    config.dispatch(dispatch)
                });
                let traffic = scene.traffic(8);
                traffic.wait_for_successes(200);
                let before = shim.counters().initialized;
                shim.sticky(CKR_DEVICE_ERROR);
                shim.wait_until("another generation", |counters| counters.initialized > before);
                traffic.wait_for_successes(200);
                traffic.stop();
                assert_eq!(shim.counters().highest_in_flight, 1, "{takes}");
                scene.end();
            }
        }
        // With locks they are.
        shim.initialize_takes("any");
        shim.reset();
        let scene = Scene::again(&shim, xks_pkcs11_fixture::Profile::SoftHsm, |config| config);
        let traffic = scene.traffic(8);
        shim.wait_until("calls at once", |counters| counters.highest_in_flight > 1);
        traffic.wait_for_successes(1);
        traffic.stop();
        scene.end();
    });
}

/// Modules such as NSS get their parameters with either form of arguments; a null pointer, which cannot carry
/// them, is not tried.
#[test]
fn parameters_reach_the_module() {
    own_process("initializing::parameters_reach_the_module", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("here"));
        let shim = Shim::load();
        let with = || config(shim.path()).module_parameters("configdir='sql:/x' flags=readOnly");
        for takes in ["any", "no-locks"] {
            shim.initialize_takes(takes);
            let backend = open(with());
            run(round_trip(&backend, "here", b"plaintext")).unwrap();
            assert_eq!(shim.parameters(), "configdir='sql:/x' flags=readOnly");
        }
        shim.initialize_takes("null");
        let error = Pkcs11Backend::open(with()).unwrap_err();
        assert!(matches!(error, OpenError::Initialize { .. }), "{error:?}");
        assert!(error.to_string().contains("module_parameters"), "{error}");
    });
}

/// The error of `C_Initialize` says where to look, and decides whether a retry makes sense.
#[test]
fn failures_lead_to_their_causes() {
    own_process("initializing::failures_lead_to_their_causes", |hsm| {
        hsm.token(TOKEN, PIN);
        let shim = Shim::load();
        for (code, words, is_permanent) in [
            (CKR_GENERAL_ERROR, "group (softhsm, nfast)", false),
            (CKR_ARGUMENTS_BAD, "module_parameters", true),
            (CKR_CANT_LOCK, "cannot be initialized", true),
            (CKR_DEVICE_ERROR, "cannot be initialized", false),
        ] {
            shim.fail(Function::C_Initialize, code, When::always());
            let error = Pkcs11Backend::open(config(shim.path())).unwrap_err();
            let OpenError::Initialize { source, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(source.code().number(), code);
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.to_string().contains(&*shim.path().to_string_lossy()), "{error}");
            assert_eq!(error.is_permanent(), is_permanent, "{error}");
            shim.clear();
        }
        // An error that may pass is retried.
        shim.fail(Function::C_Initialize, CKR_GENERAL_ERROR, When::times(20));
        let backend = Pkcs11Backend::open_when_ready(config(shim.path())).unwrap();
        wait_until("it works", || backend.status().problem.is_none());
    });
}
