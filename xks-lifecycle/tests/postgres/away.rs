//! What a store does while its database is away, and when an answer is lost. These tests have the server
//! for themselves, and come first by their name, while the server has few files to flush when it starts
//! again.

use std::{sync::Arc, time::Duration};

use tokio_postgres::Client;
use xks_lifecycle::store::{Claim, ClaimKind, Durability, PostgresStore, Revision, Store as _, StoreError, Swap};

use crate::{
    server::{Database, RUNTIME},
    support::{followed, names, put, session, soon},
};

#[test]
fn after_a_crash_of_the_server_stores_go_on_and_hear_each_other() {
    RUNTIME.block_on(async {
        let database = Database::alone().await;
        let (first, second) = tokio::join!(database.open(), database.open());
        let claim = Claim::new(ClaimKind::Node, "node", "owner", 1, "");
        first.swap(Swap::Insert(claim.clone())).await.unwrap();
        first.commit(put(Revision::ZERO, "before")).await.unwrap();
        database.server.restart();
        // All lanes of both.
        let before = Revision::new(1);
        second.commit(put(before, "after")).await.unwrap();
        assert_eq!(followed(&first, before).await, Revision::new(2));
        assert_eq!(names(&first).await, ["after", "before"]);
        assert_eq!(names(&second).await, ["after", "before"]);
        let claims = second.claims(ClaimKind::Node).await.unwrap().0;
        assert_eq!(claims, [claim]);
    });
}

/// Makes commits wait for a standby that there is not, and has its own not do so.
async fn without_its_standby(database: &Database) -> Client {
    let admin = database.admin().await;
    admin.batch_execute("SET synchronous_commit = local").await.unwrap();
    admin
        .batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        .await
        .unwrap();
    reload(&admin).await;
    admin
}

async fn reload(admin: &Client) {
    let before = "SELECT pg_conf_load_time()";
    let before: std::time::SystemTime = admin.query_one(before, &[]).await.unwrap().get(0);
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    while admin
        .query_one("SELECT pg_conf_load_time()", &[])
        .await
        .unwrap()
        .get::<_, std::time::SystemTime>(0)
        == before
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn restore(admin: &Client) {
    admin
        .batch_execute("ALTER SYSTEM RESET synchronous_standby_names")
        .await
        .unwrap();
    reload(admin).await;
}

#[test]
fn a_commit_without_an_answer_is_unknown() {
    RUNTIME.block_on(async {
        let database = Database::alone().await;
        let second = database.open().await;
        let settings = database.settings().timeout(Duration::from_secs(3));
        let store = PostgresStore::open(settings).await.unwrap();
        let admin = without_its_standby(&database).await;
        let error = store.commit(put(Revision::ZERO, "a")).await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
        assert!(
            error.to_string().contains("whether the change was made is unknown"),
            "{error}"
        );
        // It waits on: nothing has cancelled it.
        session(&admin, "wait_event = 'SyncRep'").await;
        assert!(names(&second).await.is_empty());
        restore(&admin).await;
        assert_eq!(followed(&second, Revision::ZERO).await, Revision::new(1));
        assert_eq!(names(&second).await, ["a"]);
    });
}

/// `what` happens to the session that waits for a standby.
fn a_commit_that_is_ended_is_unknown(what: &str) {
    RUNTIME.block_on(async {
        let database = Database::alone().await;
        let store = Arc::new(database.open().await);
        let admin = without_its_standby(&database).await;
        let committing = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.commit(put(Revision::ZERO, "a")).await }
        });
        let process = session(&admin, "wait_event = 'SyncRep'").await;
        admin.batch_execute(&format!("SELECT {what}({process})")).await.unwrap();
        let error = soon(committing).await.unwrap().unwrap_err();
        restore(&admin).await;
        assert!(
            matches!(error, StoreError::Unavailable { .. }) && error.is_unknown(),
            "{error}"
        );
        assert_eq!(followed(&store, Revision::ZERO).await, Revision::new(1), "it was made");
        assert_eq!(names(&store).await, ["a"]);
    });
}

#[test]
fn a_commit_whose_connection_is_lost_is_unknown() {
    a_commit_that_is_ended_is_unknown("pg_terminate_backend");
}

/// PostgreSQL calls it a success, with a warning.
#[test]
fn a_commit_whose_wait_for_a_standby_is_cancelled_is_unknown() {
    a_commit_that_is_ended_is_unknown("pg_cancel_backend");
}

#[test]
fn durability_is_that_of_the_server() {
    RUNTIME.block_on(async {
        let database = Database::alone().await;
        let store = database.open().await;
        assert_eq!(store.durability().await.unwrap(), Durability::Single);
        let admin = without_its_standby(&database).await;
        assert_eq!(store.durability().await.unwrap(), Durability::Synchronous);
        restore(&admin).await;
        let slot = "SELECT pg_create_physical_replication_slot('a_standby')";
        admin.batch_execute(slot).await.unwrap();
        assert_eq!(store.durability().await.unwrap(), Durability::Asynchronous);
        admin
            .batch_execute("SELECT pg_drop_replication_slot('a_standby')")
            .await
            .unwrap();
    });
}

#[test]
fn calls_fail_while_the_server_is_away_and_succeed_after_it() {
    RUNTIME.block_on(async {
        let database = Database::alone().await;
        let patient = database.open().await;
        let settings = database.settings().timeout(Duration::from_secs(3));
        let store = PostgresStore::open(settings).await.unwrap();
        patient.commit(put(Revision::ZERO, "a")).await.unwrap();
        database.server.stop();
        let calls = (0..20).map(|_| store.claims(ClaimKind::Node));
        let calls = futures_util::future::join_all(calls).await;
        assert!(calls.iter().all(Result::is_err));
        assert!(store.commit(put(Revision::new(1), "b")).await.is_err());
        soon(async {
            while store.warning().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        database.server.start_again();
        soon(async {
            while store.warning().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        soon(async {
            // The last one may have been made without an answer.
            while !matches!(
                store.commit(put(Revision::new(1), "b")).await,
                Ok(()) | Err(StoreError::Conflict { .. })
            ) {}
        })
        .await;
        assert_eq!(names(&patient).await, ["a", "b"]);
    });
}
