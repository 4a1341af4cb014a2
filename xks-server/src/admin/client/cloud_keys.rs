//! `cloud-keys`

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Fields,
    cloud_key_stores::WANTED,
    confirm::{Confirm, DATA_KEYS},
    connection::Client,
    failure::Failure,
    page::Page,
    show::Output,
};

const NOUN: &str = "cloud-keys";
const FIELDS: &[&str] = &[
    "id",
    "key_set",
    "alias",
    "description",
    "account",
    "region",
    "origin",
    "cloud_key_store",
    "key",
    "tags",
    "policy",
    "wanted",
    "kms_key",
    "is_adopted",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists KMS keys
    List {
        /// Only those of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only the one with this alias
        #[arg(long)]
        alias: Option<String>,
        /// Only those in this cloud account
        #[arg(long)]
        account: Option<String>,
        /// Only those of this key set
        #[arg(long)]
        key_set: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Shows a KMS key
    Show {
        /// Its id or alias
        cloud_key: String,
    },
    /// Makes a KMS key whose key material is a managed key
    Create {
        /// To which key set it belongs: its id or name
        #[arg(long)]
        key_set: String,
        /// Its alias in AWS, such as alias/payroll
        #[arg(long)]
        alias: String,
        /// In which key store in AWS: its id or name
        #[arg(long)]
        cloud_key_store: String,
        /// Which managed key: its id or name
        #[arg(long)]
        key: String,
        #[command(flatten)]
        policy: Policy,
    },
    /// Changes a KMS key
    Update {
        /// Its id or alias
        cloud_key: String,
        /// Its alias in AWS, such as alias/payroll
        #[arg(long)]
        alias: Option<String>,
        #[command(flatten)]
        policy: Policy,
    },
    /// Wants a KMS key to be enabled in AWS
    Enable {
        /// Its id or alias
        cloud_key: String,
    },
    /// Wants a KMS key to be disabled in AWS. The managed key stays as it is
    Disable {
        /// Its id or alias
        cloud_key: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Wants a KMS key to be deleted in AWS, after a waiting time. The managed key stays as it is
    Delete {
        /// Its id or alias
        cloud_key: String,
        /// How long AWS waits: 7 to 30 days
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        waiting_days: u64,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Shows when a KMS key was used last, as AWS knows it and as its external key does
    LastUse {
        /// Its id or alias
        cloud_key: String,
    },
    /// Removes a KMS key from what is managed. AWS is left as it is
    Remove {
        /// Its id or alias
        cloud_key: String,
    },
}

/// What can be changed later, too.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// A tag, KEY=VALUE; may be given several times, and replaces all that were given; `none` for no tags
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,
    /// Who may administer the key: the ARN of a user, role or account; may be given several times, and
    /// replaces the policy
    #[arg(long = "administrator", value_name = "ARN", conflicts_with = "policy_file")]
    administrators: Vec<String>,
    /// Who may use the key: the ARN of a user, role or account; may be given several times, and replaces the
    /// policy
    #[arg(long = "user", value_name = "ARN", conflicts_with = "policy_file")]
    users: Vec<String>,
    /// The key policy, as JSON
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
}

impl Policy {
    fn fields(self) -> Result<Fields, Failure> {
        let policy = match self.policy_file {
            Some(file) => {
                let text = fs::read_to_string(&file)
                    .map_err(|error| Failure::Usage(format!("--policy-file {}: {error}", file.display())))?;
                Some(json!({ "json": text }))
            }
            None if self.administrators.is_empty() && self.users.is_empty() => None,
            None => Some(json!({"people": {"administrators": self.administrators, "users": self.users}})),
        };
        Ok(Fields::default()
            .with("description", self.description)
            .with("tags", tags(&self.tags)?)
            .with("policy", policy))
    }
}

/// Tags, if there are any; `none` alone is no tags.
fn tags(given: &[String]) -> Result<Option<Map<String, Value>>, Failure> {
    let mut tags = Map::new();
    match given {
        [] => return Ok(None),
        [none] if none == "none" => {}
        given => {
            for text in given {
                let wrong = |why: &str| Failure::Usage(format!("--tag {text:?}: {why}"));
                let (key, value) = text.split_once('=').ok_or_else(|| wrong("it is KEY=VALUE"))?;
                if tags.insert(key.to_owned(), value.into()).is_some() {
                    return Err(wrong("this key is given twice"));
                }
            }
        }
    }
    Ok(Some(tags))
}

fn want(client: &Client, key: &str, wanted: Value) -> Result<Output, Failure> {
    let fields = Fields::default().with("wanted", Some(wanted));
    Ok(client.update(NOUN, key, fields, FIELDS)?.with_note(WANTED))
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        match self {
            Self::List {
                tenant,
                alias,
                account,
                key_set,
                page,
            } => {
                let id = |noun, text: Option<String>| text.map(|text| client.id(noun, &text)).transpose();
                let (tenant, account) = (id("tenants", tenant)?, id("cloud-accounts", account)?);
                let key_set = id("key-sets", key_set)?;
                let filters = [
                    ("tenant", tenant.as_deref()),
                    ("name", alias.as_deref()),
                    ("account", account.as_deref()),
                    ("key_set", key_set.as_deref()),
                ];
                let list = client.get(&page.path(NOUN, &filters))?;
                let columns = &["id", "alias", "region", "wanted", "key", "kms_key", "description"];
                Ok(Output::table(list.body, columns))
            }
            Self::Show { cloud_key } => Ok(Output::fields(client.find(NOUN, &cloud_key)?.body, FIELDS)),
            Self::Create {
                key_set,
                alias,
                cloud_key_store,
                key,
                policy,
            } => {
                let fields = policy
                    .fields()?
                    .with("key_set", Some(client.id("key-sets", &key_set)?))
                    .with("alias", Some(alias))
                    .with(
                        "cloud_key_store",
                        Some(client.id("cloud-key-stores", &cloud_key_store)?),
                    )
                    .with("key", Some(client.id("keys", &key)?));
                Ok(Output::fields(client.post(NOUN, fields.body())?.body, FIELDS).with_note(WANTED))
            }
            Self::Update {
                cloud_key,
                alias,
                policy,
            } => {
                let fields = policy.fields()?.with("alias", alias);
                Ok(client.update(NOUN, &cloud_key, fields, FIELDS)?.with_note(WANTED))
            }
            Self::Enable { cloud_key } => want(client, &cloud_key, json!("enabled")),
            Self::Disable { cloud_key, confirm } => {
                let found = client.find(NOUN, &cloud_key)?;
                let what = format!(
                    "This disables the KMS key {} in AWS: requests with it are refused until it is enabled. {DATA_KEYS}",
                    found.name
                );
                confirm.ask(&what, &found.name)?;
                want(client, &found.id, json!("disabled"))
            }
            Self::Delete {
                cloud_key,
                waiting_days,
                confirm,
            } => {
                let found = client.find(NOUN, &cloud_key)?;
                let what = format!(
                    "This deletes the KMS key {} in AWS after {waiting_days} days: what it has encrypted can never \
                     be decrypted then, even with the same managed key, since AWS KMS encrypts it too. {DATA_KEYS}",
                    found.name
                );
                confirm.ask(&what, &found.name)?;
                want(client, &found.id, json!({ "deleted": waiting_days }))
            }
            Self::LastUse { cloud_key } => {
                let path = client.find(NOUN, &cloud_key)?.path(NOUN);
                let known = client.get(&format!("{path}/last-use"))?;
                let fields = &["latest", "external_key", "aws", "tracked_since", "advice"];
                Ok(Output::fields(known.body, fields))
            }
            Self::Remove { cloud_key } => client.remove(NOUN, &cloud_key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_keys_and_values() {
        let read = |given: &[&str]| tags(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let object = |value: Value| Some(value.as_object().cloned().unwrap());
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["none"]).unwrap(), object(json!({})));
        assert_eq!(read(&["a=b=c", "d="]).unwrap(), object(json!({"a": "b=c", "d": ""})));
        for wrong in [&["a"][..], &["a=b", "none"], &["a=b", "a=c"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
