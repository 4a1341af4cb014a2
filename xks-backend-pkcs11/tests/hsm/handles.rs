//! Modules that number their objects in other ways than SoftHSM2, and tell their attributes in other ways: no
//! ciphertext is ever made under another key than the one that was named.

use std::time::Duration;

use xks_backend_pkcs11::{Dispatch, KeyLookup, Pkcs11Backend};
use xks_core::backend::{BackendErrorKind as Kind, KeySpec, KeyUsage};
use xks_pkcs11_fixture::{
    Function, KeyTemplate, Numbering, Shim, Telling, own_process,
    sys::{
        CKA_CHECK_VALUE, CKA_CLASS, CKA_DECRYPT, CKA_DERIVE, CKA_ENCRYPT, CKA_ID, CKA_KEY_TYPE, CKA_LABEL, CKA_TOKEN,
        CKA_VALUE_LEN, CKA_WRAP, CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_DEVICE_ERROR,
        CKR_FUNCTION_FAILED, CKR_GENERAL_ERROR, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID,
        CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN,
    },
};

use crate::{
    log::Log,
    support::{PIN, TOKEN, assert_fails, config, decrypt, encrypt, id, metadata, open, round_trip, run, wait_until},
};

const VALUES: [[u8; 32]; 3] = [[0x11; 32], [0x22; 32], [0x33; 32]];
const NAMES: [&str; 3] = ["one", "two", "three"];

/// A key is destroyed and another made by another process, and the next search gives the old one's handle to
/// the new one. Nothing is encrypted for the first any more, least of all under the second.
#[test]
fn a_handle_that_goes_to_another_key() {
    own_process("handles::a_handle_that_goes_to_another_key", |hsm| {
        hsm.token(TOKEN, PIN);
        let shim = Shim::load();
        shim.numbering(Numbering::Reused);
        for (round, dispatch) in [Dispatch::Threads, Dispatch::Inline].into_iter().enumerate() {
            let (old, new) = (&format!("old-{round}"), &format!("new-{round}"));
            hsm.key(TOKEN, &KeyTemplate::aes256(old).value(VALUES[0]));
            hsm.key(TOKEN, &KeyTemplate::aes256("other").value(VALUES[2]));
            let backend = open(config(shim.path()).dispatch(dispatch));
            for _ in 0..20 {
                run(round_trip(&backend, old, b"known to the sessions")).unwrap();
            }
            hsm.delete_key(TOKEN, old);
            hsm.key(TOKEN, &KeyTemplate::aes256(new).value(VALUES[1]));
            run(round_trip(&backend, new, b"which searches for it")).unwrap();
            for _ in 0..20 {
                if let Ok(encrypted) = run(encrypt(&backend, old, b"for the old one")) {
                    let under_new = run(decrypt(&backend, new, &encrypted));
                    panic!(
                        "encrypted under a key that is gone; under the new one: {}",
                        under_new.is_ok()
                    );
                }
            }
            assert_fails(run(encrypt(&backend, old, b"")), Kind::KeyNotFound);
            run(round_trip(&backend, new, b"")).unwrap();
            hsm.delete_key(TOKEN, new);
            hsm.delete_key(TOKEN, "other");
        }
        shim.assert_clean();
    });
}

/// The same while there are requests for the first key all the time, on several sessions.
#[test]
fn a_handle_that_goes_to_another_key_in_the_middle_of_a_request() {
    let test = "handles::a_handle_that_goes_to_another_key_in_the_middle_of_a_request";
    own_process(test, |hsm| {
        hsm.token(TOKEN, PIN);
        let shim = Shim::load();
        shim.numbering(Numbering::Reused);
        hsm.key(TOKEN, &KeyTemplate::aes256("other").value(VALUES[2]));
        let backend = &open(config(shim.path()));
        for round in 0..5 {
            let (old, new) = (&format!("old-{round}"), &format!("new-{round}"));
            hsm.key(TOKEN, &KeyTemplate::aes256(old).value(VALUES[0]));
            run(round_trip(backend, old, b"")).unwrap();
            hsm.delete_key(TOKEN, old);
            hsm.key(TOKEN, &KeyTemplate::aes256(new).value(VALUES[1]));
            let encrypted = std::thread::scope(|scope| {
                let threads = [(); 3].map(|()| {
                    scope.spawn(|| {
                        let attempts = (0..50).map(|_| run(encrypt(backend, old, b"for the old one")));
                        attempts.filter_map(Result::ok).collect::<Vec<_>>()
                    })
                });
                run(round_trip(backend, new, b"which searches for it")).unwrap();
                threads.map(|thread| thread.join().unwrap()).concat_all()
            });
            for encrypted in &encrypted {
                let under_new = run(decrypt(backend, new, encrypted));
                assert!(under_new.is_err(), "encrypted for {old} under {new}");
            }
            hsm.delete_key(TOKEN, new);
        }
        shim.assert_clean();
    });
}

trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T, const N: usize> ConcatAll<T> for [Vec<T>; N] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}

/// What is encrypted for a key is its own, and no other key's.
#[track_caller]
fn assert_own(backend: &Pkcs11Backend, what: &str) {
    for name in NAMES {
        let encrypted = run(encrypt(backend, name, name.as_bytes())).unwrap();
        for other in NAMES {
            let opened = run(decrypt(backend, other, &encrypted));
            assert_eq!(
                opened.is_ok(),
                other == name,
                "{what}: of {name}, by {other}: {opened:?}"
            );
        }
    }
}

/// Handles are valid only in the session that was given them, and may be another key's in the next.
#[test]
fn handles_of_one_session() {
    own_process("handles::handles_of_one_session", |hsm| {
        hsm.token(TOKEN, PIN);
        for (name, value) in NAMES.into_iter().zip(VALUES) {
            hsm.key(TOKEN, &KeyTemplate::aes256(name).value(value));
        }
        let shim = Shim::load();
        for numbering in [
            Numbering::Session(CKR_OBJECT_HANDLE_INVALID),
            Numbering::Session(CKR_KEY_HANDLE_INVALID),
            Numbering::Session(CKR_GENERAL_ERROR),
            Numbering::SessionFromOne(CKR_OBJECT_HANDLE_INVALID),
            Numbering::SessionFromOne(CKR_KEY_HANDLE_INVALID),
            // As if the session, the login or the device had failed.
            Numbering::Session(CKR_SESSION_HANDLE_INVALID),
            Numbering::Session(CKR_USER_NOT_LOGGED_IN),
            Numbering::SessionFromOne(CKR_DEVICE_ERROR),
        ] {
            // In one session, in whichever order it finds the keys: in the session that has looked through
            // them all, a handle of its is another key's.
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                shim.numbering(numbering);
                let backend = open(config(shim.path()).sessions(1));
                for name in order.map(|index| NAMES[index]) {
                    run(round_trip(&backend, name, b"")).unwrap();
                }
                assert_own(&backend, &format!("one session, {order:?}, {numbering:?}"));
            }
            for dispatch in [Dispatch::Threads, Dispatch::Inline] {
                shim.numbering(numbering);
                let backend = &open(config(shim.path()).dispatch(dispatch));
                std::thread::scope(|scope| {
                    for thread in 0..6 {
                        scope.spawn(move || {
                            for round in 0..30 {
                                let name = NAMES[(thread + round) % NAMES.len()];
                                run(round_trip(backend, name, name.as_bytes())).unwrap();
                            }
                        });
                    }
                });
                assert_own(backend, &format!("{numbering:?}"));
                // Each session has searched for each key once or twice, and no request does.
                let before = shim.counters().of(Function::C_FindObjectsInit);
                for _ in 0..20 {
                    NAMES
                        .into_iter()
                        .for_each(|name| run(round_trip(backend, name, b"")).unwrap());
                }
                let searches = shim.counters().of(Function::C_FindObjectsInit) - before;
                assert!(searches <= 4 * 3, "{numbering:?}: {searches} searches for 60 requests");
                // New sessions know none of them.
                shim.close_sessions();
                for name in NAMES {
                    wait_until("it is back", || run(round_trip(backend, name, b"")).is_ok());
                    assert_eq!(run(metadata(backend, name)).unwrap().spec(), &KeySpec::Aes256);
                }
                assert_fails(run(encrypt(backend, "absent", b"")), Kind::KeyNotFound);
            }
        }
        shim.assert_clean();
    });
}

