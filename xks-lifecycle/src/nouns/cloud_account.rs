//! A cloud account: how AWS is called, and as whom.

use xks_core::Zeroizing;

use crate::{
    AwsAccessKeyId, AwsAccountId, AwsSecret, CloudAccountId, Description, FieldError, FieldProblem, Name, Region,
    ScheduleId, TenantId, Timestamp,
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// An AWS account, as the credentials see it that it is called with.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CloudAccount {
    /// Its id.
    pub id: CloudAccountId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is called.
    pub name: Name,
    /// What it is for.
    pub description: Description,
    /// The Region of what names none.
    pub region: Region,
    /// As whom AWS is called.
    pub credential: CloudCredential,
    /// The access key that shall replace the sealed one, from its creation in AWS until it is known to work.
    pub next: Option<CloudAccessKey>,
    /// When the sealed access key was replaced last.
    pub rotated: Option<Timestamp>,
    /// When the access key rotates by itself.
    pub schedule: Option<ScheduleId>,
    /// Since when it has this schedule, if it once had another, or none. [Commands](crate::commands) set it.
    pub schedule_since: Option<Timestamp>,
    /// The number that AWS has said, when it was asked.
    pub account: Option<AwsAccountId>,
}

/// As whom AWS is called.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CloudCredential {
    /// As the AWS SDK finds it: by environment, profile, or role of the container or instance.
    Chain,
    /// By AWS's file of two columns, which is read at each use.
    File(Box<str>),
    /// By an access key that is stored sealed.
    AccessKey(CloudAccessKey),
}

/// An access key of IAM.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[expect(clippy::exhaustive_structs, reason = "an id and a secret")]
pub struct CloudAccessKey {
    /// Its id.
    pub id: AwsAccessKeyId,
    /// Its secret, which is never shown.
    #[serde(skip)]
    pub secret: AwsSecret,
}

impl CloudAccount {
    /// An account that is called by the SDK's chain of credentials.
    ///
    /// # Errors
    /// Of the field `name`.
    pub fn new(id: CloudAccountId, tenant: TenantId, name: &str, region: Region) -> Result<Self, FieldError> {
        Ok(Self {
            id,
            tenant,
            name: Name::new("name", name)?,
            description: Description::new("description", "")?,
            region,
            credential: CloudCredential::Chain,
            next: None,
            rotated: None,
            schedule: None,
            schedule_since: None,
            account: None,
        })
    }
}

impl CloudCredential {
    /// A file of AWS's two columns.
    ///
    /// # Errors
    /// Of the field `credential_file`: the path is not absolute, or not printable.
    pub fn file(path: &str) -> Result<Self, FieldError> {
        if !path.starts_with('/') || path.len() > 4096 || path.chars().any(char::is_control) {
            let rule = "an absolute path is required".to_owned();
            return Err(FieldError::new("credential_file", FieldProblem::Illegal(rule)));
        }
        Ok(Self::File(path.into()))
    }
}

fn secret(bytes: &[u8]) -> Result<AwsSecret, FieldError> {
    let text = str::from_utf8(bytes).map_err(|error| FieldError::illegal("secret", &error))?;
    AwsSecret::new(Zeroizing::new(text.to_owned()))
}

fn access_key(
    column: &'static str,
    id: Option<AwsAccessKeyId>,
    bytes: Option<Zeroizing<Vec<u8>>>,
) -> Result<Option<CloudAccessKey>, FieldError> {
    match (id, bytes) {
        (Some(id), Some(bytes)) => Ok(Some(CloudAccessKey {
            id,
            secret: secret(&bytes)?,
        })),
        (None, None) => Ok(None),
        (None, Some(_)) | (Some(_), None) => Err(FieldError::new(column, FieldProblem::Missing)),
    }
}

impl Record for CloudAccount {
    type Id = CloudAccountId;
    const TABLE: Table = Table::CloudAccounts;

    fn id(&self) -> CloudAccountId {
        self.id
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        let tenant = ("tenant", Object::new(Table::Tenants, &self.tenant));
        let schedule = self.schedule.map(|id| ("schedule", Object::new(Table::Schedules, &id)));
        std::iter::once(tenant).chain(schedule).collect()
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        let is_other = [
            ("tenant", self.tenant != former.tenant),
            // What is kept of one account's keys is wrong for another account.
            ("account", former.account.is_some() && self.account != former.account),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        let (kind, file, key) = match &self.credential {
            CloudCredential::Chain => ("chain", None, None),
            CloudCredential::File(path) => ("file", Some(path), None),
            CloudCredential::AccessKey(key) => ("access-key", None, Some(key)),
        };
        let bytes =
            |key: Option<&CloudAccessKey>| key.map(|key| Zeroizing::new(key.secret.expose().as_bytes().to_vec()));
        cells.text("tenant", &self.tenant);
        cells.text("name", &self.name);
        cells.text("description", &self.description);
        cells.text("region", &self.region);
        cells.text("credential", &kind);
        cells.optional("credential_file", file);
        cells.optional("access_key", key.map(|key| &key.id));
        cells.secret("secret", bytes(key).as_ref().map(|secret| secret.as_slice()));
        cells.optional("next_access_key", self.next.as_ref().map(|key| &key.id));
        cells.secret(
            "next_secret",
            bytes(self.next.as_ref()).as_ref().map(|secret| secret.as_slice()),
        );
        cells.optional_number("rotated", self.rotated.map(Timestamp::seconds));
        cells.optional("schedule", self.schedule.as_ref());
        cells.optional_number("schedule_since", self.schedule_since.map(Timestamp::seconds));
        cells.optional("account", self.account.as_ref());
    }

    fn read(id: CloudAccountId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        let unexpected = |column| Err(FieldError::new(column, FieldProblem::Unexpected));
        Ok(Self {
            id,
            tenant: cells.parsed("tenant")?,
            name: Name::new("name", cells.text("name")?)?,
            description: Description::new("description", cells.text("description")?)?,
            region: cells.parsed("region")?,
            credential: {
                let kind = cells.text("credential")?;
                let file = cells.optional("credential_file")?;
                let key = cells.optional_parsed("access_key")?;
                let key = access_key("secret", key, cells.optional_secret("secret")?)?;
                match (kind, file, key) {
                    ("chain", None, None) => CloudCredential::Chain,
                    ("file", Some(path), None) => CloudCredential::file(path)?,
                    ("access-key", None, Some(key)) => CloudCredential::AccessKey(key),
                    ("file", None, None) => {
                        return Err(FieldError::new("credential_file", FieldProblem::Missing).into());
                    }
                    ("access-key", None, None) => {
                        return Err(FieldError::new("access_key", FieldProblem::Missing).into());
                    }
                    ("chain" | "file", _, Some(_)) => unexpected("access_key")?,
                    ("chain" | "access-key", Some(_), _) => unexpected("credential_file")?,
                    _ => {
                        let names = "chain, file, access-key";
                        return Err(FieldError::new("credential", FieldProblem::Unknown(names)).into());
                    }
                }
            },
            next: {
                let key = cells.optional_parsed("next_access_key")?;
                access_key("next_secret", key, cells.optional_secret("next_secret")?)?
            },
            rotated: cells.optional_time("rotated")?,
            schedule: cells.optional_parsed("schedule")?,
            schedule_since: cells.optional_time("schedule_since")?,
            account: cells.optional_parsed("account")?,
        })
    }
}
