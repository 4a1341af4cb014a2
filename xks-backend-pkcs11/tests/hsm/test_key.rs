//! The test key of a token (HLT-1): service does not depend on it, and none is left behind.

use std::time::Duration;

use xks_backend_pkcs11::{Config, KeyName, OpenError, Pkcs11Backend, TestKey};
use xks_core::{
    KeyBackend as _,
    backend::{BackendErrorKind, HealthStatus},
    text::Hex,
};
use xks_pkcs11_fixture::{
    Function, KeyKind, KeyTemplate, Permission, Shim, SoftHsm, When, own_process,
    sys::{
        CK_RV, CKR_ACTION_PROHIBITED, CKR_ATTRIBUTE_VALUE_INVALID, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED,
        CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_TYPE_INCONSISTENT,
        CKR_MECHANISM_INVALID, CKR_SESSION_READ_ONLY, CKR_TEMPLATE_INCONSISTENT, CKR_TOKEN_WRITE_PROTECTED,
    },
};

use crate::support::{PIN, TOKEN, assert_fails, config, encrypt, id, open, round_trip, run, wait_until};

/// Codes of modules that make no session keys; the last is invented.
const REFUSALS: [CK_RV; 11] = [
    CKR_MECHANISM_INVALID,
    CKR_ACTION_PROHIBITED,
    CKR_FUNCTION_NOT_SUPPORTED,
    CKR_TOKEN_WRITE_PROTECTED,
    CKR_SESSION_READ_ONLY,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_DEVICE_ERROR,
    CKR_GENERAL_ERROR,
    CKR_FUNCTION_FAILED,
    0x8000_0123,
];

fn make_key(hsm: &SoftHsm) {
    hsm.token(TOKEN, PIN);
    hsm.key(TOKEN, &KeyTemplate::aes256("usable"));
}

/// A configuration that tests often.
fn busy(shim: &Shim) -> Config {
    config(shim.path()).health_interval(Duration::from_millis(50))
}

/// Waits until the token has been tested so many times more.
fn wait_for_tests(shim: &Shim, more: u64) {
    let tests = |shim: &Shim| shim.counters().of(Function::C_GetTokenInfo);
    let before = tests(shim);
    wait_until("tests of the token", || tests(shim) >= before + 2 * more);
}

/// HLT-1: a token that makes no session key is served, whatever its return code, and its health follows what
/// can be tested. A failure is noticed, and the token recovers.
#[test]
fn a_token_that_makes_none_is_served() {
    own_process("test_key::a_token_that_makes_none_is_served", |hsm| {
        make_key(hsm);
        for code in REFUSALS {
            let shim = Shim::copy();
            shim.fail(Function::C_GenerateKey, code, When::always());
            let backend = open(busy(&shim));
            let works = || {
                run(round_trip(&backend, "usable", b"plaintext")).unwrap();
                let status = backend.status();
                assert_eq!(
                    (status.health, status.problem),
                    (HealthStatus::Active, None),
                    "{code:#x}"
                );
            };
            works();
            wait_for_tests(&shim, 3);
            works();
            // Failures of the token are noticed all the same.
            shim.sticky_storm(CKR_DEVICE_ERROR);
            wait_until("the token fails", || {
                backend.status().health == HealthStatus::Unavailable
            });
            shim.calm();
            wait_until("the token is back", || backend.status().health == HealthStatus::Active);
            works();
            drop(backend);
            assert_eq!(shim.counters().open_sessions, 0);
            shim.assert_clean();
        }
    });
}

/// HLT-1: the same where a token makes a key and does not encrypt with it.
#[test]
fn a_token_that_refuses_its_own_is_served() {
    own_process("test_key::a_token_that_refuses_its_own_is_served", |hsm| {
        make_key(hsm);
        for code in [
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            CKR_KEY_TYPE_INCONSISTENT,
            CKR_ACTION_PROHIBITED,
        ] {
            let shim = Shim::copy();
            shim.fail(Function::C_EncryptInit, code, When::once());
            let backend = open(config(shim.path()));
            assert_eq!(shim.counters().of(Function::C_DestroyObject), 1);
            run(round_trip(&backend, "usable", b"plaintext")).unwrap();
            assert_eq!(backend.status().health, HealthStatus::Active);
        }
    });
}

