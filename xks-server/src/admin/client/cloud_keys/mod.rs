//! `cloud-keys`

mod adopt;
mod fields;
mod materials;

use clap::Subcommand;
use serde_json::{Value, json};

use self::fields::{Import, Policy, Style};
use super::{
    Fields,
    confirm::{Confirm, DATA_KEYS},
    connection::Client,
    failure::Failure,
    jobs::Run,
    page::Page,
    show::{Output, field},
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
    "style",
    "expires",
    "disable_former",
    "keep_days",
    "rotation",
    "ending_within_days",
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
    /// Makes a KMS key: over a managed key in an external key store, or with imported material (--style)
    Create {
        /// To which key set it belongs: its id or name
        #[arg(long)]
        key_set: String,
        /// Its alias in AWS, such as alias/payroll
        #[arg(long)]
        alias: String,
        /// In which key store in AWS: its id or name
        #[arg(long, required_unless_present = "style", conflicts_with = "style")]
        cloud_key_store: Option<String>,
        /// Which managed key: its id or name
        #[arg(long, required_unless_present = "style", conflicts_with = "style")]
        key: Option<String>,
        /// With imported material, made in the key set's source: how it rotates
        #[arg(long, requires = "account")]
        style: Option<Style>,
        /// In which cloud account: its id or name
        #[arg(long, requires = "style")]
        account: Option<String>,
        /// In which Region, if not in that of the account
        #[arg(long, requires = "style")]
        region: Option<String>,
        #[command(flatten)]
        import: Import,
        #[command(flatten)]
        policy: Policy,
        #[command(flatten)]
        run: Run,
    },
    /// Changes a KMS key
    Update {
        /// Its id or alias
        cloud_key: String,
        /// Its alias in AWS, such as alias/payroll
        #[arg(long)]
        alias: Option<String>,
        #[command(flatten)]
        import: Import,
        #[command(flatten)]
        policy: Policy,
        #[command(flatten)]
        run: Run,
    },
    /// Wants a KMS key to be enabled in AWS
    Enable {
        /// Its id or alias
        cloud_key: String,
        /// The former KMS key of this material, and not the one with the alias
        #[arg(long)]
        number: Option<u32>,
        #[command(flatten)]
        run: Run,
    },
    /// Wants a KMS key to be disabled in AWS. The managed key stays as it is
    Disable {
        /// Its id or alias
        cloud_key: String,
        /// The former KMS key of this material, and not the one with the alias
        #[arg(long)]
        number: Option<u32>,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        run: Run,
    },
    /// Wants a KMS key to be deleted in AWS, after a waiting time. Managed key and material stay as they are
    Delete {
        /// Its id or alias
        cloud_key: String,
        /// The former KMS key of this material, and not the one with the alias
        #[arg(long)]
        number: Option<u32>,
        /// How long AWS waits: 7 to 30 days
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        waiting_days: u64,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        run: Run,
    },
    /// Takes back that a KMS key is deleted: it is disabled then, and enabled by a command of its own
    CancelDeletion {
        /// Its id or alias
        cloud_key: String,
        /// The former KMS key of this material, and not the one with the alias
        #[arg(long)]
        number: Option<u32>,
        #[command(flatten)]
        run: Run,
    },
    #[command(flatten)]
    Materials(materials::Command),
    #[command(flatten)]
    Adopt(adopt::Command),
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

/// Which KMS key, for a question.
fn of_material(number: Option<u32>) -> String {
    number
        .map(|number| format!("of material {number} of "))
        .unwrap_or_default()
}

/// Wants the KMS key of a key, or the former one of a material.
fn want_one(client: &Client, id: &str, number: Option<u32>, wanted: Value, run: &Run) -> Result<Output, Failure> {
    match number {
        Some(number) => materials::set_former(client, id, number, wanted, run),
        None => want(client, id, wanted, run),
    }
}

fn want(client: &Client, key: &str, wanted: Value, run: &Run) -> Result<Output, Failure> {
    update(client, key, Fields::default().with("wanted", Some(wanted)), run)
}

fn update(client: &Client, key: &str, fields: Fields, run: &Run) -> Result<Output, Failure> {
    let id = client.id(NOUN, key)?;
    let updated = client.update(NOUN, &id, fields, FIELDS)?;
    run.after(client, updated, "cloud_key", &id)
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
                style,
                account,
                region,
                import,
                policy,
                run,
            } => {
                let id = |noun, text: Option<String>| text.map(|text| client.id(noun, &text)).transpose();
                let fields = policy
                    .fields()?
                    .with("key_set", Some(client.id("key-sets", &key_set)?))
                    .with("alias", Some(alias))
                    .with("cloud_key_store", id("cloud-key-stores", cloud_key_store)?)
                    .with("key", id("keys", key)?)
                    .with("account", id("cloud-accounts", account)?)
                    .with("region", region)
                    .with("import", import.value(client, style)?);
                let made = client.post(NOUN, fields.body())?.body;
                let id = field(&made, "id").as_str().unwrap_or_default().to_owned();
                run.after(client, Output::fields(made, FIELDS), "cloud_key", &id)
            }
            Self::Update {
                cloud_key,
                alias,
                import,
                policy,
                run,
            } => {
                let fields = policy
                    .fields()?
                    .with("alias", alias)
                    .with("import", import.value(client, None)?);
                update(client, &cloud_key, fields, &run)
            }
            Self::Enable { cloud_key, number, run } => {
                let id = client.id(NOUN, &cloud_key)?;
                want_one(client, &id, number, json!("enabled"), &run)
            }
            Self::Disable {
                cloud_key,
                number,
                confirm,
                run,
            } => {
                let found = client.find(NOUN, &cloud_key)?;
                let what = format!(
                    "This disables the KMS key {}{} in AWS: requests with it are refused until it is enabled. {DATA_KEYS}",
                    of_material(number),
                    found.name
                );
                confirm.ask(&what, &found.name)?;
                want_one(client, &found.id, number, json!("disabled"), &run)
            }
            Self::Delete {
                cloud_key,
                number,
                waiting_days,
                confirm,
                run,
            } => {
                let found = client.find(NOUN, &cloud_key)?;
                let of = of_material(number);
                let what = format!(
                    "This deletes the KMS key {of}{} in AWS after {waiting_days} days: what it has encrypted can never \
                     be decrypted then, even with the same managed key or material. {DATA_KEYS}",
                    found.name
                );
                confirm.ask(&what, &found.name)?;
                let wanted = json!({ "deleted": waiting_days });
                want_one(client, &found.id, number, wanted, &run)
            }
            Self::CancelDeletion { cloud_key, number, run } => {
                let id = client.id(NOUN, &cloud_key)?;
                want_one(client, &id, number, json!("disabled"), &run)
            }
            Self::Materials(command) => command.run(client),
            Self::Adopt(command) => command.run(client),
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
