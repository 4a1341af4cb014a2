//! `schedules`

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Fields, connection::Client, failure::Failure, page::Page, show::Output};

const NOUN: &str = "schedules";
const FIELDS: &[&str] = &[
    "id",
    "tenant",
    "name",
    "description",
    "every_days",
    "cron",
    "jitter_minutes",
    "since",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists schedules
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
    /// Shows a schedule
    Show {
        /// Its id or name
        schedule: String,
    },
    /// Makes a schedule
    Create {
        /// Whose it is: the tenant's id or name
        #[arg(long)]
        tenant: String,
        /// What it is called
        #[arg(long)]
        name: String,
        #[command(flatten)]
        timing: Timing,
    },
    /// Changes a schedule
    Update {
        /// Its id or name
        schedule: String,
        /// What it shall be called
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        timing: Timing,
    },
    /// Removes a schedule that nothing refers to
    Remove {
        /// Its id or name
        schedule: String,
    },
    /// Lists what will happen by itself: rotations, the expiry of keys, and what becomes of former KMS keys
    Upcoming {
        /// How many days to look ahead
        #[arg(long, default_value_t = 30)]
        days: u32,
        /// How many at most, up to 1000
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u16,
    },
}

/// When a schedule is due.
#[derive(Debug, Args)]
pub(crate) struct Timing {
    /// Every so many days
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["cron", "time_zone"])]
    every_days: Option<u64>,
    /// At local times: minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "PATTERN", requires = "time_zone")]
    cron: Option<String>,
    /// The time zone of the pattern, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", requires = "cron")]
    time_zone: Option<String>,
    /// By how many minutes, at most, the keys are spread
    #[arg(long, value_name = "MINUTES")]
    jitter_minutes: Option<u64>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

impl Timing {
    fn fields(self) -> Fields {
        let cron = self
            .cron
            .map(|pattern| json!({"pattern": pattern, "time_zone": self.time_zone}));
        Fields::default()
            .with("every_days", self.every_days)
            .with("cron", cron)
            .with("jitter_minutes", self.jitter_minutes)
            .with("description", self.description)
    }
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        match self {
            Self::List { tenant, name, page } => {
                let tenant = tenant.map(|tenant| client.id("tenants", &tenant)).transpose()?;
                let filters = [("tenant", tenant.as_deref()), ("name", name.as_deref())];
                let list = client.get(&page.path(NOUN, &filters))?;
                let columns = &["id", "name", "every_days", "cron", "jitter_minutes", "description"];
                Ok(Output::table(list.body, columns))
            }
            Self::Show { schedule } => Ok(Output::fields(client.find(NOUN, &schedule)?.body, FIELDS)),
            Self::Create { tenant, name, timing } => {
                let tenant = client.id("tenants", &tenant)?;
                let fields = timing.fields().with("tenant", Some(tenant)).with("name", Some(name));
                Ok(Output::fields(client.post(NOUN, fields.body())?.body, FIELDS))
            }
            Self::Update { schedule, name, timing } => {
                client.update(NOUN, &schedule, timing.fields().with("name", name), FIELDS)
            }
            Self::Remove { schedule } => client.remove(NOUN, &schedule),
            Self::Upcoming { days, limit } => {
                let list = client.get(&format!("{NOUN}/upcoming?days={days}&limit={limit}"))?;
                Ok(Output::table(list.body, &["time", "happening"]))
            }
        }
    }
}