/// HLT-1: the token makes no more test keys after one failure: it is served again all the same.
#[test]
fn a_token_that_makes_no_more_comes_back() {
    own_process("test_key::a_token_that_makes_no_more_comes_back", |hsm| {
        make_key(hsm);
        let shim = Shim::load();
        let backend = open(busy(&shim));
        shim.fail(Function::C_GenerateKey, CKR_ACTION_PROHIBITED, When::always());
        shim.sticky(CKR_DEVICE_ERROR);
        wait_until("the module is initialized again", || shim.counters().finalized > 0);
        wait_until("the token is back", || run(round_trip(&backend, "usable", b"")).is_ok());
        assert_eq!(backend.status().health, HealthStatus::Active);
        // A failure that passes is tried again.
        shim.clear();
        shim.fail(Function::C_GenerateKey, CKR_DEVICE_ERROR, When::times(4));
        shim.sticky(CKR_DEVICE_ERROR);
        let made = shim.counters().of(Function::C_GenerateKey);
        shim.wait_until("keys are tried until there is one", |counters| {
            counters.of(Function::C_GenerateKey) >= made + 5
        });
        let encryptions = shim.counters().of(Function::C_Encrypt);
        shim.wait_until("encryption is tested again", |counters| {
            counters.of(Function::C_Encrypt) >= encryptions + 4
        });
    });
}

/// HLT-1: a test key that is named, and which another process takes away, takes no other key with it; and
/// health says so.
#[test]
fn a_named_one_that_goes_is_said() {
    own_process("test_key::a_named_one_that_goes_is_said", |hsm| {
        make_key(hsm);
        hsm.key(TOKEN, &KeyTemplate::aes256("test"));
        let shim = Shim::load();
        let backend = open(busy(&shim).test_key(TestKey::Named(KeyName::Label("test".into()))));
        assert_eq!(backend.status().health, HealthStatus::Active);
        let is = |health, about: &str| {
            let status = backend.status();
            status.health == health && status.problem.unwrap_or_default().contains(about)
        };
        hsm.delete_key(TOKEN, "test");
        wait_until("health says what is gone", || is(HealthStatus::Degraded, "\"test\""));
        run(round_trip(&backend, "usable", b"plaintext")).unwrap();
        shim.sticky(CKR_DEVICE_ERROR);
        wait_until("the module is initialized again", || shim.counters().finalized > 0);
        wait_until("the token is back", || run(round_trip(&backend, "usable", b"")).is_ok());
        assert!(is(HealthStatus::Degraded, "\"test\""), "{:?}", backend.status());
        assert_fails(run(encrypt(&backend, "test", b"")), BackendErrorKind::KeyNotFound);
        hsm.key(TOKEN, &KeyTemplate::aes256("test"));
        wait_until("it is used when it is there", || is(HealthStatus::Active, ""));
    });
}

/// HLT-1: the test key backs no KMS key; one that is named and not there is a mistake, and said at the start.
#[test]
fn a_named_one_backs_no_kms_key() {
    own_process("test_key::a_named_one_backs_no_kms_key", |hsm| {
        make_key(hsm);
        hsm.key(TOKEN, &KeyTemplate::aes256("test"));
        hsm.key(TOKEN, &KeyTemplate::aes256("short").kind(KeyKind::Aes(16)));
        hsm.key(TOKEN, &KeyTemplate::aes256("decrypts").may_not(Permission::Encrypt));
        let before = hsm.keys(TOKEN).len();
        let shim = Shim::load();
        drop(open(config(shim.path())));
        assert_eq!(hsm.keys(TOKEN).len(), before, "a test key was left behind");
        shim.fail(Function::C_GenerateKey, CKR_ACTION_PROHIBITED, When::always());
        let named = |label: &str| config(shim.path()).test_key(TestKey::Named(KeyName::Label(label.into())));
        for label in ["absent", "short", "decrypts"] {
            let Err(error) = Pkcs11Backend::open(named(label)) else {
                panic!("{label}: opened");
            };
            assert!(matches!(error, OpenError::TestKey { .. }), "{error:?}");
            assert!(error.to_string().contains(label), "{error}");
        }
        let backend = open(named("test"));
        assert_eq!(backend.status().health, HealthStatus::Active);
        let text = assert_fails(run(encrypt(&backend, "test", b"")), BackendErrorKind::KeyNotFound);
        assert!(text.contains("is the test key"), "{text}");
        let by_id = named("test").key(id("alias"), KeyName::Id(b"test".to_vec()));
        drop(backend);
        let backend = open(by_id);
        assert_fails(run(encrypt(&backend, "alias", b"")), BackendErrorKind::KeyNotFound);
        run(round_trip(&backend, "usable", b"plaintext")).unwrap();
        drop(backend);

        let backend = open(config(shim.path()).test_key(TestKey::None));
        run(round_trip(&backend, "usable", b"plaintext")).unwrap();
        let status = backend.status();
        assert_eq!(status.health, HealthStatus::Degraded);
        assert_eq!(status.problem.as_deref(), Some("no test key is configured"));
    });
}

