//! Keys whose versions have made most of their encryptions rotate by themselves.

use pollster::block_on;
use xks_core::manage::ManageErrorKind;
use xks_lifecycle::{
    KeyVersionId, Outcome, Rotation,
    commands::Commands,
    key_state::KeyCommand,
    schedule::{Scheduler, Task},
};

use super::site::{rotates, scheduler_of};
use crate::commands::world::{Fault, World};

/// From how many reserved encryptions on a version is near its limit.
const NEAR: u64 = 3 << 30;

fn current(commands: &Commands, key: &xks_core::KeyId) -> KeyVersionId {
    let entry = commands.key(key).unwrap();
    entry.versions.last().unwrap().id.clone()
}

/// Reserves encryptions of the newest version, as other processes have.
fn reserve(world: &World, key: &xks_core::KeyId, count: u64) {
    let (repository, _) = world.repository();
    block_on(repository.reserve(&current(&world.another(), key), count, 1 << 32)).unwrap();
}

/// A scheduler of a process that starts now.
fn started(world: &World) -> Scheduler {
    let commands = world.another();
    block_on(commands.load_counts()).unwrap();
    scheduler_of(commands)
}

#[test]
fn a_key_near_its_limit_rotates_whatever_its_schedule_and_the_event_says_why() {
    let world = World::new();
    let keys = ["near", "below", "disabled"].map(|name| world.create(world.vault, name).key.id);
    let [near, below, disabled] = &keys;
    rotates(&world, near, Rotation::Never);
    world.change(disabled, KeyCommand::Disable).unwrap();
    let version = current(&world.commands, near);
    for (key, count) in [(near, NEAR), (below, NEAR - 1), (disabled, NEAR)] {
        reserve(&world, key, count);
    }
    let mut scheduler = started(&world);
    let events = world.events().len();
    let ran = block_on(scheduler.run_due());
    assert_eq!(ran.done, [Task::RotateNearLimit(near.clone())], "{ran:?}");
    assert!(ran.failed.is_empty() && block_on(scheduler.run_due()).done.is_empty());
    let [begun, published, done] = &world.events()[events..] else {
        panic!("{:?}", world.told())
    };
    for event in [begun, published, done] {
        let reason = event.reason.as_ref().unwrap().as_str();
        assert_eq!(
            reason,
            format!("version {version} has {NEAR} of 4294967296 encryptions reserved")
        );
        assert_eq!((event.actor.as_str(), event.command.as_str()), ("scheduler", "rotate"));
    }
    assert_eq!((begun.outcome, done.outcome), (Outcome::Begun, Outcome::Done));
    assert_ne!(current(&world.another(), near), version);
}

/// Counts change without a change of the state, after the scheduler has seen that nothing is due.
#[test]
fn a_version_that_comes_near_its_limit_is_seen_in_time_and_a_failure_is_tried_again() {
    let world = World::new();
    let key = world.create(world.hsm, "Name").key.id;
    let commands = std::sync::Arc::new(world.another());
    let actor = xks_lifecycle::commands::Actor::new("scheduler").unwrap();
    let mut scheduler = Scheduler::new(std::sync::Arc::clone(&commands), actor).unwrap();
    assert!(block_on(scheduler.run_due()).done.is_empty());
    reserve(&world, &key, NEAR);
    block_on(commands.load_counts()).unwrap();
    world.manager.fail(Fault::Before(ManageErrorKind::Unavailable));
    let ran = block_on(scheduler.run_due());
    assert!(ran.done.is_empty() && ran.failed.len() == 1, "{ran:?}");
    assert!(block_on(scheduler.run_due()).failed.is_empty(), "it waits");
    world.wait_seconds(60);
    assert_eq!(block_on(scheduler.run_due()).done, [Task::RotateNearLimit(key)]);
}
