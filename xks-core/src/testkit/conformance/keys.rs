//! Contracts of keys: each does what it may, and reports that.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Fixture, Problem,
    tools::{Checked, broken, copy, metadata, must_refuse, require, said, usual_aad},
};
use crate::{
    BackendError,
    aad::{AadFraming, BoundAad},
    backend::{BackendErrorKind, Encrypted, KeyMetadata, KeySpec, KeyStatus, KeyUsage},
};

pub(super) fn key_metadata_is_told(fixture: &Fixture) -> Checked {
    let metadata = told(fixture, &fixture.usable)?;
    let spec = metadata.spec();
    require(*spec == KeySpec::Aes256, || {
        format!("the key is {spec:?} instead of Aes256")
    })?;
    let usages = metadata.usages();
    for usage in [KeyUsage::Encrypt, KeyUsage::Decrypt] {
        require(usages.contains(&usage), || {
            format!("the usages {usages:?} lack {usage:?}")
        })?;
    }
    let status = metadata.status();
    require(status == KeyStatus::Enabled, || {
        format!("a key that works is {status:?}")
    })
}

fn told(fixture: &Fixture, key: &str) -> Result<KeyMetadata, Problem> {
    let outcome = fixture.key_metadata(key)?;
    outcome.map_err(|error| broken(format!("no metadata of {key}: {}", said(&error))))
}

/// What the usable key encrypted, for keys that cannot.
fn ciphertext(fixture: &Fixture) -> Result<Encrypted, Problem> {
    fixture.encrypt(b"plaintext", usual_aad()?)
}

pub(super) fn missing_keys_are_not_found(fixture: &Fixture) -> Checked {
    is_not_found(fixture, &fixture.missing)
}

fn is_not_found(fixture: &Fixture, key: &str) -> Checked {
    let kind = BackendErrorKind::KeyNotFound;
    must_refuse(
        fixture.key_metadata(key)?,
        kind,
        &format!("to ask for metadata of {key}, which does not exist,"),
    )?;
    let encrypted = fixture.encrypt_on(&*fixture.backend, key, b"plaintext", usual_aad()?)?;
    must_refuse(
        encrypted,
        kind,
        &format!("to encrypt with {key}, which does not exist,"),
    )?;
    let decrypted = fixture.decrypt(key, ciphertext(fixture)?)?;
    let what = format!("to decrypt with {key}, which does not exist,");
    must_refuse(decrypted, kind, &what)?;
    must_refuse_nonsense(fixture, key, kind, &what)
}

/// What was never encrypted, for a key that would not decrypt it if it were. Of two things that are wrong a
/// backend may look at either first, so both errors are right.
fn must_refuse_nonsense(fixture: &Fixture, key: &str, kind: BackendErrorKind, what: &str) -> Checked {
    for metadata in [None, metadata(b"key_version=1"), metadata(b"no metadata of yours")] {
        let aad = BoundAad::new(AadFraming::Spec, None, metadata).map_err(|error| broken(error.to_string()))?;
        let nonsense = Encrypted::new(vec![7; 16], [8; 12].into(), [9; 16].into(), aad);
        let outcome = fixture.decrypt(key, nonsense)?;
        let is_right = |error: &BackendError| [kind, BackendErrorKind::InvalidCiphertext].contains(&error.kind());
        let (is_right, came) = match outcome {
            Err(error) => (is_right(&error), said(&error)),
            Ok(_) => (false, "a plaintext".to_owned()),
        };
        require(is_right, || {
            format!("{what} what was never encrypted should be {kind:?} or InvalidCiphertext, and was {came}")
        })?;
    }
    Ok(())
}

pub(super) fn key_ids_are_taken_exactly(fixture: &Fixture) -> Checked {
    let key = &fixture.usable;
    let known = [
        &fixture.other,
        &fixture.encrypt_only,
        &fixture.decrypt_only,
        &fixture.disabled,
    ];
    let mut cut = key.clone();
    cut.pop();
    for other in [
        key.to_ascii_uppercase(),
        key.to_ascii_lowercase(),
        format!("{key}0"),
        format!("0{key}"),
        format!("{key}."),
        cut,
    ] {
        let is_known = other == *key || known.iter().any(|known| known.as_ref() == Some(&other));
        if !is_known && other.parse::<crate::KeyId>().is_ok() {
            is_not_found(fixture, &other)?;
        }
    }
    Ok(())
}

