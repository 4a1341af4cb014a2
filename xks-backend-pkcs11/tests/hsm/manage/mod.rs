//! Key administration on SoftHSM2, and on what the shim makes of it.

mod broken;
mod many;
mod signed;
mod wrapped;

use std::{
    num::NonZeroUsize,
    thread,
    time::{Duration, Instant},
};

use xks_backend_pkcs11::{Config, KeyLookup, KeyName, Pin, Pkcs11Backend, Quirks, SessionMode, SlotSelector};
use xks_core::{
    KeyId,
    backend::{BackendErrorKind, KeyUsage},
    manage::{
        Capabilities, CreationToken, KeyDescription, KeyManager as _, ManageError, ManageErrorKind, NewKey,
        WrappingAlgorithm,
    },
};
use xks_pkcs11_fixture::{KeyTemplate, OwnProcess, Permission, Profile, Shim, own_process, sys::*};

use crate::{
    faults::{BOTH, KEYS, Scene, make_keys},
    managers,
    support::{CEILING, PIN, TOKEN, assert_fails, config, encrypt, id, open, round_trip, run, vendor_config},
};

/// So much time has every call.
fn later() -> Instant {
    Instant::now() + CEILING
}

fn token(number: u8) -> CreationToken {
    CreationToken::from([number; 16])
}

fn for_xks(number: u8, label: &str) -> NewKey {
    NewKey::for_xks(token(number), id(label))
}

fn create(backend: &Pkcs11Backend, key: &NewKey) -> Result<KeyId, ManageError> {
    run(backend.create_key(key, later()))
}

fn destroy(backend: &Pkcs11Backend, key: &str) -> Result<(), ManageError> {
    run(backend.destroy_key(&id(key), later()))
}

fn describe(backend: &Pkcs11Backend, key: &KeyId) -> Result<KeyDescription, ManageError> {
    run(backend.key(key, later()))
}

/// All keys, in pages of this length.
fn list(backend: &Pkcs11Backend, limit: usize) -> Vec<KeyDescription> {
    let mut all: Vec<KeyDescription> = Vec::new();
    loop {
        let after = all.last().map(|key| key.id.clone());
        let page = run(backend.keys(after.as_ref(), NonZeroUsize::new(limit).unwrap(), later())).unwrap();
        assert!(page.keys.len() <= limit && (page.is_last || !page.keys.is_empty()));
        all.extend(page.keys);
        if page.is_last {
            return all;
        }
    }
}

/// How many keys have this label.
fn count(backend: &Pkcs11Backend, label: &str) -> usize {
    list(backend, 100).iter().filter(|key| key.label == label).count()
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, ManageError>, kind: ManageErrorKind) -> String {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    format!("{error:?}")
}

/// From its making to its end a key is served, listed and described, by label or by `CKA_ID`.
#[test]
fn the_life_of_a_key() {
    own_process("manage::the_life_of_a_key", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (dispatch, lookup) in BOTH.into_iter().zip([KeyLookup::Label, KeyLookup::Id]) {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(dispatch).key_lookup(lookup)
            });
            let backend = &*scene.backend;
            let key = for_xks(1, "made");
            let made = create(backend, &key).unwrap();
            match lookup {
                KeyLookup::Label => assert_eq!(made.as_str(), "made"),
                _ => assert!(made.as_str().ends_with(&token(1).to_string()), "{made}"),
            }
            run(round_trip(backend, made.as_str(), b"plaintext")).unwrap();
            let description = describe(backend, &made).unwrap();
            assert_eq!(description.id, made);
            assert_eq!((&*description.label, description.token), ("made", Some(token(1))));
            assert_eq!(description.metadata.usages(), [KeyUsage::Encrypt, KeyUsage::Decrypt]);
            assert!(description.is_sensitive && !description.is_extractable);
            let listed = list(backend, 1);
            assert!(listed.is_sorted_by(|one, other| one.id < other.id), "{listed:?}");
            assert_eq!(
                listed.iter().filter(|key| key.id == made).collect::<Vec<_>>(),
                [&description]
            );
            assert_eq!(list(backend, 100), listed);
            if lookup == KeyLookup::Label {
                let others = listed.iter().filter(|key| key.id != made);
                let others: Vec<_> = others.map(|key| (key.id.as_str(), key.token)).collect();
                assert_eq!(others, [("known", None), ("second", None), ("third", None)]);
            }
            let infos = hsm.keys(TOKEN);
            let info = infos.iter().find(|key| key.label == "made").unwrap();
            assert!(
                info.private && info.permissions == [Permission::Encrypt, Permission::Decrypt],
                "{info:?}"
            );
            destroy(backend, made.as_str()).unwrap();
            assert_fails(run(encrypt(backend, made.as_str(), b"")), BackendErrorKind::KeyNotFound);
            assert_refused(destroy(backend, made.as_str()), ManageErrorKind::KeyNotFound);
            assert_refused(describe(backend, &made), ManageErrorKind::KeyNotFound);
            assert_eq!(list(backend, 100).len(), listed.len() - 1);
            // The same again.
            assert_eq!(create(backend, &key).unwrap(), made);
            run(round_trip(backend, made.as_str(), b"plaintext")).unwrap();
            destroy(backend, made.as_str()).unwrap();
            scene.end();
        }
    });
}

