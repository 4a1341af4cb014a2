//! What is wanted of a KMS key whose material is imported.

use std::collections::BTreeMap;

use xks_lifecycle::{
    CloudAccount, CloudKey, CloudMaterial, Import, MaterialState, RotationStyle, Snapshot, Timestamp, WantedKey,
    WantedMaterial,
};

use crate::plan::{desired::tags, policy_json};

/// What is wanted of the KMS keys behind one alias, whose material is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DesiredImport {
    /// The alias.
    pub alias: String,
    /// The description of the KMS key.
    pub description: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its policy as JSON; none if the number of the account is not known yet.
    pub policy: Option<String>,
    /// What it shall be.
    pub wanted: WantedKey,
    /// The ARN of the KMS key that the alias leads to, as far as known.
    pub arn: Option<String>,
    /// Whether somebody else has made that KMS key.
    pub is_adopted: bool,
    /// How it is rotated.
    pub style: RotationStyle,
    /// When its material ends; never if there is nothing.
    pub expires: Option<Timestamp>,
    /// Whether a KMS key is disabled when the alias has left it.
    pub disable_former: bool,
    /// The materials, oldest first: the last one is the current one.
    pub materials: Vec<DesiredMaterial>,
    /// Which of them it is about: the number of a former one that has a KMS key of its own, or nothing for
    /// the current one.
    pub former: Option<u32>,
    /// The time, from which the next end of the material in AWS is counted.
    pub now: Timestamp,
}

/// A material, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DesiredMaterial {
    /// Its id.
    pub id: String,
    /// 1 for the first one, and so on.
    pub number: u32,
    /// Whether the key manager has it, or it is in the store.
    pub is_made: bool,
    /// Whether it is destroyed here.
    pub is_gone: bool,
    /// The ARN of the KMS key that it is for, once known.
    pub kms_key: Option<String>,
    /// The id that AWS has given to it, once imported.
    pub kms_material: Option<String>,
    /// Whether AWS shall have it.
    pub wanted: WantedMaterial,
    /// What its KMS key shall be once the alias has left it.
    pub former: WantedKey,
    /// Whether it is noted that it is a former one.
    pub is_retired: bool,
}

impl DesiredMaterial {
    /// Material that is made and wanted in AWS, where it never was.
    pub fn new(id: impl Into<String>, number: u32) -> Self {
        Self {
            id: id.into(),
            number,
            is_made: true,
            is_gone: false,
            kms_key: None,
            kms_material: None,
            wanted: WantedMaterial::Imported,
            former: WantedKey::Enabled,
            is_retired: false,
        }
    }

    pub(super) fn of(material: &CloudMaterial) -> Self {
        Self {
            id: material.id.to_string(),
            number: material.number,
            is_made: material.state() != MaterialState::Pending,
            is_gone: material.state() == MaterialState::Destroyed,
            kms_key: material.kms_key.as_ref().map(ToString::to_string),
            kms_material: material.kms_material.as_ref().map(ToString::to_string),
            wanted: material.wanted,
            former: material.former,
            is_retired: material.retired.is_some(),
        }
    }

    /// Returns the description that it has in AWS: by that it is recognised when the answer to its import was
    /// lost.
    #[must_use]
    pub fn label(&self) -> String {
        material_label(&self.id)
    }

    /// Returns the value of the operation tag of a KMS key that is made for it. It is the same for every job:
    /// a key whose creation was not answered is found by the next job too.
    #[must_use]
    pub fn operation(&self) -> String {
        self.id.clone()
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted == WantedMaterial::Imported
    }
}

impl DesiredImport {
    /// A KMS key with an alias, without material yet, that is rotated by new KMS keys.
    pub fn new(alias: impl Into<String>, now: Timestamp) -> Self {
        Self {
            alias: alias.into(),
            description: String::new(),
            tags: BTreeMap::new(),
            policy: None,
            wanted: WantedKey::Enabled,
            arn: None,
            is_adopted: false,
            style: RotationStyle::NewKey,
            expires: None,
            disable_former: false,
            materials: Vec::new(),
            former: None,
            now,
        }
    }

    pub(in crate::plan) fn of(
        state: &Snapshot,
        wanted: &CloudKey,
        import: &Import,
        account: &CloudAccount,
        now: Timestamp,
    ) -> Self {
        let materials = state.materials_of(wanted.id);
        Self {
            description: wanted.description.to_string(),
            tags: tags(wanted),
            policy: policy_json(&wanted.policy, account.account.as_ref(), &wanted.region),
            wanted: wanted.wanted,
            arn: wanted.kms_key.as_ref().map(ToString::to_string),
            is_adopted: wanted.is_adopted,
            style: import.style,
            expires: import.expires,
            disable_former: import.disable_former,
            materials: materials.map(|material| DesiredMaterial::of(material)).collect(),
            ..Self::new(wanted.alias.to_string(), now)
        }
    }

    /// The same for one material, by its number: if it is a former one with a KMS key of its own, it is about
    /// that.
    #[must_use]
    pub fn about(self, number: u32) -> Self {
        let key_of = |material: Option<&DesiredMaterial>| material.and_then(|material| material.kms_key.clone());
        let own = key_of(self.materials.iter().find(|material| material.number == number));
        let current = key_of(self.materials.last());
        let is_former = own.is_some() && own != current && own != self.arn;
        let former = is_former.then_some(number);
        Self { former, ..self }
    }

    /// Returns the material that it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&DesiredMaterial> {
        match self.former {
            None => self.materials.last(),
            Some(number) => self.materials.iter().find(|material| material.number == number),
        }
    }

    /// Returns the ARN of the KMS key to look at: that of the material, or one that may become its.
    #[must_use]
    pub fn candidate(&self) -> Option<&str> {
        let of_subject = self.subject().and_then(|material| material.kms_key.as_deref());
        match self.former {
            Some(_) => of_subject,
            None => of_subject.or(self.arn.as_deref()),
        }
    }

    /// Returns the ARNs of the other KMS keys to look at: which had the alias before, and are not let go yet.
    pub fn formers(&self) -> impl Iterator<Item = &str> {
        let candidate = self.candidate();
        let unretired = self.materials.iter().filter(|material| !material.is_retired);
        let keys = unretired.filter_map(|material| material.kms_key.as_deref());
        let mut keys: Vec<_> = keys.chain(self.arn.as_deref()).collect();
        keys.sort_unstable();
        keys.dedup();
        let is_about_current = self.former.is_none();
        keys.into_iter()
            .filter(move |key| is_about_current && candidate != Some(*key))
    }

    /// Returns whether the alias may be taken from a KMS key: it is one of these materials, or the one that
    /// had it before.
    pub(super) fn knows(&self, arn: &str) -> bool {
        let mut keys = self.materials.iter().filter_map(|material| material.kms_key.as_deref());
        self.arn.as_deref() == Some(arn) || keys.any(|key| key == arn)
    }
}

/// Returns the description in AWS of the material of an id.
#[must_use]
pub fn material_label(id: &str) -> String {
    format!("cloud-materials/{id}")
}
