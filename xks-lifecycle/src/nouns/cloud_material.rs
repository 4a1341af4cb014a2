//! Key material of our own for a KMS key.

use crate::{
    CloudKey, CloudKeyId, CloudMaterialId, FieldError, FieldProblem, KmsKeyArn, KmsMaterialId, Material, MaterialCheck,
    Timestamp, WantedKey,
    field::{named, named_enum},
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// Key material for a [`CloudKey`] of the origin
/// [`External`](crate::CloudKeyOrigin::External): what is here of it, and where it is in AWS. Of destroyed
/// material the row remains.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CloudMaterial {
    /// Its id.
    pub id: CloudMaterialId,
    /// For which cloud key.
    pub cloud_key: CloudKeyId,
    /// 1 for the first material of the cloud key, and so on.
    pub number: u32,
    /// When it was added.
    pub created: Timestamp,
    /// The material, and where it is.
    pub material: Material,
    /// By what it is recognised; none until it is made.
    pub check: Option<MaterialCheck>,
    /// When it was destroyed here.
    pub destroyed: Option<Timestamp>,
    /// The KMS key that it is for, once known: one of its own with the style `new-key`, that of all materials
    /// of the cloud key with `in-place`.
    pub kms_key: Option<KmsKeyArn>,
    /// The id that AWS has given it in that KMS key, once it was imported.
    pub kms_material: Option<KmsMaterialId>,
    /// When it was imported last.
    pub imported: Option<Timestamp>,
    /// When what was imported last ends in AWS.
    pub valid_to: Option<Timestamp>,
    /// Whether it shall be in AWS.
    pub wanted: WantedMaterial,
    /// What its KMS key shall be when the alias has left it. Of the style `new-key` alone.
    pub former: WantedKey,
    /// When the alias left its KMS key, or AWS rotated to the next material.
    pub retired: Option<Timestamp>,
    /// Until when its KMS key stays enabled by itself, as
    /// [`keep_days`](crate::Import::keep_days) said when the alias left it; none once that has come, or a
    /// person has said what it shall be.
    pub kept_until: Option<Timestamp>,
}

/// Whether material shall be in AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WantedMaterial {
    /// Imported, and imported again when it has ended there.
    Imported,
    /// Deleted there. What is here stays, and can be imported again.
    Removed,
}

named_enum! {
    WantedMaterial,
    Imported => "imported",
    Removed => "removed",
}

/// How far material is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MaterialState {
    /// It is to be made.
    Pending,
    /// It is made, and can be wrapped.
    Made,
    /// It is destroyed, or is about to be.
    Destroyed,
}

named_enum! {
    MaterialState,
    Pending => "pending",
    Made => "made",
    Destroyed => "destroyed",
}

impl CloudMaterial {
    /// Material that is to be made, and imported.
    ///
    /// # Errors
    /// Of the field `number`: materials are counted from 1.
    pub fn new(
        id: CloudMaterialId,
        cloud_key: CloudKeyId,
        number: u32,
        material: Material,
        created: Timestamp,
    ) -> Result<Self, FieldError> {
        if number == 0 {
            let (min, max) = (1, u32::MAX.into());
            return Err(FieldError::new("number", FieldProblem::Range { min, max }));
        }
        Ok(Self {
            id,
            cloud_key,
            number,
            created,
            material,
            check: None,
            destroyed: None,
            kms_key: None,
            kms_material: None,
            imported: None,
            valid_to: None,
            wanted: WantedMaterial::Imported,
            former: WantedKey::Enabled,
            retired: None,
            kept_until: None,
        })
    }

    /// Returns how far it is here.
    #[must_use]
    pub const fn state(&self) -> MaterialState {
        match (self.destroyed, self.check) {
            (Some(_), _) => MaterialState::Destroyed,
            (None, Some(_)) => MaterialState::Made,
            (None, None) => MaterialState::Pending,
        }
    }

    /// Returns whether its KMS key is the one that the alias of its cloud key leads to, or is going to.
    #[must_use]
    pub fn is_of_current_key(&self, key: &CloudKey) -> bool {
        self.retired.is_none() || self.kms_key == key.kms_key
    }

    /// Says what its KMS key shall be as a former one, from now on and whatever `keep_days` has said.
    pub const fn want_former(&mut self, wanted: WantedKey) {
        (self.former, self.kept_until) = (wanted, None);
    }

