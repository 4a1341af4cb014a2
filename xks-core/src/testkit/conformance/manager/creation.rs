//! Keys are created as they were asked for, once.

use std::{
    pin::pin,
    sync::Barrier,
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        Problem,
        tools::{Checked, broken, must_refuse, require, usual_aad},
    },
    Fixture,
    fixture::label,
};
use crate::{
    backend::{BackendErrorKind, KeySpec, KeyStatus, KeyUsage},
    manage::{KeyDescription, ManageErrorKind as Kind, NewKey, WrappingAlgorithm},
};

pub(super) fn capabilities_are_kept(fixture: &Fixture) -> Checked {
    let capabilities = fixture.capabilities()?;
    let (manager, deadline) = (&fixture.manager, fixture.deadline());
    let unsupported = &[Kind::Unsupported];
    if !capabilities.create {
        let key = fixture.new_key()?;
        return fixture.refuses("to create a key", unsupported, manager.create_key(&key, deadline));
    }
    let id = fixture.create_new()?;
    if !capabilities.destroy {
        fixture.refuses("to destroy a key", unsupported, manager.destroy_key(&id, deadline))?;
    }
    if !capabilities.set_status {
        let call = manager.set_status(&id, KeyStatus::Disabled, deadline);
        fixture.refuses("to disable a key", unsupported, call)?;
    }
    if !capabilities.cmac {
        fixture.refuses(
            "to compute a CMAC",
            unsupported,
            manager.cmac(&id, b"message", deadline),
        )?;
    }
    let lacking = |algorithm: &WrappingAlgorithm| !capabilities.wrapping.contains(algorithm);
    for algorithm in WrappingAlgorithm::ALL.into_iter().filter(lacking) {
        let key = super::unwrap::Importer::of_bits(2048)?.wrapping_key(algorithm)?;
        let (id, kinds) = if capabilities.wrapping.is_empty() {
            (id.clone(), &[Kind::Unsupported, Kind::NotExtractable][..])
        } else {
            (fixture.create(&fixture.extractable_key()?)?, &unsupported[..])
        };
        let what = format!("to wrap with {algorithm}");
        fixture.refuses(&what, kinds, manager.wrap_key(&id, &key, deadline))?;
    }
    Ok(())
}

pub(super) fn created_keys_are_served(fixture: &Fixture) -> Checked {
    for _ in 0..3 {
        let id = fixture.create_new()?;
        let metadata = fixture.metadata(&id)?;
        let is_right = *metadata.spec() == KeySpec::Aes256
            && metadata.status() == KeyStatus::Enabled
            && metadata.usages() == [KeyUsage::Encrypt, KeyUsage::Decrypt];
        require(is_right, || format!("the backend says {metadata:?} of a new key"))?;
        let encrypted = fixture.encrypt(&id)?;
        fixture.must_decrypt(&id, &encrypted, "what a new key encrypted")?;
    }
    Ok(())
}

pub(super) fn created_keys_are_described(fixture: &Fixture) -> Checked {
    let token = fixture.new_key()?.token();
    let mut keys = vec![
        fixture.new_key()?,
        fixture.new_key()?.with_usages([KeyUsage::Decrypt]),
        NewKey::for_xks(token, label(&format!("{token}_of.all-KINDS"))?),
    ];
    keys.extend(fixture.extractable_key().ok());
    for new in keys {
        let id = fixture.create(&new)?;
        let described = fixture.describe(&id)?;
        is_as_asked(&described, &new)?;
        let listed = fixture.list(1000)?.into_iter().find(|key| key.id == id);
        require(listed.as_ref() == Some(&described), || {
            format!("the list says {listed:?} of a key that is described as {described:?}")
        })?;
        let metadata = fixture.metadata(&id)?;
        require(metadata == described.metadata, || {
            format!("the backend says {metadata:?} of a key that is described as {described:?}")
        })?;
    }
    Ok(())
}

