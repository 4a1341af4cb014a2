//! A key: one external key id, its state, and what its versions may do.

use std::{fmt, str::FromStr};

use xks_core::{KeyId, backend::KeyUsage};

use crate::{
    Description, FieldError, FieldProblem, KeySetId, Name, ScheduleId, Timestamp,
    key_state::StoredState,
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// A managed key. Its [versions](crate::KeyVersion) are records of their own.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Key {
    /// The external key id, unique over the endpoint, never given twice.
    pub id: KeyId,
    /// The key set that it is one of.
    pub key_set: KeySetId,
    /// What it is called.
    pub name: Name,
    /// What it is for.
    pub description: Description,
    /// The state as the last command left it. [`state_at`](Self::state_at) counts in the expiry.
    pub state: StoredState,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// What it may be used for, in the order of [`KeyUsage`], each once.
    pub usages: Box<[KeyUsage]>,
    /// When it rotates.
    pub rotation: Rotation,
    /// Since when it rotates so, if it once did otherwise. [Commands](crate::commands) set it.
    pub rotation_since: Option<Timestamp>,
    /// What its versions may do.
    pub minima: Minima,
    /// The KMS key that uses it, where that is known.
    pub kms_key: Option<KmsKeyArn>,
}

impl Key {
    /// A key that encrypts and decrypts, and is not activated yet.
    ///
    /// # Errors
    /// Of the field `name`.
    pub fn new(id: KeyId, key_set: KeySetId, name: &str) -> Result<Self, FieldError> {
        Ok(Self {
            id,
            key_set,
            name: Name::new("name", name)?,
            description: Description::new("description", "")?,
            state: StoredState::PreActive,
            expires: None,
            usages: [KeyUsage::Encrypt, KeyUsage::Decrypt].into(),
            rotation: Rotation::Inherited,
            rotation_since: None,
            minima: Minima::default(),
            kms_key: None,
        })
    }
}

/// When a key rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotation {
    /// As its key set says.
    Inherited,
    /// Never by itself.
    Never,
    /// By this schedule.
    By(ScheduleId),
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inherited => f.write_str("inherited"),
            Self::Never => f.write_str("never"),
            Self::By(schedule) => schedule.fmt(f),
        }
    }
}

impl FromStr for Rotation {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        match text {
            "inherited" => Ok(Self::Inherited),
            "never" => Ok(Self::Never),
            _ => text.parse().map(Self::By),
        }
    }
}

impl serde::Serialize for Rotation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The least numbers of versions that may encrypt, that may decrypt, and that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Minima {
    encrypt: u32,
    decrypt: u32,
    kept: u32,
}

impl Default for Minima {
    /// All versions.
    fn default() -> Self {
        Self {
            encrypt: 1,
            decrypt: 1,
            kept: 1,
        }
    }
}

impl Minima {
    /// Checks that a version that may encrypt may decrypt, and that one that may decrypt is kept.
    ///
    /// # Errors
    /// Of the field that is too great: `min_decrypt` above `min_encrypt`, or `min_kept` above `min_decrypt`;
    /// of `min_kept` when it is 0.
    pub fn new(encrypt: u32, decrypt: u32, kept: u32) -> Result<Self, FieldError> {
        let range = |field, min: u32, max: u32| {
            let (min, max) = (min.into(), max.into());
            Err(FieldError::new(field, FieldProblem::Range { min, max }))
        };
        if decrypt > encrypt {
            return range("min_decrypt", 1, encrypt);
        }
        if kept == 0 || kept > decrypt {
            return range("min_kept", 1, decrypt);
        }
        Ok(Self { encrypt, decrypt, kept })
    }

    /// Returns the least number of a version that may encrypt.
    #[must_use]
    pub const fn encrypt(self) -> u32 {
        self.encrypt
    }

    /// Returns the least number of a version that may decrypt.
    #[must_use]
    pub const fn decrypt(self) -> u32 {
        self.decrypt
    }

    /// Returns the least number of a version that is kept.
    #[must_use]
    pub const fn kept(self) -> u32 {
        self.kept
    }
}

/// The ARN of a KMS key: `arn:`, and at most 2048 characters without white space.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct KmsKeyArn(Box<str>);

