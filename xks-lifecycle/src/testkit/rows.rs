//! Contracts about rows: they are kept as they were put.

use xks_core::testkit::conformance::Problem;

use super::fixture::{Checked, Fixture, code, must_be, put, row};
use crate::store::{Cell, ChangeSet, ClaimKind, Head, Revision, Row, Scope, Table};

pub(super) fn an_empty_store_is_at_revision_zero(fixture: &Fixture) -> Checked {
    let (rows, head) = fixture.load(Scope::Everything)?;
    must_be("rows", &rows, &Vec::new())?;
    must_be("the head", &head, &Head::default())?;
    let store = fixture.store();
    for kind in ClaimKind::ALL {
        let claims = fixture.must("to list claims", store.claims(kind))?;
        must_be("claims", &claims, &(Vec::new(), Revision::ZERO))?;
    }
    must_be(
        "events",
        &fixture.must("to list events", store.events(0, 10))?,
        &Vec::new(),
    )
}

/// A row of a table with cells of every kind, in turn.
fn any_row(table: Table, id: &str, turn: usize) -> Row<'static> {
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let of_column = |column: &&str| match *column {
        // Columns that hold numbers, and those that hold bytes.
        "created"
        | "expires"
        | "deleted_after"
        | "lifetime_days"
        | "waiting_days"
        | "number"
        | "min_encrypt"
        | "min_decrypt"
        | "min_kept"
        | "earlier_encryptions"
        | "is_blocked"
        | "is_revoked"
        | "keeps_decryption"
        | "needs_two"
        | "every_days"
        | "jitter_minutes"
        | "since"
        | "schedule_since"
        | "overlap_minutes"
        | "is_untaken"
        | "rotation_since"
        | "promoted"
        | "time"
        | "backup_revision"
        | "backup_time"
        | "rotated"
        | "is_adopted"
        | "disable_former"
        | "keep_days"
        | "destroyed"
        | "imported"
        | "valid_to"
        | "former_days"
        | "retired"
        | "ending_within_days"
        | "kept_until" => [
            Cell::Integer(0),
            Cell::Integer(i64::MIN),
            Cell::Integer(i64::MAX),
            Cell::Null,
        ],
        "wrapped" | "secret" | "next_secret" | "material" | "legacy_metadata" => [
            Cell::Bytes(Vec::new().into()),
            Cell::Bytes(vec![0].into()),
            Cell::Bytes(all_bytes.clone().into()),
            Cell::Null,
        ],
        _ => [
            Cell::Text("".into()),
            Cell::Text("it's \"Müller\" \\ 😀 %_\u{7f}\n".into()),
            Cell::Text("x".repeat(5000).into()),
            Cell::Null,
        ],
    };
    let pick = |(place, column)| {
        let mut kinds = of_column(column).into_iter().cycle();
        kinds.nth(place + turn).unwrap_or(Cell::Null)
    };
    let cells = table.columns().iter().enumerate().map(pick).collect();
    Row::new(table, id.to_owned().into(), Revision::new(1), [turn as u8; 16], cells)
}

fn sorted(mut rows: Vec<Row<'static>>) -> Vec<Row<'static>> {
    rows.sort_by(|one, other| (one.table, &one.id).cmp(&(other.table, &other.id)));
    rows
}

fn rows_of_every_table() -> ChangeSet {
    let mut changes = ChangeSet::new(Revision::ZERO, [9; 32]);
    for table in Table::ALL {
        changes
            .rows
            .extend((0..4).map(|turn| any_row(table, &format!("row/{turn} ü"), turn)));
    }
    changes
}

pub(super) fn cells_are_kept(fixture: &Fixture) -> Checked {
    let changes = rows_of_every_table();
    let expected = sorted(changes.rows.clone());
    fixture.commit(changes)?;
    let (rows, head) = fixture.load(Scope::Everything)?;
    let rows = sorted(rows);
    must_be("the number of rows", &rows.len(), &expected.len())?;
    for (row, expected) in rows.iter().zip(&expected) {
        must_be("a row", row, expected)?;
    }
    must_be("the head", &head, &Head::new(Revision::new(1), [9; 32]))
}

pub(super) fn rows_come_table_by_table(fixture: &Fixture) -> Checked {
    let mut changes = rows_of_every_table();
    changes.rows.reverse();
    fixture.commit(changes)?;
    let (rows, _) = fixture.load(Scope::Everything)?;
    let tables: Vec<_> = rows.iter().map(|row| row.table).collect();
    must_be("the order of the tables", &tables.is_sorted(), &true)?;
    for table in Table::ALL {
        let (rows, head) = fixture.load(Scope::Table(table))?;
        let of_others = rows.iter().filter(|row| row.table != table).count();
        must_be("rows of one table", &(rows.len(), of_others), &(4, 0))?;
        must_be("the revision", &head.revision, &Revision::new(1))?;
    }
    Ok(())
}

pub(super) fn rows_are_replaced_and_removed(fixture: &Fixture) -> Checked {
    fixture.commit(put(Revision::ZERO, &[("a", "one"), ("b", "one"), ("c", "one")]))?;
    let mut changes = put(Revision::new(1), &[("b", "two")]);
    changes.removed = vec![(Table::Tenants, "a".into()), (Table::Tenants, "unknown".into())];
    fixture.commit(changes)?;
    let (rows, head) = fixture.load(Scope::Everything)?;
    let expected = vec![row("b", "two", Revision::new(1)), row("c", "one", Revision::ZERO)];
    must_be("the rows", &sorted(rows), &expected)?;
    must_be("the head", &head, &Head::new(Revision::new(2), code(Revision::new(2))))
}

pub(super) fn changes_are_remembered(fixture: &Fixture) -> Checked {
    fixture.commit(put(
        Revision::ZERO,
        &[("a", "one"), ("b", "one"), ("c", "one"), ("d", "one")],
    ))?;
    let mut second = put(Revision::new(1), &[("b", "two")]);
    second.removed = vec![(Table::Tenants, "c".into()), (Table::Tenants, "d".into())];
    fixture.commit(second)?;
    fixture.commit(put(Revision::new(2), &[("d", "three")]))?;
    let shown = |after: u64| {
        let (changes, head) = fixture.changes(Revision::new(after))?;
        must_be("the revision", &head.revision, &Revision::new(3))?;
        let one = |change: super::fixture::Changed| {
            let row = change.row.map(|row| row.revision.get());
            (change.id, change.revision.get(), change.is_removed, row)
        };
        Ok::<Vec<_>, Problem>(changes.into_iter().map(one).collect())
    };
    let a = ("a".to_owned(), 1, false, Some(1));
    let b = ("b".to_owned(), 2, false, Some(2));
    let c = ("c".to_owned(), 2, true, None);
    let d = ("d".to_owned(), 3, false, Some(3));
    must_be(
        "since revision 0",
        &shown(0)?,
        &vec![a, b.clone(), c.clone(), d.clone()],
    )?;
    must_be("since revision 1", &shown(1)?, &vec![b, c, d.clone()])?;
    must_be("since revision 2", &shown(2)?, &vec![d])?;
    must_be("since revision 3", &shown(3)?, &vec![])
}
