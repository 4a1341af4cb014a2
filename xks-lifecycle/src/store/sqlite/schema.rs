//! The schema version of the file: its pragmas, and the way to [`VERSION`].

use rusqlite::Transaction;

use super::{StoreError, error::Failure};
use crate::store::sql::{MIGRATIONS, VERSION};

/// `application_id` of SQLite: says that a database is of this crate ("XKSL").
pub(super) const APPLICATION: i32 = 0x584b_534c;

/// Brings the database to [`VERSION`].
pub(super) fn migrate(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = VERSION;
    if found > known {
        return Err(StoreError::NewerSchema { found, known }.into());
    }
    for migration in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    Ok(())
}

/// Checks that the database has [`VERSION`].
pub(super) fn check(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = VERSION;
    match found {
        _ if found > known => Err(StoreError::NewerSchema { found, known }.into()),
        _ if found < known => Err(StoreError::OlderSchema { found, known }.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::Table;

    #[test]
    fn the_schema_has_the_columns_of_every_table() {
        let mut connection = Connection::open_in_memory().unwrap();
        let transaction = connection.transaction().unwrap();
        assert!(migrate(&transaction).is_ok());
        for table in Table::ALL {
            let mut statement = transaction
                .prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")
                .unwrap();
            let names = statement
                .query_map([table.as_str()], |row| row.get::<_, String>(0))
                .unwrap();
            let names: Vec<_> = names.map(Result::unwrap).collect();
            assert_eq!(
                names,
                [&["id", "revision", "code"], table.columns()].concat(),
                "{table}"
            );
        }
    }
}
