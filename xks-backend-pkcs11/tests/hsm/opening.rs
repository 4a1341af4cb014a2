//! What is checked before the first request, and what the caller that opens a backend learns.

use std::{fs, path::Path, time::Duration};

use xks_backend_pkcs11::{
    Config, Dispatch, IvSource, KeyName, LoadError, OpenError, Pin, PinError, Pkcs11Backend, Quirks, SlotSelector,
    TestKey,
};
use xks_core::{
    KeyBackend as _,
    backend::{BackendErrorKind, HealthStatus},
};
use xks_pkcs11_fixture::{
    Function, KeyTemplate, OwnProcess, Profile, Shim, TokenField, When, own_process, softhsm_path,
    sys::{CKR_DEVICE_ERROR, CKR_MECHANISM_INVALID},
};

use crate::support::{PIN, TOKEN, assert_fails, config, encrypt, id, open, round_trip, run, vendor_config, wait_until};

#[track_caller]
fn fails(config: Config) -> OpenError {
    let Err(error) = Pkcs11Backend::open(config) else {
        panic!("this should not have been opened")
    };
    error
}

#[test]
fn what_is_no_module_is_told_from_what_is_not_there() {
    own_process("opening::what_is_no_module_is_told_from_what_is_not_there", |hsm| {
        let absent = fails(config(Path::new("/nowhere/libabsent.so")));
        assert!(absent.to_string().contains("/nowhere/libabsent.so"), "{absent}");
        assert!(matches!(
            absent,
            OpenError::Load {
                source: LoadError::Library(_),
                ..
            }
        ));
        let text = hsm.folder().join("text.so");
        fs::write(&text, "no library").unwrap();
        assert!(matches!(
            fails(config(&text)),
            OpenError::Load {
                source: LoadError::Library(_),
                ..
            }
        ));
        // A library of the system's, by its bare name.
        let error = fails(config(Path::new("libc.so.6")));
        assert!(matches!(
            error,
            OpenError::Load {
                source: LoadError::NoFunctionList,
                ..
            }
        ));
    });
}

#[test]
fn tokens_are_told_apart() {
    own_process("opening::tokens_are_told_apart", |hsm| {
        let error = fails(config(&softhsm_path()));
        assert!(error.to_string().contains("labelled \"main\""), "{error}");
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("here"));
        hsm.token("other", "9876");
        let by = |slot| config(&softhsm_path()).slot(slot);
        let error = fails(by(SlotSelector::TokenLabel("absent".into())));
        assert!(
            error.to_string().contains("\"main\"") && error.to_string().contains("\"other\""),
            "{error}"
        );
        let OpenError::NoToken { present, .. } = error else {
            panic!("{error:?}")
        };

        // Each is listed with its serial number, by which it can be selected.
        let main = present.iter().find(|token| token.contains("\"main\"")).unwrap();
        let serial = main.split("serial number ").nth(1).unwrap().trim_end_matches(')');
        let backend = open(by(SlotSelector::Serial(serial.into())));
        run(round_trip(&backend, "here", b"plaintext")).unwrap();
        let health = run(backend.health()).unwrap();
        assert_eq!(health.members()[0].id(), serial);
        assert!(health.members()[0].model().contains(serial), "{health:?}");
        drop(backend);

        let index = present.iter().position(|token| token == main).unwrap();
        run(round_trip(&open(by(SlotSelector::Index(index))), "here", b"")).unwrap();
        let error = fails(by(SlotSelector::Index(7)));
        assert!(matches!(error, OpenError::NoToken { .. }), "{error:?}");

        hsm.token(TOKEN, "4321");
        let error = fails(config(&softhsm_path()));
        let OpenError::Ambiguous { count: 2, serials, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(serials.iter().any(|other| other == serial), "{serials:?}");
        let text = error.to_string();
        assert!(
            serials.iter().all(|serial| text.contains(serial)) && text.contains("token_serial"),
            "{text}"
        );
    });
}

