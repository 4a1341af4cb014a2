//! A KMS key under management.

use std::{collections::BTreeMap, str::FromStr};

use xks_core::KeyId;

use crate::{
    AliasName, CloudAccountId, CloudKeyId, CloudKeyStoreId, Description, FieldError, FieldProblem, Import, KeyPolicy,
    KeySetId, KmsKeyArn, PrincipalArn, Region, Rotation, RotationStyle, Tags, WantedKey,
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
    /// The KMS key, once known. With imported keys of the style `new-key` it is the one to which the alias
    /// leads: that of the material with the highest number, once it has come so far.
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
    /// Made here and imported into AWS: [`CloudMaterial`](crate::CloudMaterial).
    External(Import),
}

impl CloudKeyOrigin {
    const NAMES: &'static str = "external-key-store, external";

    /// From its name, and the columns of either origin.
    fn read(
        origin: &str,
        external_key: (Option<CloudKeyStoreId>, Option<KeyId>),
        import: Option<Import>,
    ) -> Result<Self, FieldError> {
        let problem = |field, problem| Err(FieldError::new(field, problem));
        match (origin, external_key, import) {
            ("external-key-store", (Some(cloud_key_store), Some(key)), None) => {
                Ok(Self::ExternalKeyStore { cloud_key_store, key })
            }
            ("external", (None, None), Some(import)) => Ok(Self::External(import)),
            ("external-key-store", (None, _), _) => problem("cloud_key_store", FieldProblem::Missing),
            ("external-key-store", (_, None), _) => problem("managed_key", FieldProblem::Missing),
            ("external-key-store", _, Some(_)) => problem("style", FieldProblem::Unexpected),
            ("external", (Some(_), _), _) => problem("cloud_key_store", FieldProblem::Unexpected),
            ("external", (_, Some(_)), _) => problem("managed_key", FieldProblem::Unexpected),
            ("external", _, None) => problem("style", FieldProblem::Missing),
            _ => problem("origin", FieldProblem::Unknown(Self::NAMES)),
        }
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

    /// Returns how its material is imported, if it is.
    #[must_use]
    pub const fn import(&self) -> Option<&Import> {
        match &self.origin {
            CloudKeyOrigin::External(import) => Some(import),
            CloudKeyOrigin::ExternalKeyStore { .. } => None,
        }
    }

    fn style(&self) -> Option<RotationStyle> {
        self.import().map(|import| import.style)
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
        let mut references = vec![
            ("key_set", Object::new(Table::KeySets, &self.key_set)),
            ("account", Object::new(Table::CloudAccounts, &self.account)),
        ];
        match &self.origin {
            CloudKeyOrigin::ExternalKeyStore { cloud_key_store, key } => references.extend([
                ("cloud_key_store", Object::new(Table::CloudKeyStores, cloud_key_store)),
                ("key", Object::new(Table::Keys, key)),
            ]),
            CloudKeyOrigin::External(import) => {
                if let Rotation::By(schedule) = &import.rotation {
                    references.push(("rotation", Object::new(Table::Schedules, schedule)));
                }
            }
        }
        references
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        let is_same_origin = match (&self.origin, &former.origin) {
            (CloudKeyOrigin::External(_), CloudKeyOrigin::External(_)) => true,
            (origin, former) => origin == former,
        };
        let is_other = [
            ("key_set", self.key_set != former.key_set),
            ("account", self.account != former.account),
            ("region", self.region != former.region),
            ("origin", !is_same_origin),
            ("style", self.style() != former.style()),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        let (origin, external_key) = match &self.origin {
            CloudKeyOrigin::ExternalKeyStore { cloud_key_store, key } => {
                ("external-key-store", Some((cloud_key_store, key)))
            }
            CloudKeyOrigin::External(_) => ("external", None),
        };
        let (administrators, users, policy) = match &self.policy {
            KeyPolicy::People { administrators, users } => (Some(json(administrators)), Some(json(users)), None),
            KeyPolicy::Json(text) => (None, None, Some(text)),
        };
        cells.text("key_set", &self.key_set);
        cells.text("alias", &self.alias);
        cells.text("description", &self.description);
        cells.text("account", &self.account);
        cells.text("region", &self.region);
        cells.text("origin", &origin);
        cells.optional("cloud_key_store", external_key.map(|(store, _)| store));
        cells.optional("managed_key", external_key.map(|(_, key)| key));
        cells.text("tags", &json(&self.tags));
        cells.optional("administrators", administrators.as_ref());
        cells.optional("users", users.as_ref());
        cells.optional("policy", policy);
        self.wanted.write("wanted", "waiting_days", cells);
        cells.optional("kms_key", self.kms_key.as_ref());
        cells.flag("is_adopted", self.is_adopted);
        Import::write(self.import(), cells);
    }

    fn read(id: CloudKeyId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        let key_set = cells.parsed("key_set")?;
        let alias = cells.parsed("alias")?;
        let description = Description::new("description", cells.text("description")?)?;
        let account = cells.parsed("account")?;
        let region = cells.parsed("region")?;
        let origin = cells.text("origin")?;
        let external_key = (
            cells.optional_parsed("cloud_key_store")?,
            cells.optional_parsed("managed_key")?,
        );
        let mut key = Self {
            id,
            key_set,
            alias,
            description,
            account,
            region,
            // Its columns come last.
            origin: CloudKeyOrigin::External(Import::new(RotationStyle::NewKey)),
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
            wanted: WantedKey::read("wanted", "waiting_days", cells)?,
            kms_key: cells.optional_parsed("kms_key")?,
            is_adopted: cells.flag("is_adopted")?,
        };
        key.origin = CloudKeyOrigin::read(origin, external_key, Import::read(cells)?)?;
        Ok(key)
    }
}
