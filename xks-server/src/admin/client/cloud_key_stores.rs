//! `cloud-key-stores`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Fields,
    confirm::{Confirm, DATA_KEYS},
    connection::Client,
    failure::Failure,
    page::Page,
    show::Output,
};

const NOUN: &str = "cloud-key-stores";
const FIELDS: &[&str] = &[
    "id",
    "tenant",
    "account",
    "region",
    "name",
    "key_store",
    "endpoint",
    "vpc",
    "wanted",
    "custom_key_store_id",
];
/// What a command on something in AWS has changed.
pub(super) const WANTED: &str = "This is what is wanted now: AWS is as it was until a job has made it so (jobs start).";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists key stores in AWS
    List {
        /// Only those of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only those of this name
        #[arg(long)]
        name: Option<String>,
        /// Only those in this cloud account
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Shows a key store in AWS
    Show {
        /// Its id or name
        cloud_key_store: String,
    },
    /// Makes a key store in AWS that leads to an external key store
    Create {
        /// In which cloud account: its id or name
        #[arg(long)]
        account: String,
        /// In which Region, if not in that of the account
        #[arg(long)]
        region: Option<String>,
        /// What it is called in AWS
        #[arg(long)]
        name: String,
        /// Where it leads to: the external key store's id or name
        #[arg(long)]
        key_store: String,
        /// What AWS KMS connects to: https:// and a host
        #[arg(long, value_name = "URL")]
        endpoint: String,
        #[command(flatten)]
        vpc: Vpc,
        /// Leave it disconnected for now
        #[arg(long)]
        disconnected: bool,
    },
    /// Changes a key store in AWS
    Update {
        /// Its id or name
        cloud_key_store: String,
        /// What it shall be called in AWS
        #[arg(long)]
        name: Option<String>,
        /// What AWS KMS connects to: https:// and a host
        #[arg(long, value_name = "URL")]
        endpoint: Option<String>,
        #[command(flatten)]
        vpc: Vpc,
    },
    /// Wants a key store in AWS to be connected
    Connect {
        /// Its id or name
        cloud_key_store: String,
    },
    /// Wants a key store in AWS to be disconnected: AWS uses none of its keys
    Disconnect {
        /// Its id or name
        cloud_key_store: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Wants a key store to be deleted in AWS, which deletes none that has KMS keys
    Delete {
        /// Its id or name
        cloud_key_store: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Removes a key store in AWS from what is managed. AWS is left as it is
    Remove {
        /// Its id or name
        cloud_key_store: String,
    },
}

/// How AWS KMS reaches a proxy that is not public.
#[derive(Debug, Args)]
pub(crate) struct Vpc {
    /// The endpoint service through which AWS KMS reaches it, or `none` for a public endpoint
    #[arg(long, value_name = "NAME")]
    vpc_service: Option<String>,
    /// The account that owns the endpoint service, if it is another
    #[arg(long, value_name = "ACCOUNT", requires = "vpc_service")]
    vpc_owner: Option<String>,
}

impl Vpc {
    fn value(self) -> Option<Value> {
        let name = self.vpc_service?;
        Some(match name.as_str() {
            "none" => Value::Null,
            _ => json!({"name": name, "owner": self.vpc_owner}),
        })
    }
}

fn want(client: &Client, store: &str, wanted: &str) -> Result<Output, Failure> {
    let fields = Fields::default().with("wanted", Some(wanted));
    Ok(client.update(NOUN, store, fields, FIELDS)?.with_note(WANTED))
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        match self {
            Self::List {
                tenant,
                name,
                account,
                page,
            } => {
                let tenant = tenant.map(|tenant| client.id("tenants", &tenant)).transpose()?;
                let account = account
                    .map(|account| client.id("cloud-accounts", &account))
                    .transpose()?;
                let filters = [
                    ("tenant", tenant.as_deref()),
                    ("name", name.as_deref()),
                    ("account", account.as_deref()),
                ];
                let list = client.get(&page.path(NOUN, &filters))?;
                let columns = &["id", "name", "region", "wanted", "custom_key_store_id", "endpoint"];
                Ok(Output::table(list.body, columns))
            }
            Self::Show { cloud_key_store } => Ok(Output::fields(client.find(NOUN, &cloud_key_store)?.body, FIELDS)),
            Self::Create {
                account,
                region,
                name,
                key_store,
                endpoint,
                vpc,
                disconnected,
            } => {
                let fields = Fields::default()
                    .with("account", Some(client.id("cloud-accounts", &account)?))
                    .with("region", region)
                    .with("name", Some(name))
                    .with("key_store", Some(client.id("key-stores", &key_store)?))
                    .with("endpoint", Some(endpoint))
                    .with("vpc", vpc.value())
                    .with("wanted", disconnected.then_some("disconnected"));
                Ok(Output::fields(client.post(NOUN, fields.body())?.body, FIELDS).with_note(WANTED))
            }
            Self::Update {
                cloud_key_store,
                name,
                endpoint,
                vpc,
            } => {
                let fields = Fields::default()
                    .with("name", name)
                    .with("endpoint", endpoint)
                    .with("vpc", vpc.value());
                Ok(client.update(NOUN, &cloud_key_store, fields, FIELDS)?.with_note(WANTED))
            }
            Self::Connect { cloud_key_store } => want(client, &cloud_key_store, "connected"),
            Self::Disconnect {
                cloud_key_store,
                confirm,
            } => {
                let found = client.find(NOUN, &cloud_key_store)?;
                let what = format!(
                    "This disconnects the key store {} in AWS: AWS uses none of its keys until it is connected. \
                     {DATA_KEYS}",
                    found.name
                );
                confirm.ask(&what, &found.name)?;
                want(client, &found.id, "disconnected")
            }
            Self::Delete {
                cloud_key_store,
                confirm,
            } => {
                let found = client.find(NOUN, &cloud_key_store)?;
                let what = format!(
                    "This deletes the key store {} in AWS, once it has no KMS keys there. The external key store \
                     and its keys stay as they are.",
                    found.name
                );
                confirm.ask(&what, &found.name)?;
                want(client, &found.id, "deleted")
            }
            Self::Remove { cloud_key_store } => client.remove(NOUN, &cloud_key_store),
        }
    }
}
