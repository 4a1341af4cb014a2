//! `jobs`

use std::{
    io::{self, Write as _},
    thread,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Fields,
    cloud_key_stores::WANTED,
    connection::{Client, encoded},
    failure::Failure,
    page::Page,
    show::{Output, field, plain},
};

const NOUN: &str = "jobs";
const FIELDS: &[&str] = &[
    "id",
    "state",
    "object",
    "reason",
    "until",
    "steps_done",
    "steps_all",
    "actor",
    "created",
    "ended",
];
/// Between two looks at a job that is followed.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists jobs, the latest first
    List {
        /// Only those in this state, such as blocked
        #[arg(long)]
        state: Option<String>,
        /// Only those in this cloud account
        #[arg(long)]
        account: Option<String>,
        /// Only those about KMS keys of this key set
        #[arg(long)]
        key_set: Option<String>,
        /// Only those about this KMS key
        #[arg(long)]
        cloud_key: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Shows a job, with its steps and what has happened to it
    Show {
        /// Its id
        job: String,
    },
    /// Shows what happens to a job on standard error, until it has ended or needs a person
    Watch {
        /// Its id
        job: String,
    },
    /// Starts a job: makes something in AWS what is wanted
    Start {
        #[command(flatten)]
        about: About,
        /// Only show what would be done, and why
        #[arg(long, conflicts_with_all = ["observed", "follow"])]
        dry_run: bool,
        /// Only if AWS is as it was when the plan was shown: the `observed` of it
        #[arg(long, value_name = "HASH")]
        observed: Option<String>,
        /// Show what happens on standard error, until the job has ended or needs a person
        #[arg(long)]
        follow: bool,
    },
    /// Ends a job where it is. What it has made stays
    Cancel {
        /// Its id
        job: String,
    },
    /// Lets a job go on that is blocked, stuck or waiting
    Retry {
        /// Its id
        job: String,
    },
}

/// What a job is about.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct About {
    /// A key store in AWS: its id or name
    #[arg(long)]
    cloud_key_store: Option<String>,
    /// A KMS key: its id or alias
    #[arg(long)]
    cloud_key: Option<String>,
    /// A cloud account, whose access key is replaced: its id or name
    #[arg(long)]
    cloud_account: Option<String>,
    /// A cloud account, whose KMS keys are deleted that jobs have made and no record knows: its id or name
    #[arg(long, value_name = "CLOUD_ACCOUNT")]
    orphans_of: Option<String>,
}

impl About {
    fn fields(self, client: &Client) -> Result<Fields, Failure> {
        let id = |noun, text: Option<String>| text.map(|text| client.id(noun, &text)).transpose();
        Ok(Fields::default()
            .with("cloud_key_store", id("cloud-key-stores", self.cloud_key_store)?)
            .with("cloud_key", id("cloud-keys", self.cloud_key)?)
            .with("cloud_account", id("cloud-accounts", self.cloud_account)?)
            .with("orphans_of", id("cloud-accounts", self.orphans_of)?))
    }
}

/// Whether a command starts the job that makes in AWS what it wants.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Start the job that makes it so in AWS
    #[arg(long)]
    start: bool,
    /// The same, and show what happens on standard error, until it has ended or needs a person
    #[arg(long)]
    follow: bool,
}

impl Run {
    pub(super) const FOLLOWED: Self = Self {
        start: true,
        follow: true,
    };

    /// Starts the job after what was done, if that is asked for. `about` is the field of what it is about.
    pub(super) fn after(
        &self,
        client: &Client,
        done: Output,
        about: &'static str,
        id: &str,
    ) -> Result<Output, Failure> {
        if !self.start && !self.follow {
            return Ok(done.with_note(WANTED));
        }
        let fields = Fields::default().with(about, Some(id));
        let started = client
            .post(NOUN, fields.body())
            .map_err(|failure| done.kept_in(failure))?;
        let job = match self.follow {
            true => follow(client, started.body).and_then(ended),
            false => Ok(Output::fields(started.body, FIELDS)),
        };
        match job {
            Ok(job) => Ok(job.confirmed_as(&done)),
            Err(failure) => Err(done.kept_in(failure)),
        }
    }
}

fn path(job: &str) -> String {
    format!("{NOUN}/{}", encoded(job))
}

/// Shows what happens to a job until it needs no more time, or a person.
fn follow(client: &Client, mut job: Value) -> Result<Value, Failure> {
    let path = path(field(&job, "id").as_str().unwrap_or_default());
    let mut shown = Value::Null;
    loop {
        // What is kept of the log begins later when there is much of it.
        let log = field(&job, "log").as_array().map_or(&[][..], Vec::as_slice);
        let start = log
            .iter()
            .rposition(|entry| *entry == shown)
            .map_or(0, |place| place + 1);
        for entry in log.iter().skip(start) {
            let line = match client.is_json {
                true => entry.to_string(),
                false => format!("{}  {}", plain(field(entry, "time")), plain(field(entry, "text"))),
            };
            let _ = writeln!(io::stderr(), "{line}");
        }
        shown = log.last().cloned().unwrap_or(Value::Null);
        if !matches!(field(&job, "state").as_str(), Some("planned" | "running" | "waiting")) {
            return Ok(job);
        }
        thread::sleep(LOOK);
        job = client.get(&path)?.body;
    }
}

/// A job that was followed to its end. One that has not come there is a failure.
fn ended(job: Value) -> Result<Output, Failure> {
    if field(&job, "state") == "done" {
        return Ok(Output::fields(job, FIELDS));
    }
    let text = |name: &str| plain(field(&job, name));
    let text = format!("{}/{} is {}: {}", NOUN, text("id"), text("state"), text("reason"));
    Err(Failure::Other(text))
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        let command = |job: &str, name| -> Result<Output, Failure> {
            let done = client.post(&format!("{}/{name}", path(job)), Fields::default().body())?;
            Ok(Output::fields(done.body, FIELDS))
        };
        match self {
            Self::List {
                state,
                account,
                key_set,
                cloud_key,
                page,
            } => {
                let id = |noun, text: Option<String>| text.map(|text| client.id(noun, &text)).transpose();
                let (account, key_set) = (id("cloud-accounts", account)?, id("key-sets", key_set)?);
                let object = id("cloud-keys", cloud_key)?.map(|id| format!("cloud-keys/{id}"));
                let filters = [
                    ("state", state.as_deref()),
                    ("account", account.as_deref()),
                    ("key_set", key_set.as_deref()),
                    ("object", object.as_deref()),
                ];
                let list = client.get(&page.path(NOUN, &filters))?;
                let columns = &["id", "state", "object", "steps_done", "steps_all", "created", "reason"];
                Ok(Output::table(list.body, columns))
            }
            Self::Show { job } => Ok(Output::fields(client.get(&path(&job))?.body, FIELDS)),
            Self::Watch { job } => follow(client, client.get(&path(&job))?.body).and_then(ended),
            Self::Start {
                about, dry_run: true, ..
            } => {
                let plan = client.post(&format!("{NOUN}/plan"), about.fields(client)?.body())?;
                Ok(Output::fields(plan.body, &["object", "then", "reason", "observed"]))
            }
            Self::Start {
                about,
                observed,
                follow: is_followed,
                ..
            } => {
                let fields = about.fields(client)?.with("observed", observed);
                let started = client.post(NOUN, fields.body())?.body;
                match is_followed {
                    true => follow(client, started).and_then(ended),
                    false => Ok(Output::fields(started, FIELDS)),
                }
            }
            Self::Cancel { job } => command(&job, "cancel"),
            Self::Retry { job } => command(&job, "retry"),
        }
    }
}
