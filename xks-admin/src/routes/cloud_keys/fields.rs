//! The fields of KMS keys, in the form in which they are shown.

use std::collections::BTreeMap;

use serde::Deserialize;
use xks_lifecycle::{
    CloudKeyOrigin, DeletionDays, EndingWithinDays, FieldError, FieldProblem, Import, KeepDays, KeyPolicy,
    PrincipalArn, Rotation, RotationStyle, Tags, Timestamp, WantedKey,
};

use crate::{
    read::{Patch, checked, parse},
    routes::keys::read_rotation,
};

/// Tags, as they are shown.
pub(super) type GivenTags = BTreeMap<String, String>;

/// Who may do what with a KMS key, in the form in which it is shown.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Policy {
    People(People),
    Json(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct People {
    #[serde(default)]
    administrators: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
}

/// What a KMS key shall be, in the form in which it is shown.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted {
    Enabled,
    Disabled,
    Deleted(u64),
}

impl Policy {
    pub(super) fn read(self) -> Result<KeyPolicy, FieldError> {
        let principals = |field, arns: Vec<String>| -> Result<Vec<PrincipalArn>, FieldError> {
            arns.iter().map(|arn| checked(field, arn)).collect()
        };
        match self {
            Self::People(People { administrators, users }) => Ok(KeyPolicy::People {
                administrators: principals("administrators", administrators)?,
                users: principals("users", users)?,
            }),
            Self::Json(text) => KeyPolicy::json(&text),
        }
    }
}

impl Wanted {
    pub(super) fn read(self) -> Result<WantedKey, FieldError> {
        Ok(match self {
            Self::Enabled => WantedKey::Enabled,
            Self::Disabled => WantedKey::Disabled,
            Self::Deleted(days) => WantedKey::Deleted(DeletionDays::new(days)?),
        })
    }
}

pub(super) fn tags(given: &GivenTags) -> Result<Tags, FieldError> {
    Tags::new(given.iter().map(|(key, value)| (&**key, &**value)))
}

/// How material is imported.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewImport {
    style: String,
    expires: Option<String>,
    #[serde(default)]
    disable_former: bool,
    keep_days: Option<u64>,
    rotation: Option<String>,
    ending_within_days: Option<u64>,
}

impl NewImport {
    pub(super) fn read(self) -> Result<Import, FieldError> {
        let mut import = Import::new(parse::<RotationStyle>("style", &self.style)?);
        import.expires = self
            .expires
            .map(|text| Timestamp::parse("expires", &text))
            .transpose()?;
        import.disable_former = self.disable_former;
        import.keep_days = self.keep_days.map(KeepDays::new).transpose()?;
        if let Some(rotation) = self.rotation {
            import.rotation = read_rotation(&rotation)?;
        }
        import.ending_within = self.ending_within_days.map(EndingWithinDays::new).transpose()?;
        Ok(import)
    }
}

/// What changes how material is imported. The style stays.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ImportPatch {
    expires: Patch<String>,
    disable_former: Patch<bool>,
    keep_days: Patch<u64>,
    rotation: Patch<String>,
    ending_within_days: Patch<u64>,
}

impl ImportPatch {
    pub(super) fn apply(self, origin: &mut CloudKeyOrigin) -> Result<(), FieldError> {
        let CloudKeyOrigin::External(import) = origin else {
            return Err(FieldError::new("import", FieldProblem::Unexpected));
        };
        let expires = |text: String| Timestamp::parse("expires", &text);
        self.expires.apply(&mut import.expires, expires)?;
        self.disable_former
            .replace("disable_former", &mut import.disable_former, Ok)?;
        self.keep_days.apply(&mut import.keep_days, KeepDays::new)?;
        self.ending_within_days
            .apply(&mut import.ending_within, EndingWithinDays::new)?;
        let rotation = |text: String| -> Result<Rotation, FieldError> { read_rotation(&text) };
        self.rotation.replace("rotation", &mut import.rotation, rotation)
    }
}
