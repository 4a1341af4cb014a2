//! IVs that are zero or repeated (ENC-6): no ciphertext under such an IV is returned.

use std::{collections::HashSet, sync::Arc};

use xks_backend_pkcs11::{IvSource, OpenError, Pkcs11Backend, Quirks};
use xks_core::backend::{BackendErrorKind, HealthStatus};
use xks_pkcs11_fixture::{Function, IvFault, Profile, Shim, own_process};

use super::{BOTH, KEYS, Scene, make_keys};
use crate::support::{assert_fails, config, decrypt, encrypt, run, vendor_config, wait_until};

/// A token whose IVs are zero, or all the same, is not opened, nor waited for.
#[test]
fn at_the_start() {
    own_process("faults::ivs::at_the_start", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for profile in [Profile::Nshield, Profile::CloudHsm, Profile::Luna] {
            shim.profile(profile);
            for fault in [IvFault::Zero, IvFault::Repeat] {
                shim.iv_fault(fault);
                assert_refused(&shim, || vendor_config(shim.path(), profile));
                shim.clear();
            }
        }
        for profile in [Profile::SoftHsm, Profile::Nss] {
            shim.profile(profile);
            for byte in [0, 7] {
                shim.constant_random(byte);
                assert_refused(&shim, || vendor_config(shim.path(), profile));
                shim.clear();
            }
        }
    });
}

/// Quirks of another vendor are found out before anything is encrypted with them.
#[test]
fn with_the_quirks_of_another() {
    own_process("faults::ivs::with_the_quirks_of_another", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (profile, quirks) in [
            (Profile::SoftHsm, Quirks::NSHIELD),
            (Profile::SoftHsm, Quirks::LUNA),
            (Profile::Nss, Quirks::CLOUDHSM),
            (Profile::Nshield, Quirks::STANDARD),
            (Profile::Nshield, Quirks::LUNA),
            (Profile::Luna, Quirks::STANDARD),
            (Profile::Luna, Quirks::NSHIELD),
        ] {
            shim.profile(profile);
            let error = Pkcs11Backend::open(config(shim.path()).quirks(quirks)).unwrap_err();
            println!("{profile:?} with the quirks of {quirks}: {error}");
            assert!(
                matches!(error, OpenError::SelfTest { .. }),
                "{profile:?}, {quirks}: {error:?}"
            );
            assert_eq!(shim.counters().open_sessions, 0);
        }
    });
}

/// IVs go wrong while there is traffic: no ciphertext under a zero IV is given out, and no two under one IV,
/// on whatever sessions. From then on nothing is encrypted until the backend is reopened, and health says
/// so; decryptions go on.
#[test]
fn under_load() {
    own_process("faults::ivs::under_load", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (number, profile) in [Profile::Nshield, Profile::CloudHsm, Profile::Luna]
            .into_iter()
            .enumerate()
        {
            for fault in [IvFault::Zero, IvFault::Repeat] {
                let dispatch = BOTH[number % 2];
                goes_wrong(
                    &shim,
                    profile,
                    |config| config.dispatch(dispatch),
                    |shim| shim.iv_fault(fault),
                );
            }
        }
    });
}

/// The same, where the IVs are fetched from the token's random source, which goes wrong.
#[test]
fn with_a_broken_random_source() {
    own_process("faults::ivs::with_a_broken_random_source", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (dispatch, byte) in BOTH.into_iter().zip([0, 7]) {
            goes_wrong(
                &shim,
                Profile::SoftHsm,
                |config| config.dispatch(dispatch),
                |shim| {
                    shim.constant_random(byte);
                    // New sessions have no IVs in stock.
                    shim.close_sessions();
                },
            );
        }
    });
}

/// The token's random source is of no concern where the system's is used.
#[test]
fn of_the_system() {
    own_process("faults::ivs::of_the_system", |hsm| {
        let quirks = Quirks::SOFTHSM.with_iv_source(IvSource::SystemRandom);
        let scene = Scene::new(hsm, |config| config.quirks(quirks));
        scene.shim.constant_random(7);
        let traffic = scene.traffic(8);
        traffic.wait_for_successes(200);
        assert_eq!(traffic.stop().failed(), 0);
        assert_eq!(scene.shim.counters().of(Function::C_GenerateRandom), 0);
        scene.end();
    });
}

fn goes_wrong(
    shim: &Shim,
    profile: Profile,
    change: impl FnOnce(xks_backend_pkcs11::Config) -> xks_backend_pkcs11::Config,
    fault: impl FnOnce(&Shim),
) {
    // The module itself repeats IVs here.
    let scene = Scene::again(shim, profile, change).without_rules();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(8)
        .build()
        .unwrap();
    let old = runtime.block_on(encrypt(&*scene.backend, KEYS[0], b"before")).unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let backend = Arc::clone(&scene.backend);
            runtime.spawn(async move {
                let mut ivs = Vec::new();
                loop {
                    match encrypt(&*backend, KEYS[0], b"plaintext").await {
                        Ok(encrypted) => ivs.push(encrypted.iv().as_bytes().to_vec()),
                        Err(error) => break (ivs, error.kind()),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(50));
    fault(shim);
    let (mut ivs, mut number) = (HashSet::new(), 0);
    for task in tasks {
        let (of_task, kind) = runtime.block_on(task).unwrap();
        assert_eq!(kind, BackendErrorKind::Other, "{profile:?}");
        number += of_task.len();
        ivs.extend(of_task);
    }
    println!("{profile:?}: {number} encryptions");
    assert!(!ivs.iter().any(|iv| iv.iter().all(|byte| *byte == 0)), "an IV of zeros");
    assert_eq!(ivs.len(), number, "{profile:?}: an IV was given out twice");

    let text = assert_fails(
        runtime.block_on(encrypt(&*scene.backend, KEYS[1], b"")),
        BackendErrorKind::Other,
    );
    println!("{text}");
    assert!(
        text.contains("IV") || text.contains("random number generator"),
        "{text}"
    );
    scene.wait_for_health(HealthStatus::Unavailable);
    for _ in 0..20 {
        let plaintext = runtime.block_on(decrypt(&*scene.backend, KEYS[0], &old)).unwrap();
        assert_eq!(plaintext, b"before");
    }
    // A source that was broken once is not trusted again.
    shim.clear();
    assert_fails(
        runtime.block_on(encrypt(&*scene.backend, KEYS[1], b"")),
        BackendErrorKind::Other,
    );
    assert_eq!(scene.health(), HealthStatus::Unavailable);
    drop(runtime);
    scene.end_as_it_is();
    let scene = Scene::again(shim, profile, |config| config).without_rules();
    assert_eq!(run(decrypt(&*scene.backend, KEYS[0], &old)).unwrap(), b"before");
    run(encrypt(&*scene.backend, KEYS[0], b"after")).unwrap();
    scene.end();
    shim.reset();
}

fn assert_refused(shim: &Shim, config: impl Fn() -> xks_backend_pkcs11::Config) {
    for open in [Pkcs11Backend::open, Pkcs11Backend::open_when_ready] {
        let error = open(config()).unwrap_err();
        assert!(matches!(error, OpenError::SelfTest { .. }), "{error:?}");
        wait_until("no session is left", || shim.counters().open_sessions == 0);
    }
}
