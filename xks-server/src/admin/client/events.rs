//! `events`

use clap::Args;

use super::{Reach, connection::Client, failure::Failure, show::Output};

#[derive(Debug, Args)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(super) reach: Reach,
    #[command(flatten)]
    pub(super) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// How many of the latest to show, up to 1000
    #[arg(long, default_value_t = 20, value_name = "N")]
    last: u16,
    /// Those after the event of this number instead, oldest first
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// How many after that one at most, up to 1000
    #[arg(long, default_value_t = 100, value_name = "N", requires = "after")]
    limit: u16,
}

impl Which {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        let path = match self.after {
            Some(after) => format!("events?after={after}&limit={}", self.limit),
            None => format!("events?last={}", self.last),
        };
        let columns = &[
            "number", "time", "actor", "command", "object", "outcome", "revision", "reason",
        ];
        Ok(Output::table(client.get(&path)?.body, columns))
    }
}
