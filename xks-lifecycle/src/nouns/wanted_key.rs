//! What a KMS key shall be.

use crate::{
    FieldError, FieldProblem,
    field::bounded,
    record::{CellReader, CellWriter},
};

/// What a KMS key shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WantedKey {
    /// There and enabled.
    Enabled,
    /// There and disabled.
    Disabled,
    /// Gone, so many days after it is scheduled for that.
    Deleted(DeletionDays),
}

bounded! {
    /// How many days AWS waits before it deletes a KMS key: 7 to 30.
    DeletionDays, "waiting_days", 7, 30
}

impl DeletionDays {
    /// The longest.
    pub const DEFAULT: Self = Self(30);
}

impl WantedKey {
    /// Writes a column for it, and one for its days.
    pub(crate) fn write(self, column: &'static str, days: &'static str, cells: &mut CellWriter<'_>) {
        let (wanted, number) = match self {
            Self::Enabled => ("enabled", None),
            Self::Disabled => ("disabled", None),
            Self::Deleted(days) => ("deleted", Some(days.get().into())),
        };
        cells.text(column, &wanted);
        cells.optional_number(days, number);
    }

    /// Reads what [`write`](Self::write) has written.
    pub(crate) fn read(
        column: &'static str,
        days: &'static str,
        cells: &mut CellReader<'_>,
    ) -> Result<Self, FieldError> {
        match (cells.text(column)?, cells.optional_number(days)?) {
            ("enabled", None) => Ok(Self::Enabled),
            ("disabled", None) => Ok(Self::Disabled),
            ("deleted", Some(number)) => Ok(Self::Deleted(DeletionDays::new(number)?)),
            ("deleted", None) => Err(FieldError::new(days, FieldProblem::Missing)),
            ("enabled" | "disabled", Some(_)) => Err(FieldError::new(days, FieldProblem::Unexpected)),
            _ => {
                let names = "enabled, disabled, deleted";
                Err(FieldError::new(column, FieldProblem::Unknown(names)))
            }
        }
    }
}
