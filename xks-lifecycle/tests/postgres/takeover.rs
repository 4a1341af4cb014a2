//! Two schedulers on one database, of which one is stopped in the middle of a task.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use xks_backend_soft::SoftBackend;
use xks_lifecycle::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, CloudMaterialId, Import, KeySet, KeySetId,
    KeySource, Material, Outcome, RotationStyle, Schedule, ScheduleId, Tenant, TenantId, VersionState,
    commands::{Actor, CreateKey},
    key_state::VersionCommand,
    schedule::{PeriodDays, Scheduler, Task, Timing},
    store::{ClaimKind, Store as _},
};

use crate::{
    running::{Running, state_of},
    server::{Database, RUNTIME},
    support::soon,
};

/// Material of a KMS key, which is to be made in the key manager of a key set.
async fn pending_material(node: &Running, set: KeySetId, alice: &Actor) -> CloudMaterialId {
    let (account, key) = (CloudAccountId::generate().unwrap(), CloudKeyId::generate().unwrap());
    let tenant = node.commands.read(|state| state.key_set(set).unwrap().tenant);
    let account = CloudAccount::new(account, tenant, "Main", "eu-central-1".parse().unwrap()).unwrap();
    let origin = CloudKeyOrigin::External(Import::new(RotationStyle::NewKey));
    let cloud_key = CloudKey::new(key, set, &account, "alias/a".parse().unwrap(), origin).unwrap();
    node.commands.create(alice, account).await.unwrap();
    node.commands.create_import(alice, cloud_key).await.unwrap();
    node.commands.read(|state| state.materials_of(key).next().unwrap().id)
}

const YEAR: u64 = 366 * 24 * 60 * 60;