#[test]
fn what_cannot_be_is_not_opened() {
    own_process("opening::what_cannot_be_is_not_opened", |hsm| {
        hsm.token(TOKEN, PIN);
        let config = || config(&softhsm_path());
        let (zero, long) = (Duration::ZERO, Duration::MAX);
        for config in [
            config().sessions(0),
            config().deadline(zero),
            config().deadline(long),
            config().key_refresh(zero),
            config().key_refresh(long),
            config().health_interval(zero),
            config().health_interval(Duration::from_secs(31)),
            config().recovery_interval(zero),
            config().recovery_interval(long),
            config().module_parameters("a zero \0"),
            config().pin(Pin::new("12\x0034")),
            config().pin(Pin::new("1234\n1234")),
            config().key(id("long"), KeyName::Label("l".repeat(257))),
            config().test_key(TestKey::Named(KeyName::Id(vec![7; 257]))),
        ] {
            let error = fails(config);
            assert!(matches!(error, OpenError::Config(_)), "{error:?}");
        }
        // No minimum and no maximum.
        assert!(open(config().sessions(1).queue_length(0).max_abandoned(0)).shutdown(long));
    });
}

/// A library is one module under any path: it is finalized when its last backend has ended.
#[test]
fn a_library_may_have_two_names() {
    own_process("opening::a_library_may_have_two_names", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("here"));
        let other_name = hsm.folder().join("other-name.so");
        let library = softhsm_path().canonicalize().unwrap();
        // A second path of the same file.
        fs::hard_link(&library, &other_name)
            .or_else(|_| std::os::unix::fs::symlink(&library, &other_name))
            .unwrap();
        let (first, second) = (open(config(&softhsm_path())), open(config(&other_name)));
        run(round_trip(&first, "here", b"plaintext")).unwrap();
        drop(first);
        run(round_trip(&second, "here", b"plaintext")).unwrap();
    });
}

/// The PIN comes from each of its sources, and is in no text.
#[test]
fn pins_come_from_files_and_the_environment() {
    let test = "opening::pins_come_from_files_and_the_environment";
    OwnProcess::new(test)
        .env("XKS_TEST_PIN", PIN)
        .env("XKS_TEST_NO_PIN", "")
        .run(|hsm| {
            hsm.token(TOKEN, PIN);
            hsm.key(TOKEN, &KeyTemplate::aes256("here"));
            let file = hsm.folder().join("pin");
            for text in [PIN.to_owned(), format!("{PIN}\n"), format!("{PIN}\r\n")] {
                fs::write(&file, text).unwrap();
                drop(open(config(&softhsm_path()).pin(Pin::from_file(&file).unwrap())));
            }
            drop(open(
                config(&softhsm_path()).pin(Pin::from_env("XKS_TEST_PIN").unwrap()),
            ));
            assert!(matches!(Pin::from_env("XKS_TEST_NO_PIN"), Ok(Pin::Empty)));
            assert!(matches!(
                Pin::from_env("XKS_TEST_UNSET"),
                Err(PinError::Environment { .. })
            ));
            let error = Pin::from_file(hsm.folder().join("absent")).unwrap_err();
            assert!(error.to_string().contains("absent"), "{error}");
            for device in ["/dev/zero", "/dev/null"] {
                let error = Pin::from_file(device).unwrap_err();
                let PinError::File { source, .. } = error else {
                    panic!("{error:?}");
                };
                assert!(source.to_string().contains("not a regular file"), "{device}: {source}");
            }

            let debug = format!("{:?}", config(&softhsm_path()).pin(Pin::new("a secret")));
            assert!(!debug.contains("a secret"), "{debug}");
        });
}

/// A forgotten PIN is noticed at the start. With `login = false`, public keys are served,
/// and a key that is not visible is not reported as missing.
#[test]
fn a_token_that_wants_a_login_gets_one_unless_it_was_said_that_there_is_none() {
    let test = "opening::a_token_that_wants_a_login_gets_one_unless_it_was_said_that_there_is_none";
    own_process(test, |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("private"));
        hsm.key(TOKEN, &KeyTemplate::aes256("public").public());
        let without = || {
            Config::new(softhsm_path())
                .slot(SlotSelector::TokenLabel(TOKEN.into()))
                .quirks(Quirks::SOFTHSM)
        };
        for open in [Pkcs11Backend::open, Pkcs11Backend::open_when_ready] {
            let error = open(without()).unwrap_err();
            assert!(matches!(error, OpenError::LoginRequired { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("`pin_file`"), "{text}");
            assert!(text.contains("login = false") && error.is_permanent(), "{text}");
        }
        let backend = open(without().pin(Pin::None));
        run(round_trip(&backend, "public", b"plaintext")).unwrap();
        for key in ["private", "absent"] {
            let text = assert_fails(run(encrypt(&backend, key, b"")), BackendErrorKind::Unavailable);
            assert!(text.contains("requires a login") && text.contains("no PIN"), "{text}");
        }
        drop(backend);
        // Another component of this process has logged in, which suffices.
        let logged_in = open(config(&softhsm_path()));
        let backend = open(without());
        run(round_trip(&backend, "private", b"plaintext")).unwrap();
        assert_fails(run(encrypt(&backend, "absent", b"")), BackendErrorKind::KeyNotFound);
        drop(logged_in);
    });
}

