//! Nodes that serve on when the store is lost, rows that a person removes, and counts over nodes.

use std::sync::atomic::Ordering;

use pollster::block_on;
use xks_lifecycle::{
    Outcome,
    commands::{CommandError, CreateKey},
    key_state::KeyCommand,
    nodes::Node,
    store::{Claim, ClaimKind, Store as _, Swap},
};

use super::usable::{LEASE, Pair, alice};
use crate::managed::{decrypt, encrypt};

fn rows(pair: &Pair) -> Vec<Claim> {
    block_on(pair.store.claims(ClaimKind::Node)).unwrap().0
}

/// It answers, and a command says that it may; it stops when it learns of the command.
#[test]
fn a_node_that_serves_on_is_named_until_it_renews() {
    Pair::with(Node::serving_on).run(async |pair| {
        let spec = CreateKey::new(pair.vault_keys, "Key").unwrap();
        let id = pair.a.commands.create_key(&alice(), spec).await.unwrap().key.id;
        let made = pair.a.commands.confirm(pair.a.commands.revision()).await;
        assert!(made.is_confirmed(), "{made:?}");
        // The block of encryptions is there before the store is gone: with none, nothing is encrypted.
        let encrypted = encrypt(&pair.b.managed, &id).unwrap();
        pair.b.far.is_near.store(false, Ordering::Relaxed);
        pair.b.far.is_cut_off.store(true, Ordering::Relaxed);
        pair.clock.sleep(LEASE * 5).await;
        let change = pair
            .a
            .commands
            .change_key(&alice(), &id, None, KeyCommand::Disable)
            .await;
        let revision = change.unwrap().revision;
        let confirmation = pair.a.commands.confirm(revision).await;
        assert!(!confirmation.is_confirmed(), "{confirmation:?}");
        let [missing] = &confirmation.missing[..] else {
            panic!("{confirmation:?}")
        };
        assert_eq!(&*missing.node, "b");
        assert!(missing.reason.contains("serves on"), "{confirmation:?}");
        decrypt(&pair.b.managed, &id, &encrypted).unwrap();
        assert_eq!(rows(pair).len(), 2, "no observer deletes its row");
        pair.b.far.is_near.store(true, Ordering::Relaxed);
        pair.b.far.is_cut_off.store(false, Ordering::Relaxed);
        let confirmation = pair.a.commands.confirm(revision).await;
        assert!(confirmation.is_confirmed(), "{confirmation:?}");
        assert!(decrypt(&pair.b.managed, &id, &encrypted).is_err());
    });
}

/// Only of a node that has renewed no more for as long as a lease lasts.
#[test]
fn the_row_of_a_node_that_has_ended_is_removed_by_a_person() {
    Pair::with(Node::serving_on).run(async |pair| {
        let id = rows(pair)
            .iter()
            .find(|row| row.id.starts_with("b/"))
            .unwrap()
            .id
            .clone();
        let remove = || pair.a.commands.remove_node(&ALICE, &id);
        assert!(matches!(remove().await, Err(CommandError::NodeLives(_))));
        *pair.slots[1].task.lock().unwrap() = None; // killed
        pair.clock.sleep(LEASE / 2).await;
        assert!(matches!(remove().await, Err(CommandError::NodeLives(_))));
        pair.clock.sleep(LEASE * 2).await;
        let confirmation = pair.a.commands.confirm(pair.a.commands.revision()).await;
        assert!(confirmation.is_confirmed(), "it serves this: {confirmation:?}");
        remove().await.unwrap();
        assert_eq!(rows(pair).len(), 1);
        assert!(matches!(remove().await, Err(CommandError::UnknownNode(_))));
        let events = pair.a.commands.events(0, 100).await.unwrap();
        let done = events
            .iter()
            .find(|(_, event)| event.command.as_str() == "remove-node" && event.outcome == Outcome::Done);
        assert_eq!(done.unwrap().1.object.as_str(), format!("nodes/{id}"));
    });
}

static ALICE: std::sync::LazyLock<xks_lifecycle::commands::Actor> = std::sync::LazyLock::new(alice);

/// A claim that no program of this version can read blocks, is named, and goes by a person's command alone.
#[test]
fn a_row_that_cannot_be_read_is_named_and_removed_by_a_person() {
    Pair::with(|node| node).run(async |pair| {
        let strange = Claim::new(ClaimKind::Node, "c/later.1", "later.1", 7, "{}");
        block_on(pair.store.swap(Swap::Insert(strange))).unwrap();
        let confirmation = pair
            .a
            .commands
            .confirm_within(pair.a.commands.revision(), LEASE * 5)
            .await;
        assert!(!confirmation.is_confirmed());
        let [missing] = &confirmation.missing[..] else {
            panic!("{confirmation:?}")
        };
        assert!(
            &*missing.node == "c/later.1" && missing.reason.contains("cannot be read"),
            "{confirmation:?}"
        );
        assert_eq!(rows(pair).len(), 3);
        pair.a.commands.remove_node(&ALICE, "c/later.1").await.unwrap();
        let confirmation = pair.a.commands.confirm(pair.a.commands.revision()).await;
        assert!(confirmation.is_confirmed(), "{confirmation:?}");
    });
}

/// Each node reserves encryptions for itself: none is used by two.
#[test]
fn encryptions_are_reserved_for_each_node() {
    Pair::with(|node| node).run(async |pair| {
        let spec = CreateKey::new(pair.vault_keys, "Key").unwrap();
        let entry = pair.a.commands.create_key(&alice(), spec).await.unwrap();
        pair.clock.sleep(LEASE).await;
        let mut used = 0;
        for _ in 0..200 {
            for process in [&pair.a, &pair.b] {
                encrypt(&process.managed, &entry.key.id).unwrap();
                used += 1;
            }
        }
        let counts = block_on(pair.store.claims(ClaimKind::Count)).unwrap().0;
        assert_eq!(&*counts[0].id, entry.versions[0].id.to_string());
        assert!(counts[0].counter >= used, "{counts:?}");
        // What one reserves the other does not.
        let version = &entry.versions[0].id;
        let repositories = [pair.repository(), pair.repository()];
        let mut end = counts[0].counter;
        for repository in repositories.iter().cycle().take(20) {
            let reserved = repository.reserve(version, 16, u64::MAX).await.unwrap();
            assert_eq!(reserved, end..end + 16);
            end = reserved.end;
        }
    });
}
