//! Keys that another process deletes, makes, renames, forbids and permits while they are in use.

use std::time::{Duration, Instant};

use xks_backend_pkcs11::Config;
use xks_core::backend::BackendErrorKind as Kind;
use xks_pkcs11_fixture::{KeyTemplate, Permission, Profile, Shim, own_process};

use super::{BOTH, KEYS, Scene, make_keys};
use crate::{
    checks::VALUE,
    support::{TOKEN, assert_fails, decrypt, encrypt, metadata, round_trip, run, wait_until},
};

/// A key is deleted and made again with the same value, under load: its requests are answered that it is not
/// there until it is, those of other keys are served all the time, and what was encrypted before can be
/// decrypted after.
#[test]
fn deleted_and_made_again() {
    own_process("faults::keys::deleted_and_made_again", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (profile, dispatch) in [Profile::SoftHsm, Profile::Nss].into_iter().zip(BOTH) {
            let scene = Scene::again(&shim, profile, |config| config.dispatch(dispatch));
            let traffic = scene.traffic(6);
            for _ in 0..2 {
                traffic.wait_for_successes(20);
                hsm.delete_key(TOKEN, KEYS[0]);
                traffic.wait_for_failures(10);
                hsm.key(TOKEN, &KeyTemplate::aes256(KEYS[0]).value(VALUE));
                let made = Instant::now();
                wait_until("the new key", || run(round_trip(&*scene.backend, KEYS[0], b"")).is_ok());
                println!("{profile:?}: found after {:?}", made.elapsed());
            }
            traffic.wait_for_everyone();
            let before = traffic.so_far();
            traffic.wait_for_successes(50);
            let tally = traffic.stop();
            // SoftHSM2 says of a key that is about to go or to come that it may do nothing.
            tally.assert_only(&[Kind::KeyNotFound, Kind::KeyUsage]);
            assert!(tally.of(Kind::KeyUsage) <= 8, "{tally:?}");
            assert_eq!(tally.failed(), before.failed(), "{tally:?}");
            scene.end();
        }
    });
}

/// A key of another value comes in place of a deleted one: the old one's ciphertexts are invalid, never a
/// plaintext of something else.
#[test]
fn replaced_by_another() {
    own_process("faults::keys::replaced_by_another", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        let old = run(encrypt(backend, KEYS[1], b"of the old key")).unwrap();
        hsm.delete_key(TOKEN, KEYS[1]);
        hsm.key(TOKEN, &KeyTemplate::aes256(KEYS[1]));
        // No request has asked for it meanwhile: it is found at once, by either operation.
        assert_fails(run(decrypt(backend, KEYS[1], &old)), Kind::InvalidCiphertext);
        run(round_trip(backend, KEYS[1], b"of the new key")).unwrap();
        hsm.delete_key(TOKEN, KEYS[1]);
        hsm.key(TOKEN, &KeyTemplate::aes256(KEYS[1]));
        run(round_trip(backend, KEYS[1], b"of the newest key")).unwrap();
        scene.end();
    });
}

/// ENC-11: another process switches a key's permissions off and on. Off takes effect with the next request,
/// on within a second; other permissions are not affected.
#[test]
fn forbidden_and_permitted() {
    own_process("faults::keys::forbidden_and_permitted", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (profile, refresh) in [
            (Profile::SoftHsm, Duration::from_secs(30)),
            (Profile::SoftHsm, Duration::from_millis(50)),
            (Profile::Nss, Duration::from_millis(50)),
        ] {
            let scene = Scene::again(&shim, profile, |config| config.key_refresh(refresh));
            let backend = &*scene.backend;
            let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
            hsm.permit(TOKEN, KEYS[0], Permission::Encrypt, false);
            assert_fails(run(encrypt(backend, KEYS[0], b"")), Kind::KeyUsage);
            for _ in 0..20 {
                assert_eq!(run(decrypt(backend, KEYS[0], &encrypted)).unwrap(), b"plaintext");
                assert_fails(run(encrypt(backend, KEYS[0], b"")), Kind::KeyUsage);
                std::thread::sleep(Duration::from_millis(5));
            }
            hsm.permit(TOKEN, KEYS[0], Permission::Encrypt, true);
            let permitted = Instant::now();
            wait_until("an encryption", || run(encrypt(backend, KEYS[0], b"")).is_ok());
            println!("{profile:?}: permitted after {:?}", permitted.elapsed());

            // DEC-4.
            hsm.permit(TOKEN, KEYS[0], Permission::Decrypt, false);
            assert_fails(run(decrypt(backend, KEYS[0], &encrypted)), Kind::KeyUsage);
            run(encrypt(backend, KEYS[0], b"")).unwrap();
            hsm.permit(TOKEN, KEYS[0], Permission::Decrypt, true);
            wait_until("a decryption", || run(decrypt(backend, KEYS[0], &encrypted)).is_ok());
            scene.end();
        }
    });
}

