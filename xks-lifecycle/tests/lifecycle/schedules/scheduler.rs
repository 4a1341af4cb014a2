//! What a scheduler does, and when.

use std::sync::{Arc, atomic::Ordering};

use pollster::block_on;
use xks_core::manage::ManageErrorKind;
use xks_lifecycle::{
    CommandError, Outcome, RepositoryError, Rotation, VersionState,
    commands::{Backends, Commands, Deployment},
    key_state::KeyCommand,
    schedule::JitterMinutes,
    store::{ClaimKind, StoreError},
};

use super::site::{
    cron, every, give, key, keys, rotates, rotates_monthly, run, schedule, scheduler, scheduler_of, time,
    two_monthly_keys, versions, worlds,
};
use crate::{
    commands::{
        hooked::Hooked,
        world::{DAY, Fault, START, World, alice},
    },
    support::at,
};

#[test]
fn keys_rotate_when_they_are_due() {
    for (world, _directory) in worlds() {
        let monthly = schedule(&world, every(30));
        give(&world, world.hsm, Some(monthly.id));
        give(&world, world.vault, Some(monthly.id));
        let (hsm, vault) = (
            world.create(world.hsm, "a").key.id,
            world.create(world.vault, "b").key.id,
        );
        let mut scheduler = scheduler(&world);
        assert_eq!(scheduler.next_due(), Some(at(START + 30 * DAY)));
        world.wait_seconds(30 * DAY - 1);
        assert_eq!(run(&mut scheduler), []);
        world.wait_seconds(1);
        let mut expected = [hsm.clone(), vault.clone()];
        expected.sort();
        assert_eq!(run(&mut scheduler), expected);
        assert_eq!(run(&mut scheduler), []);
        assert_eq!(scheduler.next_due(), Some(at(START + 60 * DAY)));
        for id in [&hsm, &vault] {
            assert_eq!(versions(&world, id), 2);
            let entry = world.commands.key(id).unwrap();
            assert_eq!(entry.versions[1].state, VersionState::Current);
            assert_eq!(entry.versions[1].promoted, Some(at(START + 30 * DAY)));
        }
        let by_scheduler = world
            .events()
            .into_iter()
            .filter(|event| event.actor.as_str() == "scheduler");
        let told: Vec<_> = by_scheduler
            .map(|event| format!("{} {}", event.command, event.outcome))
            .collect();
        assert_eq!(told.iter().filter(|told| *told == "rotate done").count(), 2, "{told:?}");
        assert!(block_on(world.store.claims(ClaimKind::Job)).unwrap().0.is_empty());
    }
}

/// However many times were missed, and whichever scheduler runs first afterwards.
#[test]
fn a_missed_time_is_made_up_once() {
    for (world, _directory) in worlds() {
        let daily = schedule(&world, cron("0 3 * * *", "Europe/Berlin"));
        give(&world, world.vault, Some(daily.id));
        let id = world.create(world.vault, "a").key.id;
        world.wait(100); // 2027-04-25T08:00:00Z
        let (mut first, mut second) = (scheduler(&world), scheduler(&world));
        assert_eq!(run(&mut first), std::slice::from_ref(&id));
        assert_eq!(run(&mut second), []);
        assert_eq!(run(&mut scheduler(&world)), []);
        assert_eq!(versions(&world, &id), 2);
        assert_eq!(second.next_due(), Some(time("2027-04-26T01:00:00Z")));
    }
}

#[test]
fn what_a_person_does_counts() {
    let world = World::new();
    rotates_monthly(&world, world.vault);
    let id = world.create(world.vault, "a").key.id;
    let mut scheduler = scheduler(&world);
    world.wait(20);
    world.rotate(&id).unwrap();
    world.wait(20);
    assert_eq!(run(&mut scheduler), []);
    assert_eq!(scheduler.next_due(), Some(at(START + 50 * DAY)));
    // A version that was added before is promoted then, and no other is made, though it is old.
    let added = block_on(world.commands.add_version(alice(), &id, None)).unwrap();
    assert_eq!(added.versions[2].promoted, None);
    world.wait(40);
    assert_eq!(run(&mut scheduler), std::slice::from_ref(&id));
    assert_eq!(run(&mut scheduler), []);
    assert_eq!(versions(&world, &id), 3);
}

