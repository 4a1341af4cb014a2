//! The materials of KMS keys whose material is imported.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::NOUN;
use crate::admin::client::{
    Fields,
    confirm::Confirm,
    connection::Client,
    failure::Failure,
    find::Found,
    jobs::Run,
    show::{Output, field},
};

const FIELDS: &[&str] = &[
    "number",
    "id",
    "state",
    "is_current",
    "check",
    "kms_key",
    "kms_material",
    "imported",
    "valid_to",
    "wanted",
    "former",
    "retired",
    "kept_until",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the materials of a KMS key: check values, where they are, until when, and what they shall be
    Materials {
        /// The KMS key's id or alias
        cloud_key: String,
        /// Only this one, with all that is known of it
        #[arg(long)]
        number: Option<u32>,
    },
    /// Rotates a KMS key: adds material, which a job makes and imports
    Rotate {
        /// Its id or alias
        cloud_key: String,
        #[command(flatten)]
        run: Run,
    },
    /// Removes material from AWS: nothing decrypts until it is uploaded again. It stays here
    RemoveMaterial {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        run: Run,
    },
    /// Uploads material to AWS again that was removed there
    Upload {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        run: Run,
    },
    /// Destroys material here for good: it can never be uploaded again. What is in AWS stays
    DestroyMaterial {
        /// The KMS key's id or alias
        cloud_key: String,
        /// The number of the material
        #[arg(long)]
        number: u32,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Brings a former KMS key in step with what is wanted, by a job that is followed
    Sync {
        /// The KMS key's id or alias
        cloud_key: String,
        /// The number of the material that the former KMS key has
        #[arg(long)]
        number: u32,
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Asks AWS how a KMS key and its former ones are, and what differs from what is wanted
    Refresh {
        /// Its id or alias
        cloud_key: String,
    },
}

/// A material of a KMS key.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The KMS key's id or alias
    cloud_key: String,
    /// The number of the material; that of the newest by default
    #[arg(long)]
    number: Option<u32>,
}

/// What is brought in step.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Choice {
    /// Its policy, description and tags
    #[arg(long)]
    policy: bool,
    /// The same, and its material is imported
    #[arg(long)]
    import: bool,
    /// Its material is deleted in AWS
    #[arg(long)]
    delete_material: bool,
}

/// A material, as the server shows it, and its KMS key.
struct Material {
    key: Found,
    number: u64,
    body: Value,
}

impl Material {
    fn find(client: &Client, cloud_key: &str, number: Option<u32>) -> Result<Self, Failure> {
        let key = client.find(NOUN, cloud_key)?;
        let list = client.get(&format!("{}/materials", key.path(NOUN)))?.body;
        let items = field(&list, "items").as_array().map_or(&[][..], Vec::as_slice);
        let number_of = |item: &Value| field(item, "number").as_u64();
        let found = match number {
            None => items.last(),
            Some(number) => items.iter().find(|item| number_of(item) == Some(number.into())),
        };
        let body = found.cloned().ok_or_else(|| {
            let which = number.map_or_else(|| "material".to_owned(), |number| format!("material {number}"));
            Failure::NotFound(format!("{} has no {which}", key.name))
        })?;
        let number = number_of(&body).unwrap_or_default();
        Ok(Self { key, number, body })
    }

    fn command(&self, client: &Client, name: &str, fields: Fields) -> Result<Output, Failure> {
        let path = format!("{}/materials/{}/{name}", self.key.path(NOUN), self.number);
        Ok(Output::fields(client.post(&path, fields.body())?.body, FIELDS))
    }

    /// Starts the job that is about it: a former material has a KMS key of its own.
    fn job(&self, client: &Client, done: Output, run: &Run) -> Result<Output, Failure> {
        let is_former = !field(&self.body, "retired").is_null() && field(&self.key.body, "style") == "new-key";
        match (is_former, field(&self.body, "id").as_str()) {
            (true, Some(id)) => run.after(client, done, "cloud_material", id),
            _ => run.after(client, done, "cloud_key", &self.key.id),
        }
    }

    fn remove(&self, client: &Client, confirm: &Confirm) -> Result<Output, Failure> {
        let what = format!(
            "This deletes material {} of {} in AWS: what was encrypted with it is not decrypted until it is uploaded \
             again. The material stays here.",
            self.number, self.key.name
        );
        confirm.ask(&what, &self.key.name)?;
        self.command(client, "remove", Fields::default())
    }
}

/// Sets what the KMS key of a former material shall be.
pub(super) fn set_former(client: &Client, key: &str, number: u32, wanted: Value, run: &Run) -> Result<Output, Failure> {
    let material = Material::find(client, key, Some(number))?;
    let done = material.command(client, "set-former", Fields::default().with("former", Some(wanted)))?;
    material.job(client, done, run)
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        match self {
            Self::Materials {
                cloud_key,
                number: Some(number),
            } => Ok(Output::fields(
                Material::find(client, &cloud_key, Some(number))?.body,
                FIELDS,
            )),
            Self::Materials { cloud_key, .. } => {
                let path = client.find(NOUN, &cloud_key)?.path(NOUN);
                let list = client.get(&format!("{path}/materials"))?.body;
                let columns = &[
                    "number",
                    "state",
                    "is_current",
                    "check",
                    "valid_to",
                    "wanted",
                    "former",
                    "kms_key",
                ];
                Ok(Output::table(list, columns))
            }
            Self::Rotate { cloud_key, run } => {
                let key = client.find(NOUN, &cloud_key)?;
                let added = client.post(&format!("{}/rotate", key.path(NOUN)), Fields::default().body())?;
                run.after(client, Output::fields(added.body, FIELDS), "cloud_key", &key.id)
            }
            Self::RemoveMaterial { which, confirm, run } => {
                let material = Material::find(client, &which.cloud_key, which.number)?;
                let done = material.remove(client, &confirm)?;
                material.job(client, done, &run)
            }
            Self::Upload { which, run } => {
                let material = Material::find(client, &which.cloud_key, which.number)?;
                let done = material.command(client, "upload", Fields::default())?;
                material.job(client, done, &run)
            }
            Self::DestroyMaterial {
                cloud_key,
                number,
                confirm,
            } => {
                let material = Material::find(client, &cloud_key, Some(number))?;
                let what = format!(
                    "This destroys material {number} of {} here for good: it can never be uploaded again, and what AWS \
                     loses of it stays encrypted.",
                    material.key.name
                );
                confirm.ask(&what, &material.key.name)?;
                material.command(client, "destroy-material", Fields::default())
            }
            Self::Sync {
                cloud_key,
                number,
                choice,
                confirm,
            } => {
                let material = Material::find(client, &cloud_key, Some(number))?;
                let done = match choice {
                    Choice {
                        delete_material: true, ..
                    } => material.remove(client, &confirm)?,
                    Choice { import: true, .. } => material.command(client, "upload", Fields::default())?,
                    _ => Output::fields(material.body.clone(), FIELDS),
                };
                material.job(client, done, &Run::FOLLOWED)
            }
            Self::Refresh { cloud_key } => {
                let path = client.find(NOUN, &cloud_key)?.path(NOUN);
                let status = client.get(&format!("{path}/status"))?;
                Ok(Output::fields(status.body, &["status", "reason"]))
            }
        }
    }
}
