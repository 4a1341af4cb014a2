//! The schema in the database: our tables are in a schema `xks`, of a version that `xks.store` names.
//!
//! Programs of two neighbouring versions serve one database. The later one expands it when it starts; the
//! earlier one goes on, and does not see the new columns. `oldest` is the earliest version that still may.

use super::{
    StoreError,
    connection::Connection,
    lane::{Does, Lane},
};
use crate::store::sql::{MIGRATIONS, VERSION};

/// Who migrates holds this lock ("XKSL").
const LOCK: i64 = 0x584b_534c;

/// The schema versions of a database.
#[derive(Clone, Copy, Debug)]
struct Found {
    version: u32,
    oldest: u32,
}

impl Found {
    const SQL: &str = "SELECT version, oldest FROM xks.store";

    async fn read(connection: &Connection) -> Result<Self, StoreError> {
        let row = connection.query_one(Self::SQL, &[]).await?;
        let number = |place| u32::try_from(row.get::<_, i64>(place)).unwrap_or(u32::MAX);
        Ok(Self {
            version: number(0),
            oldest: number(1),
        })
    }

    fn must_suit(self) -> Result<(), StoreError> {
        if self.oldest > VERSION {
            return Err(StoreError::NewerSchema {
                found: self.version,
                known: VERSION,
            });
        }
        Ok(())
    }
}

/// Whether there is a row in a catalogue. `to_regclass` would not do: it remembers what was not there before
/// the lock was waited for.
async fn exists(connection: &Connection, row: &str) -> Result<bool, StoreError> {
    let found = connection
        .query_one(&format!("SELECT EXISTS (SELECT FROM {row})"), &[])
        .await?;
    Ok(found.get(0))
}

const SCHEMA: &str = "pg_namespace WHERE nspname = 'xks'";
const TABLE: &str = "pg_tables WHERE schemaname = 'xks' AND tablename = 'store'";

/// Fails if this program is too old for the database. One that has no schema yet is fine.
pub(super) async fn check(connection: &Connection) -> Result<(), StoreError> {
    if exists(connection, TABLE).await? {
        Found::read(connection).await?.must_suit()?;
    }
    Ok(())
}

/// Brings the database to [`VERSION`], unless it is there or further.
pub(super) async fn migrate(lane: &Lane) -> Result<(), StoreError> {
    let (transaction, _) = lane.begin(Does::Write, &[]).await?;
    // Nodes that start at once come one after the other.
    transaction
        .run(&format!("SELECT pg_advisory_xact_lock({LOCK})"))
        .await?;
    let found = if exists(&transaction, TABLE).await? {
        Found::read(&transaction).await?
    } else {
        // It may be there, made by who may make schemas.
        if !exists(&transaction, SCHEMA).await? {
            transaction.run("CREATE SCHEMA xks").await?;
        }
        let table = "CREATE TABLE xks.store (
                         one BIGINT PRIMARY KEY CHECK (one = 1),
                         version BIGINT NOT NULL,
                         oldest BIGINT NOT NULL
                     );
                     INSERT INTO xks.store VALUES (1, 0, 0)";
        transaction.run(table).await?;
        Found { version: 0, oldest: 0 }
    };
    found.must_suit()?;
    if found.version >= VERSION {
        return transaction.end().await;
    }
    transaction.run("SET LOCAL search_path = xks").await?;
    for migration in MIGRATIONS.iter().skip(found.version as usize) {
        transaction.run(&translated(migration)).await?;
    }
    let oldest = VERSION.saturating_sub(1).max(1);
    let versions = format!("UPDATE xks.store SET version = {VERSION}, oldest = {oldest}");
    transaction.run(&versions).await?;
    transaction.commit().await
}

/// A migration in PostgreSQL's dialect.
fn translated(migration: &str) -> String {
    const WORDS: &[(&str, &str)] = &[
        (
            "INTEGER PRIMARY KEY AUTOINCREMENT",
            "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        ),
        ("INTEGER", "BIGINT"),
        ("BLOB", "BYTEA"),
        ("zeroblob(32)", "decode(repeat('00', 32), 'hex')"),
        (") STRICT, WITHOUT ROWID", ")"),
        (") STRICT", ")"),
    ];
    WORDS.iter().fold(migration.to_owned(), |text, (of_sqlite, ours)| {
        text.replace(of_sqlite, ours)
    })
}