fn is_as_asked(key: &KeyDescription, new: &NewKey) -> Checked {
    let is_right = key.label == new.label().as_str()
        && key.token == Some(new.token())
        && key.is_extractable == new.is_extractable()
        && key.metadata.usages() == new.usages()
        && key.metadata.status() == KeyStatus::Enabled;
    require(is_right, || format!("{new:?} is described as {key:?}"))
}

pub(super) fn created_keys_have_these_usages(fixture: &Fixture) -> Checked {
    let both = fixture.create_new()?;
    for (has, lacks) in [
        (KeyUsage::Encrypt, KeyUsage::Decrypt),
        (KeyUsage::Decrypt, KeyUsage::Encrypt),
    ] {
        let id = fixture.create(&fixture.new_key()?.with_usages([has]))?;
        let usages = fixture.metadata(&id)?;
        require(usages.usages() == [has], || {
            format!("a key for {has} has the usages {:?}", usages.usages())
        })?;
        let encrypted = fixture
            .served
            .encrypt_on(&*fixture.served.backend, id.as_str(), b"plaintext", usual_aad()?)?;
        let what = format!("to use a key for {has} to {lacks}");
        if has == KeyUsage::Encrypt {
            let encrypted = encrypted.map_err(|error| broken(format!("a key for {has} does not encrypt: {error}")))?;
            must_refuse(fixture.decrypt(&id, encrypted)?, BackendErrorKind::KeyUsage, &what)?;
        } else {
            must_refuse(encrypted, BackendErrorKind::KeyUsage, &what)?;
            let of_another = fixture.encrypt(&both)?;
            let outcome = fixture.decrypt(&id, of_another)?;
            must_refuse(
                outcome,
                BackendErrorKind::InvalidCiphertext,
                "to decrypt what another key encrypted",
            )?;
        }
    }
    Ok(())
}

pub(super) fn created_keys_differ(fixture: &Fixture) -> Checked {
    let ids = [fixture.create_new()?, fixture.create_new()?, fixture.create_new()?];
    for one in &ids {
        let encrypted = fixture.encrypt(one)?;
        for other in ids.iter().filter(|other| *other != one) {
            fixture.serving(other).must_be_invalid(
                other.as_str(),
                super::super::tools::copy(&encrypted),
                "what another key encrypted was given to it",
            )?;
        }
        fixture.must_decrypt(one, &encrypted, "what the key itself encrypted")?;
    }
    Ok(())
}

pub(super) fn a_token_makes_one_key(fixture: &Fixture) -> Checked {
    let new = fixture.new_key()?;
    let id = fixture.create(&new)?;
    let (encrypted, described) = (fixture.encrypt(&id)?, fixture.describe(&id)?);
    for _ in 0..3 {
        let again = fixture.create(&new)?;
        require(again == id, || format!("the token of {id} made {again}"))?;
    }
    let listed = fixture.made_with(new.token())?;
    require(listed == [id.clone()], || format!("one token made {listed:?}"))?;
    fixture.must_decrypt(
        &id,
        &encrypted,
        "what the key encrypted before its creation was repeated",
    )?;
    let still = fixture.describe(&id)?;
    require(still == described, || format!("{described:?} became {still:?}"))
}

pub(super) fn a_token_makes_one_key_at_once(fixture: &Fixture) -> Checked {
    const CALLS: usize = 8;
    for _ in 0..4 {
        let (new, start) = (fixture.new_key()?, Barrier::new(CALLS));
        let create = || {
            start.wait();
            fixture.create(&new)
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..CALLS).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let mut ids = Vec::new();
        for outcome in outcomes {
            ids.push(outcome.map_err(|_| broken("a call panicked"))??);
        }
        ids.dedup();
        require(ids.len() == 1, || format!("{CALLS} calls at once made {ids:?}"))?;
        let listed = fixture.made_with(new.token())?;
        require(listed == ids, || format!("{CALLS} calls at once made {listed:?}"))?;
    }
    Ok(())
}

