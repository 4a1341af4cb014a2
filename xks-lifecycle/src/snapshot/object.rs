//! A row, as messages call it.

use std::fmt;

use super::Entry;
use crate::{record::Record, store::Table};

pub(super) fn object<R: Record>(record: &R) -> Object {
    Object::new(R::TABLE, &record.id())
}

pub(super) fn object_of<R: Record>(entry: &Entry<R>) -> Object {
    object(&entry.value)
}

/// A row, as messages call it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a table and an id name a row")]
pub struct Object(pub Table, pub Box<str>);

impl Object {
    pub(crate) fn new(table: Table, id: &dyn fmt::Display) -> Self {
        Self(table, id.to_string().into())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.as_str().replace('_', "-"), self.1)
    }
}
