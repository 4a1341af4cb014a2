//! The log lines about a token's keys.

use std::time::Duration;

use xks_backend_pkcs11::Pkcs11Backend;
use xks_core::backend::BackendErrorKind as Kind;
use xks_pkcs11_fixture::{
    Function, KeyKind, KeyTemplate, Permission, Shim, Telling, When, own_process,
    sys::{
        CKA_END_DATE, CKA_START_DATE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_FUNCTION_FAILED, CKR_KEY_FUNCTION_NOT_PERMITTED,
    },
};

use crate::{
    log::Log,
    support::{PIN, TOKEN, assert_fails, config, encrypt, open, round_trip, run, wait_until},
};

/// Each key is described at the start: what it is, what it may do, and the days of its use. SoftHSM2 fails
/// when it is asked for the days of a private key that has some; nothing else is missing then.
#[test]
fn keys_are_described_at_the_start() {
    own_process("described::keys_are_described_at_the_start", |hsm| {
        hsm.token(TOKEN, PIN);
        let dated = |label| KeyTemplate::aes256(label).start_date("20200131").end_date("21001231");
        hsm.key(TOKEN, &KeyTemplate::aes256("plain").may(Permission::Wrap));
        hsm.key(TOKEN, &KeyTemplate::aes256("short").kind(KeyKind::Aes(16)));
        hsm.key(TOKEN, &dated("dated").public());
        hsm.key(TOKEN, &dated("private"));
        hsm.key(TOKEN, &KeyTemplate::aes256("expired").public().end_date("20240229"));
        let (log, shim) = (Log::begin(), Shim::load());
        let backend = open(config(shim.path()));
        for words in [
            ["key=plain", "spec=\"AES_256\"", "usages=\"ENCRYPT DECRYPT WRAP\""],
            ["key=short", "spec=\"AES_128\"", "usages=\"ENCRYPT DECRYPT\""],
            ["key=dated", "spec=\"AES_256\"", "dates=2020-01-31 to 2100-12-31"],
            ["key=private", "spec=\"AES_256\"", "usages=\"ENCRYPT DECRYPT\""],
            ["key=expired", "spec=\"AES_256\"", "dates=until 2024-02-29"],
        ] {
            assert_eq!(log.lines(&words).len(), 1, "{words:?}: {:#?}", log.lines(&["key="]));
        }
        let warnings = log.lines(&["WARN"]);
        assert!(
            matches!(&*warnings, [line] if line.contains("key=expired") && line.contains("its CKA_END_DATE is 2024-02-29")),
            "{warnings:#?}"
        );
        for key in ["plain", "dated", "private", "expired"] {
            run(round_trip(&backend, key, key.as_bytes())).unwrap();
        }
        drop(backend);
        shim.assert_clean();
    });
}

/// A module that refuses a key because of its dates does not say so: the log and the error do, and name no
/// date when there is none to blame.
#[test]
fn dates_are_named_when_a_key_is_refused() {
    own_process("described::dates_are_named_when_a_key_is_refused", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("over").public().end_date("20240229"));
        hsm.key(TOKEN, &KeyTemplate::aes256("to-come").public().start_date("21000301"));
        hsm.key(
            TOKEN,
            &KeyTemplate::aes256("today")
                .public()
                .start_date("20200101")
                .end_date("21001231"),
        );
        hsm.key(TOKEN, &KeyTemplate::aes256("undated"));
        let (log, shim) = (Log::begin(), Shim::load());
        let backend = open(config(shim.path()).key_refresh(Duration::from_millis(100)));
        // Later than those of the start.
        let is_read_again = |key: &str| {
            run(round_trip(&backend, key, b"")).unwrap();
            let before = shim.counters().of(Function::C_GetAttributeValue);
            wait_until("keys are looked at again", || {
                shim.counters().of(Function::C_GetAttributeValue) >= before + 8
            });
        };
        is_read_again("over");
        shim.fail(Function::C_EncryptInit, CKR_KEY_FUNCTION_NOT_PERMITTED, When::always());
        for (key, why) in [
            ("over", Some("its CKA_END_DATE is 2024-02-29")),
            ("to-come", Some("its CKA_START_DATE is 2100-03-01")),
            ("today", None),
            ("undated", None),
        ] {
            let text = assert_fails(run(encrypt(&backend, key, b"")), Kind::KeyUsage);
            let warnings = log.lines(&["WARN", "the module rejects a key", &format!("key={key}")]);
            if let Some(why) = why {
                assert!(text.ends_with(why), "{text}");
                assert!(
                    !warnings.is_empty() && warnings.iter().all(|line| line.contains(why)),
                    "{warnings:#?}"
                );
            } else {
                assert!(!text.contains("DATE"), "{text}");
                assert_eq!(warnings, [""; 0]);
            }
        }
        drop(backend);
    });
}