pub(super) fn a_token_is_of_one_key(fixture: &Fixture) -> Checked {
    let new = fixture.new_key()?;
    let id = fixture.create(&new)?;
    let (described, other_label) = (fixture.describe(&id)?, fixture.new_key()?.label().clone());
    let relabelled = NewKey::for_xks(new.token(), other_label.clone());
    let mut others = vec![
        ("label", relabelled),
        ("usages", new.clone().with_usages([KeyUsage::Encrypt])),
    ];
    if !fixture.capabilities()?.wrapping.is_empty() {
        others.push(("extractability", new.extractable(true)));
    }
    for (what, other) in others {
        let what = format!("to create a key with the token of one of another {what}");
        let call = fixture.manager.create_key(&other, fixture.deadline());
        fixture.refuses(&what, &[Kind::TokenTaken], call)?;
    }
    let listed = fixture.list(1000)?;
    require(listed.iter().all(|key| key.label != other_label.as_str()), || {
        "a key was made, though its token was refused".to_owned()
    })?;
    let still = fixture.describe(&id)?;
    require(still == described, || format!("{described:?} became {still:?}"))
}

pub(super) fn a_label_is_of_one_key(fixture: &Fixture) -> Checked {
    let new = fixture.new_key()?;
    let id = fixture.create(&new)?;
    let (encrypted, described) = (fixture.encrypt(&id)?, fixture.describe(&id)?);
    let other = NewKey::for_xks(fixture.new_key()?.token(), new.label().clone());
    let call = fixture.manager.create_key(&other, fixture.deadline());
    fixture.refuses("to create a key with the label of another", &[Kind::LabelTaken], call)?;
    let listed = fixture.made_with(other.token())?;
    require(listed.is_empty(), || {
        format!("{listed:?} was made, though its label was refused")
    })?;
    let still = fixture.describe(&id)?;
    require(still == described, || format!("{described:?} became {still:?}"))?;
    fixture.must_decrypt(
        &id,
        &encrypted,
        "what the key encrypted before its label was asked for again",
    )
}

pub(super) fn dropped_calls_can_be_repeated(fixture: &Fixture) -> Checked {
    let new = fixture.new_key()?;
    fixture.create_new()?; // what is made at the first use is made
    let drop_one = async {
        let mut call = pin!(fixture.manager.create_key(&new, fixture.deadline()));
        // A call that is ready at once was not dropped, and harms nothing.
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        Ok(())
    };
    fixture
        .call(drop_one)?
        .map_err(|error| broken(super::fixture::said(&error)))?;
    let id = fixture.create(&new)?;
    // What was dropped may go on for a while.
    for _ in 0..20 {
        let listed = fixture.made_with(new.token())?;
        require(listed == [id.clone()], || {
            format!("a creation was dropped and repeated, which made {listed:?}")
        })?;
        thread::sleep(Duration::from_millis(10));
    }
    let encrypted = fixture.encrypt(&id)?;
    fixture.must_decrypt(&id, &encrypted, "what a key encrypted whose creation was repeated")
}

pub(super) fn late_calls_change_nothing(fixture: &Fixture) -> Checked {
    let id = fixture.create_new()?;
    let (manager, new, past) = (&fixture.manager, fixture.new_key()?, past()?);
    let late = &[Kind::Timeout];
    fixture.refuses("to create a key too late", late, manager.create_key(&new, past))?;
    fixture.refuses("to describe a key too late", late, manager.key(&id, past))?;
    if fixture.capabilities()?.destroy {
        fixture.refuses("to destroy a key too late", late, manager.destroy_key(&id, past))?;
    }
    if fixture.capabilities()?.set_status {
        let call = manager.set_status(&id, KeyStatus::Disabled, past);
        fixture.refuses("to disable a key too late", late, call)?;
    }
    let listed = fixture.made_with(new.token())?;
    require(listed.is_empty(), || format!("{listed:?} was made after its deadline"))?;
    let encrypted = fixture.encrypt(&id)?;
    fixture.must_decrypt(&id, &encrypted, "what a key encrypted that was to be changed too late")
}

fn past() -> Result<Instant, Problem> {
    Instant::now()
        .checked_sub(Duration::from_millis(1))
        .ok_or_else(|| broken("the machine has only just started"))
}
