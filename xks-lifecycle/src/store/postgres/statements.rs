//! The statements: each function is one transaction.

use std::collections::BTreeMap;

use tokio_postgres::{
    Row as SqlRow,
    types::{ToSql, Type},
};

use super::{
    ChangeSet, Claim, ClaimKind, Durability, Head, Revision, RowSink, Scope, StoreError, Swap, Swapped,
    cell::{Bound, Found},
    connection::{Connection, Param},
    error,
    lane::{Call, Does, Lane, Statement, answers},
};
use crate::{
    Event,
    store::{
        Cell, Loaded, Row, Table,
        sql::{self, EVENT_COLUMNS, EventRow},
    },
};

/// How many rows one statement puts at most: a statement has at most 65 535 parameters.
const ROWS: usize = 1000;

fn get<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r SqlRow, place: usize) -> Result<T, StoreError> {
    row.try_get(place).map_err(|error| error::of(&error))
}

fn number(row: &SqlRow, place: usize) -> Result<u64, StoreError> {
    Ok(get::<i64>(row, place)?.cast_unsigned())
}

fn revision(row: &SqlRow, place: usize) -> Result<Revision, StoreError> {
    number(row, place).map(Revision::new)
}

const HEAD: &str = "SELECT revision FROM xks.head";

/// The revision that the database is at.
pub(super) async fn head_revision(connection: &Connection) -> Result<Revision, StoreError> {
    revision(&connection.query_one(HEAD, &[]).await?, 0)
}

fn no_head() -> StoreError {
    StoreError::Damaged("`xks.head` has no row".to_owned())
}

fn missing() -> StoreError {
    StoreError::unavailable("the database failed", "an answer is missing")
}

pub(super) async fn load(lane: &Lane, scope: Scope, mut sink: RowSink) -> Result<Head, StoreError> {
    let since = match scope {
        Scope::Since(after) => Some(after.get().cast_signed()),
        _ => None,
    };
    let changed = since.as_ref().map(|since| [(since as _, Type::INT8)]);
    let mut first: Vec<Statement<'_>> = vec![("SELECT revision, code FROM xks.head", &[])];
    if let Some(changed) = &changed {
        first.push((
            "SELECT DISTINCT table_name FROM xks.changes WHERE revision > $1",
            changed,
        ));
    }
    let (transaction, rows) = lane.begin(Does::Read, &first).await?;
    let [head, changed @ ..] = &*rows else {
        return Err(missing());
    };
    let row = head.first().ok_or_else(no_head)?;
    // A code of another length is no code.
    let code = get::<&[u8]>(row, 1)?.try_into().unwrap_or_default();
    let head = Head::new(revision(row, 0)?, code);
    match scope {
        Scope::Everything => {
            for table in Table::ALL {
                load_table(&transaction, table, &mut sink).await?;
            }
        }
        Scope::Table(table) => load_table(&transaction, table, &mut sink).await?,
        Scope::Since(after) => load_changes(&transaction, after, changed.iter().flatten(), &mut sink).await?,
    }
    transaction.end().await?;
    Ok(head)
}

async fn load_table(connection: &Connection, table: Table, sink: &mut RowSink) -> Result<(), StoreError> {
    let statement = format!("SELECT {} FROM xks.{table}", sql::columns(table));
    let each = |row: &SqlRow| {
        sink(Loaded::Row(row_at(table, row, 0)?));
        Ok(())
    };
    connection.each(&statement, &[], each).await
}

