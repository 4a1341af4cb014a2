//! `nodes`

use clap::Subcommand;
use serde_json::Value;

use super::{
    connection::Client,
    failure::Failure,
    page::Page,
    show::{Output, field},
};

const NOUN: &str = "nodes";
const COLUMNS: &[&str] = &[
    "name",
    "id",
    "is_this",
    "lease_seconds",
    "serves_on",
    "seconds_since_renewal",
    "serves",
    "head",
    "usable_through",
];
const ONE_PROCESS: &str = "The state belongs to this one process, which is no node: see `[store] url` in the settings.";
const UNREADABLE: &str = "There are rows of nodes that cannot be read, see `unreadable` with --json: no command is \
                          confirmed while there are.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the nodes on the store, as the one that is asked sees them
    List {
        /// Only those of this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Shows a node, with what it says of itself
    Show {
        /// Its name, or its incarnation where several have the name
        node: String,
    },
    /// Removes the row of a node that has ended, which only a person knows: of one that serves on without the
    /// store
    Remove {
        /// Its name, or its incarnation where several have the name
        node: String,
    },
}

impl Command {
    pub(super) fn run(self, client: &Client) -> Result<Output, Failure> {
        match self {
            Self::List { name, page } => {
                let list = client.get(&page.path(NOUN, &[("name", name.as_deref())]))?;
                let is_one_process = field(&list.body, "is_one_process") == true;
                let unreadable = field(&list.body, "unreadable")
                    .as_array()
                    .is_some_and(|rows| !rows.is_empty());
                let output = Output::table(list.body, COLUMNS);
                Ok(match (is_one_process, unreadable) {
                    (true, _) => output.with_note(ONE_PROCESS),
                    (_, true) => output.with_note(UNREADABLE),
                    _ => output,
                })
            }
            Self::Remove { node } => client.remove(NOUN, &node),
            Self::Show { node } => Ok(Output::fields(client.find(NOUN, &node)?.body, COLUMNS)),
        }
    }
}

/// What a node says of itself, as a table.
pub(super) fn facts(facts: &Value) -> Vec<Value> {
    let facts = facts.as_object().into_iter().flatten();
    facts
        .map(|(fact, value)| serde_json::json!({ "fact": fact, "value": value }))
        .collect()
}
