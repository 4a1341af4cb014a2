//! A restore: that the state was taken from a backup, and when.

use crate::{
    Timestamp,
    record::{CellReader, CellWriter, Record, RowProblem},
    store::{Revision, Table},
};

/// A restore of the state from a backup. What happened between the backup and the restore is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Restore {
    /// The revision that it made, by which it is called.
    pub revision: Revision,
    /// When the state was restored: not before anything in it was made.
    pub time: Timestamp,
    /// The revision that the backup was made at.
    pub backup_revision: Revision,
    /// When the backup was made.
    pub backup_time: Timestamp,
}

impl Record for Restore {
    type Id = Revision;
    const TABLE: Table = Table::Restores;

    fn id(&self) -> Revision {
        self.revision
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        cells.number("time", self.time.seconds());
        cells.number("backup_revision", self.backup_revision.get());
        cells.number("backup_time", self.backup_time.seconds());
    }

    fn read(revision: Revision, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            revision,
            time: cells.time("time")?,
            backup_revision: Revision::new(cells.number("backup_revision")?),
            backup_time: cells.time("backup_time")?,
        })
    }
}
