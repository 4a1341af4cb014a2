//! Cells as parameters of statements, and as what a row holds.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::store::Cell;

type Conversion<T> = Result<T, Box<dyn StdError + Sync + Send>>;

/// A cell as a parameter.
#[derive(Debug)]
pub(super) struct Bound<'c>(pub(super) &'c Cell<'c>);

impl Bound<'_> {
    /// The type that the statement declares; for nothing, the database takes that of the column.
    pub(super) fn sql_type(&self) -> Type {
        match self.0 {
            Cell::Null => Type::UNKNOWN,
            Cell::Integer(_) => Type::INT8,
            Cell::Text(_) => Type::TEXT,
            Cell::Bytes(_) => Type::BYTEA,
        }
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(&self, sql_type: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        match self.0 {
            Cell::Null => Ok(IsNull::Yes),
            Cell::Integer(number) => number.to_sql(sql_type, out),
            Cell::Text(text) => text.to_sql(sql_type, out),
            Cell::Bytes(bytes) => bytes.to_sql(sql_type, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A cell as it is. What somebody else has put there in a column of another type is handed on as bytes, so
/// that the row is found by its code and named.
pub(super) struct Found<'r>(pub(super) Cell<'r>);

impl<'r> FromSql<'r> for Found<'r> {
    fn from_sql(sql_type: &Type, raw: &'r [u8]) -> Conversion<Self> {
        Ok(Self(match *sql_type {
            Type::INT8 => Cell::Integer(i64::from_sql(sql_type, raw)?),
            Type::TEXT => Cell::Text(<&str>::from_sql(sql_type, raw)?.into()),
            _ => Cell::Bytes(raw.into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Conversion<Self> {
        Ok(Self(Cell::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
