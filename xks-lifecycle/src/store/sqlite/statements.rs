//! The statements: each function is one transaction.

use std::borrow::Cow;

use rusqlite::{
    Connection, OptionalExtension as _, Row as SqlRow, Statement, ToSql, Transaction, TransactionBehavior, params,
    params_from_iter,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::{ChangeSet, Claim, ClaimKind, Head, Revision, RowSink, Scope, StoreError, Swap, Swapped, error::Failure};
use crate::{
    Event,
    store::{
        Cell, Loaded, Row, Table,
        sql::{self, EVENT_COLUMNS, EventRow},
    },
};

/// The revision that the transaction sees.
pub(super) fn head(transaction: &Transaction<'_>) -> Result<Head, Failure> {
    let (revision, code) = transaction.query_row("SELECT revision, code FROM head", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    // A code of another length is no code.
    let code = code.try_into().unwrap_or_default();
    Ok(Head::new(Revision::new(revision.cast_unsigned()), code))
}

pub(super) fn load(connection: &mut Connection, scope: Scope, mut sink: RowSink) -> Result<Head, Failure> {
    let transaction = connection.transaction()?;
    let head = head(&transaction)?; // begins to read: what follows is of this revision
    match scope {
        Scope::Everything => {
            for table in Table::ALL {
                load_table(&transaction, table, &mut sink)?;
            }
        }
        Scope::Table(table) => load_table(&transaction, table, &mut sink)?,
        Scope::Since(after) => load_changes(&transaction, after, &mut sink)?,
    }
    Ok(head)
}

fn select(table: Table) -> String {
    format!("SELECT {} FROM {table}", sql::columns(table))
}

fn load_table(transaction: &Transaction<'_>, table: Table, sink: &mut RowSink) -> Result<(), Failure> {
    let mut statement = transaction.prepare(&select(table))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sink(Loaded::Row(row_of(table, row)?));
    }
    Ok(())
}

fn load_changes(transaction: &Transaction<'_>, after: Revision, sink: &mut RowSink) -> Result<(), Failure> {
    let sql = "SELECT row_id, revision, is_removed FROM changes INDEXED BY changes_by_revision
               WHERE revision > ?1 AND table_name = ?2";
    let mut changes = transaction.prepare(sql)?;
    for table in Table::ALL {
        let mut one: Statement<'_> = transaction.prepare(&format!("{} WHERE id = ?1", select(table)))?;
        let mut changes = changes.query(params![after.get().cast_signed(), table.as_str()])?;
        while let Some(change) = changes.next()? {
            let id: String = change.get(0)?;
            let mut found = one.query([&id])?;
            sink(Loaded::Change {
                table,
                id: &id,
                revision: Revision::new(change.get::<_, i64>(1)?.cast_unsigned()),
                is_removed: change.get(2)?,
                row: found.next()?.map(|row| row_of(table, row)).transpose()?,
            });
        }
    }
    Ok(())
}

/// A row as it is. Whatever somebody else has written there is handed on, so that the row is found by its
/// code and named.
fn row_of<'r>(table: Table, row: &'r SqlRow<'_>) -> Result<Row<'r>, Failure> {
    let id = match cell_of(row.get_ref(0)?) {
        Cell::Text(id) => id,
        other => format!("{other:?}").into(),
    };
    let revision = row.get_ref(1)?.as_i64().unwrap_or_default();
    let code = row
        .get_ref(2)?
        .as_bytes()
        .unwrap_or_default()
        .try_into()
        .unwrap_or_default();
    let cells = (3..3 + table.columns().len())
        .map(|column| Ok(cell_of(row.get_ref(column)?)))
        .collect::<Result<_, rusqlite::Error>>()?;
    Ok(Row::new(
        table,
        id,
        Revision::new(revision.cast_unsigned()),
        code,
        cells,
    ))
}

fn cell_of(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Text(number.to_string().into()),
        ValueRef::Text(text) => str::from_utf8(text).map_or(Cell::Bytes(text.into()), |text| Cell::Text(text.into())),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.into()),
    }
}

/// A cell as a parameter of a statement.
struct Bound<'c>(&'c Cell<'c>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Cell::Null => ToSqlOutput::Owned(Value::Null),
            Cell::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

pub(super) fn commit(connection: &mut Connection, changes: &ChangeSet) -> Result<Head, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (expected, found) = (changes.expected, head(&transaction)?.revision);
    if expected != found {
        return Err(StoreError::Conflict { expected, head: found }.into());
    }
    if let Some(claim) = &changes.condition {
        let sql = "SELECT 1 FROM claims WHERE kind = ?1 AND id = ?2 AND owner = ?3 AND counter = ?4";
        let counter = claim.counter.cast_signed();
        let seen = params![claim.kind.as_str(), claim.id, claim.owner, counter];
        if !transaction.prepare(sql)?.exists(seen)? {
            return Err(claim.lost().into());
        }
    }
    let next = changes.head();
    let number = next.revision.get().cast_signed();
    let mut changed = transaction.prepare("INSERT OR REPLACE INTO changes VALUES (?1, ?2, ?3, ?4)")?;
    for table in Table::ALL {
        let mut rows = changes.rows.iter().filter(|row| row.table == table).peekable();
        if rows.peek().is_none() {
            continue;
        }
        let places: Vec<_> = (1..=3 + table.columns().len())
            .map(|place| format!("?{place}"))
            .collect();
        let mut put = transaction.prepare(&format!(
            "INSERT OR REPLACE INTO {table} ({}) VALUES ({})",
            sql::columns(table),
            places.join(", ")
        ))?;
        for row in rows {
            let first = [
                Cell::Text(Cow::Borrowed(&row.id)),
                Cell::Integer(row.revision.get().cast_signed()),
                Cell::Bytes(Cow::Borrowed(&row.code)),
            ];
            put.execute(params_from_iter(first.iter().chain(&row.cells).map(Bound)))?;
            changed.execute(params![table.as_str(), row.id, row.revision.get().cast_signed(), false])?;
        }
    }
    for (table, id) in &changes.removed {
        transaction.execute(&format!("DELETE FROM {table} WHERE id = ?1"), [id])?;
        changed.execute(params![table.as_str(), id, number, true])?;
    }
    drop(changed);
    put_claims(&transaction, &changes.claims)?;
    for (kind, id) in &changes.ended_claims {
        let sql = "DELETE FROM claims WHERE kind = ?1 AND id = ?2";
        transaction.prepare(sql)?.execute(params![kind.as_str(), id])?;
    }
    append(&transaction, &changes.events, Some(next.revision))?;
    transaction.execute("UPDATE head SET revision = ?1, code = ?2", params![number, next.code])?;
    transaction.commit()?;
    Ok(next)
}