/// A key that gets a schedule, by itself or by its key set, waits for its next time. So it does when the
/// schedule gets another timing.
#[test]
fn times_before_a_schedule_was_given_were_not_missed() {
    let world = World::new();
    let mut yearly = schedule(&world, cron("0 0 1 1 *", "UTC"));
    let id = world.create(world.vault, "a").key.id;
    let mut scheduler = scheduler(&world);
    world.wait(400);
    assert_eq!((run(&mut scheduler), scheduler.next_due()), (vec![], None));
    give(&world, world.vault, Some(yearly.id));
    assert_eq!(run(&mut scheduler), []);
    assert_eq!(scheduler.next_due(), Some(time("2029-01-01T00:00:00Z")));
    // Once its own, and never; then the key set's again.
    rotates(&world, &id, Rotation::Never);
    assert_eq!((run(&mut scheduler), scheduler.next_due()), (vec![], None));
    world.wait(400);
    rotates(&world, &id, Rotation::By(yearly.id));
    assert_eq!(run(&mut scheduler), []);
    assert_eq!(scheduler.next_due(), Some(time("2030-01-01T00:00:00Z")));
    world.wait(10);
    rotates(&world, &id, Rotation::Inherited);
    world.wait(10);
    yearly.timing = every(5);
    block_on(world.commands.update(alice(), yearly, None)).unwrap();
    assert_eq!(run(&mut scheduler), []);
    assert_eq!(scheduler.next_due(), Some(at(START + 825 * DAY)));
    assert_eq!(versions(&world, &id), 1);
}

#[test]
fn only_enabled_keys_rotate() {
    let world = World::new();
    rotates_monthly(&world, world.vault);
    let [disabled, doomed, expired] = ["a", "b", "c"].map(|name| world.create(world.vault, name).key.id);
    world.change(&disabled, KeyCommand::Disable).unwrap();
    world.change(&doomed, KeyCommand::ScheduleDeletion(None)).unwrap();
    // It expires at the very time at which it would rotate.
    let expires = at(START + 30 * DAY);
    world.change(&expired, KeyCommand::SetExpiry(Some(expires))).unwrap();
    let mut scheduler = scheduler(&world);
    assert_eq!((run(&mut scheduler), scheduler.next_due()), (vec![], None));
    world.wait(31);
    assert_eq!((run(&mut scheduler), scheduler.next_due()), (vec![], None));
    world.change(&disabled, KeyCommand::Enable).unwrap();
    assert_eq!(run(&mut scheduler), [disabled]);
}

#[test]
fn the_jitter_is_waited_for() {
    let world = World::new();
    let mut monthly = schedule(&world, every(30));
    monthly.jitter = JitterMinutes::new(1440).unwrap();
    block_on(world.commands.update(alice(), monthly.clone(), None)).unwrap();
    give(&world, world.vault, Some(monthly.id));
    let id = world.create(world.vault, "a").key.id;
    let mut scheduler = scheduler(&world);
    let due = monthly.due_after(at(START), &id).unwrap();
    assert_eq!(scheduler.next_due(), Some(due));
    world.wait_seconds(due.seconds() - START - 1);
    assert_eq!(run(&mut scheduler), []);
    world.wait_seconds(1);
    assert_eq!(run(&mut scheduler), [id]);
}