/// GKM-1: metadata that were not read from the token again are never older than twice the refresh interval.
#[test]
fn metadata_are_fresh() {
    own_process("faults::keys::metadata_are_fresh", |hsm| {
        let scene = Scene::new(hsm, often);
        let backend = &*scene.backend;
        assert_eq!(run(metadata(backend, KEYS[0])).unwrap().usages().len(), 2);
        hsm.permit(TOKEN, KEYS[0], Permission::Encrypt, false);
        wait_until("what it may not", || {
            run(metadata(backend, KEYS[0])).unwrap().usages().len() == 1
        });
        hsm.permit(TOKEN, KEYS[0], Permission::Encrypt, true);
        wait_until("what it may", || {
            run(metadata(backend, KEYS[0])).unwrap().usages().len() == 2
        });
        hsm.delete_key(TOKEN, KEYS[0]);
        wait_until("its absence", || {
            kind(run(metadata(backend, KEYS[0]))) == Some(Kind::KeyNotFound)
        });
        scene.end();
    });
}

/// A key that is renamed is soon found by its new name only, and what its name was before names nothing.
#[test]
fn renamed() {
    own_process("faults::keys::renamed", |hsm| {
        let scene = Scene::new(hsm, often);
        let backend = &*scene.backend;
        let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        hsm.rename_key(TOKEN, KEYS[0], "new-name");
        assert_eq!(run(decrypt(backend, "new-name", &encrypted)).unwrap(), b"plaintext");
        wait_until("the old name's end", || {
            kind(run(encrypt(backend, KEYS[0], b""))) == Some(Kind::KeyNotFound)
        });
        // Another key gets its name.
        hsm.rename_key(TOKEN, KEYS[1], KEYS[0]);
        wait_until("the other key", || run(round_trip(backend, KEYS[0], b"")).is_ok());
        assert_fails(run(decrypt(backend, KEYS[0], &encrypted)), Kind::InvalidCiphertext);
        assert_eq!(run(decrypt(backend, "new-name", &encrypted)).unwrap(), b"plaintext");
        scene.end();
    });
}

/// A second key gets the name of one that is in use: it never encrypts or decrypts. A new search for the name
/// reports that there are two, until one of them is gone.
#[test]
fn a_second_one_of_the_name() {
    own_process("faults::keys::a_second_one_of_the_name", |hsm| {
        let scene = Scene::new(hsm, often);
        let backend = &*scene.backend;
        let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        hsm.key(TOKEN, &KeyTemplate::aes256(KEYS[0]).id(b"another"));
        for _ in 0..20 {
            assert_eq!(run(decrypt(backend, KEYS[0], &encrypted)).unwrap(), b"plaintext");
            let again = run(encrypt(backend, KEYS[0], b"again")).unwrap();
            assert_eq!(run(decrypt(backend, KEYS[0], &again)).unwrap(), b"again");
            std::thread::sleep(Duration::from_millis(10));
        }
        scene.shim.log_out();
        // For a moment after another process has written to it, SoftHSM2 may not log in to its token.
        let mut refusal = run(encrypt(backend, KEYS[0], b"")).unwrap_err();
        wait_until("the refusal", || {
            refusal = run(encrypt(backend, KEYS[0], b"")).unwrap_err();
            refusal.kind() != Kind::Unavailable
        });
        let text = assert_fails(Err::<(), _>(refusal), Kind::Other);
        assert!(text.contains("more than one key"), "{text}");
        hsm.delete_key(TOKEN, KEYS[0]);
        hsm.key(TOKEN, &KeyTemplate::aes256(KEYS[0]).value(VALUE));
        wait_until("the only one", || run(decrypt(backend, KEYS[0], &encrypted)).is_ok());
        scene.end();
    });
}

/// While another process writes to a key, SoftHSM2 hides it for a moment: no request fails.
#[test]
fn written_to() {
    own_process("faults::keys::written_to", |hsm| {
        let scene = Scene::new(hsm, often);
        let traffic = scene.traffic(6);
        for _ in 0..40 {
            for key in &KEYS[..2] {
                hsm.permit(TOKEN, key, Permission::Encrypt, true);
            }
        }
        let tally = traffic.stop();
        assert_eq!(tally.failed(), 0, "{tally:?}");
        scene.end();
    });
}

/// Keys are looked at often.
fn often(config: Config) -> Config {
    config.key_refresh(Duration::from_millis(50))
}

fn kind<T>(outcome: Result<T, xks_core::BackendError>) -> Option<Kind> {
    outcome.err().map(|error| error.kind())
}
