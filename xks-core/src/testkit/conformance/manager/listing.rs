//! The list of keys is whole, and so is what a restart leaves.

use std::collections::BTreeSet;

use super::{
    super::{
        Problem,
        tools::{Checked, is_plaintext, must_refuse, require, who},
    },
    Fixture,
};
use crate::{
    KeyId,
    backend::{BackendErrorKind, GetKeyMetadataRequest, KeyStatus},
    manage::{KeyDescription, ManageErrorKind as Kind},
};

pub(super) fn pages_are_complete(fixture: &Fixture) -> Checked {
    let created = (0..fixture.many)
        .map(|_| fixture.create_new())
        .collect::<Result<BTreeSet<_>, _>>()?;
    for limit in [1, 2, 3, fixture.many, 100_000] {
        let listed = fixture.list(limit)?;
        is_in_order(&listed)?;
        for id in &created {
            let times = listed.iter().filter(|key| key.id == *id).count();
            require(times == 1, || {
                format!("{id} is listed {times} times in pages of {limit}")
            })?;
        }
    }
    for key in fixture
        .list(100_000)?
        .into_iter()
        .filter(|key| created.contains(&key.id))
    {
        let described = fixture.describe(&key.id)?;
        require(described == key, || {
            format!("{key:?} is listed, and described as {described:?}")
        })?;
    }
    Ok(())
}

fn is_in_order(keys: &[KeyDescription]) -> Checked {
    let ids: Vec<_> = keys.iter().map(|key| key.id.as_str().as_bytes()).collect();
    require(ids.is_sorted(), || {
        "the list is not in the byte order of the ids".to_owned()
    })
}

pub(super) fn pages_go_on_through_changes(fixture: &Fixture) -> Checked {
    let created = (0..fixture.many)
        .map(|_| fixture.create_new())
        .collect::<Result<BTreeSet<_>, _>>()?;
    let (mut seen, mut destroyed) = (Vec::new(), BTreeSet::new());
    let mut after: Option<KeyId> = None;
    loop {
        let page = fixture.page(after.as_ref(), 3)?;
        seen.extend(page.keys.iter().map(|key| key.id.clone()));
        after = page.keys.last().map(|key| key.id.clone()).or(after);
        if page.is_last {
            break;
        }
        // The place to go on from goes away, and others come anywhere.
        if let Some(last) = page.keys.last().filter(|key| created.contains(&key.id)) {
            fixture.destroy(&last.id)?;
            destroyed.insert(last.id.clone());
        }
        if seen.len() < 10 * fixture.many {
            fixture.create_new()?;
        }
    }
    let ids: BTreeSet<_> = seen.iter().collect();
    require(ids.len() == seen.len(), || "a key is listed twice".to_owned())?;
    for id in created.difference(&destroyed) {
        require(ids.contains(id), || {
            format!("{id} was there all the time, and is not listed")
        })?;
    }
    Ok(())
}

pub(super) fn changes_outlive_a_restart(fixture: &Fixture) -> Checked {
    let restart = fixture
        .restart
        .as_ref()
        .ok_or(Problem::NotTried("way to open the key manager as after a restart"))?;
    let mut kept = vec![fixture.new_key()?];
    kept.extend(fixture.extractable_key().ok());
    let mut before = Vec::new();
    for new in &kept {
        let id = fixture.create(new)?;
        let encrypted = fixture.encrypt(&id)?;
        before.push((id, encrypted));
    }
    let disables = fixture.capabilities()?.set_status;
    if let (true, Some((id, _))) = (disables, before.last()) {
        let call = fixture.manager.set_status(id, KeyStatus::Disabled, fixture.deadline());
        fixture.must("to disable a key", call)?;
    }
    let described = before
        .iter()
        .map(|(id, _)| fixture.describe(id))
        .collect::<Result<Vec<_>, _>>()?;
    let gone = fixture.create_new()?;
    fixture.destroy(&gone)?;

    let (manager, backend) = restart();
    let again = |id| fixture.must("to describe a key after a restart", manager.key(id, fixture.deadline()));
    for (key, new) in described.iter().zip(&kept) {
        let still = again(&key.id)?;
        require(still == *key, || format!("{key:?} is {still:?} after a restart"))?;
        let created = manager.create_key(new, fixture.deadline());
        let created = fixture.must("to repeat a creation after a restart", created)?;
        require(created == key.id, || {
            format!("the token of {} made {created} after a restart", key.id)
        })?;
    }
    for ((id, encrypted), key) in before.into_iter().zip(&described) {
        let outcome = fixture.served.decrypt_on(&*backend, id.as_str(), encrypted)?;
        match key.metadata.status() {
            KeyStatus::Enabled => is_plaintext(outcome, b"plaintext", "what was encrypted before a restart")?,
            KeyStatus::Disabled => must_refuse(
                outcome,
                BackendErrorKind::KeyDisabled,
                "to use a disabled key after a restart",
            )?,
        }
    }
    let call = manager.key(&gone, fixture.deadline());
    fixture.refuses(
        "to describe a key after a restart that was destroyed",
        &[Kind::KeyNotFound],
        call,
    )?;
    let metadata = async { Ok(backend.key_metadata(&gone, &GetKeyMetadataRequest::new(who())).await) };
    let metadata = fixture.must("to ask the backend after a restart", metadata)?;
    must_refuse(
        metadata,
        BackendErrorKind::KeyNotFound,
        "to use a destroyed key after a restart",
    )
}
