//! A world with schedules, and a scheduler on another process's view of its state.

use std::sync::Arc;

use pollster::block_on;
use xks_core::KeyId;
use xks_lifecycle::{
    KeySetId, Rotation, Schedule, ScheduleId, Timestamp,
    commands::{Actor, Commands},
    key_state::KeyCommand,
    schedule::{PeriodDays, Ran, Scheduler, Task, Timing},
    store::SqliteStore,
};

use crate::{
    commands::world::{World, alice},
    support::TempDir,
};

/// Over each store.
pub(crate) fn worlds() -> Vec<(World, Option<TempDir>)> {
    let directory = TempDir::new();
    let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
    vec![(World::new(), None), (World::over(store), Some(directory))]
}

pub(crate) fn every(days: u64) -> Timing {
    Timing::EveryDays(PeriodDays::new(days).unwrap())
}

pub(crate) fn cron(pattern: &str, zone: &str) -> Timing {
    let (pattern, zone) = (pattern.parse().unwrap(), zone.parse().unwrap());
    Timing::Cron { pattern, zone }
}

pub(crate) fn time(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    crate::support::at(time.as_second().unsigned_abs())
}

pub(crate) fn schedule(world: &World, timing: Timing) -> Schedule {
    let schedule = Schedule::new(ScheduleId::generate().unwrap(), world.tenant, "Schedule", timing).unwrap();
    block_on(world.commands.create(alice(), schedule.clone())).unwrap();
    schedule
}

pub(crate) fn give(world: &World, set: KeySetId, schedule: Option<ScheduleId>) {
    let mut set = world
        .commands
        .read(|snapshot| (**snapshot.key_set(set).unwrap()).clone());
    set.schedule = schedule;
    block_on(world.commands.update(alice(), set, None)).unwrap();
}

/// Every key of the set rotates every 30 days.
pub(crate) fn rotates_monthly(world: &World, set: KeySetId) {
    give(world, set, Some(schedule(world, every(30)).id));
}

/// Two keys that rotate every 30 days.
pub(crate) fn two_monthly_keys(world: &World) {
    rotates_monthly(world, world.vault);
    for name in ["a", "b"] {
        world.create(world.vault, name);
    }
}

pub(crate) fn rotates(world: &World, key: &KeyId, rotation: Rotation) {
    world.change(key, KeyCommand::SetRotation(rotation)).unwrap();
}

pub(crate) fn scheduler(world: &World) -> Scheduler {
    scheduler_of(world.another())
}

pub(crate) fn scheduler_of(commands: Commands) -> Scheduler {
    Scheduler::new(Arc::new(commands), Actor::new("scheduler").unwrap()).unwrap()
}

/// What is done, where nothing fails.
pub(crate) fn run(scheduler: &mut Scheduler) -> Vec<KeyId> {
    let ran = block_on(scheduler.run_due());
    assert!(ran.failed.is_empty() && ran.stopped.is_none(), "{ran:?}");
    assert!(!ran.is_left_to_another, "{ran:?}");
    keys(&ran)
}

pub(crate) fn keys(ran: &Ran) -> Vec<KeyId> {
    ran.done.iter().map(key).collect()
}

pub(crate) fn key(task: &Task) -> KeyId {
    match task {
        Task::RotateKey(key) => key.clone(),
        other => panic!("{other:?}"),
    }
}

/// How many versions a key has.
pub(crate) fn versions(world: &World, key: &KeyId) -> usize {
    block_on(world.commands.refresh()).unwrap();
    world.commands.key(key).unwrap().versions.len()
}
