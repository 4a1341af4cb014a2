//! A version of a key: what a ciphertext names, and what encrypts and decrypts.

use std::{fmt, str::FromStr};

use xks_core::{KeyId, backend::CiphertextMetadata};

use crate::{
    FieldError, FieldProblem, Material, Timestamp, VersionId,
    field::{named, named_enum},
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// Names a version among all keys: written as the external key id, a slash, and the version's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct KeyVersionId {
    /// Of which key.
    pub key: KeyId,
    /// Which of its versions.
    pub version: VersionId,
}

impl KeyVersionId {
    /// A version of a key.
    #[must_use]
    pub const fn new(key: KeyId, version: VersionId) -> Self {
        Self { key, version }
    }
}

impl fmt::Display for KeyVersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.key, self.version)
    }
}

impl FromStr for KeyVersionId {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let missing = || FieldError::new("version", FieldProblem::Missing);
        let (key, version) = text.split_once('/').ok_or_else(missing)?;
        let key = key.parse().map_err(|error| FieldError::illegal("key", &error))?;
        Ok(Self::new(key, version.parse()?))
    }
}

impl serde::Serialize for KeyVersionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A version of a key. Of a destroyed one its ids remain, so that they are known and never given again.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct KeyVersion {
    /// Its id.
    pub id: KeyVersionId,
    /// 1 for the first version of the key, and so on.
    pub number: u32,
    /// What it may do.
    pub state: VersionState,
    /// When it was made.
    pub created: Timestamp,
    /// When it became the one that encrypts, last.
    pub promoted: Option<Timestamp>,
    /// What encrypts and decrypts.
    pub material: Material,
    /// How many encryptions were made before it came under management.
    pub earlier_encryptions: u64,
    /// The constant ciphertext metadata of what was encrypted before it came under management.
    #[serde(skip)]
    pub legacy_metadata: Option<CiphertextMetadata>,
}

/// What a version may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionState {
    /// It is being made.
    Pending,
    /// Every node can decrypt with it.
    Published,
    /// It encrypts and decrypts: at most one version of a key.
    Current,
    /// It decrypts what it encrypted before.
    DecryptOnly,
    /// It does nothing, and can be restored.
    Revoked,
    /// It is gone.
    Destroyed,
}

named_enum! {
    VersionState,
    Pending => "pending",
    Published => "published",
    Current => "current",
    DecryptOnly => "decrypt-only",
    Revoked => "revoked",
    Destroyed => "destroyed",
}

impl KeyVersion {
    /// A version that is being made.
    ///
    /// # Errors
    /// Of the field `number`: versions are counted from 1.
    pub fn new(id: KeyVersionId, number: u32, material: Material, created: Timestamp) -> Result<Self, FieldError> {
        if number == 0 {
            let (min, max) = (1, u32::MAX.into());
            return Err(FieldError::new("number", FieldProblem::Range { min, max }));
        }
        Ok(Self {
            id,
            number,
            state: VersionState::Pending,
            created,
            promoted: None,
            material,
            earlier_encryptions: 0,
            legacy_metadata: None,
        })
    }

    /// Returns the id under which the backend knows it, if a backend has it.
    #[must_use]
    pub const fn backend_key(&self) -> Option<&KeyId> {
        self.material.backend_key()
    }

    /// The version as a tombstone. Sealed material is gone with this; a key of a backend is named until it is
    /// [gone](Self::without_material) there too, so that it is neither forgotten nor served elsewhere.
    #[must_use]
    pub fn destroyed(&self) -> Self {
        Self {
            state: VersionState::Destroyed,
            material: self.material.destroyed(),
            ..self.clone()
        }
    }

    /// The tombstone of a version whose material is gone.
    #[must_use]
    pub fn without_material(&self) -> Self {
        Self {
            state: VersionState::Destroyed,
            material: Material::Gone,
            ..self.clone()
        }
    }
}

impl Record for KeyVersion {
    type Id = KeyVersionId;
    const TABLE: Table = Table::Versions;

    fn id(&self) -> KeyVersionId {
        self.id.clone()
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        vec![("key", Object::new(Table::Keys, &self.id.key))]
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        let is_gone = former.state == VersionState::Destroyed;
        let is_other = [
            ("number", self.number != former.number),
            ("state", is_gone && self.state != former.state),
            (
                "material",
                is_gone && self.material != former.material && self.material != Material::Gone,
            ),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        cells.number("number", self.number.into());
        cells.text("state", &self.state);
        cells.number("created", self.created.seconds());
        self.material.write(cells);
        cells.number("earlier_encryptions", self.earlier_encryptions);
        cells.optional_bytes(
            "legacy_metadata",
            self.legacy_metadata.as_ref().map(CiphertextMetadata::as_bytes),
        );
        cells.optional_number("promoted", self.promoted.map(Timestamp::seconds));
    }

    fn read(id: KeyVersionId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        let number = cells.small_number("number")?;
        let state = named("state", cells.text("state")?, VersionState::NAMES)?;
        let created = cells.time("created")?;
        let material = Material::read(cells)?;
        let mut version = Self::new(id, number, material, created)?;
        version.state = state;
        version.earlier_encryptions = cells.number("earlier_encryptions")?;
        version.legacy_metadata = cells
            .optional_bytes("legacy_metadata")?
            .map(CiphertextMetadata::try_from)
            .transpose()
            .map_err(|error| FieldError::illegal("legacy_metadata", &error))?;
        version.promoted = cells.optional_time("promoted")?;
        Ok(version)
    }
}
