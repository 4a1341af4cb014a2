//! Several stores of one database: each learns what the others do.

use std::{sync::Arc, time::Duration};

use xks_lifecycle::{
    Event, Outcome, Timestamp,
    store::{PostgresStore, PostgresWarning, Revision, Store as _, StoreError},
};

use crate::{
    server::{Database, RUNTIME},
    support::{followed, names, put, session, soon},
};

/// The polls of these stores are an hour apart.
#[test]
fn a_commit_wakes_the_followers_of_other_stores() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let (first, second) = tokio::join!(database.open(), database.open());
        assert_eq!((first.warning(), second.warning()), (None, None));
        for number in 0..20 {
            let (expected, next) = (Revision::new(number), Revision::new(number + 1));
            let (writer, reader) = if number % 2 == 0 {
                (&first, &second)
            } else {
                (&second, &first)
            };
            let (told, ()) = tokio::join!(followed(reader, expected), async {
                writer.commit(put(expected, &number.to_string())).await.unwrap();
            });
            assert_eq!(told, next);
        }
        assert_eq!(names(&first).await, names(&second).await);
    });
}

#[test]
fn a_commit_that_nobody_was_notified_of_is_found_by_asking() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let settings = database.settings().poll(Duration::from_millis(100));
        let store = PostgresStore::open(settings).await.unwrap();
        let admin = database.admin().await;
        for number in 1..4 {
            admin
                .batch_execute("UPDATE xks.head SET revision = revision + 1")
                .await
                .unwrap();
            assert_eq!(followed(&store, Revision::new(number - 1)).await, Revision::new(number));
        }
    });
}

/// What others than stores notify of is no revision, and does not keep followers busy.
#[test]
fn a_notification_alone_is_no_revision() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let (first, second) = tokio::join!(database.open(), database.open());
        let admin = database.admin().await;
        for payload in ["18446744073709551615", "99", "-1", "nonsense", ""] {
            admin
                .batch_execute(&format!("NOTIFY xks_revision, '{payload}'"))
                .await
                .unwrap();
        }
        let (told, ()) = tokio::join!(followed(&second, Revision::ZERO), async {
            first.commit(put(Revision::ZERO, "a")).await.unwrap();
        });
        assert_eq!(told, Revision::new(1));
    });
}

/// The state is read again after the new connection listens.
#[test]
fn a_lost_connection_of_the_listener_is_made_again_and_nothing_is_missed() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let (first, second) = tokio::join!(database.open(), database.open());
        let admin = database.admin().await;
        for number in 0..3 {
            let expected = Revision::new(number);
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND query LIKE 'SELECT revision FROM xks.head%'";
            admin.batch_execute(end).await.unwrap();
            first.commit(put(expected, &number.to_string())).await.unwrap();
            assert_eq!(followed(&second, expected).await, Revision::new(number + 1));
        }
    });
}

/// A reader of events up to a number misses none that is committed later with a lower one.
#[test]
fn events_are_numbered_in_the_order_in_which_they_are_committed() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let store = Arc::new(database.open().await);
        let admin = database.admin().await;
        // Another node in the middle of a commit.
        let other = database.admin().await;
        let event = "BEGIN; SELECT revision FROM xks.head FOR NO KEY UPDATE;
                     INSERT INTO xks.events (time, actor, command, object, outcome)
                     VALUES (1800000000, 'other', 'create', 'keys/a', 'done')";
        other.batch_execute(event).await.unwrap();
        let time = Timestamp::from_seconds("time", 1_800_000_000).unwrap();
        let event = Event::new(time, "ours", "create", "keys/b", Outcome::Refused).unwrap();
        let recording = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.record(vec![event]).await }
        });
        tokio::select! {
            _ = session(&admin, "wait_event_type = 'Lock'") => {}
            () = async { while !recording.is_finished() { tokio::time::sleep(Duration::from_millis(10)).await } } => {
                panic!("it did not wait for the one before")
            }
        }
        other.batch_execute("COMMIT").await.unwrap();
        recording.await.unwrap().unwrap();
        let events = store.events(0, 10).await.unwrap();
        let actors: Vec<_> = events.iter().map(|(_, event)| event.actor.as_str()).collect();
        assert_eq!(actors, ["other", "ours"]);
    });
}