    /// Returns whether the time has come until which its KMS key, a former one, is kept enabled.
    #[must_use]
    pub fn is_kept_no_longer(&self, now: Timestamp) -> bool {
        let is_over = self.kept_until.is_some_and(|end| end <= now);
        is_over && self.retired.is_some() && self.former == WantedKey::Enabled
    }

    /// Returns whether AWS has it and it is wanted there, in a KMS key that is to be used.
    #[must_use]
    pub fn is_in_use(&self, key: &CloudKey) -> bool {
        self.wanted_key(key) == WantedKey::Enabled
            && self.wanted == WantedMaterial::Imported
            && self.state() == MaterialState::Made
            && self.kms_material.is_some()
    }

    /// Returns what its KMS key shall be.
    #[must_use]
    pub fn wanted_key(&self, key: &CloudKey) -> WantedKey {
        match self.is_of_current_key(key) {
            true => key.wanted,
            false => self.former,
        }
    }
}

impl Record for CloudMaterial {
    type Id = CloudMaterialId;
    const TABLE: Table = Table::CloudMaterials;

    fn id(&self) -> CloudMaterialId {
        self.id
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        vec![("cloud_key", Object::new(Table::CloudKeys, &self.cloud_key))]
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        // AWS computes its id from KMS key and material.
        let is_at_same_key = self.kms_key == former.kms_key;
        let is_other = [
            ("cloud_key", self.cloud_key != former.cloud_key),
            ("number", self.number != former.number),
            ("created", self.created != former.created),
            ("material", !self.material.may_follow(&former.material)),
            ("check", former.check.is_some() && self.check != former.check),
            (
                "destroyed",
                former.destroyed.is_some() && self.destroyed != former.destroyed,
            ),
            (
                "kms_material",
                is_at_same_key && former.kms_material.is_some() && self.kms_material != former.kms_material,
            ),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        let seconds = |time: Option<Timestamp>| time.map(Timestamp::seconds);
        cells.text("cloud_key", &self.cloud_key);
        cells.number("number", self.number.into());
        cells.number("created", self.created.seconds());
        self.material.write(cells);
        cells.optional("check_value", self.check.as_ref().map(|check| &check.value));
        cells.optional("fingerprint", self.check.as_ref().map(|check| &check.fingerprint));
        cells.optional_number("destroyed", seconds(self.destroyed));
        cells.optional("kms_key", self.kms_key.as_ref());
        cells.optional("kms_material", self.kms_material.as_ref());
        cells.optional_number("imported", seconds(self.imported));
        cells.optional_number("valid_to", seconds(self.valid_to));
        cells.text("wanted", &self.wanted);
        self.former.write("former", "former_days", cells);
        cells.optional_number("retired", seconds(self.retired));
        cells.optional_number("kept_until", seconds(self.kept_until));
    }

    fn read(id: CloudMaterialId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        let cloud_key = cells.parsed("cloud_key")?;
        let number = cells.small_number("number")?;
        let created = cells.time("created")?;
        let material = Material::read(cells)?;
        let check = match (
            cells.optional_parsed("check_value")?,
            cells.optional_parsed("fingerprint")?,
        ) {
            (Some(value), Some(fingerprint)) => Some(MaterialCheck { value, fingerprint }),
            (None, None) => None,
            (None, Some(_)) => return Err(FieldError::new("check_value", FieldProblem::Missing).into()),
            (Some(_), None) => return Err(FieldError::new("fingerprint", FieldProblem::Missing).into()),
        };
        let destroyed = cells.optional_time("destroyed")?;
        match (&material, destroyed) {
            (Material::Gone, None) => return Err(FieldError::new("destroyed", FieldProblem::Missing).into()),
            (Material::Vault(_), Some(_)) => {
                return Err(FieldError::new("destroyed", FieldProblem::Unexpected).into());
            }
            _ => {}
        }
        Ok(Self {
            check,
            destroyed,
            kms_key: cells.optional_parsed("kms_key")?,
            kms_material: cells.optional_parsed("kms_material")?,
            imported: cells.optional_time("imported")?,
            valid_to: cells.optional_time("valid_to")?,
            wanted: named("wanted", cells.text("wanted")?, WantedMaterial::NAMES)?,
            former: WantedKey::read("former", "former_days", cells)?,
            retired: cells.optional_time("retired")?,
            kept_until: cells.optional_time("kept_until")?,
            ..Self::new(id, cloud_key, number, material, created)?
        })
    }
}