async fn load_changes(
    connection: &Connection,
    after: Revision,
    changed: impl Iterator<Item = &SqlRow>,
    sink: &mut RowSink,
) -> Result<(), StoreError> {
    let after = after.get().cast_signed();
    let changed = changed.map(|row| get::<&str>(row, 0)).collect::<Result<Vec<_>, _>>()?;
    for table in Table::ALL.into_iter().filter(|table| changed.contains(&table.as_str())) {
        let statement = format!(
            "SELECT row_id, changed, is_removed, {}
             FROM (SELECT row_id, revision AS changed, is_removed FROM xks.changes
                   WHERE revision > $1 AND table_name = $2) AS change
             LEFT JOIN xks.{table} ON id = row_id",
            sql::columns(table)
        );
        let each = |row: &SqlRow| {
            let is_there = get::<Option<&str>>(row, 3)?.is_some();
            sink(Loaded::Change {
                table,
                id: get(row, 0)?,
                revision: revision(row, 1)?,
                is_removed: get::<i64>(row, 2)? != 0,
                row: is_there.then(|| row_at(table, row, 3)).transpose()?,
            });
            Ok(())
        };
        let params: &[Param<'_>] = &[(&after, Type::INT8), (&table.as_str(), Type::TEXT)];
        connection.each(&statement, params, each).await?;
    }
    Ok(())
}

/// The row whose columns begin at this place.
fn row_at(table: Table, row: &SqlRow, first: usize) -> Result<Row<'_>, StoreError> {
    let code = get::<&[u8]>(row, first + 2)?.try_into().unwrap_or_default();
    let cells = (first + 3..first + 3 + table.columns().len())
        .map(|place| Ok(get::<Found<'_>>(row, place)?.0))
        .collect::<Result<_, StoreError>>()?;
    let (id, revision) = (get::<&str>(row, first)?, revision(row, first + 1)?);
    Ok(Row::new(table, id.into(), revision, code, cells))
}

pub(super) async fn commit(lane: &Lane, changes: &ChangeSet) -> Result<Revision, StoreError> {
    // Commits come one after the other, and one that is late learns it before it has written.
    let head: Statement<'_> = ("SELECT revision FROM xks.head FOR NO KEY UPDATE", &[]);
    let (transaction, rows) = lane.begin(Does::Write, &[head]).await?;
    let head = rows.iter().flatten().next().ok_or_else(no_head)?;
    let (expected, head) = (changes.expected, revision(head, 0)?);
    if expected != head {
        transaction.end().await?;
        return Err(StoreError::Conflict { expected, head });
    }
    if let Some(claim) = &changes.condition
        && !holds(&transaction, claim).await?
    {
        transaction.end().await?;
        return Err(claim.lost());
    }
    let next = changes.head();
    let connection: &Connection = &transaction;
    let mut calls: Vec<Call<'_, u64>> = Vec::new();
    let mut changed = BTreeMap::new();
    for table in Table::ALL {
        // Of rows with one id the last counts, and one that is removed is not there.
        let rows = changes.rows.iter().filter(|row| row.table == table);
        let rows: BTreeMap<&str, &Row<'_>> = rows.map(|row| (&*row.id, row)).collect();
        changed.extend(rows.iter().map(|(id, row)| ((table, *id), (row.revision, 0_i64))));
        let rows: Vec<_> = rows.into_values().collect();
        for rows in rows.chunks(ROWS) {
            calls.push(Box::pin(put(connection, table, rows.to_vec())));
        }
        let removed = changes.removed.iter().filter(|(of, _)| *of == table);
        let removed: Vec<&str> = removed.map(|(_, id)| &**id).collect();
        changed.extend(removed.iter().map(|id| ((table, *id), (next.revision, 1))));
        if !removed.is_empty() {
            calls.push(Box::pin(remove(connection, table, removed)));
        }
    }
    calls.push(Box::pin(remember(connection, changed)));
    for claims in changes.claims.chunks(ROWS) {
        calls.push(Box::pin(put_claims(connection, claims)));
    }
    for claims in changes.ended_claims.chunks(ROWS) {
        calls.push(Box::pin(end_claims(connection, claims)));
    }
    for events in changes.events.chunks(ROWS) {
        calls.push(Box::pin(append(connection, events, Some(next.revision))));
    }
    calls.push(Box::pin(move_head(connection, expected, next)));
    let moved = answers(calls).await?.pop();
    if moved != Some(1) {
        return Err(StoreError::unavailable(
            "the database failed",
            "another commit came between",
        ));
    }
    transaction.commit().await?;
    Ok(next.revision)
}

/// Whether a claim is as it was seen. It stays so until the end of the transaction.
async fn holds(connection: &Connection, claim: &Claim) -> Result<bool, StoreError> {
    let statement = "SELECT id FROM xks.claims
                     WHERE kind = $1 AND id = $2 AND owner = $3 AND counter = $4 FOR SHARE";
    let params: &[Param<'_>] = &[
        (&claim.kind.as_str(), Type::TEXT),
        (&&*claim.id, Type::TEXT),
        (&&*claim.owner, Type::TEXT),
        (&claim.counter.cast_signed(), Type::INT8),
    ];
    Ok(!connection.query(statement, params).await?.is_empty())
}

/// Inserts rows, or puts them in the place of those with their ids.
async fn put(connection: &Connection, table: Table, rows: Vec<&Row<'_>>) -> Result<u64, StoreError> {
    let firsts: Vec<[Cell<'_>; 3]> = rows
        .iter()
        .map(|row| {
            let number = row.revision.get().cast_signed();
            [
                Cell::Text((&*row.id).into()),
                Cell::Integer(number),
                Cell::Bytes((&row.code[..]).into()),
            ]
        })
        .collect();
    let cells = rows
        .iter()
        .zip(&firsts)
        .flat_map(|(row, first)| first.iter().chain(&row.cells));
    let bound: Vec<_> = cells.map(Bound).collect();
    let params: Vec<Param<'_>> = bound.iter().map(|cell| (cell as _, cell.sql_type())).collect();
    let width = 3 + table.columns().len();
    let places = |row: usize| {
        let places: Vec<_> = (1..=width).map(|place| format!("${}", row * width + place)).collect();
        format!("({})", places.join(", "))
    };
    let values: Vec<_> = (0..rows.len()).map(places).collect();
    let columns = ["revision", "code"].iter().chain(table.columns());
    let updates: Vec<_> = columns.map(|column| format!("{column} = excluded.{column}")).collect();
    let statement = format!(
        "INSERT INTO xks.{table} ({}) VALUES {} ON CONFLICT (id) DO UPDATE SET {}",
        sql::columns(table),
        values.join(", "),
        updates.join(", ")
    );
    connection.execute(&statement, &params).await
}

async fn remove(connection: &Connection, table: Table, ids: Vec<&str>) -> Result<u64, StoreError> {
    let statement = format!("DELETE FROM xks.{table} WHERE id = ANY ($1)");
    connection.execute(&statement, &[(&ids, Type::TEXT_ARRAY)]).await
}

/// Keeps for each row the revision that changed it last, and 1 if that has removed it.
async fn remember(
    connection: &Connection,
    changed: BTreeMap<(Table, &str), (Revision, i64)>,
) -> Result<u64, StoreError> {
    let tables: Vec<_> = changed.keys().map(|(table, _)| table.as_str()).collect();
    let ids: Vec<_> = changed.keys().map(|(_, id)| *id).collect();
    let revisions: Vec<_> = changed
        .values()
        .map(|(revision, _)| revision.get().cast_signed())
        .collect();
    let removed: Vec<_> = changed.values().map(|(_, is_removed)| *is_removed).collect();
    let statement = "INSERT INTO xks.changes (table_name, row_id, revision, is_removed)
                     SELECT * FROM unnest($1, $2, $3, $4)
                     ON CONFLICT (table_name, row_id)
                     DO UPDATE SET revision = excluded.revision, is_removed = excluded.is_removed";
    let params: &[Param<'_>] = &[
        (&tables, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&revisions, Type::INT8_ARRAY),
        (&removed, Type::INT8_ARRAY),
    ];
    connection.execute(statement, params).await
}

/// Puts claims, whatever is there.
async fn put_claims(connection: &Connection, claims: &[Claim]) -> Result<u64, StoreError> {
    // Of claims with one id the last counts.
    let claims: BTreeMap<_, _> = claims.iter().map(|claim| ((claim.kind, &*claim.id), claim)).collect();
    let kinds: Vec<_> = claims.keys().map(|(kind, _)| kind.as_str()).collect();
    let ids: Vec<_> = claims.keys().map(|(_, id)| *id).collect();
    let owners: Vec<_> = claims.values().map(|claim| &*claim.owner).collect();
    let counters: Vec<_> = claims.values().map(|claim| claim.counter.cast_signed()).collect();
    let bodies: Vec<_> = claims.values().map(|claim| &*claim.body).collect();
    let statement = "INSERT INTO xks.claims (kind, id, owner, counter, body)
                     SELECT * FROM unnest($1, $2, $3, $4, $5)
                     ON CONFLICT (kind, id)
                     DO UPDATE SET owner = excluded.owner, counter = excluded.counter, body = excluded.body";
    let params: &[Param<'_>] = &[
        (&kinds, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&owners, Type::TEXT_ARRAY),
        (&counters, Type::INT8_ARRAY),
        (&bodies, Type::TEXT_ARRAY),
    ];
    connection.execute(statement, params).await
}

/// Deletes claims, whatever is there.
async fn end_claims(connection: &Connection, claims: &[(ClaimKind, Box<str>)]) -> Result<u64, StoreError> {
    let kinds: Vec<_> = claims.iter().map(|(kind, _)| kind.as_str()).collect();
    let ids: Vec<_> = claims.iter().map(|(_, id)| &**id).collect();
    let statement = "DELETE FROM xks.claims WHERE (kind, id) IN (SELECT * FROM unnest($1, $2))";
    let params: &[Param<'_>] = &[(&kinds, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)];
    connection.execute(statement, params).await
}

/// Appends events, in their order, with this revision unless they have one.
async fn append(connection: &Connection, events: &[Event], revision: Option<Revision>) -> Result<u64, StoreError> {
    let rows: Vec<_> = events.iter().map(|event| EventRow::new(event, revision)).collect();
    let numbers = |of: fn(&EventRow) -> Option<i64>| rows.iter().map(of).collect::<Vec<_>>();
    let texts = |of: fn(&EventRow) -> Option<&str>| rows.iter().map(of).collect::<Vec<_>>();
    let (times, revisions) = (numbers(|row| Some(row.time)), numbers(|row| row.revision));
    let (actors, commands) = (texts(|row| Some(&row.actor)), texts(|row| Some(&row.command)));
    let (objects, outcomes) = (texts(|row| Some(&row.object)), texts(|row| Some(&row.outcome)));
    let reasons = texts(|row| row.reason.as_deref());
    let (before, after) = (texts(|row| row.before.as_deref()), texts(|row| row.after.as_deref()));
    let statement = format!(
        "INSERT INTO xks.events ({EVENT_COLUMNS})
         SELECT {EVENT_COLUMNS}
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) WITH ORDINALITY AS event ({EVENT_COLUMNS}, place)
         ORDER BY place"
    );
    let params: &[Param<'_>] = &[
        (&times, Type::INT8_ARRAY),
        (&actors, Type::TEXT_ARRAY),
        (&commands, Type::TEXT_ARRAY),
        (&objects, Type::TEXT_ARRAY),
        (&outcomes, Type::TEXT_ARRAY),
        (&revisions, Type::INT8_ARRAY),
        (&reasons, Type::TEXT_ARRAY),
        (&before, Type::TEXT_ARRAY),
        (&after, Type::TEXT_ARRAY),
    ];
    connection.execute(&statement, params).await
}

/// Updates the head, and wakes the other nodes when the transaction is committed. It is the last statement.
async fn move_head(connection: &Connection, expected: Revision, next: Head) -> Result<u64, StoreError> {
    let statement = "WITH head AS (
                         UPDATE xks.head SET revision = $2, code = $3 WHERE revision = $1 RETURNING revision
                     )
                     SELECT pg_notify($4, revision::text) FROM head";
    let (expected, revision) = (expected.get().cast_signed(), next.revision.get().cast_signed());
    let params: &[Param<'_>] = &[
        (&expected, Type::INT8),
        (&revision, Type::INT8),
        (&&next.code[..], Type::BYTEA),
        (&super::CHANNEL, Type::TEXT),
    ];
    connection.execute(statement, params).await
}

pub(super) async fn record(lane: &Lane, events: &[Event]) -> Result<(), StoreError> {
    // Numbers are given when a row is inserted. So that who has read up to a number misses no event with a
    // lower one that is committed later, those who append come one after the other.
    let (transaction, _) = lane
        .begin(Does::Write, &[("SELECT FROM xks.head FOR NO KEY UPDATE", &[])])
        .await?;
    let connection: &Connection = &transaction;
    let appends = events
        .chunks(ROWS)
        .map(|events| -> Call<'_, u64> { Box::pin(append(connection, events, None)) });
    answers(appends.collect()).await?;
    transaction.commit().await
}

pub(super) async fn events(lane: &Lane, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
    let statement =
        format!("SELECT number, {EVENT_COLUMNS} FROM xks.events WHERE number > $1 ORDER BY number LIMIT $2");
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params: &[Param<'_>] = &[(&after, Type::INT8), (&limit, Type::INT8)];
    let rows = lane.read(&[(&statement, params)]).await?;
    let rows = rows.iter().flatten();
    rows.map(|row| event_row(row)?.event(number(row, 0)?)).collect()
}

fn event_row(row: &SqlRow) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        time: get(row, 1)?,
        actor: get(row, 2)?,
        command: get(row, 3)?,
        object: get(row, 4)?,
        outcome: get(row, 5)?,
        revision: get(row, 6)?,
        reason: get(row, 7)?,
        before: get(row, 8)?,
        after: get(row, 9)?,
    })
}

/// Changes a claim if it is as it was seen, and lists its kind if that is wanted.
pub(super) async fn swap(lane: &Lane, swap: &Swap, lists: bool) -> Result<(Swapped, Vec<Claim>), StoreError> {
    let (kind, id) = swap.place();
    let kind_name = kind.as_str();
    let counter = |claim: &Claim| claim.counter.cast_signed();
    let (statement, claims) = match swap {
        Swap::Insert(next) => (
            "INSERT INTO xks.claims (kind, id, owner, counter, body) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING RETURNING id",
            vec![(next, true)],
        ),
        Swap::Replace { seen, next } => (
            "UPDATE xks.claims SET owner = $5, counter = $6, body = $7
             WHERE kind = $1 AND id = $2 AND owner = $3 AND counter = $4 RETURNING id",
            vec![(seen, false), (next, true)],
        ),
        Swap::Delete(seen) => (
            "DELETE FROM xks.claims WHERE kind = $1 AND id = $2 AND owner = $3 AND counter = $4 RETURNING id",
            vec![(seen, false)],
        ),
    };
    let claims: Vec<_> = claims
        .into_iter()
        .map(|(claim, is_next)| (&*claim.owner, counter(claim), is_next.then_some(&*claim.body)))
        .collect();
    let place: [Param<'_>; 2] = [(&kind_name, Type::TEXT), (&id, Type::TEXT)];
    let mut params = place.to_vec();
    for (owner, counter, body) in &claims {
        params.extend([(owner as &(dyn ToSql + Sync), Type::TEXT), (counter, Type::INT8)]);
        params.extend(body.as_ref().map(|body| (body as _, Type::TEXT)));
    }
    // What follows the change sees what others have committed until then.
    let mut statements: Vec<Statement<'_>> = vec![
        (statement, &params),
        (
            "SELECT revision, owner, counter, body FROM xks.head LEFT JOIN xks.claims ON kind = $1 AND id = $2",
            &place,
        ),
    ];
    if lists {
        statements.push((LIST, place.get(..1).unwrap_or_default()));
    }
    let (transaction, answers) = lane.begin(Does::Write, &statements).await?;
    transaction.commit().await?;
    let [changed, found, listed @ ..] = &*answers else {
        return Err(missing());
    };
    let found = found.first().ok_or_else(no_head)?;
    let is_there = get::<Option<&str>>(found, 1)?.is_some();
    let claim = is_there.then(|| claim_at(kind, id, found, 1)).transpose()?;
    let listed = listed.iter().flatten().map(|row| claim_at(kind, get(row, 0)?, row, 1));
    let swapped = Swapped::new(changed.len() == 1, claim, revision(found, 0)?);
    Ok((swapped, listed.collect::<Result<_, _>>()?))
}

/// The claims of a kind.
const LIST: &str = "SELECT id, owner, counter, body FROM xks.claims WHERE kind = $1 ORDER BY id COLLATE \"C\"";

pub(super) async fn claims(lane: &Lane, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
    let name = kind.as_str();
    let rows = lane.read(&[(HEAD, &[]), (LIST, &[(&name, Type::TEXT)])]).await?;
    let [head, listed, ..] = &*rows else {
        return Err(missing());
    };
    let revision = revision(head.first().ok_or_else(no_head)?, 0)?;
    let claims = listed.iter().map(|row| claim_at(kind, get(row, 0)?, row, 1));
    Ok((claims.collect::<Result<_, _>>()?, revision))
}

/// The claim whose owner is at this place.
fn claim_at(kind: ClaimKind, id: &str, row: &SqlRow, first: usize) -> Result<Claim, StoreError> {
    let counter = number(row, first + 1)?;
    Ok(Claim::new(kind, id, get(row, first)?, counter, get(row, first + 2)?))
}

pub(super) async fn durability(lane: &Lane) -> Result<Durability, StoreError> {
    let statement = "SELECT current_setting('fsync') = 'on',
                            current_setting('synchronous_commit'),
                            current_setting('synchronous_standby_names') <> '',
                            EXISTS (SELECT FROM pg_stat_replication)
                                OR EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'physical')";
    let rows = lane.read(&[(statement, &[])]).await?;
    let row = rows.iter().flatten().next().ok_or_else(missing)?;
    let (is_flushed, waits, names_standbys, has_standbys) = (get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?);
    Ok(durability_of(is_flushed, waits, names_standbys, has_standbys))
}

