//! A tenant: who owns key sets, and sees nothing of other tenants.

use crate::{
    Description, FieldError, Name, TenantId,
    record::{CellReader, CellWriter, Record, RowProblem},
    store::Table,
};

/// A tenant. The guides of other products call it a vault.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What it is called.
    pub name: Name,
    /// What it is for.
    pub description: Description,
}

impl Tenant {
    /// A tenant with this name, and no description.
    ///
    /// # Errors
    /// Of the field `name`.
    pub fn new(id: TenantId, name: &str) -> Result<Self, FieldError> {
        Ok(Self {
            id,
            name: Name::new("name", name)?,
            description: Description::new("description", "")?,
        })
    }
}

impl Record for Tenant {
    type Id = TenantId;
    const TABLE: Table = Table::Tenants;

    fn id(&self) -> TenantId {
        self.id
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        cells.text("name", &self.name);
        cells.text("description", &self.description);
    }

    fn read(id: TenantId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            id,
            name: Name::new("name", cells.text("name")?)?,
            description: Description::new("description", cells.text("description")?)?,
        })
    }
}
