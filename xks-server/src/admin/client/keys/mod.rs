//! `keys`

mod versions;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use self::versions::VersionCommand;
use super::{
    Fields,
    confirm::{Confirm, DATA_KEYS},
    connection::Client,
    failure::Failure,
    find::Found,
    page::Page,
    show::Output,
};

const NOUN: &str = "keys";
const COLUMNS: &[&str] = &["id", "name", "state", "expires", "rotation", "description"];
const FIELDS: &[&str] = &[
    "id",
    "key_set",
    "name",
    "description",
    "state",
    "deleted_after",
    "expires",
    "rotation",
    "min_encrypt",
    "min_decrypt",
    "min_kept",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists keys
    List {
        /// Only those of this key set
        #[arg(long)]
        key_set: Option<String>,
        /// Only those of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only those of this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Shows a key with its versions
    Show(One),
    /// Makes a key, or many
    Create {
        #[command(flatten)]
        new: New,
        /// How many, up to 1000: they are called by the name and a number
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Takes a key of a backend under management, which others have made
    Adopt {
        #[command(flatten)]
        new: New,
        /// The id under which the backend serves it
        #[arg(long, value_name = "ID")]
        backend_key: String,
        /// How many encryptions were made with it; half of what a key may make, if that is not known
        #[arg(long, value_name = "N")]
        earlier_encryptions: Option<u64>,
        /// The constant metadata that its earlier ciphertexts have, in hex digits
        #[arg(long, value_name = "HEX")]
        legacy_metadata: Option<String>,
    },
    /// Changes name and description
    Update {
        #[command(flatten)]
        key: One,
        /// What it shall be called
        #[arg(long)]
        name: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Takes a key into use that was made inactive
    Activate(One),
    /// Stops a key at once, until it is enabled
    Disable {
        #[command(flatten)]
        key: One,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Lets a disabled key serve again
    Enable(One),
    /// Ends the encryption with a key now: it expires
    Deactivate {
        #[command(flatten)]
        key: One,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Sets when a key expires, or that it does not
    SetExpiry {
        #[command(flatten)]
        key: One,
        /// A day, a time such as 2027-01-15T08:00:00Z, or `never`
        time: String,
    },
    /// Sets when a key rotates
    SetRotation {
        #[command(flatten)]
        key: One,
        /// `inherited` from its key set, `never`, or a schedule's id or name
        rotation: String,
    },
    /// Sets which versions may encrypt, may decrypt and are kept, by their least numbers
    SetMinima {
        #[command(flatten)]
        key: One,
        /// The least number of a version that may encrypt
        #[arg(long, value_name = "NUMBER")]
        encrypt: u32,
        /// The least number of a version that may decrypt
        #[arg(long, value_name = "NUMBER")]
        decrypt: u32,
        /// The least number of a version that is kept
        #[arg(long, value_name = "NUMBER")]
        kept: u32,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Stops a key at once, and lets it be destroyed after a waiting time
    ScheduleDeletion {
        #[command(flatten)]
        key: One,
        /// How long it waits, if longer than its key set says
        #[arg(long, value_name = "DAYS")]
        waiting_days: Option<u64>,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Takes the deletion of a key back; it is disabled then
    CancelDeletion(One),
    /// Destroys a key whose waiting time is over: what it has encrypted is lost
    Destroy {
        #[command(flatten)]
        key: One,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Rotates a key: a new version encrypts, and the former ones go on decrypting
    Rotate(One),
    /// Shows how much the versions of a key are used
    Usage(One),
    #[command(flatten)]
    Versions(VersionCommand),
}

/// A key.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The key's id or name
    key: String,
}

/// A key that is made or adopted.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// In which key set: its id or name
    #[arg(long)]
    key_set: String,
    /// What it is called
    #[arg(long)]
    name: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// When it expires: a day, or a time such as 2027-01-15T08:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// When it rotates: `inherited` from its key set, `never`, or a schedule's id or name
    #[arg(long)]
    rotation: Option<String>,
    /// Let it wait to be activated
    #[arg(long)]
    inactive: bool,
}

impl New {
    fn fields(self, client: &Client) -> Result<Fields, Failure> {
        let rotation = self.rotation.map(|text| rotation(client, text)).transpose()?;
        Ok(Fields::default()
            .with("key_set", Some(client.id("key-sets", &self.key_set)?))
            .with("name", Some(self.name))
            .with("description", self.description)
            .with("expires", self.expires.map(time))
            .with("rotation", rotation)
            .with("is_active", self.inactive.then_some(false)))
    }
}

/// A day is its beginning in UTC.
fn time(text: String) -> String {
    match text.contains(['T', 't', ' ']) {
        true => text,
        false => text + "T00:00:00Z",
    }
}

/// A schedule may be named.
fn rotation(client: &Client, text: String) -> Result<String, Failure> {
    match text.as_str() {
        "inherited" | "never" => Ok(text),
        _ => client.id("schedules", &text),
    }
}

/// A key as it is after a command.
fn shown(body: Value) -> Output {
    Output::fields(body, FIELDS)
}

impl One {
    fn find(&self, client: &Client) -> Result<Found, Failure> {
        client.find(NOUN, &self.key)
    }

    /// Gives a command that needs nothing else.
    fn give(&self, client: &Client, command: &str) -> Result<Output, Failure> {
        give(client, &self.find(client)?, command, Fields::default())
    }

    /// Gives a command that makes something unusable, once it is confirmed.
    fn give_confirmed(
        &self,
        client: &Client,
        command: &str,
        confirm: &Confirm,
        consequence: &str,
        fields: impl FnOnce(String) -> Fields,
    ) -> Result<Output, Failure> {
        let found = self.find(client)?;
        let what = format!("Key {} ({}): {consequence} {DATA_KEYS}", found.name, found.id);
        let name = confirm.ask(&what, &found.name)?;
        Ok(give(client, &found, command, fields(name))?.with_note(DATA_KEYS))
    }
}

/// Gives a command on a key, unless somebody else has changed it since it was found.
fn give(client: &Client, key: &Found, command: &str, fields: Fields) -> Result<Output, Failure> {
    let path = format!("{}/{command}", key.path(NOUN));
    let reply = client.send(Method::POST, &path, key.etag.as_deref(), Some(fields.body()))?;
    Ok(shown(reply.body))
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        let nothing = |_| Fields::default();
        match self {
            Self::List {
                key_set,
                tenant,
                name,
                page,
            } => {
                let key_set = key_set.map(|set| client.id("key-sets", &set)).transpose()?;
                let tenant = tenant.map(|tenant| client.id("tenants", &tenant)).transpose()?;
                let filters = [
                    ("key_set", key_set.as_deref()),
                    ("tenant", tenant.as_deref()),
                    ("name", name.as_deref()),
                ];
                let list = client.get(&page.path(NOUN, &filters))?;
                Ok(Output::table(list.body, COLUMNS))
            }
            Self::Show(key) => Ok(shown(key.find(client)?.body)),
            Self::Create { new, count } => {
                let made = client.post(NOUN, new.fields(client)?.with("count", count).body())?.body;
                Ok(match count {
                    Some(_) => Output::table(made, COLUMNS),
                    None => shown(made),
                })
            }
            Self::Adopt {
                new,
                backend_key,
                earlier_encryptions,
                legacy_metadata,
            } => {
                let fields = new
                    .fields(client)?
                    .with("backend_key", Some(backend_key))
                    .with("earlier_encryptions", earlier_encryptions)
                    .with("legacy_metadata", legacy_metadata);
                Ok(shown(client.post(NOUN, fields.body())?.body))
            }
            Self::Update { key, name, description } => {
                let fields = Fields::default().with("name", name).with("description", description);
                client.update(NOUN, &key.key, fields, FIELDS)
            }
            Self::Activate(key) => key.give(client, "activate"),
            Self::Disable { key, confirm } => {
                let consequence = "requests with it are refused until it is enabled.";
                key.give_confirmed(client, "disable", &confirm, consequence, nothing)
            }
            Self::Enable(key) => key.give(client, "enable"),
            Self::Deactivate { key, confirm } => {
                let consequence = "it encrypts no more, and decrypts only if its key set keeps that.";
                key.give_confirmed(client, "deactivate", &confirm, consequence, nothing)
            }
            Self::SetExpiry { key, time: text } => {
                let expires = (text != "never").then(|| time(text));
                let fields = Fields::default().with("expires", Some(expires));
                give(client, &key.find(client)?, "set-expiry", fields)
            }
            Self::SetRotation { key, rotation: text } => {
                let fields = Fields::default().with("rotation", Some(rotation(client, text)?));
                give(client, &key.find(client)?, "set-rotation", fields)
            }
            Self::SetMinima {
                key,
                encrypt,
                decrypt,
                kept,
                confirm,
            } => {
                let consequence = "what versions below these numbers have encrypted cannot be read, until the numbers \
                                   are lowered again.";
                let fields = |_| {
                    Fields::default()
                        .with("min_encrypt", Some(encrypt))
                        .with("min_decrypt", Some(decrypt))
                        .with("min_kept", Some(kept))
                };
                key.give_confirmed(client, "set-minima", &confirm, consequence, fields)
            }
            Self::ScheduleDeletion {
                key,
                waiting_days,
                confirm,
            } => {
                let consequence = "requests with it are refused from now on, and after its waiting time it can be \
                                   destroyed.";
                let fields = |_| Fields::default().with("waiting_days", waiting_days);
                key.give_confirmed(client, "schedule-deletion", &confirm, consequence, fields)
            }
            Self::CancelDeletion(key) => key.give(client, "cancel-deletion"),
            Self::Destroy { key, confirm } => {
                let consequence = "it is destroyed, and what it has encrypted is lost.";
                let fields = |name| Fields::default().with("typed_name", Some(name));
                key.give_confirmed(client, "destroy", &confirm, consequence, fields)
            }
            Self::Rotate(key) => key.give(client, "rotate"),
            Self::Usage(key) => {
                let usage = client.get(&format!("{}/usage", key.find(client)?.path(NOUN)))?;
                let columns = &["version", "encryptions", "decryptions", "last_used", "most_encryptions"];
                Ok(Output::table(usage.body, columns))
            }
            Self::Versions(command) => command.run(client),
        }
    }
}
