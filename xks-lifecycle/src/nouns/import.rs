//! Keys of our own that AWS imports: how they rotate, and for how long their material is there.

use crate::{
    FieldError, FieldProblem, Rotation, Timestamp,
    field::{bounded, named, named_enum},
    record::{CellReader, CellWriter},
};

/// How a KMS key is whose material is made here and imported into AWS.
///
/// The source of its key set is that of its material: `hsm` or `vault`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Import {
    /// How it rotates. It cannot be changed later.
    pub style: RotationStyle,
    /// When its material ends in AWS; never, if none. AWS keeps material for at most 365 days: for a later
    /// time it is imported again before each end.
    pub expires: Option<Timestamp>,
    /// Whether a rotation disables the former KMS key at once. Of the style `new-key` alone.
    pub disable_former: bool,
    /// For how many days after a rotation the former KMS key stays enabled, and is disabled then by itself;
    /// if none, until it is disabled by a command. It counts for rotations from when it is set. Of the style
    /// `new-key` alone, and not with `disable_former`.
    pub keep_days: Option<KeepDays>,
    /// When it rotates by itself.
    pub rotation: Rotation,
    /// Since when it rotates so, if it once did otherwise. [Commands](crate::commands) set it.
    pub rotation_since: Option<Timestamp>,
    /// Whether it rotates by itself only while its current material ends in AWS within so many days, once for
    /// each end. Material that does not end is then rotated by commands alone.
    #[serde(rename = "ending_within_days")]
    pub ending_within: Option<EndingWithinDays>,
}

/// How a KMS key with imported material rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RotationStyle {
    /// Each material has a KMS key of its own, and the alias moves to the newest.
    NewKey,
    /// All materials belong to one KMS key, which AWS rotates on demand: 25 times at most.
    InPlace,
}

named_enum! {
    RotationStyle,
    NewKey => "new-key",
    InPlace => "in-place",
}

bounded! {
    /// For how many days a former KMS key stays enabled: 1 to 36 500.
    KeepDays, "keep_days", 1, 36_500
}
bounded! {
    /// Within how many days material must end, so that it is rotated: 1 to 360, less than AWS keeps material.
    EndingWithinDays, "ending_within_days", 1, 360
}

impl Import {
    /// An import whose material does not end, whose former KMS keys stay as they are, and which rotates as
    /// its key set says.
    #[must_use]
    pub const fn new(style: RotationStyle) -> Self {
        Self {
            style,
            expires: None,
            disable_former: false,
            keep_days: None,
            rotation: Rotation::Inherited,
            rotation_since: None,
            ending_within: None,
        }
    }

    /// Checks that the fields fit each other.
    ///
    /// # Errors
    /// Of the field `disable_former` or `keep_days`: it must be left out.
    pub fn check(&self) -> Result<(), FieldError> {
        let has_formers = self.style == RotationStyle::NewKey;
        let is_out_of_place = [
            ("disable_former", self.disable_former && !has_formers),
            (
                "keep_days",
                self.keep_days.is_some() && (self.disable_former || !has_formers),
            ),
        ];
        match is_out_of_place
            .into_iter()
            .find(|(_, is_out_of_place)| *is_out_of_place)
        {
            Some((field, _)) => Err(FieldError::new(field, FieldProblem::Unexpected)),
            None => Ok(()),
        }
    }

    /// Writes the columns of an import, empty for another origin.
    pub(crate) fn write(import: Option<&Self>, cells: &mut CellWriter<'_>) {
        cells.optional("style", import.map(|import| &import.style));
        let times = |time: fn(&Self) -> Option<Timestamp>| import.and_then(time).map(Timestamp::seconds);
        cells.optional_number("expires", times(|import| import.expires));
        cells.optional_number("disable_former", import.map(|import| import.disable_former.into()));
        let keep_days = import.and_then(|import| import.keep_days);
        cells.optional_number("keep_days", keep_days.map(|days| days.get().into()));
        cells.optional("rotation", import.map(|import| &import.rotation));
        cells.optional_number("rotation_since", times(|import| import.rotation_since));
        let ending_within = import.and_then(|import| import.ending_within);
        cells.optional_number("ending_within_days", ending_within.map(|days| days.get().into()));
    }

    /// Returns whether its end has come.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Reads what [`write`](Self::write) has written.
    pub(crate) fn read(cells: &mut CellReader<'_>) -> Result<Option<Self>, FieldError> {
        let Some(style) = cells.optional("style")? else {
            let columns = ["expires", "disable_former", "keep_days"];
            let mut others = Vec::new();
            for column in columns {
                others.push((column, cells.optional_number(column)?.is_some()));
            }
            others.push(("rotation", cells.optional("rotation")?.is_some()));
            for column in ["rotation_since", "ending_within_days"] {
                others.push((column, cells.optional_number(column)?.is_some()));
            }
            return match others.into_iter().find(|(_, is_there)| *is_there) {
                Some((column, _)) => Err(FieldError::new(column, FieldProblem::Unexpected)),
                None => Ok(None),
            };
        };
        let import = Self {
            style: named("style", style, RotationStyle::NAMES)?,
            expires: cells.optional_time("expires")?,
            disable_former: cells.flag("disable_former")?,
            keep_days: cells.optional_number("keep_days")?.map(KeepDays::new).transpose()?,
            rotation: cells.parsed("rotation")?,
            rotation_since: cells.optional_time("rotation_since")?,
            ending_within: cells
                .optional_number("ending_within_days")?
                .map(EndingWithinDays::new)
                .transpose()?,
        };
        import.check()?;
        Ok(Some(import))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_keys_leave_former_ones() {
        let days = Some(KeepDays::new(30).unwrap());
        for (style, disable_former, keep_days, wrong) in [
            (RotationStyle::NewKey, true, None, None),
            (RotationStyle::NewKey, false, days, None),
            (RotationStyle::NewKey, true, days, Some("keep_days")),
            (RotationStyle::InPlace, false, None, None),
            (RotationStyle::InPlace, true, None, Some("disable_former")),
            (RotationStyle::InPlace, false, days, Some("keep_days")),
        ] {
            let import = Import {
                disable_former,
                keep_days,
                ..Import::new(style)
            };
            let field = import.check().err().map(|error| error.field());
            assert_eq!(field, wrong, "{import:?}");
        }
    }
}