#[test]
fn a_commit_that_waits_for_another_is_refused_when_that_one_is_made() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let store = Arc::new(database.open().await);
        let admin = database.admin().await;
        let other = database.admin().await;
        other
            .batch_execute("BEGIN; UPDATE xks.head SET revision = 1")
            .await
            .unwrap();
        let committing = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.commit(put(Revision::ZERO, "a")).await }
        });
        session(&admin, "wait_event_type = 'Lock'").await;
        other.batch_execute("COMMIT").await.unwrap();
        let error = committing.await.unwrap().unwrap_err();
        let is_conflict = matches!(error, StoreError::Conflict { head, .. } if head == Revision::new(1));
        assert!(is_conflict, "{error}");
        assert!(names(&store).await.is_empty());
        store.commit(put(Revision::new(1), "a")).await.unwrap();
    });
}

#[test]
fn a_commit_waits_for_another_no_longer_than_its_timeout() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let patient = database.open().await;
        let settings = database.settings().timeout(Duration::from_secs(3));
        let store = PostgresStore::open(settings).await.unwrap();
        let other = database.admin().await;
        other
            .batch_execute("BEGIN; UPDATE xks.head SET revision = 1")
            .await
            .unwrap();
        let error = store.commit(put(Revision::ZERO, "a")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        other.batch_execute("ROLLBACK").await.unwrap();
        patient.commit(put(Revision::ZERO, "a")).await.unwrap();
    });
}

/// The database ends its transaction.
#[test]
fn a_node_that_stops_in_the_middle_of_a_commit_holds_up_the_others_for_its_timeout() {
    let stops = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let database = RUNTIME.block_on(Database::new());
    let settings = database.settings().timeout(Duration::from_secs(3));
    let (store, admin, other) =
        RUNTIME.block_on(async { tokio::join!(database.open(), database.admin(), database.admin()) });
    let stopped = stops.block_on(PostgresStore::open(settings)).unwrap();
    RUNTIME
        .block_on(other.batch_execute("BEGIN; LOCK TABLE xks.tenants IN SHARE MODE"))
        .unwrap();
    // It runs until it waits for the table, and from then on no more.
    let in_the_middle = RUNTIME.spawn(async move { session(&admin, "wait_event_type = 'Lock'").await });
    stops.block_on(async {
        tokio::select! {
            outcome = stopped.commit(put(Revision::ZERO, "a")) => panic!("{outcome:?}"),
            process = in_the_middle => { process.unwrap(); }
        }
    });
    RUNTIME.block_on(async {
        other.batch_execute("COMMIT").await.unwrap();
        store.commit(put(Revision::ZERO, "b")).await.unwrap();
        assert_eq!(names(&store).await, ["b"]);
    });
}

#[test]
fn a_database_that_has_lost_commits_is_followed_from_where_it_is() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let settings = database.settings().poll(Duration::from_millis(50));
        let (first, second) = tokio::join!(PostgresStore::open(settings.clone()), PostgresStore::open(settings));
        let (first, second) = (first.unwrap(), second.unwrap());
        for number in 0..3 {
            first.commit(put(Revision::new(number), "a")).await.unwrap();
        }
        assert_eq!(followed(&second, Revision::new(2)).await, Revision::new(3));
        // As after the failover to a standby that has not got the last two.
        let admin = database.admin().await;
        admin.batch_execute("UPDATE xks.head SET revision = 1").await.unwrap();
        // It must not answer that it is at 3; it waits for what comes after 1.
        let told = || tokio::time::timeout(Duration::from_millis(50), second.follow(Revision::new(1)));
        soon(async { while told().await.is_ok() {} }).await;
        let (told, ()) = tokio::join!(followed(&second, Revision::new(1)), async {
            first.commit(put(Revision::new(1), "b")).await.unwrap();
        });
        assert_eq!(told, Revision::new(2));
        assert!(!matches!(
            second.warning(),
            Some(PostgresWarning::NoNotifications { .. })
        ));
    });
}
