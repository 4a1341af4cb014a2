//! Wrong bits: from clients that send ciphertexts, and from the HSM itself.

use std::time::Duration;

use xks_backend_pkcs11::{OpenError, Pkcs11Backend};
use xks_core::backend::{BackendErrorKind, Encrypted, HealthStatus};
use xks_pkcs11_fixture::{
    Function, KeyTemplate, Permission, Profile, Shim, When, own_process, sys::CKR_SESSION_HANDLE_INVALID,
};

use super::{KEYS, Scene, make_keys, wait_for_silence};
use crate::checks::VALUE;
use crate::support::{TOKEN, assert_fails, copy, decrypt, encrypt, run, vendor_config, wait_until};

const CRYPT: [Function; 4] = [
    Function::C_EncryptInit,
    Function::C_Encrypt,
    Function::C_DecryptInit,
    Function::C_Decrypt,
];

/// DEC-3: ciphertexts that were changed are invalid, whatever the module's code for it; and however
/// many are sent, others are served meanwhile, and they are not taken for a failure of the device.
#[test]
fn that_clients_send() {
    own_process("faults::bits::that_clients_send", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for profile in Profile::ALL {
            let scene = Scene::again(&shim, profile, |config| {
                config.health_interval(Duration::from_millis(100))
            });
            let backend = &*scene.backend;
            let traffic = scene.traffic(4);
            run(async {
                let encrypted = encrypt(backend, KEYS[0], b"plaintext").await.unwrap();
                for bit in 0..100 {
                    let changed = change(&encrypted, bit);
                    assert_fails(
                        decrypt(backend, KEYS[0], &changed).await,
                        BackendErrorKind::InvalidCiphertext,
                    );
                    // Under another key it is invalid as well.
                    let outcome = decrypt(backend, KEYS[1], &copy(&encrypted)).await;
                    assert_fails(outcome, BackendErrorKind::InvalidCiphertext);
                }
                assert_eq!(decrypt(backend, KEYS[0], &encrypted).await.unwrap(), b"plaintext");
            });
            let tally = traffic.stop();
            assert_eq!(tally.failed(), 0, "{profile:?}: {tally:?}");
            assert_eq!(shim.counters().finalized, 0, "{profile:?}");
            scene.end();
            shim.reset();
        }
    });
}