/// Its work is taken over when its lease has ended, done once, and what it does later is refused.
#[test]
fn a_scheduler_that_is_stopped_in_the_middle_of_a_rotation_changes_nothing_when_it_goes_on() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let root = state_of(&database).await;
        let (lease, soft) = (Duration::from_secs(4), Arc::<SoftBackend>::default());
        let a = Running::start(&database, &root, "a", lease, Arc::clone(&soft)).await;
        let b = Running::start(&database, &root, "b", lease, Arc::clone(&soft)).await;
        let alice = Actor::new("alice").unwrap();
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let timing = Timing::EveryDays(PeriodDays::new(30).unwrap());
        let schedule = Schedule::new(ScheduleId::generate().unwrap(), tenant.id, "Monthly", timing).unwrap();
        let mut set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
        set.schedule = Some(schedule.id);
        let spec = CreateKey::new(set.id, "Key").unwrap();
        a.commands.create(&alice, tenant).await.unwrap();
        a.commands.create(&alice, schedule).await.unwrap();
        a.commands.create(&alice, set).await.unwrap();
        let id = a.commands.create_key(&alice, spec).await.unwrap().key.id;
        let scheduler = |node: &Running| {
            node.ahead.store(YEAR, Ordering::Relaxed);
            Scheduler::new(Arc::clone(&node.commands), Actor::new("scheduler").unwrap()).unwrap()
        };
        let (mut of_a, mut of_b) = (scheduler(&a), scheduler(&b));

        a.hsm.stops.store(true, Ordering::Relaxed);
        let stopped = tokio::spawn(async move { of_a.run_due().await });
        soon(a.hsm.is_there.notified()).await;
        // It is alive: its work is left to it.
        let ran = of_b.run_due().await;
        assert!(ran.is_left_to_another && ran.done.is_empty(), "{ran:?}");
        let claims = b.store.claims(ClaimKind::Job).await.unwrap().0;
        assert!(claims.iter().any(|claim| &*claim.id == "scheduler"), "{claims:?}");
        a.stop();
        b.hsm.stops.store(true, Ordering::Relaxed);
        let taking_over = tokio::spawn(async move {
            loop {
                let ran = of_b.run_due().await;
                if !ran.is_left_to_another {
                    return ran;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        soon(b.hsm.is_there.notified()).await;

        // It goes on while the other one is in the middle of the same rotation.
        a.hsm.goes_on.notify_one();
        let ran = soon(stopped).await.unwrap();
        assert!(
            ran.done.is_empty() && ran.failed.is_empty() && ran.stopped.is_none(),
            "{ran:?}"
        );
        assert!(ran.is_left_to_another, "{ran:?}");
        b.commands.refresh().await.unwrap();
        let states = |node: &Running| -> Vec<_> {
            let entry = node.commands.key(&id).unwrap();
            entry.versions.iter().map(|version| version.state).collect()
        };
        assert_eq!(
            states(&b),
            [VersionState::Current, VersionState::Pending],
            "what comes late is refused"
        );
        b.hsm.goes_on.notify_one();
        let ran = soon(taking_over).await.unwrap();
        assert_eq!(ran.done, [Task::RotateKey(id.clone())], "{ran:?}");
        assert_eq!(states(&b), [VersionState::DecryptOnly, VersionState::Current]);
        assert_eq!(soft.key_ids().len(), 2, "no key was made twice");
        let events = b.commands.events(0, 100).await.unwrap();
        let failed = events.iter().find(|(_, event)| event.outcome == Outcome::Failed);
        let reason = failed.unwrap().1.reason.clone().unwrap();
        assert!(
            reason.as_str().contains("was taken over by another process"),
            "{reason}"
        );
        assert!(b.store.claims(ClaimKind::Job).await.unwrap().0.is_empty());
        b.leave().await;
    });
}

/// What a live node is making is neither made a second time nor taken for half done; what a dead one has left
/// is.
#[test]
fn what_another_node_is_making_is_left_to_it_while_it_lives() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let root = state_of(&database).await;
        let (lease, soft) = (Duration::from_secs(4), Arc::<SoftBackend>::default());
        let a = Running::start(&database, &root, "a", lease, Arc::clone(&soft)).await;
        let b = Running::start(&database, &root, "b", lease, Arc::clone(&soft)).await;
        let alice = Actor::new("alice").unwrap();
        let spec = CreateKey::new(a.key_set(&alice).await, "Key").unwrap();
        let set = spec.key_set;
        let id = a.commands.create_key(&alice, spec).await.unwrap().key.id;
        a.hsm.stops.store(true, Ordering::Relaxed);
        let stopped = {
            let (commands, alice, id) = (Arc::clone(&a.commands), alice.clone(), id.clone());
            tokio::spawn(async move { commands.rotate(&alice, &id, None).await })
        };
        soon(a.hsm.is_there.notified()).await;
        let material = pending_material(&a, set, &alice).await;
        a.hsm.stops_to_check.store(true, Ordering::Relaxed);
        let stopped_material = {
            let (commands, alice) = (Arc::clone(&a.commands), alice.clone());
            tokio::spawn(async move { commands.make_material(&alice, material).await })
        };
        soon(a.hsm.is_there.notified()).await;

        let recovered = b.commands.recover(&alice).await.unwrap();
        assert_eq!(recovered.materials.left, [material], "{recovered:?}");
        let error = b.commands.make_material(&alice, material).await.unwrap_err();
        assert!(error.to_string().starts_with("node `a` is making"), "{error}");
        let version = b.commands.key(&id).unwrap().versions[1].clone();
        assert_eq!(version.state, VersionState::Pending);
        assert_eq!(recovered.left, std::slice::from_ref(&version.id), "{recovered:?}");
        assert!(
            recovered.made.is_empty() && recovered.failed.is_empty(),
            "{recovered:?}"
        );
        let error = b.commands.rotate(&alice, &id, None).await.unwrap_err();
        assert!(error.to_string().starts_with("node `a` is making version"), "{error}");
        assert_eq!(b.commands.key(&id).unwrap().versions.len(), 2);

        a.stop();
        let recovered = soon(async {
            loop {
                let recovered = b.commands.recover(&alice).await.unwrap();
                if recovered.left.is_empty() {
                    break recovered;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        assert_eq!(recovered.made, [version.id], "{recovered:?}");
        assert_eq!(recovered.materials.made, [material], "{recovered:?}");
        let known = b.commands.make_material(&alice, material).await.unwrap();
        assert!(b.store.claims(ClaimKind::Job).await.unwrap().0.is_empty());
        let entry = b.commands.rotate(&alice, &id, None).await.unwrap();
        let states = [VersionState::DecryptOnly, VersionState::Current];
        assert!(
            entry.versions.iter().map(|version| version.state).eq(states),
            "{entry:?}"
        );
        // The one that was stopped finds its work done.
        a.hsm.goes_on.notify_one();
        a.hsm.goes_on.notify_one();
        let late = soon(stopped).await.unwrap().unwrap();
        assert!(late.versions.iter().map(|version| version.state).eq(states), "{late:?}");
        assert_eq!(soon(stopped_material).await.unwrap().unwrap(), known);
        assert_eq!(soft.key_ids().len(), 3, "no key was made twice");
        let events = b.commands.events(0, 1000).await.unwrap();
        let made = events.iter().filter(|(_, event)| {
            let is_about_material = event.object.as_str() == format!("cloud-materials/{material}");
            is_about_material && event.outcome == Outcome::Done && event.before.is_some()
        });
        assert_eq!(made.count(), 1, "it was committed once");
        b.leave().await;
    });
}

/// Two nodes start at once after another one has ended in the middle of making a version: one of them makes
/// it, and the other one leaves it to that.
#[test]
fn of_two_recoveries_at_once_one_makes_what_a_dead_node_has_left_half_made() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let root = state_of(&database).await;
        let (lease, soft) = (Duration::from_secs(4), Arc::<SoftBackend>::default());
        let mut nodes = Vec::new();
        for name in ["a", "b", "c"] {
            nodes.push(Running::start(&database, &root, name, lease, Arc::clone(&soft)).await);
        }
        let [a, b, c] = <[Running; 3]>::try_from(nodes).ok().unwrap();
        let alice = Actor::new("alice").unwrap();
        let spec = CreateKey::new(a.key_set(&alice).await, "Key").unwrap();
        let id = a.commands.create_key(&alice, spec).await.unwrap().key.id;
        a.hsm.stops.store(true, Ordering::Relaxed);
        let stopped = {
            let (commands, alice, id) = (Arc::clone(&a.commands), alice.clone(), id.clone());
            tokio::spawn(async move { commands.rotate(&alice, &id, None).await })
        };
        soon(a.hsm.is_there.notified()).await;
        a.stop();
        stopped.abort();
        soon(async {
            while b.store.claims(ClaimKind::Node).await.unwrap().0.len() > 2 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;

        // The first is in the middle of it while the second begins.
        b.hsm.stops.store(true, Ordering::Relaxed);
        let first = {
            let (commands, alice) = (Arc::clone(&b.commands), alice.clone());
            tokio::spawn(async move { commands.recover(&alice).await })
        };
        soon(b.hsm.is_there.notified()).await;
        let second = c.commands.recover(&alice).await.unwrap();
        let version = c.commands.key(&id).unwrap().versions[1].clone();
        assert_eq!(version.state, VersionState::Pending);
        assert_eq!(second.left, std::slice::from_ref(&version.id), "{second:?}");
        assert!(second.made.is_empty() && second.failed.is_empty(), "{second:?}");
        b.hsm.goes_on.notify_one();
        let first = soon(first).await.unwrap().unwrap();
        assert_eq!(first.made, [version.id], "{first:?}");
        // What is made is left by both.
        let again = tokio::join!(b.commands.recover(&alice), c.commands.recover(&alice));
        for recovered in [again.0.unwrap(), again.1.unwrap()] {
            let all = [&recovered.made, &recovered.removed, &recovered.left];
            assert!(
                all.iter().all(|list| list.is_empty()) && recovered.failed.is_empty(),
                "{recovered:?}"
            );
        }
        assert_eq!(soft.key_ids().len(), 2, "no key was made twice");
        assert!(b.store.claims(ClaimKind::Job).await.unwrap().0.is_empty());
        b.leave().await;
        c.leave().await;
    });
}

/// Two nodes find the material of the same destroyed version: it is destroyed once, and neither fails.
#[test]
fn of_two_recoveries_at_once_both_find_a_destroyed_version_gone() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let root = state_of(&database).await;
        let (lease, soft) = (Duration::from_secs(4), Arc::<SoftBackend>::default());
        let a = Running::start(&database, &root, "a", lease, Arc::clone(&soft)).await;
        let b = Running::start(&database, &root, "b", lease, Arc::clone(&soft)).await;
        let alice = Actor::new("alice").unwrap();
        let spec = CreateKey::new(a.key_set(&alice).await, "Key").unwrap();
        let id = a.commands.create_key(&alice, spec).await.unwrap().key.id;
        let doomed = a.commands.rotate(&alice, &id, None).await.unwrap().versions[0]
            .id
            .clone();
        let change = |command| a.commands.change_version(&alice, &doomed, None, command);
        change(VersionCommand::Revoke).await.unwrap();
        let destroy = VersionCommand::Destroy {
            typed_name: Some("Key".to_owned()),
        };
        a.hsm.stops_to_destroy.store(true, Ordering::Relaxed);
        let ended = tokio::select! {
            ended = change(destroy) => Some(ended),
            () = soon(a.hsm.is_there.notified()) => None, // the process ends in the middle
        };
        assert!(ended.is_none(), "{ended:?}");
        let material = |node: &Running| node.commands.key(&id).unwrap().versions[0].material.clone();
        assert_eq!(soft.key_ids().len(), 2, "its key manager has it still");

        // The first is about to destroy it while the second does.
        a.hsm.stops_to_destroy.store(true, Ordering::Relaxed);
        let first = {
            let (commands, alice) = (Arc::clone(&a.commands), alice.clone());
            tokio::spawn(async move { commands.recover(&alice).await })
        };
        soon(a.hsm.is_there.notified()).await;
        let second = b.commands.recover(&alice).await.unwrap();
        assert_eq!(
            (&*second.removed, second.failed.len()),
            (std::slice::from_ref(&doomed), 0),
            "{second:?}"
        );
        assert_eq!((material(&b), soft.key_ids().len()), (Material::Gone, 1));
        a.hsm.goes_on.notify_one();
        let first = soon(first).await.unwrap().unwrap();
        assert_eq!(
            (&*first.removed, first.failed.len()),
            (std::slice::from_ref(&doomed), 0),
            "{first:?}"
        );
        assert_eq!(
            (material(&a), soft.key_ids().len()),
            (Material::Gone, 1),
            "the other version stays"
        );
        a.leave().await;
        b.leave().await;
    });
}