/// What hides AES-GCM may be p11-kit, which is known by its file's name or by what it says of itself.
#[test]
fn p11_kit_is_named_where_it_may_be_the_cause() {
    own_process("opening::p11_kit_is_named_where_it_may_be_the_cause", |hsm| {
        hsm.token(TOKEN, PIN);
        let shim = Shim::load();
        shim.fail(Function::C_GetMechanismInfo, CKR_MECHANISM_INVALID, When::always());
        assert!(!fails(config(shim.path())).to_string().contains("p11-kit"));
        shim.tell(TokenField::Manufacturer, "PKCS#11 Kit");
        let text = fails(config(shim.path())).to_string();
        assert!(text.contains("p11-kit, which hides it before version 0.25"), "{text}");
        shim.tell(TokenField::Manufacturer, "");
        let named = hsm.folder().join("p11-kit-proxy.so");
        std::os::unix::fs::symlink(shim.path(), &named).unwrap();
        let text = fails(config(&named)).to_string();
        assert!(text.contains("p11-kit, which hides it before version 0.25"), "{text}");
    });
}

/// A PIN whose length the token does not accept is not sent: it would cost one of a few attempts.
#[test]
fn a_pin_that_cannot_be_is_not_tried() {
    own_process("opening::a_pin_that_cannot_be_is_not_tried", |hsm| {
        hsm.token(TOKEN, PIN);
        let shim = Shim::load();
        let file = hsm.folder().join("pin");
        let marked = format!("\u{feff}{PIN}\r\n");
        fs::write(&file, marked).unwrap();
        drop(open(config(shim.path()).pin(Pin::from_file(&file).unwrap())));
        for bytes in [&b"1234\0\n"[..], b"1234\n5678\n", b"\xff\xfe1\x002\0", b"\xfc1234"] {
            fs::write(&file, bytes).unwrap();
            let error = Pin::from_file(&file).unwrap_err();
            assert!(matches!(error, PinError::File { .. }), "{error:?}");
        }
        shim.reset();
        // SoftHSM2 takes 4 to 255 bytes.
        for pin in ["123".to_owned(), "1".repeat(256)] {
            let error = fails(config(shim.path()).pin(Pin::new(pin)));
            assert!(matches!(error, OpenError::PinLength { .. }), "{error:?}");
            assert!(error.to_string().contains("4 to 255 bytes"), "{error}");
        }
        for pin in ["12\x0034", "1234\n1234"] {
            let error = fails(config(shim.path()).pin(Pin::new(pin)));
            assert!(error.is_permanent(), "{error}");
        }
        let error = fails(config(shim.path()).pin(Pin::new("12\x0034")));
        assert!(error.to_string().contains("NUL"), "{error}");
        assert_eq!(shim.counters().logins(), 0);
    });
}

/// A keypad: the token asks for the PIN itself.
#[test]
fn a_token_may_ask_for_its_pin_itself() {
    own_process("opening::a_token_may_ask_for_its_pin_itself", |hsm| {
        hsm.token(TOKEN, PIN);
        hsm.key(TOKEN, &KeyTemplate::aes256("here"));
        let shim = Shim::load();
        shim.pin_pad(PIN);
        let backend = open(config(shim.path()).pin(Pin::Protected));
        run(round_trip(&backend, "here", b"plaintext")).unwrap();
    });
}