/// The same while the session is lost at any one call for it, including those that tell whether the
/// ciphertext or the token is at fault.
#[test]
fn that_clients_send_as_a_session_goes() {
    own_process("faults::bits::that_clients_send_as_a_session_goes", |hsm| {
        let scene = Scene::new(hsm, |config| {
            config.sessions(1).health_interval(Duration::from_secs(30))
        });
        let (backend, shim) = (&*scene.backend, &scene.shim);
        let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        let (mut wrong, mut bits) = (Vec::new(), 0..);
        for function in CRYPT {
            for after in 0.. {
                let before = shim.counters().injected;
                shim.fail(function, CKR_SESSION_HANDLE_INVALID, When::once().after(after));
                // Another one each time: one that is known to be invalid takes no calls but its own.
                let changed = change(&encrypted, bits.next().unwrap());
                let outcome = run(decrypt(backend, KEYS[0], &changed));
                shim.clear();
                let kind = outcome.map(drop).map_err(|error| error.kind());
                if kind != Err(BackendErrorKind::InvalidCiphertext) {
                    wrong.push((function.name(), after, kind));
                }
                if shim.counters().injected == before {
                    assert!(after > 0, "for the request, and for what tells whose fault it is");
                    break;
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        // Those that the module said were gone.
        shim.close_sessions();
        run(decrypt(backend, KEYS[0], &encrypted)).unwrap();
        scene.end();
    });
}

/// The same while all sessions are closed, and with them go the login and every handle: for a key that may
/// encrypt, and for one that may not.
#[test]
fn that_clients_send_as_all_sessions_go() {
    own_process("faults::bits::that_clients_send_as_all_sessions_go", |hsm| {
        const DECRYPTS: &str = "decrypts";
        make_keys(hsm);
        hsm.key(
            TOKEN,
            &KeyTemplate::aes256(DECRYPTS).value(VALUE).may_not(Permission::Encrypt),
        );
        let shim = Shim::load();
        let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
            config.sessions(1).deadline(Duration::from_secs(5))
        });
        let backend = &*scene.backend;
        let encrypted = run(encrypt(backend, KEYS[0], b"plaintext")).unwrap();
        let mut wrong = Vec::new();
        for key in [KEYS[0], DECRYPTS] {
            for function in CRYPT {
                for after in 0..6 {
                    let changed = change(&encrypted, 0);
                    let outcome = std::thread::scope(|scope| {
                        shim.hang(function, When::once().after(after));
                        let request = scope.spawn(|| run(decrypt(backend, key, &changed)));
                        let is_held = || shim.counters().hung == 1;
                        while !request.is_finished() && !is_held() {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        shim.close_sessions();
                        shim.release();
                        request.join().unwrap()
                    });
                    let kind = outcome.map(drop).map_err(|error| error.kind());
                    if kind != Err(BackendErrorKind::InvalidCiphertext) {
                        wrong.push((key, function.name(), after, kind));
                    }
                    shim.clear();
                    // The supervisor hears that its key is gone, and needs sessions that last.
                    let _ = run(decrypt(backend, DECRYPTS, &changed));
                    wait_until("the token", || run(decrypt(backend, key, &encrypted)).is_ok());
                    wait_for_silence(&shim, Duration::from_millis(20));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        scene.end();
    });
}

/// A bit of an encryption's output is wrong, once: what was returned is invalid when it comes back, and never
/// decrypted to something else.
#[test]
fn of_an_encryption() {
    own_process("faults::bits::of_an_encryption", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for profile in Profile::ALL {
            let scene = Scene::again(&shim, profile, |config| config);
            let backend = &*scene.backend;
            run(async {
                shim.flip(Function::C_Encrypt, When::once());
                let wrong = encrypt(backend, KEYS[0], b"plaintext").await.unwrap();
                for _ in 0..3 {
                    assert_fails(
                        decrypt(backend, KEYS[0], &wrong).await,
                        BackendErrorKind::InvalidCiphertext,
                    );
                }
                let right = encrypt(backend, KEYS[0], b"plaintext").await.unwrap();
                assert_eq!(decrypt(backend, KEYS[0], &right).await.unwrap(), b"plaintext");
            });
            scene.end();
        }
    });
}

/// A token that computes wrongly, in either direction, is taken out of service at its next known-answer test,
/// and returns when it computes correctly. A backend is not opened on it.
#[test]
fn of_a_token() {
    own_process("faults::bits::of_a_token", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for function in [Function::C_Encrypt, Function::C_Decrypt] {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.health_interval(Duration::from_millis(20))
            });
            let encrypted = run(encrypt(&*scene.backend, KEYS[0], b"plaintext")).unwrap();
            shim.flip(function, When::always());
            let asked = || run(decrypt(&*scene.backend, KEYS[0], &encrypted));
            // What is still decrypted is no reason to go on: what is encrypted would be lost.
            wait_until("it is out of service", || asked().is_err());
            scene.wait_for_health(HealthStatus::Unavailable);
            for _ in 0..50 {
                assert_fails(asked(), BackendErrorKind::Unavailable);
                let outcome = run(encrypt(&*scene.backend, KEYS[0], b"plaintext"));
                assert_fails(outcome, BackendErrorKind::Unavailable);
                std::thread::sleep(Duration::from_millis(2));
            }
            shim.clear();
            scene.wait_for_health(HealthStatus::Active);
            wait_until("the right plaintext", || {
                run(decrypt(&*scene.backend, KEYS[0], &encrypted)).is_ok_and(|plaintext| plaintext == b"plaintext")
            });
            scene.end();

            shim.flip(function, When::always());
            let error = Pkcs11Backend::open(vendor_config(shim.path(), Profile::SoftHsm)).unwrap_err();
            println!("{function:?}: {error}");
            assert!(
                matches!(error, OpenError::SelfTest { .. } | OpenError::TestCall(_)),
                "{error:?}"
            );
            assert_eq!(shim.counters().open_sessions, 0);
            shim.clear();
        }
    });
}

/// The ciphertext, the tag or the IV with one bit changed.
fn change(encrypted: &Encrypted, bit: usize) -> Encrypted {
    let mut ciphertext = encrypted.ciphertext().to_vec();
    let mut tag = encrypted.tag().as_bytes().to_vec();
    let mut iv = encrypted.iv().as_bytes().to_vec();
    let part = match bit % 3 {
        0 => &mut ciphertext,
        1 => &mut tag,
        _ => &mut iv,
    };
    let place = (bit / 3) % (part.len() * 8);
    part[place / 8] ^= 1 << (place % 8);
    Encrypted::new(
        ciphertext,
        iv.as_slice().try_into().unwrap(),
        tag.as_slice().try_into().unwrap(),
        encrypted.bound_aad().clone(),
    )
}
