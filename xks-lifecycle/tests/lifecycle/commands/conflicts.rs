//! Two commands at once on one object.

use std::sync::Arc;

use pollster::block_on;
use xks_lifecycle::{
    CommandError, Description, Tenant,
    commands::KeyEntry,
    key_state::{KeyCommand, KeyState},
    store::Revision,
};

use super::{
    hooked::Hooked,
    world::{World, alice},
};

/// A world in which another process does something between the next decision and its commit.
fn raced(other: KeyCommand, own: KeyCommand) -> (World, KeyEntry, Result<KeyEntry, CommandError>) {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    let key = world.create(world.vault, "Name");
    let (node, id) = (world.another(), key.key.id.clone());
    store.before_commit(move || drop(block_on(node.change_key(alice(), &id, None, other)).unwrap()));
    let outcome = world.change(&key.key.id, own);
    (world, key, outcome)
}

#[test]
fn of_two_commands_on_a_key_one_wins_and_the_other_is_told_what_changed() {
    let (world, key, outcome) = raced(KeyCommand::Disable, KeyCommand::ScheduleDeletion(None));
    let error = outcome.unwrap_err();
    let CommandError::Changed {
        seen, found, fields, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*seen, *found), (key.revision, key.revision.next()));
    assert_eq!(*fields, ["state"]);
    assert!(error.to_string().contains("(other now: state)"), "{error}");
    let id = &key.key.id;
    assert_eq!(world.commands.key(id).unwrap().state, KeyState::Disabled);
    assert_eq!(
        world.told(),
        ["create done", "disable done", "schedule-deletion refused"]
    );
    // Who names what he saw at first is refused before anything is decided; who has seen what is there is
    // not.
    let schedule = |seen| {
        let command = KeyCommand::ScheduleDeletion(None);
        block_on(world.commands.change_key(alice(), id, Some(seen), command))
    };
    let error = schedule(key.revision).unwrap_err();
    assert!(
        matches!(&error, CommandError::Changed { fields, .. } if fields.is_empty()),
        "{error}"
    );
    assert_eq!(schedule(*found).unwrap().state, KeyState::PendingDeletion);
}

#[test]
fn a_command_that_another_has_done_meanwhile_is_done() {
    let (world, key, outcome) = raced(KeyCommand::Disable, KeyCommand::Disable);
    assert_eq!(outcome.unwrap(), world.commands.key(&key.key.id).unwrap());
    assert_eq!(world.told(), ["create done", "disable done", "disable done"]);
}

/// What another process has committed before a command is no surprise to it.
#[test]
fn a_command_sees_what_was_committed_before_it() {
    let world = World::new();
    let id = world.create(world.vault, "Name").key.id;
    let other = world.another();
    world.change(&id, KeyCommand::ScheduleDeletion(None)).unwrap();
    let cancelled = block_on(other.change_key(alice(), &id, None, KeyCommand::CancelDeletion)).unwrap();
    assert_eq!(cancelled.state, KeyState::Disabled);
    assert_eq!(world.change(&id, KeyCommand::Enable).unwrap().state, KeyState::Enabled);
}

#[test]
fn commands_on_different_objects_all_go_through() {
    let world = World::new();
    let ids: Vec<_> = (0..4).map(|_| world.create(world.vault, "Name").key.id).collect();
    let nodes = [world.another(), world.another()];
    std::thread::scope(|scope| {
        for (number, id) in ids.iter().enumerate() {
            let node = &nodes[number % 2];
            scope.spawn(move || {
                for _ in 0..10 {
                    for command in [KeyCommand::Disable, KeyCommand::Enable] {
                        block_on(node.change_key(alice(), id, None, command)).unwrap();
                    }
                }
            });
        }
    });
    let before = world.commands.revision().get();
    assert!(block_on(world.commands.refresh()).unwrap() && !block_on(world.commands.refresh()).unwrap());
    assert_eq!(world.commands.revision(), Revision::new(before + 80));
    for id in &ids {
        assert_eq!(world.commands.key(id).unwrap().state, KeyState::Enabled);
    }
}

#[test]
fn tenants_and_key_sets_change_as_they_were_seen() {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    let described = |text: &str| {
        let mut tenant: Tenant = world
            .commands
            .read(|snapshot| (**snapshot.tenant(world.tenant).unwrap()).clone());
        tenant.description = Description::new("description", text).unwrap();
        tenant
    };
    let update = |tenant: Tenant, seen| block_on(world.commands.update(alice(), tenant, seen));
    let race = |tenant: Tenant| {
        let other = world.another();
        store.before_commit(move || {
            block_on(other.update(alice(), tenant, None)).unwrap();
        });
    };
    race(described("one"));
    let error = update(described("two"), None).unwrap_err();
    assert!(
        matches!(&error, CommandError::Changed { fields, .. } if *fields == ["description"]),
        "{error}"
    );
    race(described("three"));
    let seen = update(described("three"), None).unwrap();
    update(described("four"), Some(seen)).unwrap();
    let error = update(described("five"), Some(seen)).unwrap_err();
    assert!(matches!(error, CommandError::Changed { .. }), "{error}");
    let remove = |seen| block_on(world.commands.remove::<Tenant>(alice(), world.tenant, seen));
    let error = remove(Some(seen)).unwrap_err();
    assert!(matches!(error, CommandError::Changed { .. }), "{error}");
    let error = remove(None).unwrap_err();
    assert!(error.to_string().contains("is in use by key-sets/"), "{error}");
}
