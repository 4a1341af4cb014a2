//! KMS keys that others have made.

use clap::Subcommand;

use super::{
    FIELDS, NOUN,
    fields::{Import, Style},
};
use crate::admin::client::{
    Fields,
    connection::{Client, encoded},
    failure::Failure,
    show::Output,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists all KMS keys of a Region, also those of others, or takes one under management as it is
    Adopt {
        /// In which cloud account: its id or name
        #[arg(long)]
        account: String,
        /// In which Region, if not in that of the account
        #[arg(long)]
        region: Option<String>,
        /// Takes this one: its alias, ARN or id
        #[arg(long, requires_all = ["key_set", "style"])]
        kms_key: Option<String>,
        /// To which key set it then belongs: its id or name
        #[arg(long, requires = "kms_key")]
        key_set: Option<String>,
        /// Its alias, if it is not named by that
        #[arg(long, requires = "kms_key")]
        alias: Option<String>,
        /// How it rotates from now on
        #[arg(long, requires = "kms_key")]
        style: Option<Style>,
        #[command(flatten)]
        import: Import,
    },
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        let Self::Adopt {
            account,
            region,
            kms_key,
            key_set,
            alias,
            style,
            import,
        } = self;
        let account = client.find("cloud-accounts", &account)?;
        let Some(kms_key) = kms_key else {
            let region = region
                .map(|region| format!("?region={}", encoded(&region)))
                .unwrap_or_default();
            let list = client.get(&format!("{}/kms-keys{region}", account.path("cloud-accounts")))?;
            let columns = &[
                "key_id",
                "aliases",
                "origin",
                "status",
                "reason",
                "cloud_key",
                "refusal",
            ];
            return Ok(Output::table(list.body, columns));
        };
        let key_set = key_set.map(|set| client.id("key-sets", &set)).transpose()?;
        let fields = Fields::default()
            .with("account", Some(account.id))
            .with("region", region)
            .with("kms_key", Some(kms_key))
            .with("key_set", key_set)
            .with("alias", alias)
            .with("import", import.value(client, style)?);
        let adopted = client.post(&format!("{NOUN}/adopt"), fields.body())?;
        Ok(Output::fields(adopted.body, FIELDS))
    }
}
