//! Many keys are made by one command as they would be one by one.

use std::sync::atomic::Ordering;

use pollster::block_on;
use xks_core::manage::ManageErrorKind;
use xks_lifecycle::{
    CommandError, KeySetId, Material, Outcome, VersionState,
    commands::{CreateKey, KeyEntry},
    key_state::KeyState,
};

use super::world::{Fault, START, World, alice};
use crate::support::at;

fn specs(set: KeySetId, count: usize) -> Vec<CreateKey> {
    (1..=count)
        .map(|number| CreateKey::new(set, &format!("Key {number}")).unwrap())
        .collect()
}

fn create(world: &World, specs: &[CreateKey]) -> Vec<Result<KeyEntry, CommandError>> {
    block_on(world.commands.create_keys(alice(), specs))
}

/// The outcomes of the events of a key, in their order.
fn events(world: &World, entry: &KeyEntry) -> Vec<(String, Outcome)> {
    let object = format!("keys/{}", entry.key.id);
    let events = block_on(world.commands.events(0, usize::MAX)).unwrap();
    let of_key = events.into_iter().filter(|(_, event)| event.object.as_str() == object);
    of_key
        .map(|(_, event)| (event.command.to_string(), event.outcome))
        .collect()
}

#[test]
fn keys_of_several_key_sets_are_made_in_few_commits_and_serve() {
    let world = World::new();
    let before = world.commands.revision().get();
    let mut all = specs(world.hsm, 20);
    all[3].is_active = false;
    all.extend(specs(world.vault, 20));
    let made: Vec<_> = create(&world, &all).into_iter().map(Result::unwrap).collect();
    // Two for the first key in the HSM and two for the others, one each for those of the vault.
    assert_eq!(world.commands.revision().get() - before, 6);
    assert_eq!(world.manager.labels().len(), 20);
    for (number, entry) in made.iter().enumerate() {
        assert_eq!(entry.key.name.as_str(), format!("Key {}", number % 20 + 1));
        let expected = if number == 3 {
            KeyState::PreActive
        } else {
            KeyState::Enabled
        };
        assert_eq!(
            (entry.state, entry.versions[0].state),
            (expected, VersionState::Current)
        );
        assert_eq!(world.commands.key(&entry.key.id).unwrap(), *entry);
        assert_eq!(world.another().key(&entry.key.id).unwrap(), *entry);
        let served = world.commands.view().to_encrypt(&entry.key.id, at(START));
        assert_eq!(served.is_ok(), number != 3);
        let (begun, done) = (
            ("create".to_owned(), Outcome::Begun),
            ("create".to_owned(), Outcome::Done),
        );
        let expected = if number < 20 { vec![begun, done] } else { vec![done] };
        assert_eq!(events(&world, entry), expected);
    }
}

#[test]
fn what_the_key_manager_refuses_leaves_tombstones_and_the_others_serve() {
    let world = World::new();
    for fault in [Fault::Before(ManageErrorKind::LabelTaken), Fault::None, Fault::None] {
        world.manager.fail(fault);
    }
    let made = create(&world, &specs(world.hsm, 4));
    let error = made[2].as_ref().unwrap_err().to_string();
    assert!(error.contains("a key could not be made"), "{error}");
    assert!(
        made.iter()
            .enumerate()
            .all(|(number, made)| made.is_ok() == (number != 2)),
        "{made:?}"
    );
    let entries = world.commands.keys(None, None, 10);
    let gone = entries.iter().find(|entry| entry.key.name.as_str() == "Key 3").unwrap();
    assert_eq!(gone.versions[0].material, Material::Gone);
    let (create, abandon) = ("create".to_owned(), "abandon".to_owned());
    let expected = [
        (create.clone(), Outcome::Begun),
        (abandon, Outcome::Done),
        (create, Outcome::Failed),
    ];
    assert_eq!(events(&world, gone), expected);
    assert_eq!(world.manager.labels().len(), 3);
}

/// After a failure that is not a single key's, the key manager is asked no more; the next start finishes what
/// was begun, each key once.
#[test]
fn answers_that_are_lost_leave_no_orphans() {
    let world = World::new();
    for fault in [Fault::After(ManageErrorKind::Timeout), Fault::None, Fault::None] {
        world.manager.fail(fault);
    }
    let made = create(&world, &specs(world.hsm, 5));
    assert_eq!(
        made.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, true, false, false, false]
    );
    assert_eq!(world.manager.labels().len(), 3);
    let next = world.another();
    let recovered = block_on(next.recover(alice())).unwrap();
    assert_eq!((recovered.made.len(), recovered.failed.len()), (3, 0));
    assert_eq!(world.manager.labels().len(), 5);
    let states = next.keys(None, None, 10).into_iter().map(|entry| entry.state);
    assert_eq!(states.filter(|state| *state == KeyState::PreActive).count(), 3);
}

#[test]
fn keys_that_do_not_serve_end_the_command() {
    let world = World::new();
    world.manager.is_idle.store(true, Ordering::Relaxed);
    let made = create(&world, &specs(world.hsm, 3));
    assert!(matches!(made[0], Err(CommandError::Backend { .. })), "{made:?}");
    assert!(
        made[1..]
            .iter()
            .all(|made| matches!(made, Err(CommandError::AnotherFailed))),
        "{made:?}"
    );
    assert_eq!(
        (world.manager.labels().len(), world.commands.keys(None, None, 10).len()),
        (1, 1)
    );
    // Of those that are made together the last one is tried, and none is in use before.
    world.manager.is_idle.store(false, Ordering::Relaxed);
    world.manager.idle_from(3);
    let made = create(&world, &specs(world.hsm, 4));
    assert_eq!(
        made.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, false, false]
    );
    let enabled = world.commands.keys(None, None, 10).into_iter();
    assert_eq!(enabled.filter(|entry| entry.state == KeyState::Enabled).count(), 1);
}

#[test]
fn a_key_that_cannot_be_decided_keeps_no_other_from_being_made() {
    let world = World::new();
    for set in [world.hsm, world.vault] {
        let mut all = specs(set, 4);
        all[2].expires = Some(at(START - 1));
        let made = create(&world, &all);
        assert!(matches!(made[2], Err(CommandError::Field(_))), "{made:?}");
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 3);
    }
    let nothing = create(&world, &[]);
    assert!(nothing.is_empty());
    let adopted = create(&world, &specs(world.adopted, 2));
    assert!(adopted.iter().all(Result::is_err));
}
