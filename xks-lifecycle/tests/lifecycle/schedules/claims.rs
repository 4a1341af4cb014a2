//! One scheduler at a time, by a claim in the store.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use pollster::block_on;
use xks_lifecycle::{
    key_state::KeyCommand,
    store::{Claim, ClaimKind, Store, Swap},
};

use super::site::{rotates_monthly, run, scheduler, scheduler_of, two_monthly_keys, versions, worlds};
use crate::{
    commands::{
        hooked::Hooked,
        world::{DAY, START, World},
    },
    support::at,
};

fn claim(owner: &str, counter: u64) -> Claim {
    Claim::new(ClaimKind::Job, "scheduler", owner, counter, "")
}

/// The claim of another counts as long as it changes, as this scheduler sees it.
#[test]
fn one_scheduler_runs_at_a_time() {
    for (world, _directory) in worlds() {
        rotates_monthly(&world, world.vault);
        let id = world.create(world.vault, "a").key.id;
        let mut scheduler = scheduler(&world);
        let mut other = claim("another", 7);
        block_on(world.store.swap(Swap::Insert(other.clone()))).unwrap();
        world.wait(30);
        for _ in 0..3 {
            let ran = block_on(scheduler.run_due());
            assert!(ran.is_left_to_another && ran.done.is_empty(), "{ran:?}");
            assert_eq!(scheduler.next_due(), Some(world.commands.now().plus_seconds(60)));
            world.wait_seconds(59);
            assert!(block_on(scheduler.run_due()).is_left_to_another);
            let next = other.with_counter(other.counter + 1);
            let seen = std::mem::replace(&mut other, next.clone());
            assert!(
                block_on(world.store.swap(Swap::Replace { seen, next }))
                    .unwrap()
                    .is_done
            );
            world.wait_seconds(10);
        }
        assert!(block_on(scheduler.run_due()).is_left_to_another);
        world.wait_seconds(60);
        assert_eq!(run(&mut scheduler), std::slice::from_ref(&id));
        assert!(block_on(world.store.claims(ClaimKind::Job)).unwrap().0.is_empty());
        assert_eq!(versions(&world, &id), 2);
    }
}

/// One that has ended its work, or was restored without it.
#[test]
fn a_claim_that_is_gone_keeps_nobody() {
    for (world, _directory) in worlds() {
        rotates_monthly(&world, world.vault);
        let id = world.create(world.vault, "a").key.id;
        let mut scheduler = scheduler(&world);
        let other = claim("another", 7);
        block_on(world.store.swap(Swap::Insert(other.clone()))).unwrap();
        world.wait(30);
        assert!(block_on(scheduler.run_due()).is_left_to_another);
        assert!(block_on(world.store.swap(Swap::Delete(other))).unwrap().is_done);
        world.wait_seconds(60);
        assert_eq!(run(&mut scheduler), std::slice::from_ref(&id));
    }
}

/// When its clock was ahead and is set back, a scheduler does not wait for the time that it once saw.
#[test]
fn a_clock_that_is_set_back_delays_nobody_for_long() {
    let world = World::new();
    rotates_monthly(&world, world.vault);
    let id = world.create(world.vault, "a").key.id;
    let mut scheduler = scheduler(&world);
    block_on(world.store.swap(Swap::Insert(claim("another", 7)))).unwrap();
    world.wait(300);
    assert!(block_on(scheduler.run_due()).is_left_to_another);
    world.clock().store(START + 31 * DAY, Ordering::Relaxed);
    assert!(block_on(scheduler.run_due()).is_left_to_another);
    world.wait_seconds(60);
    assert_eq!(run(&mut scheduler), std::slice::from_ref(&id));
    // Nor is a key forgotten that had expired by that clock.
    world
        .change(&id, KeyCommand::SetExpiry(Some(at(START + 100 * DAY))))
        .unwrap();
    world.wait(300);
    assert_eq!((run(&mut scheduler), scheduler.next_due()), (vec![], None));
    world.clock().store(START + 62 * DAY, Ordering::Relaxed);
    assert_eq!(run(&mut scheduler), [id]);
}

/// What was begun is left to who has taken the claim over meanwhile.
#[test]
fn a_scheduler_that_has_lost_its_claim_stops() {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    two_monthly_keys(&world);
    let mut scheduler = scheduler_of(world.another());
    world.wait(30);
    block_on(world.commands.refresh()).unwrap();
    let before = world.commands.revision();
    let (clock, same) = (world.clock(), Arc::clone(&store));
    store.before_commit(move || {
        let seen = block_on(same.claims(ClaimKind::Job)).unwrap().0.remove(0);
        let next = claim("another", seen.counter + 1);
        assert!(block_on(same.swap(Swap::Replace { seen, next })).unwrap().is_done);
        clock.fetch_add(20, Ordering::Relaxed);
    });
    let ran = block_on(scheduler.run_due());
    assert_eq!((ran.done.len(), ran.is_left_to_another), (0, true), "{ran:?}");
    assert!(ran.failed.is_empty() && ran.stopped.is_none(), "{ran:?}");
    block_on(world.commands.refresh()).unwrap();
    assert_eq!(world.commands.revision(), before, "nothing was changed");
    let claims = block_on(world.store.claims(ClaimKind::Job)).unwrap().0;
    assert_eq!(&*claims[0].owner, "another");
}

/// A long run keeps its claim.
#[test]
fn a_scheduler_renews_its_claim() {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    two_monthly_keys(&world);
    let (mut first, mut second) = (scheduler(&world), scheduler(&world));
    world.wait(30);
    let counters = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&counters);
    before_each_commit(&store, world.clock(), move |store| {
        assert!(block_on(second.run_due()).is_left_to_another);
        seen.lock()
            .unwrap()
            .push(block_on(store.claims(ClaimKind::Job)).unwrap().0[0].counter);
    });
    // The second time too, when the other one has seen an earlier claim long ago.
    for _ in 0..2 {
        counters.lock().unwrap().clear();
        assert_eq!(run(&mut first).len(), 2);
        // Each rotation has three commits, and 21 seconds.
        let seen = counters.lock().unwrap().clone();
        let since: Vec<_> = seen.iter().map(|counter| counter - seen[0]).collect();
        assert_eq!(since, [0, 0, 0, 1, 1, 1]);
        world.wait(31);
    }
}

/// Does something before each commit, which takes seven seconds.
fn before_each_commit(store: &Arc<Hooked>, clock: Arc<AtomicU64>, mut what: impl FnMut(&Hooked) + Send + 'static) {
    let same = Arc::clone(store);
    store.before_commit(move || {
        what(&same);
        clock.fetch_add(7, Ordering::Relaxed);
        before_each_commit(&same, clock, what);
    });
}

/// A call that was dropped, or whose answer was lost, has left the claim: its own.
#[test]
fn a_scheduler_takes_its_own_claim_again() {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    rotates_monthly(&world, world.vault);
    let id = world.create(world.vault, "a").key.id;
    let mut scheduler = scheduler(&world);
    world.wait(30);
    let (same, other) = (Arc::clone(&store), Arc::new(Mutex::new(None)));
    let left = Arc::clone(&other);
    store.before_commit(move || *left.lock().unwrap() = block_on(same.claims(ClaimKind::Job)).unwrap().0.pop());
    assert_eq!(run(&mut scheduler), std::slice::from_ref(&id));
    let left = other.lock().unwrap().take().unwrap();
    block_on(store.swap(Swap::Insert(left))).unwrap();
    world.wait(30);
    assert_eq!(run(&mut scheduler), [id]);
}
