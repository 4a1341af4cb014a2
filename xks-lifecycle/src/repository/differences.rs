//! Which rows are not as the list of changes has them, where all together are not those of the revision.

use super::Recorded;
use crate::{
    Snapshot,
    record::{RowError, RowProblem},
};

/// What is wrong with a row, beside its code, by what was recorded of it.
fn problem_of(change: &Recorded) -> Option<RowProblem> {
    let recorded = change.revision.get();
    match (&change.row, change.is_removed) {
        (Some(_), true) => Some(RowProblem::Unexpected),
        (None, false) => Some(RowProblem::Missing(recorded)),
        (Some(row), false) if row.revision != change.revision => Some(RowProblem::PutBack {
            found: row.revision.get(),
            recorded,
        }),
        (Some(_), false) | (None, true) => None,
    }
}

/// The rows that are not as the list of changes has them.
pub(super) fn differences(snapshot: &Snapshot, changes: &[Recorded]) -> Vec<RowError> {
    let of_changes = changes.iter().filter_map(|change| {
        let problem = problem_of(change)?;
        Some(RowError::new(change.table, &change.id, problem))
    });
    let known: std::collections::HashSet<_> = changes.iter().map(|change| (change.table, &*change.id)).collect();
    let unknown = snapshot
        .rows()
        .filter(|(table, id)| !known.contains(&(*table, id.as_str())));
    let unknown = unknown.map(|(table, id)| RowError::new(table, &id, RowProblem::Unexpected));
    of_changes.chain(unknown).collect()
}
