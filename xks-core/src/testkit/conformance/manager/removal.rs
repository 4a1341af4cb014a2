//! Keys that do not exist, or no longer, or that are disabled.

use super::{
    super::{
        Problem,
        tools::{Checked, copy, must_refuse, require, usual_aad},
    },
    Fixture,
    unwrap::Importer,
};
use crate::{
    KeyId,
    backend::{BackendErrorKind, Encrypted, KeyStatus, KeyUsage},
    manage::ManageErrorKind as Kind,
};

pub(super) fn missing_keys_are_not_found(fixture: &Fixture) -> Checked {
    // As long as the shortest and the longest, too.
    let longest = "k".repeat(128);
    for id in ["xks-conformance-never-created", "-", &longest] {
        manager_has_not(fixture, &fixture.served.key(id)?)?;
    }
    Ok(())
}

/// No method of the manager knows the key, of those that the manager has.
fn manager_has_not(fixture: &Fixture, id: &KeyId) -> Checked {
    let (manager, deadline) = (&fixture.manager, fixture.deadline());
    let capabilities = fixture.capabilities()?;
    let not_found = &[Kind::KeyNotFound];
    let of = |what: &str| format!("{what} {id}, which does not exist,");
    fixture.refuses(&of("to describe"), not_found, manager.key(id, deadline))?;
    if capabilities.destroy {
        fixture.refuses(&of("to destroy"), not_found, manager.destroy_key(id, deadline))?;
    }
    if capabilities.set_status {
        for status in [KeyStatus::Enabled, KeyStatus::Disabled] {
            let call = manager.set_status(id, status, deadline);
            fixture.refuses(&of("to set the status of"), not_found, call)?;
        }
    }
    if let Some(algorithm) = capabilities.wrapping.first() {
        let key = Importer::of_bits(2048)?.wrapping_key(*algorithm)?;
        fixture.refuses(&of("to wrap"), not_found, manager.wrap_key(id, &key, deadline))?;
    }
    if capabilities.cmac {
        fixture.refuses(
            &of("to compute a CMAC under"),
            not_found,
            manager.cmac(id, b"message", deadline),
        )?;
    }
    let listed = fixture.list(1000)?;
    require(listed.iter().all(|key| key.id != *id), || {
        format!("{id} does not exist, and is listed")
    })
}

fn backend_has_not(fixture: &Fixture, id: &KeyId, encrypted: &Encrypted) -> Checked {
    let kind = BackendErrorKind::KeyNotFound;
    let metadata = fixture.served.key_metadata(id.as_str())?;
    must_refuse(metadata, kind, "to ask for the metadata of a destroyed key")?;
    let served = &fixture.served;
    let outcome = served.encrypt_on(&*served.backend, id.as_str(), b"plaintext", usual_aad()?)?;
    must_refuse(outcome, kind, "to encrypt with a destroyed key")?;
    must_refuse(
        fixture.decrypt(id, copy(encrypted))?,
        kind,
        "to decrypt with a destroyed key",
    )
}

pub(super) fn key_ids_are_taken_exactly(fixture: &Fixture) -> Checked {
    let new = fixture.new_key()?;
    let id = fixture.create(&new)?;
    let mut cut = id.to_string();
    cut.pop();
    for other in [
        id.as_str().to_ascii_uppercase(),
        format!("{id}0"),
        format!("0{id}"),
        format!("{id}."),
        cut,
    ] {
        if let Ok(other) = other.parse::<KeyId>()
            && other != id
        {
            manager_has_not(fixture, &other)?;
        }
    }
    let encrypted = fixture.encrypt(&id)?;
    fixture.must_decrypt(&id, &encrypted, "what a key encrypted whose id was nearly used")
}