/// What the settings of a database are worth: `fsync`, `synchronous_commit`, whether it names synchronous
/// standbys, and whether there is any standby. `off` counts as `on`, as which our transactions have it.
fn durability_of(is_flushed: bool, waits: &str, names_standbys: bool, has_standbys: bool) -> Durability {
    match (is_flushed, waits, names_standbys, has_standbys) {
        (false, ..) => Durability::Asynchronous,
        (_, "on" | "off" | "remote_apply", true, _) => Durability::Synchronous,
        (_, _, false, false) => Durability::Single,
        _ => Durability::Asynchronous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_that_of_the_settings() {
        use Durability::{Asynchronous, Single, Synchronous};
        for (is_flushed, waits, names_standbys, has_standbys, expected) in [
            (true, "on", false, false, Single),
            (true, "local", false, false, Single),
            (true, "on", false, true, Asynchronous),
            (true, "on", true, true, Synchronous),
            (true, "on", true, false, Synchronous), // commits wait until there is one
            (true, "remote_apply", true, true, Synchronous),
            (true, "off", true, true, Synchronous),
            // The standby's memory is not its disk.
            (true, "remote_write", true, true, Asynchronous),
            (true, "local", true, true, Asynchronous),
            (false, "on", false, false, Asynchronous),
            (false, "on", true, true, Asynchronous),
        ] {
            let found = durability_of(is_flushed, waits, names_standbys, has_standbys);
            assert_eq!(found, expected, "{is_flushed} {waits} {names_standbys} {has_standbys}");
        }
    }
}
