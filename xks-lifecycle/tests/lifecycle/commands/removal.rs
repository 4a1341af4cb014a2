//! The end of a key, in the state and in its key manager.

use pollster::block_on;
use xks_core::manage::ManageErrorKind;
use xks_lifecycle::{
    CommandError, KeySet, Material, Outcome, VersionState,
    key_state::{KeyCommand, KeyState, Need, Refused, VersionCommand},
};

use super::world::{Fault, World, alice};

fn destroy(typed: Option<&str>) -> KeyCommand {
    let typed_name = typed.map(str::to_owned);
    KeyCommand::Destroy { typed_name }
}

#[test]
fn a_destroyed_key_is_gone_in_its_key_manager() {
    let world = World::new();
    let other = world.create(world.hsm, "Other");
    let doomed = world.doomed(world.hsm, "Name");
    assert_eq!(world.manager.labels().len(), 2);
    let gone = world.change(&doomed.key.id, destroy(None)).unwrap();
    assert_eq!(gone.state, KeyState::Destroyed);
    assert_eq!(gone.versions[0].material, Material::Gone);
    assert_eq!(
        world.manager.labels(),
        [other.versions[0].backend_key().unwrap().as_str()]
    );
    let again = world.change(&doomed.key.id, destroy(None)).unwrap();
    assert_eq!(again, gone);
    let sealed = world.doomed(world.vault, "Name");
    let gone = world.change(&sealed.key.id, destroy(None)).unwrap();
    assert_eq!(
        (gone.state, &gone.versions[0].material),
        (KeyState::Destroyed, &Material::Gone)
    );
}

/// Encryptions that were reserved are a reason, and the name must be typed.
#[test]
fn a_key_that_may_be_needed_is_destroyed_by_its_typed_name() {
    let world = World::new();
    let doomed = world.doomed(world.hsm, "Name");
    let id = &doomed.key.id;
    // By the repository of another process, as the layer of a server reserves them.
    let (other, _) = world.repository();
    block_on(other.reserve(&doomed.versions[0].id, 10, 1 << 32)).unwrap();
    for (typed, why) in [(None, "up to 10 ciphertexts"), (Some("name"), "is not the key's name")] {
        let error = world.change(id, destroy(typed)).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(world.manager.labels().len(), 1);
    world.change(id, destroy(Some("Name"))).unwrap();
    assert!(world.manager.labels().is_empty());
}

/// One person can neither destroy what may be needed, typed name or not, nor take that rule back.
#[test]
fn a_key_that_two_must_agree_to_destroy_is_kept() {
    let world = World::new();
    let mut set: KeySet = world
        .commands
        .read(|snapshot| (**snapshot.key_set(world.hsm).unwrap()).clone());
    set.needs_two = true;
    block_on(world.commands.update(alice(), set.clone(), None)).unwrap();
    let doomed = world.doomed(world.hsm, "Name");
    let (other, _) = world.repository();
    block_on(other.reserve(&doomed.versions[0].id, 10, 1 << 32)).unwrap();
    set.needs_two = false;
    let error = block_on(world.commands.update(alice(), set, None)).unwrap_err();
    let words = format!("key-sets/{}: `needs_two` cannot be changed", world.hsm);
    assert_eq!(error.to_string(), words);
    for typed in [None, Some("Name")] {
        let error = world.change(&doomed.key.id, destroy(typed)).unwrap_err();
        assert!(
            matches!(error, CommandError::Refused(Refused::TwoPeople(Need::Encryptions(10)))),
            "{error}"
        );
        assert_eq!(error.outcome(), Outcome::Refused);
    }
    assert_eq!(world.manager.labels().len(), 1);
    // What is needed no more is destroyed by one.
    let unused = world.doomed(world.hsm, "Unused");
    world.change(&unused.key.id, destroy(None)).unwrap();
    // A single version neither.
    let key = world.create(world.hsm, "Rotated");
    block_on(other.reserve(&key.versions[0].id, 10, 1 << 32)).unwrap();
    world.rotate(&key.key.id).unwrap();
    world
        .change_version(&key.versions[0].id, VersionCommand::Revoke)
        .unwrap();
    let typed_name = Some("Rotated".to_owned());
    let error = world
        .change_version(&key.versions[0].id, VersionCommand::Destroy { typed_name })
        .unwrap_err();
    assert!(matches!(error, CommandError::Refused(Refused::TwoPeople(_))), "{error}");
}

/// For KMS the key is gone as soon as the state says so; its material follows.
#[test]
fn a_key_manager_that_is_away_destroys_later() {
    for fault in [
        Fault::Before(ManageErrorKind::Unavailable),
        Fault::After(ManageErrorKind::Timeout),
    ] {
        let world = World::new();
        let doomed = world.doomed(world.hsm, "Name");
        let id = &doomed.key.id;
        world.manager.fail(fault);
        let error = world.change(id, destroy(None)).unwrap_err();
        assert!(error.to_string().contains("a key could not be destroyed"), "{error}");
        let left = world.commands.key(id).unwrap();
        assert_eq!(
            (left.state, left.versions[0].state),
            (KeyState::Destroyed, VersionState::Destroyed)
        );
        let backend_key = left.versions[0].backend_key().unwrap().clone();
        let user = world
            .commands
            .read(|snapshot| snapshot.user_of_backend_key(&backend_key));
        assert!(user.is_some(), "no other key store may serve it");
        let next = world.another();
        assert_eq!(
            block_on(next.recover(alice())).unwrap().removed,
            [left.versions[0].id.clone()]
        );
        assert_eq!(next.key(id).unwrap().versions[0].material, Material::Gone);
        assert!(world.manager.labels().is_empty());
    }
}

#[test]
fn a_key_whose_making_has_not_ended_is_destroyed_in_its_key_manager() {
    let world = World::new();
    world.manager.fail(Fault::After(ManageErrorKind::Timeout));
    let spec = xks_lifecycle::commands::CreateKey::new(world.hsm, "Name").unwrap();
    block_on(world.commands.create_key(alice(), spec)).unwrap_err();
    assert_eq!(world.manager.labels().len(), 1);
    let id = world.commands.keys(None, None, 1)[0].key.id.clone();
    world.change(&id, KeyCommand::ScheduleDeletion(None)).unwrap();
    world.wait(7);
    let gone = world.change(&id, destroy(None)).unwrap();
    assert_eq!(
        (gone.state, &gone.versions[0].material),
        (KeyState::Destroyed, &Material::Gone)
    );
    assert!(world.manager.labels().is_empty());
}