pub(super) fn destroyed_keys_are_gone(fixture: &Fixture) -> Checked {
    let mut keys = vec![fixture.new_key()?];
    keys.extend(fixture.extractable_key().ok());
    for new in keys {
        let id = fixture.create(&new)?;
        let encrypted = fixture.encrypt(&id)?;
        fixture.destroy(&id)?;
        backend_has_not(fixture, &id, &encrypted)?;
        manager_has_not(fixture, &id)?;
        let listed = fixture.made_with(new.token())?;
        require(listed.is_empty(), || format!("{listed:?} was destroyed, and is listed"))?;
    }
    Ok(())
}

pub(super) fn destruction_is_of_one_key(fixture: &Fixture) -> Checked {
    let ids = [fixture.create_new()?, fixture.create_new()?, fixture.create_new()?];
    let mut before = Vec::new();
    for id in &ids {
        before.push((fixture.encrypt(id)?, fixture.describe(id)?));
    }
    let [_, middle, _] = &ids;
    fixture.destroy(middle)?;
    for (id, (encrypted, described)) in ids.iter().zip(&before).filter(|(id, _)| *id != middle) {
        fixture.must_decrypt(id, encrypted, "what a key encrypted before another was destroyed")?;
        let still = fixture.describe(id)?;
        require(still == *described, || format!("{described:?} became {still:?}"))?;
    }
    Ok(())
}

pub(super) fn a_status_is_set(fixture: &Fixture) -> Checked {
    if !fixture.capabilities()?.set_status {
        return Err(Problem::NotTried("way to disable keys"));
    }
    let (id, other) = (fixture.create_new()?, fixture.create_new()?);
    let encrypted = fixture.encrypt(&id)?;
    let set = |status| {
        let call = fixture.manager.set_status(&id, status, fixture.deadline());
        fixture.must(&format!("to set the status {status:?}"), call)?;
        for says in [
            fixture.describe(&id)?.metadata.status(),
            fixture.metadata(&id)?.status(),
        ] {
            require(says == status, || {
                format!("{says:?} is said of a key that was set to {status:?}")
            })?;
        }
        Ok(())
    };
    for _ in 0..2 {
        // Twice the same: the first answer may have been lost.
        for _ in 0..2 {
            set(KeyStatus::Disabled)?;
            let kind = BackendErrorKind::KeyDisabled;
            let served = &fixture.served;
            let outcome = served.encrypt_on(&*served.backend, id.as_str(), b"plaintext", usual_aad()?)?;
            must_refuse(outcome, kind, "to encrypt with a disabled key")?;
            must_refuse(
                fixture.decrypt(&id, copy(&encrypted))?,
                kind,
                "to decrypt with a disabled key",
            )?;
            fixture.encrypt(&other)?;
        }
        for _ in 0..2 {
            set(KeyStatus::Enabled)?;
            fixture.encrypt(&id)?;
            fixture.must_decrypt(&id, &encrypted, "what a key encrypted before it was disabled")?;
        }
    }
    Ok(())
}

pub(super) fn disabled_keys_do_nothing(fixture: &Fixture) -> Checked {
    let capabilities = fixture.capabilities()?;
    if !capabilities.set_status {
        return Err(Problem::NotTried("way to disable keys"));
    }
    let new = match fixture.extractable_key() {
        Ok(key) => key,
        Err(_) => fixture.new_key()?,
    };
    let new = if capabilities.cmac {
        new.with_usages([KeyUsage::Sign])
    } else {
        new
    };
    let id = fixture.create(&new)?;
    let (manager, deadline) = (&fixture.manager, fixture.deadline());
    fixture.must(
        "to disable a key",
        manager.set_status(&id, KeyStatus::Disabled, deadline),
    )?;
    let kind = &[Kind::KeyDisabled];
    if let Some(algorithm) = capabilities.wrapping.first() {
        let key = Importer::of_bits(2048)?.wrapping_key(*algorithm)?;
        fixture.refuses("to wrap a disabled key", kind, manager.wrap_key(&id, &key, deadline))?;
    }
    if capabilities.cmac {
        let call = manager.cmac(&id, b"message", deadline);
        fixture.refuses("to compute a CMAC under a disabled key", kind, call)?;
    }
    fixture.destroy(&id)
}
