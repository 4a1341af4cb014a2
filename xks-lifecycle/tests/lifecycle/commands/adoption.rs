//! Keys that others have made come under management, once.

use std::sync::{Arc, atomic::Ordering};

use pollster::block_on;
use xks_backend_soft::SoftKey;
use xks_core::{KeyId, backend::KeyUsage};
use xks_lifecycle::{
    CommandError, KeySet, KeySetId, KeySource, Material, Name, Outcome, VersionState,
    commands::{Adopt, Adopted, AdoptionWarning, Backends, Commands, CreateKey, Deployment},
    key_state::{KeyCommand, KeyState},
};

use super::world::{World, alice};

fn adopt(world: &World, key: &str, edit: impl FnOnce(&mut Adopt)) -> Result<Adopted, CommandError> {
    let spec = CreateKey::new(world.adopted, "Name").unwrap();
    let mut adopt = Adopt::new(spec, key.parse().unwrap());
    edit(&mut adopt);
    block_on(world.commands.adopt(alice(), adopt))
}

fn label(world: &World, label: &str, key: SoftKey) -> KeyId {
    let id: KeyId = label.parse().unwrap();
    world.manager.soft.insert(id.clone(), key);
    id
}

#[test]
fn a_key_is_adopted_once_under_its_own_id() {
    let world = World::new();
    let id = label(&world, "nshield-key", SoftKey::generate().unwrap());
    let adopted = adopt(&world, "nshield-key", |adopt| {
        adopt.legacy_metadata = Some(b"version=1".as_slice().try_into().unwrap());
    })
    .unwrap();
    let (entry, version) = (&adopted.entry, &adopted.entry.versions[0]);
    assert_eq!((&entry.key.id, entry.state), (&id, KeyState::Enabled));
    assert_eq!(
        (version.state, version.backend_key()),
        (VersionState::Current, Some(&id))
    );
    assert_eq!(version.earlier_encryptions, 1 << 31);
    assert_eq!(version.legacy_metadata.unwrap().as_bytes(), b"version=1");
    assert_eq!(adopted.warnings, []);
    let error = adopt(&world, "nshield-key", |_| {}).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("the backend's key `nshield-key` is in use by versions/nshield-key/"),
        "{message}"
    );
    // It may be needed: what it has encrypted is not known.
    world.change(&id, KeyCommand::ScheduleDeletion(None)).unwrap();
    world.wait(7);
    let error = world.change(&id, KeyCommand::Destroy { typed_name: None }).unwrap_err();
    assert!(error.to_string().contains("up to 2147483648 ciphertexts"), "{error}");
    let typed_name = Some("Name".to_owned());
    let gone = world.change(&id, KeyCommand::Destroy { typed_name }).unwrap();
    assert_eq!(gone.versions[0].material, Material::Gone);
    assert!(world.manager.labels().is_empty());
}

#[test]
fn a_key_that_was_made_here_is_not_adopted() {
    let world = World::new();
    let made = world.create(world.hsm, "Name");
    let key = made.versions[0].backend_key().unwrap().as_str();
    let error = adopt(&world, key, |_| {}).unwrap_err();
    assert!(error.to_string().contains("is in use by versions/"), "{error}");
}

/// A device that two backends name, and two key sets, has its keys once.
#[test]
fn a_key_is_not_adopted_again_through_another_backend_of_its_device() {
    let world = World::new();
    let id = label(&world, "nshield-key", SoftKey::generate().unwrap());
    let (repository, snapshot) = world.repository();
    let backend = |name: &str| Name::new("name", name).unwrap();
    let (keys, manager) = (Arc::clone(&world.manager.soft), Arc::clone(&world.manager));
    let backends = Backends::new()
        .with(backend("hsm"), Arc::clone(&keys) as _, Arc::clone(&manager) as _)
        .with(backend("again"), keys, manager);
    let commands = Commands::new(repository, snapshot, backends, Deployment::new("test").unwrap());
    let sets = ["hsm", "again"].map(|name| {
        let set = KeySet::new(KeySetId::generate().unwrap(), world.tenant, name, KeySource::Adopted);
        let mut set = set.unwrap();
        set.backend = Some(backend(name));
        block_on(commands.create(alice(), set.clone())).unwrap();
        set.id
    });
    let adopt = |set| {
        let spec = CreateKey::new(set, "Name").unwrap();
        block_on(commands.adopt(alice(), Adopt::new(spec, id.clone())))
    };
    adopt(sets[0]).unwrap();
    for set in sets {
        let error = adopt(set).unwrap_err();
        assert!(
            error.to_string().contains("is in use by versions/nshield-key/"),
            "{error}"
        );
        assert_eq!(error.outcome(), Outcome::Refused);
    }
    assert_eq!(commands.keys(None, None, 10).len(), 1);
}

#[test]
fn what_can_be_taken_out_is_warned_of_and_what_cannot_serve_is_refused() {
    let world = World::new();
    label(&world, "loose", SoftKey::generate().unwrap().with_extractable(true));
    let adopted = adopt(&world, "loose", |adopt| adopt.earlier_encryptions = Some(5)).unwrap();
    assert_eq!(adopted.warnings, [AdoptionWarning::Extractable]);
    assert_eq!(adopted.entry.versions[0].earlier_encryptions, 5);
    label(&world, "readable", SoftKey::generate().unwrap());
    world.manager.is_readable.store(true, Ordering::Relaxed);
    let adopted = adopt(&world, "readable", |_| {}).unwrap();
    assert_eq!(adopted.warnings, [AdoptionWarning::NotSensitive]);
    assert!(
        adopted.warnings[0].to_string().contains("is not sensitive"),
        "{adopted:?}"
    );
    label(
        &world,
        "one-way",
        SoftKey::generate().unwrap().with_usages([KeyUsage::Encrypt]),
    );
    for (key, why) in [
        ("one-way", "the backend's key `one-way` may not decrypt"),
        ("absent", "key manager `hsm`: the key cannot be adopted"),
    ] {
        let error = adopt(&world, key, |_| {}).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = adopt(&world, "one-way", |adopt| adopt.key.key_set = world.hsm).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`key_set` is not legal: its source is `hsm`, not `adopted`"
    );
}
