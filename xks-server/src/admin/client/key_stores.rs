//! `key-stores`

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Fields,
    confirm::{Confirm, DATA_KEYS},
    connection::{Client, encoded},
    failure::Failure,
    page::Page,
    show::{Output, field},
};

const NOUN: &str = "key-stores";
const FIELDS: &[&str] = &[
    "id",
    "tenant",
    "name",
    "prefix",
    "regions",
    "is_blocked",
    "schedule",
    "overlap_minutes",
];
const CREDENTIAL: &[&str] = &["access_key_id", "secret_access_key", "key_store", "created"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists external key stores
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
    /// Shows an external key store
    Show {
        /// Its id or name
        key_store: String,
    },
    /// Makes an external key store; create a credential for it next
    Create {
        /// Whose it is: the tenant's id or name
        #[arg(long)]
        tenant: String,
        /// What it is called
        #[arg(long)]
        name: String,
        /// The part of its paths before /kms/xks/v1
        #[arg(long)]
        prefix: String,
        /// A Region whose KMS may call; may be given several times
        #[arg(long = "region", value_name = "REGION", required = true)]
        regions: Vec<String>,
        #[command(flatten)]
        rotation: Rotation,
    },
    /// Changes an external key store
    Update {
        /// Its id or name
        key_store: String,
        /// What it shall be called
        #[arg(long)]
        name: Option<String>,
        /// The part of its paths before /kms/xks/v1
        #[arg(long)]
        prefix: Option<String>,
        /// A Region whose KMS may call; may be given several times, and replaces all
        #[arg(long = "region", value_name = "REGION")]
        regions: Vec<String>,
        #[command(flatten)]
        rotation: Rotation,
    },
    /// Removes an external key store that has no key sets and no credentials
    Remove {
        /// Its id or name
        key_store: String,
    },
    /// Stops all keys of an external key store at once, until it is unblocked
    Block {
        /// Its id or name
        key_store: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Lets the keys of an external key store serve again
    Unblock {
        /// Its id or name
        key_store: String,
    },
    /// Lists the credentials of an external key store
    Credentials {
        /// Its id or name
        key_store: String,
    },
    /// Makes a credential, and shows its secret, once
    CreateCredential {
        /// The key store's id or name
        key_store: String,
        /// Print only the JSON for the AWS KMS console
        #[arg(long)]
        console_json: bool,
    },
    /// Makes a credential in the place of the one there is, and shows its secret, once
    RotateCredential {
        /// The key store's id or name
        key_store: String,
        /// How long the former one goes on, such as 30m, 1h or 2d
        #[arg(long, value_parser = minutes)]
        overlap: u64,
        /// Print only the JSON for the AWS KMS console
        #[arg(long)]
        console_json: bool,
    },
    /// Shows the secret of a credential that a schedule has made, once
    TakeSecret {
        /// The key store's id or name
        key_store: String,
        /// The credential's access key id
        access_key_id: String,
        /// Print only the JSON for the AWS KMS console
        #[arg(long)]
        console_json: bool,
    },
    /// Revokes a credential: no request that is signed with it is served any more
    RevokeCredential {
        /// The key store's id or name
        key_store: String,
        /// The credential's access key id
        access_key_id: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// When the credential rotates by itself.
#[derive(Debug, Args)]
pub(crate) struct Rotation {
    /// When its credential rotates: a schedule's id or name, or `none`
    #[arg(long)]
    schedule: Option<String>,
    /// How long a former credential goes on at least, such as 30m, 1h or 2d
    #[arg(long, value_parser = minutes)]
    overlap: Option<u64>,
}

impl Rotation {
    fn fields(self, client: &Client) -> Result<Fields, Failure> {
        Ok(Fields::default()
            .with_or_none("schedule", client.id_or_none("schedules", self.schedule)?)
            .with("overlap_minutes", self.overlap))
    }
}

/// A number of minutes, hours or days, in minutes.
fn minutes(text: &str) -> Result<u64, String> {
    let units = [("m", 1), ("h", 60), ("d", 24 * 60)];
    let read = |(unit, minutes): (&str, u64)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(minutes);
    let read = units.into_iter().find_map(read);
    read.ok_or_else(|| "it is a number with m, h or d: 30m, 1h, 2d".to_owned())
}

/// What was made, whole or as the AWS KMS console takes it.
fn made(body: Value, console_json: bool) -> Output {
    match console_json {
        true => Output::only(body, "console_json"),
        false => Output::made(body, CREDENTIAL, "console_json"),
    }
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
                    &["id", "name", "prefix", "regions", "is_blocked"],
                ))
            }
            Self::Show { key_store } => Ok(Output::fields(client.find(NOUN, &key_store)?.body, FIELDS)),
            Self::Create {
                tenant,
                name,
                prefix,
                regions,
                rotation,
            } => {
                let fields = rotation
                    .fields(client)?
                    .with("tenant", Some(client.id("tenants", &tenant)?))
                    .with("name", Some(name))
                    .with("prefix", Some(prefix))
                    .with("regions", Some(regions));
                Ok(Output::fields(client.post(NOUN, fields.body())?.body, FIELDS))
            }
            Self::Update {
                key_store,
                name,
                prefix,
                regions,
                rotation,
            } => {
                let fields = rotation
                    .fields(client)?
                    .with("name", name)
                    .with("prefix", prefix)
                    .with("regions", Some(regions).filter(|regions| !regions.is_empty()));
                client.update(NOUN, &key_store, fields, FIELDS)
            }
            Self::Remove { key_store } => client.remove(NOUN, &key_store),
            Self::Block { key_store, confirm } => {
                let found = client.find(NOUN, &key_store)?;
                let what = format!(
                    "This blocks the external key store {} with the prefix {}: requests with any of its keys are \
                     refused until it is unblocked. {DATA_KEYS}",
                    found.name,
                    field(&found.body, "prefix")
                );
                confirm.ask(&what, &found.name)?;
                let path = format!("{}/block", found.path(NOUN));
                let body = Some(Fields::default().body());
                let blocked = client.send(Method::POST, &path, found.etag.as_deref(), body)?;
                Ok(Output::fields(blocked.body, FIELDS).with_note(DATA_KEYS))
            }
            Self::Unblock { key_store } => {
                let path = format!("{}/unblock", client.find(NOUN, &key_store)?.path(NOUN));
                Ok(Output::fields(
                    client.post(&path, Fields::default().body())?.body,
                    FIELDS,
                ))
            }
            Self::Credentials { key_store } => {
                let path = format!("{}/credentials", client.find(NOUN, &key_store)?.path(NOUN));
                let columns = &[
                    "access_key_id",
                    "is_live",
                    "is_untaken",
                    "is_revoked",
                    "created",
                    "expires",
                    "last_used",
                ];
                Ok(Output::table(client.get(&path)?.body, columns))
            }
            Self::CreateCredential {
                key_store,
                console_json,
            } => {
                let path = format!("{}/credentials", client.find(NOUN, &key_store)?.path(NOUN));
                Ok(made(client.post(&path, Fields::default().body())?.body, console_json))
            }
            Self::RotateCredential {
                key_store,
                overlap,
                console_json,
            } => {
                let path = format!("{}/rotate-credential", client.find(NOUN, &key_store)?.path(NOUN));
                let fields = Fields::default().with("overlap_minutes", Some(overlap));
                Ok(made(client.post(&path, fields.body())?.body, console_json))
            }
            Self::TakeSecret {
                key_store,
                access_key_id,
                console_json,
            } => {
                let path = client.find(NOUN, &key_store)?.path(NOUN);
                let path = format!("{path}/credentials/{}/take-secret", encoded(&access_key_id));
                Ok(made(client.post(&path, Fields::default().body())?.body, console_json))
            }
            Self::RevokeCredential {
                key_store,
                access_key_id,
                confirm,
            } => {
                let path = client.find(NOUN, &key_store)?.path(NOUN);
                let path = format!("{path}/credentials/{}", encoded(&access_key_id));
                client.get(&path)?;
                let what = format!(
                    "This revokes the credential {access_key_id} of the external key store {key_store}: requests that \
                     are signed with it are refused from now on, and it cannot be taken back."
                );
                confirm.ask(&what, &access_key_id)?;
                let revoked = client.post(&format!("{path}/revoke"), Fields::default().body())?;
                Ok(Output::fields(revoked.body, CREDENTIAL))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_has_a_unit() {
        for (text, read) in [("0m", 0), ("30m", 30), ("1h", 60), ("2d", 2880)] {
            assert_eq!(minutes(text), Ok(read));
        }
        for bad in [
            "",
            "1",
            "h",
            "-1h",
            "1w",
            "1.5h",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
    }
}
