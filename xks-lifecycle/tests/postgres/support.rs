//! Change sets, and what a store holds.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_postgres::Client;
use xks_lifecycle::store::{Cell, ChangeSet, Loaded, PostgresStore, Revision, Row, Scope, Store as _, Table};

/// Puts a tenant of this id and name, at this revision.
pub(crate) fn put(expected: Revision, name: &str) -> ChangeSet {
    let mut changes = ChangeSet::new(expected, [7; 32]);
    let cells = vec![Cell::Text(name.to_owned().into()), Cell::Null];
    let next = Revision::new(expected.get() + 1);
    changes.rows = vec![Row::new(Table::Tenants, name.to_owned().into(), next, [0; 16], cells)];
    changes
}

/// The ids of all tenants.
pub(crate) async fn names(store: &PostgresStore) -> Vec<String> {
    let names = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&names);
    let sink = Box::new(move |loaded: Loaded<'_>| {
        if let Loaded::Row(row) = loaded {
            sink.lock().unwrap().push(row.id.into_owned());
        }
    });
    store.load(Scope::Table(Table::Tenants), sink).await.unwrap();
    let mut names = std::mem::take(&mut *names.lock().unwrap());
    names.sort();
    names
}

/// Waits until a query of `pg_stat_activity` finds a session of the store in this database, and returns its
/// process.
pub(crate) async fn session(admin: &Client, condition: &str) -> i32 {
    let sql = format!(
        "SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'xks' AND {condition}"
    );
    soon(async {
        loop {
            if let Some(row) = admin.query(&sql, &[]).await.unwrap().first() {
                return row.get(0);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// What a call gives that must come to its end.
pub(crate) async fn soon<T>(call: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(Duration::from_secs(100), call).await;
    outcome.expect("it takes too long")
}

/// The revision that a follower is told.
pub(crate) async fn followed(store: &PostgresStore, after: Revision) -> Revision {
    soon(store.follow(after)).await.unwrap()
}
