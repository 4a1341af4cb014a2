//! A KMS key under management.

use std::{collections::BTreeMap, str::FromStr};

use xks_core::KeyId;

use crate::{
    AliasName, CloudAccountId, CloudKeyId, CloudKeyStoreId, Description, FieldError, FieldProblem, KeySetId, KmsKeyArn,
    PrincipalArn, Region,
    field::bounded,
    nouns::CloudName,
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// A KMS key: what it shall be, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CloudKey {
    /// Its id.
    pub id: CloudKeyId,
    /// To which key set it belongs.
    pub key_set: KeySetId,
    /// Its alias, unique in account and Region.
    pub alias: AliasName,
    /// What it is for.
    pub description: Description,
    /// In which account.
    pub account: CloudAccountId,
    /// In which Region.
    pub region: Region,
    /// Where its key material is.
    #[serde(flatten)]
    pub origin: CloudKeyOrigin,
    /// Its tags. Others that it has in AWS are left alone.
    pub tags: Tags,
    /// Who may do what with it.
    pub policy: KeyPolicy,
    /// What it shall be.
    pub wanted: WantedKey,
    /// The KMS key, once known.
    pub kms_key: Option<KmsKeyArn>,
    /// Whether somebody else has made the KMS key.
    pub is_adopted: bool,
}

/// Where the key material of a KMS key is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CloudKeyOrigin {
    /// Outside of AWS: each use of the KMS key is one of a managed key.
    ExternalKeyStore {
        /// Through which key store in AWS.
        cloud_key_store: CloudKeyStoreId,
        /// Which managed key.
        key: KeyId,
    },
}

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

/// Who may do what with a KMS key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyPolicy {
    /// As AWS's console writes it: the account, administrators, and users.
    People {
        /// Who may administer the key.
        administrators: Vec<PrincipalArn>,
        /// Who may use it.
        users: Vec<PrincipalArn>,
    },
    /// A policy as a person wrote it.
    Json(Box<str>),
}

impl KeyPolicy {
    /// A policy that gives all to the account, whose IAM policies decide: AWS's default.
    pub const ACCOUNT: Self = Self::People {
        administrators: Vec::new(),
        users: Vec::new(),
    };

    /// A policy as a person wrote it.
    ///
    /// # Errors
    /// Of the field `policy`: not a JSON object, or longer than AWS takes (32 768 bytes).
    pub fn json(text: &str) -> Result<Self, FieldError> {
        let error = |problem| FieldError::new("policy", problem);
        if text.is_empty() || text.len() > 32_768 {
            let (min, max) = (1, 32_768);
            return Err(error(FieldProblem::Length { min, max }));
        }
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) if value.is_object() => Ok(Self::Json(text.into())),
            Ok(_) => Err(error(FieldProblem::Illegal("a policy is a JSON object".to_owned()))),
            Err(problem) => Err(FieldError::illegal("policy", &problem)),
        }
    }
}

/// The tags of a KMS key.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tags(BTreeMap<Box<str>, Box<str>>);

impl Tags {
    /// Checks tags by AWS's rules.
    ///
    /// # Errors
    /// Of the field `tags`: more than 50, a key that is empty, longer than 128 characters, given twice or
    /// AWS's own, or a value longer than 256.
    pub fn new<'t>(tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Self, FieldError> {
        let error = |problem| Err(FieldError::new("tags", problem));
        let mut kept = BTreeMap::new();
        for (key, value) in tags {
            let is_legal = (1..=128).contains(&key.chars().count())
                && value.chars().count() <= 256
                && !key.starts_with("aws:")
                && !key.chars().chain(value.chars()).any(char::is_control);
            if !is_legal {
                let rule =
                    "a tag has a key of 1 to 128 characters that does not begin with aws:, and a value of up to 256";
                return error(FieldProblem::Illegal(rule.to_owned()));
            }
            if kept.insert(key.into(), value.into()).is_some() {
                return error(FieldProblem::Repeated);
            }
        }
        if kept.len() > 50 {
            return error(FieldProblem::Illegal("a KMS key has at most 50 tags".to_owned()));
        }
        Ok(Self(kept))
    }

    /// Returns keys and values, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl CloudKey {
    /// A KMS key that shall be enabled, without description and tags, under the account's policy.
    ///
    /// # Errors
    /// None at present.
    pub fn new(
        id: CloudKeyId,
        key_set: KeySetId,
        account: &crate::CloudAccount,
        alias: AliasName,
        origin: CloudKeyOrigin,
    ) -> Result<Self, FieldError> {
        Ok(Self {
            id,
            key_set,
            alias,
            description: Description::new("description", "")?,
            account: account.id,
            region: account.region.clone(),
            origin,
            tags: Tags::default(),
            policy: KeyPolicy::ACCOUNT,
            wanted: WantedKey::Enabled,
            kms_key: None,
            is_adopted: false,
        })
    }

    pub(crate) fn cloud_name(&self) -> CloudName<'_> {
        CloudName {
            field: "alias",
            account: self.account,
            region: &self.region,
            name: self.alias.as_str(),
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default() // texts alone
}

