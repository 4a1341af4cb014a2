//! Keys are made once, whatever is lost on the way.

use std::sync::atomic::Ordering;

use pollster::block_on;
use xks_core::{backend::KeyUsage, manage::ManageErrorKind};
use xks_lifecycle::{
    CommandError, Description, KeySet, KeySetId, KeySource, LifetimeDays, Material, Outcome, VersionState,
    commands::CreateKey,
    key_state::{KeyCommand, KeyState},
};

use super::world::{Fault, START, World, alice};
use crate::support::at;

#[test]
fn a_key_is_made_where_its_key_set_says() {
    let world = World::new();
    let hsm = world.create(world.hsm, "in the HSM");
    let [version] = &hsm.versions[..] else {
        panic!("{hsm:?}")
    };
    assert_eq!((hsm.state, version.state), (KeyState::Enabled, VersionState::Current));
    let label = format!("test.{}.{}", hsm.key.id, version.id.version);
    assert_eq!(version.backend_key().unwrap().as_str(), label);
    assert_eq!(world.manager.labels(), [label]);
    let made = world.manager.soft.key(version.backend_key().unwrap()).unwrap();
    assert_eq!(made.metadata().usages(), [KeyUsage::Encrypt, KeyUsage::Decrypt]);
    assert!(!made.is_extractable());

    let vault = world.create(world.vault, "sealed");
    let other = world.create(world.vault, "sealed");
    let material = |entry: &xks_lifecycle::commands::KeyEntry| match &entry.versions[0].material {
        Material::Vault(material) => **material,
        other => panic!("{other:?}"),
    };
    assert_ne!(material(&vault), material(&other));
    assert_ne!(vault.key.id, other.key.id);
    assert_eq!(vault.state, KeyState::Enabled);
    assert_eq!(world.manager.labels().len(), 1);

    let all = world.commands.keys(None, None, 10);
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted_by(|a, b| a.key.id < b.key.id));
    assert_eq!(world.commands.keys(None, Some(&all[0].key.id), 1), all[1..2]);
    assert_eq!(
        world.commands.keys(Some(world.hsm), None, 10),
        std::slice::from_ref(&hsm)
    );
    assert_eq!(world.another().key(&hsm.key.id).unwrap(), hsm);
}

