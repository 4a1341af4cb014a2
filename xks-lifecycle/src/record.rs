//! From a noun to the cells of its row, and back.

use std::{error::Error as StdError, fmt::Display, str::FromStr};

use thiserror::Error;
use xks_core::Zeroizing;

use crate::{
    FieldError, FieldProblem, Timestamp,
    seal::{DataKey, Place, SealError, Sum},
    snapshot::Object,
    store::{Cell, Revision, Row, Table},
};

/// What is kept as a row of a table.
pub(crate) trait Record: Sized {
    type Id: Clone + Ord + Display + FromStr<Err: StdError>;
    const TABLE: Table;

    fn id(&self) -> Self::Id;
    /// What it refers to: by which field, which row.
    fn references(&self) -> Vec<(&'static str, Object)> {
        Vec::new()
    }
    /// The field in which it differs from what it was, and may not.
    fn contradicts(&self, _former: &Self) -> Option<&'static str> {
        None
    }
    /// Writes all columns of the table, in their order.
    fn write(&self, cells: &mut CellWriter<'_>);
    /// Reads all columns of the table, in their order.
    fn read(id: Self::Id, cells: &mut CellReader<'_>) -> Result<Self, RowProblem>;
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// Its code is not that of its table, id, revision and cells.
    #[error("it was edited, or moved from another place")]
    Edited,
    /// A sealed cell was not sealed for this table, row and column.
    #[error("its column `{0}` was edited, or moved from another place")]
    Sealed(&'static str),
    /// It is as an earlier revision had it.
    #[error("it was put back as of revision {found}; revision {recorded} changed it last")]
    PutBack {
        /// The revision of the row.
        found: u64,
        /// The revision that changed it last.
        recorded: u64,
    },
    /// It is not there, though no revision removed it.
    #[error("it was taken away; revision {0} changed it last")]
    Missing(u64),
    /// It is there, though no revision put it there, or one removed it.
    #[error("it was put there, and no revision did so")]
    Unexpected,
    /// A cell holds what this version of the program does not know.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// A row that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("row `{id}` of table `{table}`: {problem}")]
#[non_exhaustive]
pub struct RowError {
    /// Of which table.
    pub table: Table,
    /// Which row.
    pub id: Box<str>,
    /// What is wrong with it.
    pub problem: RowProblem,
}

impl RowError {
    pub(crate) fn new(table: Table, id: &str, problem: RowProblem) -> Self {
        let id = id.into();
        Self { table, id, problem }
    }
}

/// Makes the row of a record, and its part of the sum.
pub(crate) fn encode<R: Record>(
    key: &DataKey,
    record: &R,
    revision: Revision,
) -> Result<(Row<'static>, Sum), SealError> {
    let id = record.id().to_string();
    let mut writer = CellWriter::new(key, R::TABLE, &id);
    record.write(&mut writer);
    let cells = writer.finish()?;
    let (code, sum) = key.row(R::TABLE, &id, revision, &cells);
    Ok((Row::new(R::TABLE, id.into(), revision, code, cells), sum))
}

/// Reads the record of a row whose code is right.
pub(crate) fn decode<R: Record>(key: Option<&DataKey>, row: &Row<'_>) -> Result<R, RowProblem> {
    let id = row
        .id
        .parse()
        .map_err(|error: <R::Id as FromStr>::Err| FieldError::illegal("id", &error))?;
    R::read(id, &mut CellReader::new(key, R::TABLE, &row.id, &row.cells))
}

/// Writes the cells of a row.
pub(crate) struct CellWriter<'k> {
    key: &'k DataKey,
    table: Table,
    id: &'k str,
    cells: Vec<Cell<'static>>,
    /// A seal that could not be made.
    failed: Option<SealError>,
}

impl<'k> CellWriter<'k> {
    pub(crate) fn new(key: &'k DataKey, table: Table, id: &'k str) -> Self {
        Self {
            key,
            table,
            id,
            cells: Vec::with_capacity(table.columns().len()),
            failed: None,
        }
    }

    pub(crate) fn finish(self) -> Result<Vec<Cell<'static>>, SealError> {
        self.failed.map_or(Ok(self.cells), Err)
    }

    fn push(&mut self, column: &'static str, cell: Cell<'static>) {
        debug_assert_eq!(self.table.columns().get(self.cells.len()), Some(&column));
        self.cells.push(cell);
    }

    pub(crate) fn text(&mut self, column: &'static str, text: &dyn Display) {
        self.push(column, Cell::Text(text.to_string().into()));
    }

    pub(crate) fn optional(&mut self, column: &'static str, text: Option<&impl Display>) {
        self.push(
            column,
            text.map_or(Cell::Null, |text| Cell::Text(text.to_string().into())),
        );
    }

    pub(crate) fn number(&mut self, column: &'static str, number: u64) {
        // What is above is written as a negative number, and read back.
        self.push(column, Cell::Integer(number.cast_signed()));
    }

    pub(crate) fn optional_number(&mut self, column: &'static str, number: Option<u64>) {
        match number {
            Some(number) => self.number(column, number),
            None => self.push(column, Cell::Null),
        }
    }

    pub(crate) fn flag(&mut self, column: &'static str, is_set: bool) {
        self.number(column, is_set.into());
    }

    pub(crate) fn optional_bytes(&mut self, column: &'static str, bytes: Option<&[u8]>) {
        self.push(
            column,
            bytes.map_or(Cell::Null, |bytes| Cell::Bytes(bytes.to_vec().into())),
        );
    }

    /// Writes a secret, sealed.
    pub(crate) fn secret(&mut self, column: &'static str, secret: Option<&[u8]>) {
        let place = Place {
            table: self.table,
            id: self.id,
            column,
        };
        match secret.map(|secret| self.key.seal(place, secret)).transpose() {
            Ok(sealed) => self.optional_bytes(column, sealed.as_deref()),
            Err(error) => self.failed = Some(error),
        }
    }
}

/// Reads the cells of a row.
pub(crate) struct CellReader<'r> {
    /// None while the data key is not known: then nothing that is sealed opens.
    key: Option<&'r DataKey>,
    table: Table,
    id: &'r str,
    cells: &'r [Cell<'r>],
    next: usize,
}