fn principals(column: &'static str, text: &str) -> Result<Vec<PrincipalArn>, FieldError> {
    let list: Vec<String> = serde_json::from_str(text).map_err(|error| FieldError::illegal(column, &error))?;
    list.iter().map(|arn| PrincipalArn::from_str(arn)).collect()
}

impl Record for CloudKey {
    type Id = CloudKeyId;
    const TABLE: Table = Table::CloudKeys;

    fn id(&self) -> CloudKeyId {
        self.id
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        let CloudKeyOrigin::ExternalKeyStore { cloud_key_store, key } = &self.origin;
        vec![
            ("key_set", Object::new(Table::KeySets, &self.key_set)),
            ("account", Object::new(Table::CloudAccounts, &self.account)),
            ("cloud_key_store", Object::new(Table::CloudKeyStores, cloud_key_store)),
            ("key", Object::new(Table::Keys, key)),
        ]
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        let is_other = [
            ("key_set", self.key_set != former.key_set),
            ("account", self.account != former.account),
            ("region", self.region != former.region),
            ("origin", self.origin != former.origin),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        let CloudKeyOrigin::ExternalKeyStore { cloud_key_store, key } = &self.origin;
        let (administrators, users, policy) = match &self.policy {
            KeyPolicy::People { administrators, users } => (Some(json(administrators)), Some(json(users)), None),
            KeyPolicy::Json(text) => (None, None, Some(text)),
        };
        let (wanted, days) = match self.wanted {
            WantedKey::Enabled => ("enabled", None),
            WantedKey::Disabled => ("disabled", None),
            WantedKey::Deleted(days) => ("deleted", Some(days.get().into())),
        };
        cells.text("key_set", &self.key_set);
        cells.text("alias", &self.alias);
        cells.text("description", &self.description);
        cells.text("account", &self.account);
        cells.text("region", &self.region);
        cells.text("origin", &"external-key-store");
        cells.text("cloud_key_store", cloud_key_store);
        cells.text("managed_key", key);
        cells.text("tags", &json(&self.tags));
        cells.optional("administrators", administrators.as_ref());
        cells.optional("users", users.as_ref());
        cells.optional("policy", policy);
        cells.text("wanted", &wanted);
        cells.optional_number("waiting_days", days);
        cells.optional("kms_key", self.kms_key.as_ref());
        cells.flag("is_adopted", self.is_adopted);
    }

    fn read(id: CloudKeyId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            id,
            key_set: cells.parsed("key_set")?,
            alias: cells.parsed("alias")?,
            description: Description::new("description", cells.text("description")?)?,
            account: cells.parsed("account")?,
            region: cells.parsed("region")?,
            origin: {
                if cells.text("origin")? != "external-key-store" {
                    return Err(FieldError::new("origin", FieldProblem::Unknown("external-key-store")).into());
                }
                CloudKeyOrigin::ExternalKeyStore {
                    cloud_key_store: cells.parsed("cloud_key_store")?,
                    key: cells.parsed("managed_key")?,
                }
            },
            tags: {
                let text = cells.text("tags")?;
                let tags: BTreeMap<String, String> =
                    serde_json::from_str(text).map_err(|error| FieldError::illegal("tags", &error))?;
                Tags::new(tags.iter().map(|(key, value)| (&**key, &**value)))?
            },
            policy: {
                let administrators = cells.optional("administrators")?;
                let users = cells.optional("users")?;
                match (administrators, users, cells.optional("policy")?) {
                    (Some(administrators), Some(users), None) => KeyPolicy::People {
                        administrators: principals("administrators", administrators)?,
                        users: principals("users", users)?,
                    },
                    (None, None, Some(text)) => KeyPolicy::json(text)?,
                    (_, _, Some(_)) => return Err(FieldError::new("policy", FieldProblem::Unexpected).into()),
                    _ => return Err(FieldError::new("policy", FieldProblem::Missing).into()),
                }
            },
            wanted: match (cells.text("wanted")?, cells.optional_number("waiting_days")?) {
                ("enabled", None) => WantedKey::Enabled,
                ("disabled", None) => WantedKey::Disabled,
                ("deleted", Some(days)) => WantedKey::Deleted(DeletionDays::new(days)?),
                ("deleted", None) => return Err(FieldError::new("waiting_days", FieldProblem::Missing).into()),
                ("enabled" | "disabled", Some(_)) => {
                    return Err(FieldError::new("waiting_days", FieldProblem::Unexpected).into());
                }
                _ => {
                    let names = "enabled, disabled, deleted";
                    return Err(FieldError::new("wanted", FieldProblem::Unknown(names)).into());
                }
            },
            kms_key: cells.optional_parsed("kms_key")?,
            is_adopted: cells.flag("is_adopted")?,
        })
    }
}
