//! Key administration while calls fail, and their answers are lost.

use xks_backend_pkcs11::Dispatch;
use xks_core::manage::WrappingKey;
use xks_pkcs11_fixture::{Function, Numbering, When, Wraps};

use super::*;

/// The functions that make, look for, and destroy a key.
const FUNCTIONS: [Function; 6] = [
    Function::C_FindObjectsInit,
    Function::C_FindObjects,
    Function::C_GetAttributeValue,
    Function::C_GetSessionInfo,
    Function::C_GenerateKey,
    Function::C_DestroyObject,
];

const CODES: [CK_RV; 5] = [
    CKR_DEVICE_ERROR,
    CKR_GENERAL_ERROR,
    CKR_OPERATION_ACTIVE,
    CKR_USER_NOT_LOGGED_IN,
    CKR_VENDOR_DEFINED,
];

/// Any call fails, with or without effect: repetitions succeed, and there is one key, and then none.
#[test]
fn a_call_that_fails() {
    own_process("manage::broken::a_call_that_fails", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        let mut number = 0;
        for function in FUNCTIONS {
            for code in CODES {
                let changes = matches!(function, Function::C_GenerateKey | Function::C_DestroyObject);
                for is_lost in [false, true].into_iter().take(1 + usize::from(changes)) {
                    number += 1;
                    let label = format!("key-{number}");
                    let key = for_xks(number, &label);
                    let strike = |when| match is_lost {
                        true => scene.shim.lose(function, code, when),
                        false => scene.shim.fail(function, code, when),
                    };
                    let how = format!("{function:?}, {code:#x}, lost: {is_lost}");
                    strike(When::once());
                    let first = create(backend, &key);
                    scene.shim.clear();
                    // The answer to the first call is right if there is one.
                    let made = create(backend, &key).unwrap_or_else(|error| panic!("{how}: {error:?}"));
                    assert!(first.is_err() || first.is_ok_and(|first| first == made), "{how}");
                    assert_eq!(count(backend, &label), 1, "{how}");
                    run(round_trip(backend, &label, b"plaintext")).unwrap();
                    strike(When::once());
                    let first = destroy(backend, &label);
                    scene.shim.clear();
                    match (first, destroy(backend, &label)) {
                        (Ok(()), second) => drop(assert_refused(second, ManageErrorKind::KeyNotFound)),
                        (Err(_), Ok(())) => {}
                        (Err(_), second) => drop(assert_refused(second, ManageErrorKind::KeyNotFound)),
                    }
                    assert_eq!(count(backend, &label), 0, "{how}");
                    assert_fails(run(encrypt(backend, &label, b"")), BackendErrorKind::KeyNotFound);
                }
            }
        }
        scene.end();
    });
}

/// The same for what leaves the token: each call that fails is repeated within the call; also in the trial of
/// how the token wraps keys, which finds what it finds otherwise.
#[test]
fn a_wrapping_that_fails() {
    own_process("manage::broken::a_wrapping_that_fails", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        let spki = aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let spki = aws_lc_rs::encoding::AsDer::as_der(&spki.public_key()).unwrap();
        let direct = (&[][..], WrappingAlgorithm::RsaOaepSha1);
        let composed = [Wraps::OaepSha256, Wraps::Kwp];
        let composed = (&composed[..], WrappingAlgorithm::RsaAesKeyWrapSha256);
        for (code, (ways, algorithm)) in CODES.into_iter().flat_map(|code| [(code, direct), (code, composed)]) {
            shim.wraps(ways);
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
            let backend = &*scene.backend;
            shim.fail(Function::C_WrapKey, code, When::once());
            let found = run(backend.capabilities(later())).unwrap().wrapping;
            assert_eq!(found.first(), Some(&algorithm), "{code:#x}");
            shim.clear();
            create(backend, &NewKey::for_import(token(1), id("import"))).unwrap();
            let wrapping_key = WrappingKey::from_spki_der(spki.as_ref(), algorithm).unwrap();
            let mac = run(backend.cmac(&id("import"), b"", later())).unwrap();
            let is_made = (algorithm == WrappingAlgorithm::RsaAesKeyWrapSha256).then_some(Function::C_GenerateKey);
            for function in [Function::C_CreateObject, Function::C_WrapKey, Function::C_DestroyObject]
                .into_iter()
                .chain(is_made)
            {
                for is_lost in [false, true] {
                    match is_lost {
                        true => shim.lose(function, code, When::once()),
                        false => shim.fail(function, code, When::once()),
                    }
                    let wrapped = run(backend.wrap_key(&id("import"), &wrapping_key, later()));
                    let wrapped = wrapped.unwrap_or_else(|error| panic!("{function:?}, {code:#x}: {error:?}"));
                    assert_eq!(wrapped.len(), wrapping_key.wrapped_length(), "{function:?}, {code:#x}");
                    shim.clear();
                }
            }
            for function in [Function::C_SignInit, Function::C_Sign] {
                shim.fail(function, code, When::once());
                let again = run(backend.cmac(&id("import"), b"", later())).unwrap();
                assert_eq!(again, mac, "{function:?}, {code:#x}");
                shim.clear();
                // One that leaves the operation active, as modules do that break the standard.
                shim.fail_active(function, code, When::once());
                let again = run(backend.cmac(&id("import"), b"", later())).unwrap();
                assert_eq!(again, mac, "{function:?}, {code:#x}");
                shim.clear();
            }
            assert_eq!(hsm.keys(TOKEN).len(), KEYS.len() + 1);
            scene.end();
        }
    });
}