impl<'r> CellReader<'r> {
    pub(crate) const fn new(key: Option<&'r DataKey>, table: Table, id: &'r str, cells: &'r [Cell<'r>]) -> Self {
        Self {
            key,
            table,
            id,
            cells,
            next: 0,
        }
    }

    fn take(&mut self, column: &'static str) -> &'r Cell<'r> {
        debug_assert_eq!(self.table.columns().get(self.next), Some(&column));
        let cell = self.cells.get(self.next);
        self.next += 1;
        cell.unwrap_or(&Cell::Null)
    }

    pub(crate) fn optional(&mut self, column: &'static str) -> Result<Option<&'r str>, FieldError> {
        match self.take(column) {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            Cell::Integer(_) | Cell::Bytes(_) => Err(other_kind(column, "a text")),
        }
    }

    pub(crate) fn text(&mut self, column: &'static str) -> Result<&'r str, FieldError> {
        self.optional(column)?.ok_or_else(|| missing(column))
    }

    pub(crate) fn optional_parsed<T: FromStr<Err: StdError>>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, FieldError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|error: T::Err| FieldError::illegal(column, &error))
        };
        self.optional(column)?.map(parse).transpose()
    }

    pub(crate) fn parsed<T: FromStr<Err: StdError>>(&mut self, column: &'static str) -> Result<T, FieldError> {
        self.optional_parsed(column)?.ok_or_else(|| missing(column))
    }

    pub(crate) fn optional_number(&mut self, column: &'static str) -> Result<Option<u64>, FieldError> {
        match self.take(column) {
            Cell::Null => Ok(None),
            Cell::Integer(number) => Ok(Some(number.cast_unsigned())),
            Cell::Text(_) | Cell::Bytes(_) => Err(other_kind(column, "a number")),
        }
    }

    pub(crate) fn number(&mut self, column: &'static str) -> Result<u64, FieldError> {
        self.optional_number(column)?.ok_or_else(|| missing(column))
    }

    pub(crate) fn small_number(&mut self, column: &'static str) -> Result<u32, FieldError> {
        let number = self.number(column)?;
        let max = u32::MAX.into();
        u32::try_from(number).map_err(|_| FieldError::new(column, FieldProblem::Range { min: 0, max }))
    }

    pub(crate) fn flag(&mut self, column: &'static str) -> Result<bool, FieldError> {
        match self.number(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FieldError::new(column, FieldProblem::Range { min: 0, max: 1 })),
        }
    }

    pub(crate) fn optional_time(&mut self, column: &'static str) -> Result<Option<Timestamp>, FieldError> {
        let time = |seconds| Timestamp::from_seconds(column, seconds);
        self.optional_number(column)?.map(time).transpose()
    }

    pub(crate) fn time(&mut self, column: &'static str) -> Result<Timestamp, FieldError> {
        self.optional_time(column)?.ok_or_else(|| missing(column))
    }

    pub(crate) fn optional_bytes(&mut self, column: &'static str) -> Result<Option<&'r [u8]>, FieldError> {
        match self.take(column) {
            Cell::Null => Ok(None),
            Cell::Bytes(bytes) => Ok(Some(bytes)),
            Cell::Integer(_) | Cell::Text(_) => Err(other_kind(column, "bytes")),
        }
    }

    pub(crate) fn bytes(&mut self, column: &'static str) -> Result<&'r [u8], FieldError> {
        self.optional_bytes(column)?.ok_or_else(|| missing(column))
    }

    /// Opens a sealed cell.
    pub(crate) fn optional_secret(&mut self, column: &'static str) -> Result<Option<Zeroizing<Vec<u8>>>, RowProblem> {
        let place = Place {
            table: self.table,
            id: self.id,
            column,
        };
        let key = self.key;
        let open = |sealed: &[u8]| {
            let opened = key.and_then(|key| key.open(place, sealed));
            opened.ok_or(RowProblem::Sealed(column))
        };
        self.optional_bytes(column)?.map(open).transpose()
    }

    pub(crate) fn required_secret(&mut self, column: &'static str) -> Result<Zeroizing<Vec<u8>>, RowProblem> {
        self.optional_secret(column)?.ok_or_else(|| missing(column).into())
    }
}

fn missing(column: &'static str) -> FieldError {
    FieldError::new(column, FieldProblem::Missing)
}

fn other_kind(column: &'static str, expected: &str) -> FieldError {
    FieldError::new(column, FieldProblem::Illegal(format!("the column holds {expected}")))
}