#[test]
fn a_key_expires_as_it_or_its_key_set_says() {
    let world = World::new();
    let mut set = KeySet::new(KeySetId::generate().unwrap(), world.tenant, "short", KeySource::Vault).unwrap();
    set.lifetime = Some(LifetimeDays::new(10).unwrap());
    let id = set.id;
    block_on(world.commands.create(alice(), set)).unwrap();
    let create = |expires, is_active| {
        let mut spec = CreateKey::new(id, "Name").unwrap();
        (spec.expires, spec.is_active) = (expires, is_active);
        spec.description = Description::new("description", "What for").unwrap();
        block_on(world.commands.create_key(alice(), spec))
    };
    let inherited = create(None, false).unwrap();
    assert_eq!(inherited.key.expires, Some(at(START).plus_days(10)));
    assert_eq!(
        (inherited.state, inherited.key.description.as_str()),
        (KeyState::PreActive, "What for")
    );
    let own = create(Some(at(START + 1)), true).unwrap();
    assert_eq!(own.state, KeyState::Enabled);
    world.wait(1);
    assert_eq!(world.commands.key(&own.key.id).unwrap().state, KeyState::Deactivated);
    let error = create(Some(at(START)), true).unwrap_err();
    assert!(
        matches!(&error, CommandError::Field(field) if field.field() == "expires"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_made_is_refused_by_its_field() {
    let world = World::new();
    let create = |set| block_on(world.commands.create_key(alice(), CreateKey::new(set, "Name").unwrap()));
    let error = create(KeySetId::generate().unwrap()).unwrap_err();
    assert!(matches!(error, CommandError::Unknown(_)), "{error}");
    let error = create(world.adopted).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`key_set` is not legal: its keys are adopted, not made"
    );
    assert_eq!(CreateKey::new(world.hsm, "").unwrap_err().field(), "name");
    assert_eq!(world.told(), ["create refused", "create refused"]);
    assert!(world.commands.keys(None, None, 10).is_empty() && world.manager.labels().is_empty());
}

/// The answer is lost before or after the key is made. It serves nothing until it is finished, and one key is
/// there then.
#[test]
fn a_creation_whose_answer_is_lost_is_finished_once() {
    for fault in [
        Fault::Before(ManageErrorKind::Unavailable),
        Fault::After(ManageErrorKind::Timeout),
        Fault::After(ManageErrorKind::Other),
    ] {
        let world = World::new();
        world.manager.fail(fault);
        let created = world
            .commands
            .create_key(alice(), CreateKey::new(world.hsm, "Name").unwrap());
        let error = block_on(created).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Failed, "{error}");
        let [entry] = &world.commands.keys(None, None, 10)[..] else {
            panic!()
        };
        assert_eq!(
            (entry.state, entry.versions[0].state),
            (KeyState::PreActive, VersionState::Pending)
        );
        let refused = world.change(&entry.key.id, KeyCommand::Activate).unwrap_err();
        assert_eq!(refused.outcome(), Outcome::Refused, "{refused}");

        // While the key manager is away, it stays as it is.
        let next = world.another();
        world.manager.fail(Fault::Before(ManageErrorKind::Unavailable));
        let recovered = block_on(next.recover(alice())).unwrap();
        assert_eq!((recovered.made.len(), recovered.failed.len()), (0, 1));
        let recovered = block_on(next.recover(alice())).unwrap();
        assert_eq!(recovered.made, [entry.versions[0].id.clone()]);
        let finished = next.key(&entry.key.id).unwrap();
        assert_eq!(
            (finished.state, finished.versions[0].state),
            (KeyState::PreActive, VersionState::Current)
        );
        assert_eq!(
            world.manager.labels(),
            [finished.versions[0].backend_key().unwrap().as_str()]
        );
        let activate = next.change_key(alice(), &entry.key.id, Some(finished.revision), KeyCommand::Activate);
        assert_eq!(block_on(activate).unwrap().state, KeyState::Enabled);
        let nothing = block_on(next.recover(alice())).unwrap();
        assert!(nothing.made.is_empty() && nothing.removed.is_empty() && nothing.failed.is_empty());
    }
}

#[test]
fn a_key_that_its_key_manager_refuses_leaves_a_tombstone() {
    let world = World::new();
    world.manager.fail(Fault::Before(ManageErrorKind::Full));
    let created = world
        .commands
        .create_key(alice(), CreateKey::new(world.hsm, "Name").unwrap());
    let error = block_on(created).unwrap_err();
    assert!(
        error.to_string().contains("key manager `hsm`: a key could not be made"),
        "{error}"
    );
    let [entry] = &world.commands.keys(None, None, 10)[..] else {
        panic!()
    };
    assert_eq!(entry.state, KeyState::Destroyed);
    assert_eq!(entry.versions[0].material, Material::Gone);
    assert!(world.manager.labels().is_empty());
    assert_eq!(world.told(), ["create begun", "abandon done", "create failed"]);
    assert!(block_on(world.another().recover(alice())).unwrap().made.is_empty());
}

/// What a key manager has made is read back before it serves. It is not forgotten, and can be destroyed.
#[test]
fn a_key_that_was_made_otherwise_serves_nothing() {
    let world = World::new();
    let create = || {
        block_on(
            world
                .commands
                .create_key(alice(), CreateKey::new(world.hsm, "Name").unwrap()),
        )
    };
    world.manager.is_idle.store(true, Ordering::Relaxed);
    let error = create().unwrap_err();
    assert!(
        error.to_string().starts_with("backend `hsm`: a new key does not serve"),
        "{error}"
    );
    world.manager.is_idle.store(false, Ordering::Relaxed);
    let [idle] = &world.commands.keys(None, None, 10)[..] else {
        panic!()
    };
    assert_eq!(
        (idle.state, idle.versions[0].state),
        (KeyState::PreActive, VersionState::Pending)
    );
    doom(&world, &idle.key.id);
    assert!(world.manager.labels().is_empty());

    world.manager.is_loose.store(true, Ordering::Relaxed);
    let error = create().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is extractable, though it was made not to be"),
        "{error}"
    );
    let all = world.commands.keys(None, None, 10);
    let entry = all.iter().find(|entry| entry.key.id != idle.key.id).unwrap();
    assert_eq!(entry.versions[0].state, VersionState::Pending);
    let recovered = block_on(world.commands.recover(alice())).unwrap();
    assert_eq!(recovered.failed.len(), 1);
    doom(&world, &entry.key.id);
    assert!(world.manager.labels().is_empty());
}

fn doom(world: &World, id: &xks_core::KeyId) {
    world.change(id, KeyCommand::ScheduleDeletion(None)).unwrap();
    world.wait(7);
    world.change(id, KeyCommand::Destroy { typed_name: None }).unwrap();
}

#[test]
fn a_server_can_spawn_its_commands() {
    fn spawns<T: Send>(_: &T) {}
    let world = World::new();
    let (alice, id) = (alice(), "key".parse().unwrap());
    let commands = &world.commands;
    spawns(&commands.create_key(alice, CreateKey::new(world.hsm, "Name").unwrap()));
    spawns(&commands.create_keys(alice, &[]));
    spawns(&commands.change_key(alice, &id, None, KeyCommand::Disable));
    spawns(&commands.remove::<KeySet>(alice, world.hsm, None));
    spawns(&commands.recover(alice));
    spawns(&commands.verify_backend(alice, world.hsm));
}