/// A failure is returned, recorded, and tried again: after a minute, and twice as long each time.
#[test]
fn what_fails_is_told_and_tried_again() {
    let world = World::new();
    let monthly = schedule(&world, every(30));
    give(&world, world.hsm, Some(monthly.id));
    give(&world, world.vault, Some(monthly.id));
    let (hsm, vault) = (
        world.create(world.hsm, "a").key.id,
        world.create(world.vault, "b").key.id,
    );
    let mut scheduler = scheduler(&world);
    world.wait(30);
    for (attempts, minutes) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        world.manager.fail(Fault::Before(ManageErrorKind::AccessDenied));
        let ran = block_on(scheduler.run_due());
        let expected: &[_] = if attempts == 1 {
            std::slice::from_ref(&vault)
        } else {
            &[]
        };
        assert_eq!(keys(&ran), expected, "the other key does not wait");
        let [failure] = &ran.failed[..] else { panic!("{ran:?}") };
        let retry = world.commands.now().plus_seconds(minutes * 60);
        assert_eq!(
            (key(&failure.task), failure.attempts, failure.retry),
            (hsm.clone(), attempts, retry)
        );
        assert_eq!(scheduler.next_due(), Some(retry));
        world.wait_seconds(minutes * 60 - 1);
        assert_eq!(run(&mut scheduler), []);
        world.wait_seconds(1);
    }
    let events = world.events();
    let failed = events.iter().filter(|event| event.outcome == Outcome::Failed);
    let reasons: Vec<_> = failed
        .map(|event| (event.actor.as_str(), event.reason.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(reasons.len(), 8);
    assert!(
        reasons
            .iter()
            .all(|(actor, why)| *actor == "scheduler" && why.contains("could not be made")),
        "{reasons:?}"
    );
    assert_eq!(run(&mut scheduler), std::slice::from_ref(&hsm));
    // What has failed once is forgotten.
    world.wait(30);
    world.manager.fail(Fault::Before(ManageErrorKind::AccessDenied));
    assert_eq!(block_on(scheduler.run_due()).failed[0].attempts, 1);
    // A person was faster.
    world.rotate(&hsm).unwrap();
    world.wait_seconds(60);
    assert_eq!(run(&mut scheduler), []);
    world.wait(30);
    world.manager.fail(Fault::Before(ManageErrorKind::AccessDenied));
    assert_eq!(block_on(scheduler.run_due()).failed[0].attempts, 1);
}

/// One that was refused before anything was committed waits too.
#[test]
fn a_key_whose_backend_is_unknown_is_tried_again_later() {
    let world = World::new();
    let monthly = schedule(&world, every(30));
    give(&world, world.hsm, Some(monthly.id));
    world.create(world.hsm, "a");
    let (repository, snapshot) = world.repository();
    let clock = world.clock();
    let commands = Commands::new(repository, snapshot, Backends::new(), Deployment::new("test").unwrap());
    let mut scheduler = scheduler_of(commands.with_clock(move || at(clock.load(Ordering::Relaxed))));
    world.wait(30);
    assert_eq!(block_on(scheduler.run_due()).failed.len(), 1);
    assert_eq!(scheduler.next_due(), Some(world.commands.now().plus_seconds(60)));
}

/// With the one that has found its key manager away, the others of its key set wait: then they come first.
#[test]
fn a_key_manager_that_is_away_is_asked_once() {
    for kind in [ManageErrorKind::Unavailable, ManageErrorKind::Timeout] {
        let world = World::new();
        let monthly = schedule(&world, every(30));
        for set in [world.hsm, world.vault] {
            give(&world, set, Some(monthly.id));
        }
        let sealed = world.create(world.vault, "a").key.id;
        let mut hsm: Vec<_> = ["b", "c", "d"].map(|name| world.create(world.hsm, name).key.id).into();
        hsm.sort();
        let mut scheduler = scheduler(&world);
        world.wait(30);
        world.manager.fail(Fault::Before(kind));
        let ran = block_on(scheduler.run_due());
        assert_eq!(keys(&ran), [sealed], "{ran:?}");
        let failed: Vec<_> = ran.failed.iter().map(|failure| key(&failure.task)).collect();
        assert_eq!(failed, hsm[..1]);
        assert_eq!(scheduler.next_due(), Some(world.commands.now().plus_seconds(60)));
        assert_eq!(run(&mut scheduler), []);
        world.wait_seconds(60);
        hsm.rotate_left(1);
        assert_eq!(run(&mut scheduler), hsm);
    }
}

/// A person who rotates the key just before is not overtaken, and no second version is made.
#[test]
fn a_person_who_is_faster_wins() {
    for number in [1, 2] {
        let store = Arc::new(Hooked::default());
        let world = World::over(Arc::clone(&store) as _);
        rotates_monthly(&world, world.vault);
        let id = world.create(world.vault, "a").key.id;
        let mut scheduler = scheduler(&world);
        world.wait(30);
        let (person, key) = (world.another(), id.clone());
        // First it looks what is due, then whether it still is, and then it rotates.
        store.before_load(number, move || {
            drop(block_on(person.rotate(alice(), &key, None)).unwrap());
        });
        let ran = block_on(scheduler.run_due());
        assert!(ran.done.is_empty() && ran.stopped.is_none(), "{ran:?}");
        let errors: Vec<_> = ran.failed.iter().map(|failure| &failure.error).collect();
        match number {
            1 => assert!(errors.is_empty(), "{errors:?}"),
            _ => assert!(matches!(errors[..], [CommandError::Changed { .. }]), "{errors:?}"),
        }
        world.wait_seconds(60);
        assert_eq!(run(&mut scheduler), []);
        assert_eq!(versions(&world, &id), 2);
    }
}

/// When the store fails, the rest is not tried one by one, and all of it is done later.
#[test]
fn a_failing_store_stops_the_run() {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    two_monthly_keys(&world);
    let mut scheduler = scheduler(&world);
    world.wait(30);
    store.is_full.store(true, Ordering::Relaxed);
    let ran = block_on(scheduler.run_due());
    assert!(ran.done.is_empty() && ran.failed.is_empty(), "{ran:?}");
    let stopped = ran.stopped.unwrap();
    let is_full = matches!(
        stopped,
        CommandError::Repository(RepositoryError::Store(StoreError::Full(_)))
    );
    assert!(is_full, "{stopped}");
    let failed = world
        .events()
        .into_iter()
        .filter(|event| event.outcome == Outcome::Failed);
    assert_eq!(failed.count(), 1);
    store.is_full.store(false, Ordering::Relaxed);
    assert_eq!(run(&mut scheduler).len(), 2);
}