fn put_claims(transaction: &Transaction<'_>, claims: &[Claim]) -> Result<(), Failure> {
    let sql = "INSERT OR REPLACE INTO claims (kind, id, owner, counter, body) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut statement = transaction.prepare(sql)?;
    for Claim {
        kind,
        id,
        owner,
        counter,
        body,
    } in claims
    {
        statement.execute(params![kind.as_str(), id, owner, counter.cast_signed(), body])?;
    }
    Ok(())
}

fn append(transaction: &Transaction<'_>, events: &[Event], revision: Option<Revision>) -> Result<(), Failure> {
    let sql = format!("INSERT INTO events ({EVENT_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    let mut statement = transaction.prepare(&sql)?;
    for event in events {
        let row = EventRow::new(event, revision);
        statement.execute(params![
            row.time,
            row.actor,
            row.command,
            row.object,
            row.outcome,
            row.revision,
            row.reason,
            row.before,
            row.after,
        ])?;
    }
    Ok(())
}

pub(super) fn record(connection: &mut Connection, events: &[Event]) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    append(&transaction, events, None)?;
    Ok(transaction.commit()?)
}

pub(super) fn events(connection: &Connection, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, Failure> {
    let sql = format!("SELECT number, {EVENT_COLUMNS} FROM events WHERE number > ?1 ORDER BY number LIMIT ?2");
    let mut statement = connection.prepare(&sql)?;
    let (after, limit) = (i64::try_from(after), i64::try_from(limit));
    let mut rows = statement.query(params![after.unwrap_or(i64::MAX), limit.unwrap_or(i64::MAX)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(event_row(row)?.event(row.get::<_, i64>(0)?.cast_unsigned())?);
    }
    Ok(events)
}

fn event_row(row: &SqlRow<'_>) -> Result<EventRow, rusqlite::Error> {
    Ok(EventRow {
        time: row.get(1)?,
        actor: row.get(2)?,
        command: row.get(3)?,
        object: row.get(4)?,
        outcome: row.get(5)?,
        revision: row.get(6)?,
        reason: row.get(7)?,
        before: row.get(8)?,
        after: row.get(9)?,
    })
}

pub(super) fn swap(connection: &mut Connection, swap: &Swap) -> Result<Swapped, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (kind, id) = swap.place();
    let kind = kind.as_str();
    let counter = |claim: &Claim| claim.counter.cast_signed();
    let changed = match swap {
        Swap::Insert(claim) => transaction.execute(
            "INSERT INTO claims (kind, id, owner, counter, body) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            params![kind, id, claim.owner, counter(claim), claim.body],
        ),
        Swap::Replace { seen, next } => transaction.execute(
            "UPDATE claims SET owner = ?5, counter = ?6, body = ?7
             WHERE kind = ?1 AND id = ?2 AND owner = ?3 AND counter = ?4",
            params![
                kind,
                id,
                seen.owner,
                counter(seen),
                next.owner,
                counter(next),
                next.body
            ],
        ),
        Swap::Delete(seen) => transaction.execute(
            "DELETE FROM claims WHERE kind = ?1 AND id = ?2 AND owner = ?3 AND counter = ?4",
            params![kind, id, seen.owner, counter(seen)],
        ),
    }?;
    let sql = "SELECT kind, id, owner, counter, body FROM claims WHERE kind = ?1 AND id = ?2";
    let claim = transaction
        .query_row(sql, params![kind, id], |row| claim_of(swap.place().0, row))
        .optional()?;
    let revision = head(&transaction)?.revision;
    transaction.commit()?;
    Ok(Swapped::new(changed == 1, claim, revision))
}

pub(super) fn claims(connection: &mut Connection, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), Failure> {
    let transaction = connection.transaction()?;
    let revision = head(&transaction)?.revision;
    let sql = "SELECT kind, id, owner, counter, body FROM claims WHERE kind = ?1 ORDER BY id";
    let mut statement = transaction.prepare(sql)?;
    let claims = statement.query_map([kind.as_str()], |row| claim_of(kind, row))?;
    Ok((claims.collect::<Result<_, _>>()?, revision))
}

fn claim_of(kind: ClaimKind, row: &SqlRow<'_>) -> Result<Claim, rusqlite::Error> {
    Ok(Claim {
        kind,
        id: row.get(1)?,
        owner: row.get(2)?,
        counter: row.get::<_, i64>(3)?.cast_unsigned(),
        body: row.get(4)?,
    })
}