/// Handles that are valid only in one session are noticed, and forgotten again: when they no longer are, or
/// never were, sessions make no searches of their own.
#[test]
fn handles_that_are_good_in_all_sessions_after_all() {
    own_process("handles::handles_that_are_good_in_all_sessions_after_all", |hsm| {
        hsm.token(TOKEN, PIN);
        for name in NAMES {
            hsm.key(TOKEN, &KeyTemplate::aes256(name));
        }
        let (log, shim) = (Log::begin(), Shim::load());
        shim.numbering(Numbering::SessionFromOne(CKR_OBJECT_HANDLE_INVALID));
        let backend = open(config(shim.path()).key_refresh(Duration::from_millis(50)));
        assert_eq!(log.lines(&["valid only in the session"]).len(), 1);
        let all = || {
            for name in NAMES {
                run(round_trip(&backend, name, b"")).unwrap();
            }
        };
        all();
        let searches = || shim.counters().of(Function::C_FindObjectsInit);
        let before = searches();
        wait_until("the keys are looked through again", || searches() >= before + 20);
        assert_eq!(log.lines(&["valid in all sessions"]), [""; 0]);
        shim.numbering(Numbering::Real);
        wait_until("the other way", || {
            all();
            !log.lines(&["valid in all sessions"]).is_empty()
        });
        all();
        assert_eq!(log.lines(&["valid only in the session"]).len(), 1, "once and no more");
        drop(backend);
        shim.assert_clean();
    });
}

/// A module tells attributes in its own ways: the keys are found, and do what they may.
#[test]
fn attributes_that_are_told_otherwise() {
    own_process("handles::attributes_that_are_told_otherwise", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("key").id(b"\x0a\x0b").value(VALUES[0]));
        hsm.key(TOKEN, &KeyTemplate::aes256("another").value(VALUES[1]));
        let shim = Shim::load();
        let unknown = [
            CKA_WRAP,
            CKA_DERIVE,
            CKA_ENCRYPT,
            CKA_DECRYPT,
            CKA_VALUE_LEN,
            CKA_KEY_TYPE,
            CKA_CLASS,
            CKA_TOKEN,
            CKA_CHECK_VALUE,
        ];
        let codes = [CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_SENSITIVE, CKR_FUNCTION_FAILED];
        let spoilt = unknown
            .into_iter()
            .flat_map(|kind| codes.map(|code| Telling::Spoilt(kind, code)));
        let others = [
            Telling::Spoilt(CKA_ID, CKR_ATTRIBUTE_TYPE_INVALID),
            Telling::OneByOne(CKR_ATTRIBUTE_TYPE_INVALID),
            Telling::OneByOne(CKR_GENERAL_ERROR),
            Telling::LengthLeft,
            Telling::Narrow,
            Telling::Wide,
            Telling::Filled(b' '),
            Telling::Filled(0),
            Telling::Empty(CKA_LABEL),
            Telling::Empty(CKA_ID),
            Telling::Empty(CKA_CHECK_VALUE),
            Telling::Empty(CKA_VALUE_LEN),
            // In bits, and not at all.
            Telling::LengthTimes(8),
            Telling::LengthTimes(0),
        ];
        for telling in spoilt.chain(others) {
            shim.telling(telling);
            let backend = open(config(shim.path()));
            for _ in 0..8 {
                let done = run(round_trip(&backend, "key", b"plaintext"));
                done.unwrap_or_else(|error| panic!("{telling:?}: {error:?}"));
            }
            let metadata = run(metadata(&backend, "key")).unwrap();
            assert_eq!(metadata.spec(), &KeySpec::Aes256, "{telling:?}");
            assert_eq!(metadata.usages(), [KeyUsage::Encrypt, KeyUsage::Decrypt], "{telling:?}");
            // One that is not known yet.
            hsm.key(TOKEN, &KeyTemplate::aes256("later"));
            run(round_trip(&backend, "later", b"")).unwrap_or_else(|error| panic!("{telling:?}: {error:?}"));
            hsm.delete_key(TOKEN, "later");
            assert_fails(run(encrypt(&backend, "absent", b"")), Kind::KeyNotFound);
        }
        shim.telling(Telling::LengthLeft);
        let backend = open(
            config(shim.path())
                .key_lookup(KeyLookup::Id)
                .key(id("alias"), xks_backend_pkcs11::KeyName::Label("another".into())),
        );
        for key in ["0a0b", "alias"] {
            run(round_trip(&backend, key, b"")).unwrap();
        }
        drop(backend);
        shim.assert_clean();
    });
}