/// A key is made once for a creation token, by any backend and however often; labels and creation tokens of
/// other keys are rejected.
#[test]
fn what_is_made_again_is_the_same() {
    own_process("manage::what_is_made_again_is_the_same", |hsm| {
        let scene = Scene::new(hsm, |config| config.key(id("alias"), KeyName::Label("second".into())));
        let backend = &*scene.backend;
        let key = for_xks(1, "made");
        let made = thread::scope(|scope| {
            let callers: Vec<_> = (0..12)
                .map(|_| scope.spawn(|| create(backend, &key).unwrap()))
                .collect();
            callers
                .into_iter()
                .map(|caller| caller.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(made, vec![id("made"); 12]);
        assert_eq!(count(backend, "made"), 1);
        // Another backend of the process, as after a restart.
        let other = open(config(scene.shim.path()));
        assert_eq!(create(&other, &key).unwrap(), id("made"));
        assert_refused(create(&other, &for_xks(2, "made")), ManageErrorKind::LabelTaken);
        drop(other);
        assert_refused(create(backend, &for_xks(2, "known")), ManageErrorKind::LabelTaken);
        assert_refused(create(backend, &for_xks(2, "alias")), ManageErrorKind::LabelTaken);
        for other in [
            for_xks(1, "another"),
            key.clone().with_usages([KeyUsage::Encrypt]),
            NewKey::for_import(token(1), id("made")),
            key.extractable(true),
        ] {
            assert_refused(create(backend, &other), ManageErrorKind::TokenTaken);
        }
        assert_eq!(hsm.keys(TOKEN).len(), KEYS.len() + 1);
        // One that is gone leaves its label and its token.
        destroy(backend, "made").unwrap();
        assert_eq!(create(backend, &for_xks(1, "another")).unwrap(), id("another"));
        assert_eq!(create(backend, &for_xks(2, "made")).unwrap(), id("made"));
        scene.end();
    });
}

/// Usages are those that were asked for and no others.
#[test]
fn usages_are_as_asked() {
    own_process("manage::usages_are_as_asked", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let all = [
            KeyUsage::Encrypt,
            KeyUsage::Decrypt,
            KeyUsage::Sign,
            KeyUsage::Verify,
            KeyUsage::Wrap,
            KeyUsage::Unwrap,
            KeyUsage::Derive,
        ];
        for (number, usages) in (1..).zip([&all[..], &[], &all[..1], &all[2..3]]) {
            let label = format!("key-{number}");
            let key = for_xks(number, &label).with_usages(usages.iter().copied());
            let made = create(&scene.backend, &key).unwrap();
            assert_eq!(describe(&scene.backend, &made).unwrap().metadata.usages(), usages);
        }
        assert_fails(run(encrypt(&*scene.backend, "key-2", b"")), BackendErrorKind::KeyUsage);
        scene.end();
    });
}

/// What others have made is described as it is: whether it can be wrapped, and whether it can be read.
#[test]
fn exposed_keys_are_described() {
    own_process("manage::exposed_keys_are_described", |hsm| {
        hsm.token(TOKEN, PIN);
        for key in [
            KeyTemplate::aes256("closed"),
            KeyTemplate::aes256("wrapped").extractable(true),
            KeyTemplate::aes256("readable").extractable(false),
        ] {
            hsm.key(TOKEN, &key);
        }
        let backend = open(config(&xks_pkcs11_fixture::softhsm_path()));
        for (key, is_extractable, is_sensitive) in [
            ("closed", false, true),
            ("wrapped", true, true),
            ("readable", true, false),
        ] {
            let found = describe(&backend, &id(key)).unwrap();
            assert_eq!(
                (found.is_extractable, found.is_sensitive),
                (is_extractable, is_sensitive),
                "{key}"
            );
        }
    });
}

/// The capabilities are tested before they are reported.
#[test]
fn capabilities() {
    own_process("manage::capabilities", |hsm| {
        make_keys(hsm);
        let capabilities = |change: fn(Config) -> Config| {
            let backend = open(change(config(&xks_pkcs11_fixture::softhsm_path())));
            let capabilities = run(backend.capabilities(later())).unwrap();
            let created = create(&backend, &for_xks(9, "made"));
            assert_eq!(created.is_ok(), capabilities.create, "{created:?}");
            if !capabilities.create {
                assert_refused(created, ManageErrorKind::Unsupported);
                assert_refused(destroy(&backend, "known"), ManageErrorKind::Unsupported);
            }
            capabilities
        };
        // It knows RSA-OAEP with SHA-1 alone.
        let wrapping = [WrappingAlgorithm::RsaOaepSha1];
        let all = Capabilities::none().with_cmac().with_wrapping(wrapping);
        assert_eq!(
            capabilities(|config| config.quirks(Quirks::SOFTHSM.with_session_mode(SessionMode::ReadOnly))),
            all
        );
        assert_eq!(capabilities(|config| config), all.with_create().with_destroy());
    });
}

/// nShield's module slot takes no login and no private keys. What it makes is not private, and what wants a
/// card says so.
#[test]
fn nshields_module_slot() {
    own_process("manage::nshields_module_slot", |hsm| {
        hsm.token("accelerator", PIN);
        let shim = Shim::load();
        shim.profile(Profile::Nshield);
        let config = vendor_config(shim.path(), Profile::Nshield)
            .slot(SlotSelector::First)
            .pin(Pin::None);
        let backend = open(config);
        for code in [CKR_USER_NOT_LOGGED_IN, CKR_ACTION_PROHIBITED] {
            shim.fail(
                xks_pkcs11_fixture::Function::C_GenerateKey,
                code,
                xks_pkcs11_fixture::When::always(),
            );
            let text = assert_refused(create(&backend, &for_xks(1, "made")), ManageErrorKind::AccessDenied);
            assert!(text.contains("card") && text.contains("C_GenerateKey"), "{text}");
            shim.clear();
        }
        let made = create(&backend, &for_xks(1, "made")).unwrap();
        run(round_trip(&backend, made.as_str(), b"plaintext")).unwrap();
        assert!(!hsm.keys("accelerator")[0].private);
        assert!(backend.shutdown(CEILING));
        shim.assert_clean();
    });
}

/// A deadline is a call's own: long ones do not end with those of requests, and what comes too late is not
/// begun.
#[test]
fn deadlines() {
    own_process("manage::deadlines", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for dispatch in BOTH {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(dispatch).deadline(Duration::from_millis(200))
            });
            let backend = &*scene.backend;
            let before = shim.counters();
            let late = run(backend.create_key(&for_xks(1, "late"), Instant::now()));
            assert_refused(late, ManageErrorKind::Timeout);
            // Three times what a request may take.
            shim.latency(xks_pkcs11_fixture::Function::C_GenerateKey, Duration::from_millis(600));
            let made = create(backend, &for_xks(2, "made")).unwrap();
            assert_eq!(scene.status().abandoned, 0);
            shim.latency(xks_pkcs11_fixture::Function::C_GenerateKey, Duration::ZERO);
            assert_eq!(count(backend, "late"), 0, "{before:?}");
            destroy(backend, made.as_str()).unwrap();
            scene.end();
        }
    });
}

/// The contract of `KeyManager`, by labels and by `CKA_ID`.
#[test]
fn contract() {
    OwnProcess::new("manage::contract")
        .limit(Duration::from_secs(600))
        .run(|hsm| {
            make_keys(hsm);
            let shim = Shim::load();
            for (dispatch, lookup) in BOTH.into_iter().zip([KeyLookup::Label, KeyLookup::Id]) {
                let config = config(shim.path()).dispatch(dispatch).key_lookup(lookup);
                managers::check(&config, false, &[]);
            }
            let left = hsm.keys(TOKEN);
            assert_eq!(left.len(), KEYS.len(), "all that was made is gone: {left:?}");
            shim.assert_clean();
        });
}
