//! `cloud-accounts`

use std::{
    io::{self, BufRead as _},
    path::{self, Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use xks_core::Zeroizing;

use super::{Fields, connection::Client, failure::Failure, page::Page, show::Output};

const NOUN: &str = "cloud-accounts";
const FIELDS: &[&str] = &["id", "tenant", "name", "description", "region", "credential", "account"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists cloud accounts
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
    /// Shows a cloud account
    Show {
        /// Its id or name
        cloud_account: String,
    },
    /// Makes a cloud account: by which credential, and in which Region, AWS is called
    Create {
        /// Whose it is: the tenant's id or name
        #[arg(long)]
        tenant: String,
        /// What it is called
        #[arg(long)]
        name: String,
        /// The Region of what names none
        #[arg(long)]
        region: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// When its access key is replaced by itself: a schedule's id or name, or `none`
        #[arg(long)]
        schedule: Option<String>,
        #[command(flatten)]
        credential: Credential,
    },
    /// Changes a cloud account
    Update {
        /// Its id or name
        cloud_account: String,
        /// What it shall be called
        #[arg(long)]
        name: Option<String>,
        /// The Region of what names none from now on
        #[arg(long)]
        region: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// When its access key is replaced by itself: a schedule's id or name, or `none`
        #[arg(long)]
        schedule: Option<String>,
        #[command(flatten)]
        credential: Credential,
    },
    /// Prints the smallest IAM policy for a cloud account, for its user or role in AWS
    IamPolicy {
        /// Its id or name
        cloud_account: String,
        /// Allow to list users and roles, to pick them for key policies
        #[arg(long)]
        principals: bool,
        /// Allow to find keys and key stores that others have made
        #[arg(long)]
        adoption: bool,
        /// Allow to import material, before there is a KMS key that needs it
        #[arg(long)]
        import: bool,
    },
    /// Lists the users and roles of a cloud account, who can be named in a key policy
    Principals {
        /// Its id or name
        cloud_account: String,
    },
    /// Removes a cloud account that nothing refers to. AWS is left as it is
    Remove {
        /// Its id or name
        cloud_account: String,
    },
}

/// As whom AWS is called.
#[derive(Debug, Args)]
pub(crate) struct Credential {
    /// As the AWS SDK finds it where the server runs: environment, profile, or role; the default
    #[arg(long, conflicts_with_all = ["csv", "access_key_id"])]
    chain: bool,
    /// By the access key in AWS's CSV file, which the server reads at each use
    #[arg(long, value_name = "FILE", conflicts_with = "access_key_id")]
    csv: Option<PathBuf>,
    /// By an access key that the server keeps sealed
    #[arg(long, value_name = "ID", requires = "secret_file")]
    access_key_id: Option<String>,
    /// The file with the secret of the access key; `-` for standard input
    #[arg(long, value_name = "FILE", requires = "access_key_id")]
    secret_file: Option<PathBuf>,
}

impl Credential {
    fn value(self) -> Result<Option<Value>, Failure> {
        match (self.csv, self.access_key_id, self.secret_file) {
            (Some(file), ..) => {
                let absolute = path::absolute(&file)
                    .map_err(|error| Failure::Usage(format!("--csv {}: {error}", file.display())))?;
                let text = absolute.to_str().ok_or_else(|| {
                    let text = format!("--csv {}: the path must be UTF-8", file.display());
                    Failure::Usage(text)
                })?;
                Ok(Some(json!({ "file": text })))
            }
            (None, Some(id), Some(file)) => {
                let secret = secret(&file)?;
                Ok(Some(json!({"access_key": {"id": id, "secret": *secret}})))
            }
            _ => Ok(self.chain.then(|| json!("chain"))),
        }
    }
}

/// The secret in the first line of a file, or of standard input.
fn secret(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let unreadable = |error: io::Error| Failure::Usage(format!("--secret-file {}: {error}", file.display()));
    let mut text = Zeroizing::new(String::new());
    if file == Path::new("-") {
        io::stdin().lock().read_line(&mut text).map_err(unreadable)?;
    } else {
        *text = std::fs::read_to_string(file).map_err(unreadable)?;
    }
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    Ok(text)
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        match self {
            Self::List { tenant, name, page } => {
                let tenant = tenant.map(|tenant| client.id("tenants", &tenant)).transpose()?;
                let filters = [("tenant", tenant.as_deref()), ("name", name.as_deref())];
                let list = client.get(&page.path(NOUN, &filters))?;
                Ok(Output::table(
                    list.body,
                    &["id", "name", "region", "account", "credential"],
                ))
            }
            Self::Show { cloud_account } => Ok(Output::fields(client.find(NOUN, &cloud_account)?.body, FIELDS)),
            Self::Create {
                tenant,
                name,
                region,
                description,
                schedule,
                credential,
            } => {
                let fields = Fields::default()
                    .with("tenant", Some(client.id("tenants", &tenant)?))
                    .with("name", Some(name))
                    .with("region", Some(region))
                    .with("description", description)
                    .with_or_none("schedule", client.id_or_none("schedules", schedule)?)
                    .with("credential", credential.value()?);
                Ok(Output::fields(client.post(NOUN, fields.body())?.body, FIELDS))
            }
            Self::Update {
                cloud_account,
                name,
                region,
                description,
                schedule,
                credential,
            } => {
                let fields = Fields::default()
                    .with("name", name)
                    .with("region", region)
                    .with("description", description)
                    .with_or_none("schedule", client.id_or_none("schedules", schedule)?)
                    .with("credential", credential.value()?);
                client.update(NOUN, &cloud_account, fields, FIELDS)
            }
            Self::IamPolicy {
                cloud_account,
                principals,
                adoption,
                import,
            } => {
                let path = client.find(NOUN, &cloud_account)?.path(NOUN);
                let path = format!("{path}/iam-policy?principals={principals}&adoption={adoption}&import={import}");
                Ok(Output::document(client.get(&path)?.body))
            }
            Self::Principals { cloud_account } => {
                let path = client.find(NOUN, &cloud_account)?.path(NOUN);
                let list = client.get(&format!("{path}/principals"))?;
                Ok(Output::table(list.body, &["kind", "name", "arn"]))
            }
            Self::Remove { cloud_account } => client.remove(NOUN, &cloud_account),
        }
    }
}
