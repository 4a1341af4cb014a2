//! `tenants`

use clap::Subcommand;

use super::{Fields, connection::Client, failure::Failure, page::Page, show::Output};

const NOUN: &str = "tenants";
const FIELDS: &[&str] = &["id", "name", "description", "revision"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists tenants
    List {
        /// Only those of this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Shows a tenant
    Show {
        /// Its id or name
        tenant: String,
    },
    /// Makes a tenant
    Create {
        /// What it is called
        #[arg(long)]
        name: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Changes name and description
    Update {
        /// Its id or name
        tenant: String,
        /// What it shall be called
        #[arg(long)]
        name: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Removes a tenant that nothing refers to
    Remove {
        /// Its id or name
        tenant: String,
    },
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        match self {
            Self::List { name, page } => {
                let list = client.get(&page.path(NOUN, &[("name", name.as_deref())]))?;
                Ok(Output::table(list.body, &["id", "name", "description"]))
            }
            Self::Show { tenant } => Ok(Output::fields(client.find(NOUN, &tenant)?.body, FIELDS)),
            Self::Create { name, description } => {
                let fields = Fields::default()
                    .with("name", Some(name))
                    .with("description", description);
                Ok(Output::fields(client.post(NOUN, fields.body())?.body, FIELDS))
            }
            Self::Update {
                tenant,
                name,
                description,
            } => {
                let fields = Fields::default().with("name", name).with("description", description);
                client.update(NOUN, &tenant, fields, FIELDS)
            }
            Self::Remove { tenant } => client.remove(NOUN, &tenant),
        }
    }
}
