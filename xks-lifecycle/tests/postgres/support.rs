//! Change sets, and what a store holds.

use std::sync::{Arc, Mutex};

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
    loop {
        if let Some(row) = admin.query(&sql, &[]).await.unwrap().first() {
            return row.get(0);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
