//! `key-sets`

use clap::{Args, Subcommand};

use super::{Fields, connection::Client, failure::Failure, page::Page, show::Output};

const NOUN: &str = "key-sets";
const FIELDS: &[&str] = &[
    "id",
    "tenant",
    "name",
    "description",
    "source",
    "backend",
    "key_store",
    "schedule",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists key sets
    List {
        /// Only those of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only those of this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Shows a key set
    Show {
        /// Its id or name
        key_set: String,
    },
    /// Makes a key set
    Create {
        /// Whose it is: the tenant's id or name
        #[arg(long)]
        tenant: String,
        /// What it is called
        #[arg(long)]
        name: String,
        /// Where its keys come from: `hsm`, `vault` or `adopted`
        #[arg(long)]
        source: String,
        /// The backend that has its keys; the only one if none is named
        #[arg(long)]
        backend: Option<String>,
        #[command(flatten)]
        policy: Policy,
    },
    /// Changes a key set
    Update {
        /// Its id or name
        key_set: String,
        /// What it shall be called
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        policy: Policy,
    },
    /// Verifies that the backend of a key set works
    VerifyBackend {
        /// Its id or name
        key_set: String,
    },
    /// Removes a key set that has no keys
    Remove {
        /// Its id or name
        key_set: String,
    },
}

/// What can be changed later, too.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// The group that administers it, or `none`
    #[arg(long, value_name = "GROUP")]
    administrators: Option<String>,
    /// The external key store that serves its keys, by id or name, or `none`
    #[arg(long)]
    key_store: Option<String>,
    /// When its keys rotate: a schedule's id or name, or `none`
    #[arg(long)]
    schedule: Option<String>,
    /// After how many days a new key expires, or `none`
    #[arg(long, value_name = "DAYS")]
    lifetime_days: Option<String>,
    /// How long a key waits for its deletion
    #[arg(long, value_name = "DAYS")]
    waiting_days: Option<u64>,
    /// Whether a key that has expired goes on decrypting
    #[arg(long, value_name = "true|false")]
    keeps_decryption: Option<bool>,
    /// Whether two people must agree to what cannot be undone
    #[arg(long, value_name = "true|false")]
    needs_two: Option<bool>,
}

impl Policy {
    fn fields(self, client: &Client) -> Result<Fields, Failure> {
        let fields = Fields::default()
            .with("description", self.description)
            .with_or_none("administrators", self.administrators)
            .with_or_none("key_store", client.id_or_none("key-stores", self.key_store)?)
            .with_or_none("schedule", client.id_or_none("schedules", self.schedule)?)
            .with("waiting_days", self.waiting_days)
            .with("keeps_decryption", self.keeps_decryption)
            .with("needs_two", self.needs_two);
        match self.lifetime_days {
            Some(days) if days != "none" => {
                let wrong = || Failure::Usage(format!("--lifetime-days {days:?} is neither a number nor `none`"));
                Ok(fields.with("lifetime_days", Some(days.parse::<u64>().map_err(|_| wrong())?)))
            }
            none => Ok(fields.with_or_none("lifetime_days", none)),
        }
    }
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        match self {
            Self::List { tenant, name, page } => {
                let tenant = tenant.map(|tenant| client.id("tenants", &tenant)).transpose()?;
                let filters = [("tenant", tenant.as_deref()), ("name", name.as_deref())];
                let list = client.get(&page.path(NOUN, &filters))?;
                let columns = &[
                    "id",
                    "name",
                    "source",
                    "backend",
                    "key_store",
                    "schedule",
                    "description",
                ];
                Ok(Output::table(list.body, columns))
            }
            Self::Show { key_set } => Ok(Output::fields(client.find(NOUN, &key_set)?.body, FIELDS)),
            Self::Create {
                tenant,
                name,
                source,
                backend,
                policy,
            } => {
                let fields = policy
                    .fields(client)?
                    .with("tenant", Some(client.id("tenants", &tenant)?))
                    .with("name", Some(name))
                    .with("source", Some(source))
                    .with("backend", backend);
                Ok(Output::fields(client.post(NOUN, fields.body())?.body, FIELDS))
            }
            Self::Update { key_set, name, policy } => {
                let fields = policy.fields(client)?.with("name", name);
                client.update(NOUN, &key_set, fields, FIELDS)
            }
            Self::VerifyBackend { key_set } => {
                let path = client.find(NOUN, &key_set)?.path(NOUN);
                let health = client.post(&format!("{path}/verify-backend"), Fields::default().body())?;
                Ok(Output::fields(health.body, &["is_usable", "vendor"]))
            }
            Self::Remove { key_set } => client.remove(NOUN, &key_set),
        }
    }
}