pub(super) fn keys_that_only_encrypt(fixture: &Fixture) -> Checked {
    let key = fixture
        .encrypt_only
        .as_ref()
        .ok_or(Problem::NotTried("key that only encrypts"))?;
    has_usages(fixture, key, KeyUsage::Encrypt, KeyUsage::Decrypt)?;
    let encrypted = fixture.encrypt_on(&*fixture.backend, key, b"plaintext", usual_aad()?)?;
    let encrypted = encrypted.map_err(|error| broken(format!("{key} did not encrypt: {}", said(&error))))?;
    let decrypted = fixture.decrypt(key, encrypted)?;
    let (kind, what) = (
        BackendErrorKind::KeyUsage,
        format!("to decrypt with {key}, which only encrypts,"),
    );
    must_refuse(decrypted, kind, &what)?;
    must_refuse_nonsense(fixture, key, kind, &what)
}

pub(super) fn keys_that_only_decrypt(fixture: &Fixture) -> Checked {
    let key = fixture
        .decrypt_only
        .as_ref()
        .ok_or(Problem::NotTried("key that only decrypts"))?;
    has_usages(fixture, key, KeyUsage::Decrypt, KeyUsage::Encrypt)?;
    let encrypted = fixture.encrypt_on(&*fixture.backend, key, b"plaintext", usual_aad()?)?;
    must_refuse(
        encrypted,
        BackendErrorKind::KeyUsage,
        &format!("to encrypt with {key}, which only decrypts,"),
    )?;
    // It did not make this ciphertext, and looks at it all the same.
    fixture.must_be_invalid(key, ciphertext(fixture)?, "that of another key was given to it")
}

fn has_usages(fixture: &Fixture, key: &str, has: KeyUsage, lacks: KeyUsage) -> Checked {
    let metadata = told(fixture, key)?;
    let usages = metadata.usages();
    let holds = usages.contains(&has) && !usages.contains(&lacks);
    require(holds, || {
        format!("{key} should say {has:?} and not {lacks:?}, and says {usages:?}")
    })
}

pub(super) fn disabled_keys_are_refused(fixture: &Fixture) -> Checked {
    let key = fixture.disabled.as_ref().ok_or(Problem::NotTried("disabled key"))?;
    let status = told(fixture, key)?.status();
    require(status == KeyStatus::Disabled, || {
        format!("{key}, which is disabled, is said to be {status:?}")
    })?;
    let kind = BackendErrorKind::KeyDisabled;
    let encrypted = fixture.encrypt_on(&*fixture.backend, key, b"plaintext", usual_aad()?)?;
    must_refuse(encrypted, kind, &format!("to encrypt with {key}, which is disabled,"))?;
    let decrypted = fixture.decrypt(key, ciphertext(fixture)?)?;
    let what = format!("to decrypt with {key}, which is disabled,");
    must_refuse(decrypted, kind, &what)?;
    must_refuse_nonsense(fixture, key, kind, &what)
}

/// How long a change of a key's status may take to be seen.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) fn a_change_of_status_is_seen(fixture: &Fixture) -> Checked {
    let (key, switch) = fixture
        .switch
        .as_ref()
        .ok_or(Problem::NotTried("way to disable a key"))?;
    let works = || {
        let encrypted = fixture.encrypt_on(&*fixture.backend, key, b"plaintext", usual_aad()?)?;
        encrypted.map_err(|error| broken(format!("{key} is enabled, and did not encrypt: {}", said(&error))))
    };
    let encrypted = works()?;
    switch(false);
    becomes(fixture, key, KeyStatus::Disabled)?;
    let kind = BackendErrorKind::KeyDisabled;
    let outcome = fixture.encrypt_on(&*fixture.backend, key, b"plaintext", usual_aad()?)?;
    must_refuse(outcome, kind, &format!("to encrypt with {key}, which was disabled,"))?;
    let outcome = fixture.decrypt(key, copy(&encrypted))?;
    must_refuse(outcome, kind, &format!("to decrypt with {key}, which was disabled,"))?;
    switch(true);
    becomes(fixture, key, KeyStatus::Enabled)?;
    works()?;
    let decrypted = fixture.decrypt(key, encrypted)?;
    require(decrypted.is_ok_and(|plaintext| *plaintext == b"plaintext"), || {
        format!("{key} was enabled again, and does not decrypt what it encrypted before")
    })
}

fn becomes(fixture: &Fixture, key: &str, expected: KeyStatus) -> Checked {
    let start = Instant::now();
    while told(fixture, key)?.status() != expected {
        require(start.elapsed() < LONGEST, || {
            format!("{key} was made {expected:?}, and after 60 seconds its metadata does not say so")
        })?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
