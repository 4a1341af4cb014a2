//! The schema: made once, and served by programs of two neighbouring versions.

use xks_lifecycle::store::{PostgresStore, Revision, Store as _, StoreError, Table};

use crate::{
    server::{Database, RUNTIME},
    support::{names, put},
};

#[test]
fn the_schema_has_the_columns_of_every_table() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        drop(database.open().await);
        let admin = database.admin().await;
        for table in Table::ALL {
            let sql = "SELECT column_name::text FROM information_schema.columns
                       WHERE table_schema = 'xks' AND table_name = $1 ORDER BY ordinal_position";
            let rows = admin.query(sql, &[&table.as_str()]).await.unwrap();
            let found: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(
                found,
                [&["id", "revision", "code"], table.columns()].concat(),
                "{table}"
            );
        }
    });
}

#[test]
fn several_nodes_may_make_it_at_once() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let (first, second, third) = tokio::join!(database.open(), database.open(), database.open());
        first.commit(put(Revision::ZERO, "a")).await.unwrap();
        second.commit(put(Revision::new(1), "b")).await.unwrap();
        assert_eq!(names(&third).await, ["a", "b"]);
    });
}

/// A schema that somebody else has made, for a user who may make none.
#[test]
fn a_schema_of_the_user_suffices() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let admin = database.admin().await;
        let owner = format!("ALTER DATABASE {} OWNER TO postgres", database.name);
        admin.batch_execute(&owner).await.unwrap();
        let error = PostgresStore::open(database.settings()).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
        admin
            .batch_execute("CREATE SCHEMA xks AUTHORIZATION xks")
            .await
            .unwrap();
        database.open().await.commit(put(Revision::ZERO, "a")).await.unwrap();
    });
}

#[test]
fn a_neighbouring_version_serves_the_same_database_and_the_one_after_it_does_not() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let running = database.open().await;
        running.commit(put(Revision::ZERO, "a")).await.unwrap();
        // What a program of the next version does when it starts, and the one after that.
        let next = PostgresStore::SCHEMA + 1;
        let expand = |version: u32| {
            format!(
                "ALTER TABLE xks.tenants ADD COLUMN later_{version} BIGINT;
                 CREATE TABLE xks.later_{version} (id TEXT);
                 UPDATE xks.store SET version = {version}, oldest = {}",
                version - 1
            )
        };
        let admin = database.admin().await;
        admin.batch_execute(&expand(next)).await.unwrap();
        running.commit(put(Revision::new(1), "b")).await.unwrap();
        let restarted = database.open().await;
        assert_eq!(names(&restarted).await, ["a", "b"]);
        restarted.commit(put(Revision::new(2), "a")).await.unwrap();
        let version = admin.query_one("SELECT version FROM xks.store", &[]).await.unwrap();
        assert_eq!(version.get::<_, i64>(0), i64::from(next), "it is left as it is");
        admin.batch_execute(&expand(next + 1)).await.unwrap();
        let error = PostgresStore::open(database.settings()).await.unwrap_err();
        let known = PostgresStore::SCHEMA;
        assert!(
            matches!(error, StoreError::NewerSchema { found, known: of } if (found, of) == (next + 1, known)),
            "{error}"
        );
    });
}