/// ENC-6: a module that should generate its IVs and does not would encrypt under an IV of zeros. The
/// self-test finds that.
#[test]
fn wrong_quirks_are_found_out() {
    own_process("opening::wrong_quirks_are_found_out", |hsm| {
        hsm.token(TOKEN, PIN);
        for profile in Profile::ALL {
            let shim = Shim::copy();
            shim.profile(profile);
            for quirks in Quirks::ALL {
                let source = quirks.iv_source();
                let right = match profile {
                    Profile::Nshield | Profile::CloudHsm => source == IvSource::WrittenBack,
                    Profile::Luna => matches!(source, IvSource::Appended(_)),
                    Profile::SoftHsm | Profile::Nss => source == IvSource::TokenRandom,
                };
                match Pkcs11Backend::open(vendor_config(shim.path(), profile).quirks(quirks)) {
                    Ok(_) => assert!(right, "{quirks} on {profile:?}"),
                    Err(OpenError::SelfTest { .. } | OpenError::TestCall(_)) => {
                        assert!(!right, "{quirks} on {profile:?}");
                    }
                    Err(error) => panic!("{quirks} on {profile:?}: {error:?}"),
                }
            }
        }
        let error = fails(config(&softhsm_path()).quirks(Quirks::NSHIELD));
        assert!(error.to_string().contains("an IV of zeros"), "{error}");
    });
}

#[test]
fn a_token_without_aes_gcm_is_refused() {
    own_process("opening::a_token_without_aes_gcm_is_refused", |hsm| {
        hsm.token(TOKEN, PIN);
        let shim = Shim::load();
        shim.fail(Function::C_GetMechanismInfo, CKR_MECHANISM_INVALID, When::always());
        let error = fails(config(shim.path()));
        assert!(matches!(error, OpenError::NoAesGcm { .. }), "{error:?}");
        assert_eq!(shim.counters().logins(), 0, "no login is needed to find that out");
        assert_eq!(shim.counters().open_sessions, 0);
    });
}

/// One HSM of a fleet that is down does not keep the fleet from starting.
#[test]
fn a_token_can_be_waited_for() {
    own_process("opening::a_token_can_be_waited_for", |hsm| {
        let shim = Shim::load();
        for dispatch in [Dispatch::Inline, Dispatch::Threads] {
            shim.storm(CKR_DEVICE_ERROR);
            let backend = Pkcs11Backend::open_when_ready(config(shim.path()).dispatch(dispatch)).unwrap();
            let text = assert_fails(run(encrypt(&backend, "here", b"")), BackendErrorKind::Unavailable);
            assert!(text.contains("CKR_DEVICE_ERROR"), "{text}");
            let health = run(backend.health()).unwrap();
            assert!(!health.is_usable(), "{health:?}");
            shim.calm();
            if dispatch == Dispatch::Inline {
                // Now there is a module, and no token in it yet.
                wait_until("the problem is another", || {
                    backend
                        .status()
                        .problem
                        .is_some_and(|problem| problem.contains("no token"))
                });
                hsm.token(TOKEN, PIN);
                hsm.key(TOKEN, &KeyTemplate::aes256("here"));
            }
            wait_until("the token works", || backend.status().health == HealthStatus::Active);
            run(round_trip(&backend, "here", b"plaintext")).unwrap();
        }
        // An error that no waiting fixes is returned at once.
        let absent = Pkcs11Backend::open_when_ready(config(Path::new("/nowhere/libabsent.so")));
        assert!(matches!(absent, Err(OpenError::Load { .. })));
        let wrong = Pkcs11Backend::open_when_ready(config(shim.path()).quirks(Quirks::NSHIELD));
        assert!(matches!(wrong, Err(OpenError::SelfTest { .. })));
        shim.assert_clean();
    });
}

#[test]
fn tokens_without_serial_numbers_have_names_too() {
    own_process("opening::tokens_without_serial_numbers_have_names_too", |hsm| {
        hsm.token(TOKEN, PIN);
        let shim = Shim::load();
        shim.tell(TokenField::Serial, "0000000000000000");
        shim.tell(TokenField::Manufacturer, "Example Inc.");
        let backend = open(config(shim.path()).quirks(Quirks::STANDARD));
        let health = run(backend.health()).unwrap();
        assert_eq!(health.vendor(), "Example Inc.");
        assert_eq!(health.members()[0].id(), TOKEN);
        drop(backend);
        let backend = open(config(shim.path()).id("hsm-a"));
        assert_eq!(run(backend.health()).unwrap().members()[0].id(), "hsm-a");
    });
}

/// A login writes to a SoftHSM2 token, which is not visible to others for that moment.
#[test]
fn many_may_be_opened_at_once() {
    own_process("opening::many_may_be_opened_at_once", |hsm| {
        hsm.token(TOKEN, PIN);
        let shims: Vec<_> = (0..4).map(|_| Shim::copy()).collect();
        for _ in 0..25 {
            std::thread::scope(|scope| {
                for shim in &shims {
                    scope.spawn(|| drop(open(config(shim.path()))));
                }
            });
        }
    });
}
