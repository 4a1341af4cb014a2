//! pgbouncer between, which gives each transaction any of its connections.

use std::time::Duration;

use xks_lifecycle::store::{
    Claim, ClaimKind, PostgresSettings, PostgresStore, PostgresWarning, Revision, Store as _, Swap,
};

use xks_test_postgres::{PoolMode, Pooler};

use crate::{
    server::{Database, RUNTIME},
    support::{followed, names, put},
};

#[test]
fn behind_a_pooler_a_store_works_and_says_that_it_is_not_notified() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let pooler = Pooler::start(database.server, PoolMode::Transaction);
        let poll = Duration::from_millis(200);
        let settings = PostgresSettings::new(&pooler.url(&database.name))
            .unwrap()
            .password_file(database.server.password_file())
            .timeout(Duration::from_secs(4))
            .poll(poll);
        let direct = database.open().await;
        let pooled = PostgresStore::open(settings).await.unwrap();
        let warning = pooled.warning();
        assert_eq!(warning, Some(PostgresWarning::NoNotifications { poll }));
        assert!(warning.unwrap().to_string().contains("up to 200 ms later"));
        assert_eq!(direct.warning(), None);
        let mut claim = Claim::new(ClaimKind::Node, "node", "owner", 0, "");
        pooled.swap(Swap::Insert(claim.clone())).await.unwrap();
        for number in 0..20 {
            let (expected, next) = (Revision::new(number), Revision::new(number + 1));
            let (writer, reader) = if number % 2 == 0 {
                (&pooled, &direct)
            } else {
                (&direct, &pooled)
            };
            let seen = claim.clone();
            claim.counter += 1;
            let swap = Swap::Replace {
                seen,
                next: claim.clone(),
            };
            let name = number.to_string();
            let (committed, told, swapped) = tokio::join!(
                writer.commit(put(expected, &name)),
                followed(reader, expected),
                pooled.swap(swap),
            );
            committed.unwrap();
            assert_eq!(told, next);
            assert!(swapped.unwrap().is_done);
            assert_eq!(names(&pooled).await.len() as u64, next.get());
        }
        assert_eq!(names(&pooled).await, names(&direct).await);
        assert_eq!(
            pooled.claims(ClaimKind::Node).await.unwrap(),
            (vec![claim], Revision::new(20))
        );
    });
}