/// HLT-1: where session objects stay, each backend has one on the token while it works, however often it
/// begins again, and none when it has ended.
#[test]
fn none_is_left_where_objects_stay() {
    own_process("test_key::none_is_left_where_objects_stay", |hsm| {
        make_key(hsm);
        let before = hsm.keys(TOKEN).len();
        let beside = |number: usize| assert_eq!(hsm.keys(TOKEN).len(), before + number);
        let shim = Shim::load();
        shim.keep_objects();
        for _ in 0..3 {
            let backend = open(config(shim.path()));
            beside(1);
            assert!(backend.shutdown(Duration::from_secs(10)));
            beside(0);
        }
        let backend = open(busy(&shim));
        for begun in 1..4 {
            shim.sticky(CKR_DEVICE_ERROR);
            wait_until("the module is initialized again", || {
                shim.counters().finalized >= 3 + begun
            });
            wait_until("the token is back", || run(round_trip(&backend, "usable", b"")).is_ok());
            beside(1);
        }
        // New sessions alone, and a login that was lost.
        for fault in [Shim::close_sessions, Shim::log_out] {
            fault(&shim);
            wait_for_tests(&shim, 3);
            wait_until("the token is back", || backend.status().health == HealthStatus::Active);
            beside(1);
        }
        // Another backend has its own, and takes no other's.
        let other = open(busy(&shim));
        beside(2);
        drop(other);
        beside(1);
        wait_for_tests(&shim, 3);
        assert_eq!(backend.status().health, HealthStatus::Active);
        assert_eq!(shim.counters().finalized, 6, "nothing failed");
        drop(backend);
        beside(0);
        shim.assert_clean();
    });
}

/// The same where they cannot be destroyed either: one stays, and is used again.
#[test]
fn one_is_left_where_none_can_be_destroyed() {
    own_process("test_key::one_is_left_where_none_can_be_destroyed", |hsm| {
        make_key(hsm);
        let before = hsm.keys(TOKEN).len();
        let shim = Shim::load();
        shim.keep_objects();
        shim.fail(Function::C_DestroyObject, CKR_FUNCTION_NOT_SUPPORTED, When::always());
        let backend = open(busy(&shim));
        for begun in 1..4 {
            shim.sticky(CKR_DEVICE_ERROR);
            wait_until("the module is initialized again", || shim.counters().finalized >= begun);
            wait_until("the token is back", || run(round_trip(&backend, "usable", b"")).is_ok());
            assert_eq!(hsm.keys(TOKEN).len(), before + 1);
        }
    });
}

/// A key of another owner with our label is not ours.
#[test]
fn a_strangers_key_stays() {
    own_process("test_key::a_strangers_key_stays", |hsm| {
        make_key(hsm);
        let shim = Shim::load();
        shim.keep_objects();
        let backend = open(config(shim.path()));
        let ours = hsm.keys(TOKEN).into_iter().find(|key| key.label != "usable").unwrap();
        drop(backend);
        hsm.key(TOKEN, &KeyTemplate::aes256(&ours.label).id(b"mine".to_vec()));
        let before = hsm.keys(TOKEN).len();
        drop(open(config(shim.path())));
        assert_eq!(hsm.keys(TOKEN).len(), before);
        // Nor is one that we made an external key for others.
        let id_of_ours = Hex(&ours.id).to_string();
        hsm.key(TOKEN, &KeyTemplate::aes256("by id").id(ours.id));
        let backend = open(config(shim.path()).key_lookup(xks_backend_pkcs11::KeyLookup::Id));
        let text = assert_fails(run(encrypt(&backend, &id_of_ours, b"")), BackendErrorKind::KeyNotFound);
        assert!(text.contains("is the test key"), "{text}");
        assert!(run(backend.health()).unwrap().is_usable());
    });
}