/// A module that does not know the dates, and fails whatever is asked for with them, serves its keys all the
/// same.
#[test]
fn dates_that_are_not_known_harm_nothing() {
    own_process("described::dates_that_are_not_known_harm_nothing", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("key").public().end_date("20240229"));
        let (log, shim) = (Log::begin(), Shim::load());
        for (kind, code) in [
            (CKA_START_DATE, CKR_ATTRIBUTE_TYPE_INVALID),
            (CKA_END_DATE, CKR_FUNCTION_FAILED),
        ] {
            shim.telling(Telling::Spoilt(kind, code));
            let backend = open(config(shim.path()));
            run(round_trip(&backend, "key", b"")).unwrap();
            shim.fail(Function::C_EncryptInit, CKR_KEY_FUNCTION_NOT_PERMITTED, When::once());
            let text = assert_fails(run(encrypt(&backend, "key", b"")), Kind::KeyUsage);
            // The other one is read by itself.
            assert_eq!(
                text.contains("CKA_END_DATE is 2024-02-29"),
                kind == CKA_START_DATE,
                "{text}"
            );
            run(round_trip(&backend, "key", b"")).unwrap();
            drop(backend);
            shim.clear();
        }
        assert_eq!(log.lines(&["a key of the token", "AES_256"]).len(), 2);
        shim.assert_clean();
    });
}

/// A second key gets the name of one that is in use: the log says so while requests go on, and which keys
/// they are. After a restart the name alone is refused, and all other keys are served.
#[test]
fn a_second_key_of_a_name_is_named() {
    own_process("described::a_second_key_of_a_name_is_named", |hsm| {
        hsm.token(TOKEN, PIN);
        for label in ["name", "other"] {
            hsm.key(TOKEN, &KeyTemplate::aes256(label));
        }
        let (log, shim) = (Log::begin(), Shim::load());
        let often = || config(shim.path()).key_refresh(Duration::from_millis(50));
        let backend = open(often());
        let serves = |backend: &Pkcs11Backend, key| run(round_trip(backend, key, b"plaintext")).unwrap();
        serves(&backend, "name");
        hsm.key(TOKEN, &KeyTemplate::aes256("name").id(b"\xab\xcd"));
        let warning = [
            "WARN",
            "several keys have the same name",
            "key=name",
            "CKA_ID 6e616d65",
            "CKA_ID abcd",
        ];
        wait_until("the warning", || !log.lines(&warning).is_empty());
        // While another process writes, SoftHSM2 may hide the token until the module is reinitialized, which
        // counts as a restart.
        let was_away = !log.lines(&["token unavailable"]).is_empty();
        if !was_away {
            assert_eq!(log.lines(&["requests use the known key now"]).len(), 1);
            serves(&backend, "name");
        }
        wait_until("the other key is served", || {
            run(round_trip(&backend, "other", b"")).is_ok()
        });
        drop(backend);

        let backend = open(often());
        assert_eq!(log.lines(&warning).len(), 2, "{:#?}", log.lines(&["WARN"]));
        assert_eq!(
            log.lines(&["requests for this key are rejected"]).len(),
            1 + usize::from(was_away)
        );
        let text = assert_fails(run(encrypt(&backend, "name", b"")), Kind::Other);
        assert!(
            text.contains("more than one key") && text.contains("CKA_ID abcd"),
            "{text}"
        );
        serves(&backend, "other");
        hsm.rename_key(TOKEN, "other", "another");
        wait_until("a key of another name", || {
            run(round_trip(&backend, "another", b"")).is_ok()
        });
        drop(backend);
        shim.assert_clean();
    });
}