/// A key that another process destroys while it is being wrapped has left its handle to the key that wraps
/// it, as openCryptoki gives it away: that is not wrapped in its place.
#[test]
fn a_handle_that_goes_to_the_key_that_wraps() {
    own_process("manage::broken::a_handle_that_goes_to_the_key_that_wraps", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        shim.numbering(Numbering::Reused);
        shim.wraps(&[Wraps::OaepSha256, Wraps::Kwp]);
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| config.dispatch(Dispatch::Threads));
        let backend = &*scene.backend;
        let spki = aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let spki = aws_lc_rs::encoding::AsDer::as_der(&spki.public_key()).unwrap();
        let algorithm = WrappingAlgorithm::RsaAesKeyWrapSha256;
        let wrapping_key = WrappingKey::from_spki_der(spki.as_ref(), algorithm).unwrap();
        create(backend, &NewKey::for_import(token(1), id("import"))).unwrap();
        run(backend.wrap_key(&id("import"), &wrapping_key, later())).unwrap();
        shim.hang(Function::C_GenerateKey, When::once());
        let outcome = thread::scope(|scope| {
            let wrapping = scope.spawn(|| run(backend.wrap_key(&id("import"), &wrapping_key, later())));
            shim.wait_until("it hangs", |counters| counters.hung == 1);
            hsm.delete_key(TOKEN, "import");
            shim.release();
            wrapping.join().unwrap()
        });
        assert_refused(outcome, ManageErrorKind::KeyNotFound);
        scene.end();
    });
}

/// A making that hangs is answered at its deadline; requests and health go on, and what it made in the end is
/// found.
#[test]
fn a_making_that_hangs() {
    own_process("manage::broken::a_making_that_hangs", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        run(round_trip(backend, KEYS[0], b"plaintext")).unwrap();
        let key = for_xks(1, "made");
        scene.shim.hang(Function::C_GenerateKey, When::once());
        let late = run(backend.create_key(&key, Instant::now() + Duration::from_millis(300)));
        assert_refused(late, ManageErrorKind::Timeout);
        scene.shim.wait_until("it hangs", |counters| counters.hung == 1);
        for _ in 0..20 {
            run(round_trip(backend, KEYS[0], b"plaintext")).unwrap();
        }
        assert_ne!(scene.health(), xks_core::backend::HealthStatus::Unavailable);
        scene.shim.release();
        assert_eq!(create(backend, &key).unwrap(), id("made"));
        assert_eq!(count(backend, "made"), 1);
        scene.end();
    });
}

/// Handles that are good in one session, or go to the next object: what is destroyed is what was meant.
#[test]
fn handles_of_other_modules() {
    own_process("manage::broken::handles_of_other_modules", |hsm| {
        make_keys(hsm);
        for numbering in [
            Numbering::Reused,
            Numbering::Session(CKR_OBJECT_HANDLE_INVALID),
            Numbering::SessionFromOne(CKR_KEY_HANDLE_INVALID),
        ] {
            let shim = Shim::load();
            shim.numbering(numbering);
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
            let backend = &*scene.backend;
            for number in 1..=5 {
                create(backend, &for_xks(number, &format!("key-{number}"))).unwrap();
            }
            for number in [2, 1, 5] {
                destroy(backend, &format!("key-{number}")).unwrap();
            }
            create(backend, &NewKey::for_import(token(7), id("key-7"))).unwrap();
            let left: Vec<_> = list(backend, 2).into_iter().map(|key| key.label).collect();
            assert_eq!(
                left,
                ["key-3", "key-4", "key-7", "known", "second", "third"],
                "{numbering:?}"
            );
            for key in ["key-3", "key-4", "known"] {
                run(round_trip(backend, key, b"plaintext")).unwrap();
            }
            run(backend.cmac(&id("key-7"), b"", later())).unwrap();
            for number in [3, 4, 7] {
                destroy(backend, &format!("key-{number}")).unwrap();
            }
            scene.end();
        }
    });
}

/// A token without room says so.
#[test]
fn a_full_token() {
    own_process("manage::broken::a_full_token", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        scene
            .shim
            .fail(Function::C_GenerateKey, CKR_DEVICE_MEMORY, When::always());
        assert_refused(create(&scene.backend, &for_xks(1, "made")), ManageErrorKind::Full);
        scene.shim.clear();
        create(&scene.backend, &for_xks(1, "made")).unwrap();
        scene.end();
    });
}
