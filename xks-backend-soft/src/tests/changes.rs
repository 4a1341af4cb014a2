//! Keys that change while they are served.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;

/// ENC-7: the newest version encrypts, every version decrypts, a removed one does not.
#[test]
fn versions_come_and_go() {
    let backend = soft();
    let mut made: Vec<Parts> = Vec::new();
    for number in 1..=12 {
        if number > 1 {
            assert_eq!(
                backend.add_version(&id(), KeyMaterial::generate().unwrap()).unwrap(),
                number
            );
        }
        let parts = Parts::new(AadFraming::Spec, b"aad", &encrypt(&*backend).unwrap());
        assert_eq!(parts.metadata, format!("key_version={number}").as_bytes());
        made.push(parts);
    }
    for parts in &made {
        assert_eq!(**parts.decrypt(&*backend).unwrap(), *b"plaintext");
    }
    backend.remove_version(&id(), 3).unwrap();
    for (number, parts) in (1..).zip(&made) {
        let expected = (number == 3).then_some(BackendErrorKind::InvalidCiphertext);
        assert_eq!(kind(parts.decrypt(&*backend)), expected, "version {number}");
    }
    assert!(matches!(
        backend.remove_version(&id(), 12),
        Err(SoftKeyError::NewestVersion(12))
    ));
    assert!(matches!(
        backend.remove_version(&id(), 3),
        Err(SoftKeyError::UnknownVersion(3))
    ));
}

#[test]
fn version_numbers_end() {
    let backend = backend(SoftKey::new(version(KeyVersion::MAX_NUMBER)));
    let encrypted = encrypt(&*backend).unwrap();
    assert_eq!(
        encrypted.bound_aad().metadata().unwrap().as_bytes(),
        b"key_version=99999999"
    );
    assert!(decrypt(&*backend, encrypted).is_ok());
    assert!(matches!(
        backend.add_version(&id(), [9; 32]),
        Err(SoftKeyError::VersionNumber(100_000_000))
    ));
}

/// GKM-3, GKM-4, ENC-11, DEC-4: unknown, then disabled, then usage, then cryptography; each change is felt by
/// the very next request.
#[test]
fn changes_are_felt_at_once_and_checked_in_order() {
    use BackendErrorKind::{InvalidCiphertext, KeyDisabled, KeyNotFound, KeyUsage as WrongUsage};

    let soft = soft();
    let backend: Arc<dyn KeyBackend> = soft.clone();
    let mut damaged = Parts::new(AadFraming::Spec, b"aad", &encrypt(&*backend).unwrap());
    damaged.tag[0] ^= 1;
    let kinds = || (kind(encrypt(&*backend)), kind(damaged.decrypt(&*backend)));

    assert_eq!(kinds(), (None, Some(InvalidCiphertext)));
    soft.set_usages(&id(), [KeyUsage::Decrypt]).unwrap();
    assert_eq!(kinds(), (Some(WrongUsage), Some(InvalidCiphertext)));
    assert_eq!(key_metadata(&*backend).unwrap().usages(), [KeyUsage::Decrypt]);
    soft.set_usages(&id(), [KeyUsage::Wrap, KeyUsage::Encrypt]).unwrap();
    assert_eq!(kinds(), (None, Some(WrongUsage)));
    soft.set_usages(&id(), []).unwrap();
    assert_eq!(kinds(), (Some(WrongUsage), Some(WrongUsage)));
    soft.set_status(&id(), KeyStatus::Disabled).unwrap();
    assert_eq!(kinds(), (Some(KeyDisabled), Some(KeyDisabled)));
    assert_eq!(key_metadata(&*backend).unwrap().status(), KeyStatus::Disabled);
    let key = soft.remove(&id()).unwrap();
    assert_eq!(kinds(), (Some(KeyNotFound), Some(KeyNotFound)));
    assert_eq!(kind(key_metadata(&*backend)), Some(KeyNotFound));
    assert!(matches!(
        soft.set_status(&id(), KeyStatus::Enabled),
        Err(SoftKeyError::UnknownKey(_))
    ));
    let usages = [KeyUsage::Encrypt, KeyUsage::Decrypt];
    assert!(
        soft.insert(id(), key.with_usages(usages).with_status(KeyStatus::Enabled))
            .is_none()
    );
    assert_eq!(kinds(), (None, Some(InvalidCiphertext)));
    assert_eq!(key_metadata(&*backend).unwrap(), *SoftKey::new(version(1)).metadata());
    assert_eq!(soft.key_ids(), [id()]);
}

/// ENC-6: whatever is done to the keyring meanwhile, no thread makes an encryption beyond the bound; a new
/// version helps, and decryption was never hurt.
#[test]
fn the_bound_holds_under_concurrency_and_change() {
    const LEFT: usize = 2000;
    let nearly_spent = version(1).with_encryptions((1 << 32) - LEFT as u64);
    let soft = backend(SoftKey::new(nearly_spent));
    let old = encrypt(&*soft).unwrap();
    let is_done = AtomicBool::new(false);
    let (made, changes) = thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut changes = 0;
            loop {
                soft.insert(id(), SoftKey::new(version(1)));
                soft.set_status(&id(), KeyStatus::Enabled).unwrap();
                let key = soft.remove(&id()).unwrap();
                soft.insert(id(), key);
                changes += 4;
                if is_done.load(Ordering::Relaxed) {
                    break changes;
                }
            }
        });
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut made, mut refused) = (0, 0);
                    while refused < 100 && made < LEFT {
                        match encrypt(&*soft) {
                            Ok(_) => made += 1,
                            Err(error) if error.kind() == BackendErrorKind::KeyNotFound => {}
                            Err(error) => {
                                assert_eq!(error.kind(), BackendErrorKind::KeyDisabled);
                                refused += 1;
                            }
                        }
                    }
                    made
                })
            })
            .collect();
        let made: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        is_done.store(true, Ordering::Relaxed);
        (made, changer.join().unwrap())
    });
    assert_eq!(made, LEFT - 1, "after {changes} changes");
    assert_eq!(soft.key(&id()).unwrap().newest_version().encryptions(), 1 << 32);
    assert!(encrypt(&*soft).unwrap_err().to_string().ends_with("add a key version"));

    assert_eq!(**decrypt(&*soft, old).unwrap(), *b"plaintext");
    soft.add_version(&id(), [9; 32]).unwrap();
    assert!(encrypt(&*soft).is_ok());
}