impl KmsKeyArn {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KmsKeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KmsKeyArn {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let is_legal = text.starts_with("arn:")
            && text.contains(":key/")
            && text.len() <= 2048
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_legal {
            return Ok(Self(text.into()));
        }
        let rule = "the ARN of a KMS key is like arn:aws:kms:<region>:<account>:key/<id>";
        Err(FieldError::new("kms_key", FieldProblem::Illegal(rule.to_owned())))
    }
}

impl Record for Key {
    type Id = KeyId;
    const TABLE: Table = Table::Keys;

    fn id(&self) -> KeyId {
        self.id.clone()
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        let key_set = ("key_set", Object::new(Table::KeySets, &self.key_set));
        let schedule = match &self.rotation {
            Rotation::By(id) => Some(("rotation", Object::new(Table::Schedules, id))),
            Rotation::Inherited | Rotation::Never => None,
        };
        std::iter::once(key_set).chain(schedule).collect()
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        let is_other = [
            ("key_set", self.key_set != former.key_set),
            (
                "state",
                former.state == StoredState::Destroyed && self.state != former.state,
            ),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        let usages: Vec<_> = self.usages.iter().map(|usage| usage.as_str()).collect();
        cells.text("key_set", &self.key_set);
        cells.text("name", &self.name);
        cells.text("description", &self.description);
        cells.text("state", &self.state);
        cells.optional_number("deleted_after", self.state.deleted_after().map(Timestamp::seconds));
        cells.optional_number("expires", self.expires.map(Timestamp::seconds));
        cells.text("usages", &usages.join(" "));
        cells.text("rotation", &self.rotation);
        cells.number("min_encrypt", self.minima.encrypt.into());
        cells.number("min_decrypt", self.minima.decrypt.into());
        cells.number("min_kept", self.minima.kept.into());
        cells.optional("kms_key", self.kms_key.as_ref());
        cells.optional_number("rotation_since", self.rotation_since.map(Timestamp::seconds));
    }

    fn read(id: KeyId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            id,
            key_set: cells.parsed("key_set")?,
            name: Name::new("name", cells.text("name")?)?,
            description: Description::new("description", cells.text("description")?)?,
            state: StoredState::from_parts(cells.text("state")?, cells.optional_time("deleted_after")?)?,
            expires: cells.optional_time("expires")?,
            usages: usages(cells.text("usages")?)?,
            rotation: cells.parsed("rotation")?,
            minima: Minima::new(
                cells.small_number("min_encrypt")?,
                cells.small_number("min_decrypt")?,
                cells.small_number("min_kept")?,
            )?,
            kms_key: cells.optional_parsed("kms_key")?,
            rotation_since: cells.optional_time("rotation_since")?,
        })
    }
}

fn usages(text: &str) -> Result<Box<[KeyUsage]>, FieldError> {
    text.split(' ')
        .map(|usage| usage.parse().map_err(|error| FieldError::illegal("usages", &error)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minima_are_checked_together() {
        assert_eq!(Minima::new(1, 1, 1), Ok(Minima::default()));
        let minima = Minima::new(5, 3, 2).unwrap();
        assert_eq!((minima.encrypt(), minima.decrypt(), minima.kept()), (5, 3, 2));
        for (encrypt, decrypt, kept, field) in [
            (1, 2, 1, "min_decrypt"),
            (2, 1, 2, "min_kept"),
            (1, 1, 0, "min_kept"),
            (0, 0, 0, "min_kept"),
        ] {
            assert_eq!(Minima::new(encrypt, decrypt, kept).unwrap_err().field(), field);
        }
    }

    #[test]
    fn rotations_and_arns_have_one_text() {
        let schedule = ScheduleId::generate().unwrap();
        for rotation in [Rotation::Inherited, Rotation::Never, Rotation::By(schedule)] {
            assert_eq!(rotation.to_string().parse(), Ok(rotation));
        }
        assert_eq!("sometimes".parse::<Rotation>().unwrap_err().field(), "schedule");
        assert!(
            "arn:aws:kms:eu-central-1:111122223333:key/1234"
                .parse::<KmsKeyArn>()
                .is_ok()
        );
        for bad in ["", "key/1", "arn:aws:kms:eu-central-1:1:alias/a", "arn: :key/1"] {
            assert_eq!(bad.parse::<KmsKeyArn>().unwrap_err().field(), "kms_key", "{bad:?}");
        }
    }
}
