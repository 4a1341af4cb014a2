//! Two nodes with key managers of their own, of which the second is synchronised late, on one database.

use std::{sync::Arc, time::Duration};

use xks_backend_soft::SoftBackend;
use xks_lifecycle::{
    Name, Repository, VersionState,
    commands::{Actor, Backends, CommandError, Commands, CreateKey, Deployment},
    key_state::{KeyCommand, KeyState},
    store::{ClaimKind, Store as _},
};

use crate::{
    running::{Running, state_of},
    server::{Database, RUNTIME},
    support::soon,
};

fn synchronise(from: &SoftBackend, to: &SoftBackend) {
    for id in from.key_ids() {
        to.insert(id.clone(), from.key(&id).unwrap());
    }
}

#[test]
fn a_version_waits_for_the_node_that_is_synchronised_late() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let root = state_of(&database).await;
        let lease = Duration::from_secs(20);
        let a = Running::start(&database, &root, "a", lease, Arc::default()).await;
        let b = Running::start(&database, &root, "b", lease, Arc::default()).await;
        let alice = Actor::new("alice").unwrap();
        let spec = CreateKey::new(a.key_set(&alice).await, "Key").unwrap();

        // Its creator waits, and goes on when the other one has got it.
        let making = {
            let (commands, alice) = (Arc::clone(&a.commands), alice.clone());
            tokio::spawn(async move { commands.create_key(&alice, spec).await })
        };
        let blocked = || {
            let row = b.commands.node().unwrap().row();
            row.is_some_and(|row| row.usable.failed.len() == 1)
        };
        soon(async {
            while !blocked() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert!(!making.is_finished());
        assert_eq!(a.store.claims(ClaimKind::KnownAnswer).await.unwrap().0.len(), 1);
        synchronise(&a.hsm.soft, &b.hsm.soft);
        let made = soon(making).await.unwrap().unwrap();
        assert_eq!(
            (made.state, made.versions[0].state),
            (KeyState::Enabled, VersionState::Current)
        );
        assert!(a.store.claims(ClaimKind::KnownAnswer).await.unwrap().0.is_empty());
        assert!(b.commands.key(&made.key.id).is_ok(), "it has taken it in");

        // A rotation that gives up says who cannot use it, and is ended by a command on another node.
        let id = made.key.id;
        let hurried = Running::start(&database, &root, "hurried", lease, Arc::default()).await;
        synchronise(&a.hsm.soft, &hurried.hsm.soft);
        let patient = hurried.commands.confirm_usable(hurried.commands.revision()).await;
        assert!(patient.is_confirmed(), "{patient:?}");
        let confirmation = {
            let store = Arc::clone(&hurried.store);
            let roots = std::slice::from_ref(&root);
            let (repository, snapshot) = Repository::open(store, roots).await.unwrap();
            let name = Name::new("name", "hsm").unwrap();
            let backends = Backends::new().with(name, hurried.hsm.clone(), hurried.hsm.soft.clone());
            let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap());
            let commands = commands
                .with_node(Arc::clone(hurried.commands.node().unwrap()))
                .with_patience(Duration::from_secs(3));
            match commands.rotate(&alice, &id, None).await.unwrap_err() {
                CommandError::NotConfirmed { confirmation } => confirmation,
                error => panic!("{error}"),
            }
        };
        let mut missing: Vec<_> = confirmation.missing.iter().map(|missing| &*missing.node).collect();
        missing.sort_unstable();
        assert_eq!(missing, ["a", "b"], "{confirmation:?}");
        hurried.commands.refresh().await.unwrap();
        let entry = hurried.commands.key(&id).unwrap();
        assert_eq!(entry.versions.len(), 2);
        assert!(
            entry
                .versions
                .iter()
                .any(|version| version.state == VersionState::Published)
        );
        synchronise(&hurried.hsm.soft, &a.hsm.soft);
        synchronise(&hurried.hsm.soft, &b.hsm.soft);
        let entry = b.commands.rotate(&alice, &id, None).await.unwrap();
        let current = entry
            .versions
            .iter()
            .find(|version| version.state == VersionState::Current);
        assert_eq!(current.unwrap().number, 2);

        // Nodes that have left are not waited for.
        hurried.leave().await;
        let (entry, took) = {
            let begun = tokio::time::Instant::now();
            let entry = a
                .commands
                .change_key(&alice, &id, None, KeyCommand::Disable)
                .await
                .unwrap();
            let confirmation = a.commands.confirm(entry.revision).await;
            assert!(confirmation.is_confirmed(), "{confirmation:?}");
            (entry, begun.elapsed())
        };
        println!("disabled on two nodes within {took:?}");
        assert!(b.commands.revision() >= entry.revision);
        a.leave().await;
        b.leave().await;
        assert!(store_is_empty_of_nodes(&database).await);
    });
}

async fn store_is_empty_of_nodes(database: &Database) -> bool {
    database
        .open()
        .await
        .claims(ClaimKind::Node)
        .await
        .unwrap()
        .0
        .is_empty()
}
