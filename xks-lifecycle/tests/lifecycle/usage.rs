//! Usage: what a version was used for, and when last.

use std::{pin::pin, sync::atomic::Ordering::Relaxed};

use pollster::block_on;
use xks_core::KeyId;
use xks_lifecycle::{
    Managed, Timestamp, Usage,
    commands::{Adopt, Commands, CreateKey, VersionUsage},
    key_state::KeyCommand,
};

use crate::{
    commands::world::{START, alice},
    counts::{encrypt_times, over_hooked, poll},
    managed::{Store, encrypt},
    support::at,
};

fn usage(commands: &Commands, id: &KeyId) -> Vec<VersionUsage> {
    block_on(commands.usage(id)).unwrap()
}

/// The usage of a key's only version, as text.
fn shown(commands: &Commands, id: &KeyId) -> (u64, u64, Option<Timestamp>) {
    let [VersionUsage { usage, .. }] = usage(commands, id)[..] else {
        panic!("one version")
    };
    (usage.encryptions, usage.decryptions, usage.last_used)
}

#[test]
fn each_version_knows_what_it_was_used_for_and_when() {
    let store = Store::new();
    let commands = &store.world.commands;
    for set in store.sets() {
        let now = commands.now();
        let id = store.world.create(set, "Name").key.id;
        assert_eq!(shown(commands, &id), (0, 0, None));
        let first = store.encrypt(&id).unwrap();
        encrypt_times(&store, &id, 2);
        store.world.wait(1);
        store.decrypt(&id, &first).unwrap();
        assert_eq!(shown(commands, &id), (3, 1, Some(now.plus_days(1))));
        let rotated = store.world.rotate(&id).unwrap();
        store.world.wait(1);
        store.decrypt(&id, &first).unwrap();
        store.encrypt(&id).unwrap();
        let [first, second] = &usage(commands, &id)[..] else {
            panic!("two versions")
        };
        assert_eq!(
            (&first.version, &second.version),
            (&rotated.versions[0].id, &rotated.versions[1].id)
        );
        let of = |used: &VersionUsage| (used.usage.encryptions, used.usage.decryptions, used.usage.last_used);
        let last = Some(now.plus_days(2));
        assert_eq!((of(first), of(second)), ((3, 2, last), (1, 0, last)));
        assert_eq!((first.most_encryptions, second.most_encryptions), (1024, 1024));
    }
}

#[test]
fn what_is_refused_is_no_use() {
    let store = Store::new();
    let id = store.world.create(store.world.vault, "Name").key.id;
    let first = store.encrypt(&id).unwrap();
    let used = shown(&store.world.commands, &id);
    store.world.wait(1);
    store.world.change(&id, KeyCommand::Disable).unwrap();
    store.encrypt(&id).unwrap_err();
    store.decrypt(&id, &first).unwrap_err();
    assert_eq!(shown(&store.world.commands, &id), used);
}

/// Another process, as after a restart, sees what was flushed; and what both do is added.
#[test]
fn usage_is_added_up_in_the_store() {
    let store = Store::new();
    let commands = &store.world.commands;
    let id = store.world.create(store.world.vault, "Name").key.id;
    let other = store.world.another();
    let managed = Managed::new(&other, store.id);
    let revision = commands.revision();
    encrypt_times(&store, &id, 3);
    let at_start = Some(at(START));
    assert_eq!(shown(&other, &id), (0, 0, None));
    for _ in 0..2 {
        block_on(commands.flush_usage()).unwrap();
        assert_eq!(shown(&other, &id), (3, 0, at_start));
    }
    encrypt(&managed, &id).unwrap();
    encrypt_times(&store, &id, 1);
    block_on(other.flush_usage()).unwrap();
    block_on(commands.flush_usage()).unwrap();
    assert_eq!(shown(&other, &id), (5, 0, at_start));
    assert_eq!(shown(&store.world.another(), &id), (5, 0, at_start));
    let (repository, snapshot) = store.world.repository();
    assert_eq!((snapshot.revision(), commands.revision()), (revision, revision));
    drop(repository);
}

/// After a crash the bound is still right, though what was not flushed is missing.
#[test]
fn a_process_that_ends_leaves_the_most_that_it_may_have_made() {
    let store = Store::new();
    let id: KeyId = "adopted-key".parse().unwrap();
    let soft = &store.world.manager.soft;
    soft.insert(id.clone(), xks_backend_soft::SoftKey::generate().unwrap());
    let mut adopt = Adopt::new(CreateKey::new(store.world.adopted, "Name").unwrap(), id.clone());
    adopt.earlier_encryptions = Some(7);
    block_on(store.world.commands.adopt(alice(), adopt)).unwrap();
    let unused = &usage(&store.world.commands, &id)[0];
    assert_eq!((unused.usage, unused.most_encryptions), (Usage::default(), 7));
    encrypt_times(&store, &id, 3);
    let after = &usage(&store.world.another(), &id)[0];
    assert_eq!((after.usage.uses(), after.most_encryptions), (0, 7 + 1024));
}

#[test]
fn usage_that_cannot_be_kept_is_kept_later() {
    let (store, hooked, id) = over_hooked();
    let commands = &store.world.commands;
    encrypt_times(&store, &id, 3);
    hooked.refuses_claims.store(true, Relaxed);
    block_on(commands.flush_usage()).unwrap_err();
    block_on(commands.usage(&id)).unwrap_err();
    hooked.refuses_claims.store(false, Relaxed);
    hooked.is_stuck.store(true, Relaxed);
    assert!(poll(pin!(commands.flush_usage())).is_none());
    hooked.is_stuck.store(false, Relaxed);
    encrypt_times(&store, &id, 1);
    assert_eq!(shown(commands, &id), (4, 0, Some(at(START))));
}

/// Requests and flushes at once: nothing is lost, and nothing is counted twice.
#[test]
fn usage_is_exact_while_requests_go_on() {
    let store = Store::new();
    let id = store.world.create(store.world.vault, "Name").key.id;
    let first = store.encrypt(&id).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..300 {
                    store.encrypt(&id).unwrap();
                    store.decrypt(&id, &first).unwrap();
                }
            });
        }
        for _ in 0..100 {
            block_on(store.world.commands.flush_usage()).unwrap();
        }
    });
    assert_eq!(shown(&store.world.commands, &id), (901, 900, Some(at(START))));
}
