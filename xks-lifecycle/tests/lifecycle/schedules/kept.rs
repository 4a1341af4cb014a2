//! Schedules as they are kept: made, changed, removed and referred to.

use std::sync::Arc;

use pollster::block_on;
use serde_json::{Value, json};
use xks_lifecycle::{
    ChangeError, CommandError, KeySet, KeySetId, KeySource, Object, RepositoryError, Rotation, Schedule, ScheduleId,
    key_state::KeyCommand,
    schedule::JitterMinutes,
    store::{SqliteStore, Table},
};

use super::site::{cron, every, give, rotates, schedule};
use crate::{
    commands::world::{START, World, alice},
    support::{TempDir, at},
};

fn kept(world: &World, id: ScheduleId) -> Schedule {
    world
        .commands
        .read(|snapshot| (**snapshot.schedule(id).unwrap()).clone())
}

#[test]
fn a_schedule_is_kept_as_it_is() {
    let directory = TempDir::new();
    let world = World::over(Arc::new(SqliteStore::open(&directory.database()).unwrap()));
    for timing in [every(90), cron("30 2 1 */3 *", "Europe/Berlin")] {
        let mut made = schedule(&world, timing);
        made.jitter = JitterMinutes::new(45).unwrap();
        block_on(world.commands.update(alice(), made.clone(), None)).unwrap();
        made.since = at(START);
        let read = world.repository().1;
        assert_eq!(**read.schedule(made.id).unwrap(), made);
    }
    let json: Vec<Value> = world.commands.read(|snapshot| {
        let timings = snapshot
            .schedules()
            .map(|schedule| serde_json::to_value(&schedule.timing).unwrap());
        timings.collect()
    });
    for expected in [
        json!({"every_days": 90}),
        json!({"cron": {"pattern": "30 2 1 */3 *", "time_zone": "Europe/Berlin"}}),
    ] {
        assert!(json.contains(&expected), "{json:?}");
    }
}

#[test]
fn a_schedule_in_use_is_not_removed_and_an_unknown_one_not_used() {
    let world = World::new();
    let made = schedule(&world, every(30));
    let object = Object(Table::Schedules, made.id.to_string().into());
    let remove = || block_on(world.commands.remove::<Schedule>(alice(), made.id, None));
    let in_use = |error: CommandError| match error {
        CommandError::Repository(RepositoryError::Change(ChangeError::InUse { object, by })) => (object, by.0),
        other => panic!("{other}"),
    };
    give(&world, world.vault, Some(made.id));
    assert_eq!(in_use(remove().unwrap_err()), (object.clone(), Table::KeySets));
    give(&world, world.vault, None);
    let key = world.create(world.vault, "Name").key.id;
    rotates(&world, &key, Rotation::By(made.id));
    assert_eq!(in_use(remove().unwrap_err()), (object.clone(), Table::Keys));
    rotates(&world, &key, Rotation::Never);
    remove().unwrap();

    let error = world
        .change(&key, KeyCommand::SetRotation(Rotation::By(made.id)))
        .unwrap_err();
    let expected = format!("keys/{key}: `rotation` names {object}, which does not exist");
    assert_eq!(error.to_string(), expected);
    let mut set = KeySet::new(KeySetId::generate().unwrap(), world.tenant, "Set", KeySource::Vault).unwrap();
    set.schedule = Some(made.id);
    let error = block_on(world.commands.create(alice(), set)).unwrap_err();
    assert!(error.to_string().contains("`schedule` names schedules/"), "{error}");
}

/// From when on a schedule counts is for the commands to say, whatever the record says that they are given.
#[test]
fn commands_set_from_when_on_a_schedule_counts() {
    let world = World::new();
    let mut made = schedule(&world, every(30));
    world.wait(1);
    made.jitter = JitterMinutes::new(1).unwrap();
    made.since = at(7);
    block_on(world.commands.update(alice(), made.clone(), None)).unwrap();
    assert_eq!(kept(&world, made.id).since, at(START));
    made.timing = every(31);
    block_on(world.commands.update(alice(), made.clone(), None)).unwrap();
    assert_eq!(kept(&world, made.id).since, world.commands.now());

    let since = |world: &World| {
        world
            .commands
            .read(|snapshot| snapshot.key_set(world.hsm).unwrap().schedule_since)
    };
    assert_eq!(since(&world), None);
    give(&world, world.hsm, Some(made.id));
    let first = world.commands.now();
    assert_eq!(since(&world), Some(first));
    world.wait(1);
    let mut set = world
        .commands
        .read(|snapshot| (**snapshot.key_set(world.hsm).unwrap()).clone());
    set.keeps_decryption = false;
    set.schedule_since = None;
    block_on(world.commands.update(alice(), set, None)).unwrap();
    assert_eq!(since(&world), Some(first));

    let key = world.create(world.hsm, "Name").key.id;
    let since = || world.commands.key(&key).unwrap().key.rotation_since;
    assert_eq!(since(), None);
    rotates(&world, &key, Rotation::Never);
    let first = world.commands.now();
    assert_eq!(since(), Some(first));
    world.wait(1);
    rotates(&world, &key, Rotation::Never);
    assert_eq!(since(), Some(first));
    world.change(&key, KeyCommand::ScheduleDeletion(None)).unwrap();
    let error = world
        .change(&key, KeyCommand::SetRotation(Rotation::Inherited))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`set-rotation` cannot be applied to a key that is pending-deletion"
    );
}
