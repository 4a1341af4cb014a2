//! The commands of administration: clients of the server's socket.

mod cloud_accounts;
mod cloud_key_stores;
mod cloud_keys;
mod confirm;
mod connection;
mod events;
mod failure;
mod find;
mod jobs;
mod key_sets;
mod key_stores;
mod keys;
mod nodes;
mod nodes_say;
mod page;
mod schedules;
mod show;
mod tenants;

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use self::{
    connection::Client,
    events::Events,
    failure::Failure,
    nodes_say::{NOT_CONFIRMED, NodesSay},
    show::Output,
};
use crate::{print, server::Server};

/// The commands, one for each noun.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Tenants, who own key sets
    Tenants(Given<tenants::Command>),
    /// Key sets: keys of one source under one policy
    KeySets(Given<key_sets::Command>),
    /// Keys under management, and their versions
    Keys(Given<keys::Command>),
    /// External key stores under management, and their credentials
    KeyStores(Given<key_stores::Command>),
    /// Schedules, by which keys rotate, and what will happen by itself
    Schedules(Given<schedules::Command>),
    /// Cloud accounts: how AWS is called, and as whom
    CloudAccounts(Given<cloud_accounts::Command>),
    /// Key stores in AWS that lead to external key stores
    CloudKeyStores(Given<cloud_key_stores::Command>),
    /// KMS keys, whose key material is a managed key
    CloudKeys(Given<cloud_keys::Command>),
    /// Jobs: what is made in AWS as it is wanted, step by step
    Jobs(Given<jobs::Command>),
    /// Nodes on the store: their leases, and what they serve
    Nodes(Given<nodes::Command>),
    /// Events: who did what, and what came of it
    Events(Events),
}

/// What a command does.
type Work = Box<dyn FnOnce(&Client) -> Result<Output, Failure>>;

impl AdminCommand {
    fn parts(self) -> (Reach, Work) {
        match self {
            Self::Tenants(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::KeySets(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::Keys(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::KeyStores(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::Schedules(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::CloudAccounts(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::CloudKeyStores(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::CloudKeys(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::Jobs(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::Nodes(Given { reach, command }) => (reach, Box::new(|client| command.run(client))),
            Self::Events(Events { reach, which }) => (reach, Box::new(move |client| which.run(client))),
        }
    }
}

/// A command, and how the server is reached.
#[derive(Debug, Args)]
pub(crate) struct Given<C: Subcommand> {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: C,
}

#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// The server's socket for administration
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The server's settings file, which names its socket
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer of the server's API, as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Wait so long at most for all nodes to confirm; the exit status is 6 if they do not. By default a node
    /// that is gone is waited for until it is known to be dead
    #[arg(long, global = true, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// Gives a command to the server, and prints what comes of it. `config` is the settings file that stands
/// before the command.
pub(crate) fn run(server: &Server, config: Option<&Path>, command: AdminCommand) -> anyhow::Result<ExitCode> {
    let (reach, work) = command.parts();
    let socket = socket(server, config, &reach)?;
    let done = Client::new(socket, reach.wait, reach.json).and_then(|client| work(&client));
    match done {
        Ok(output) => {
            print(&output.text(reach.json))?;
            let says = output.nodes_say();
            let is_confirmed = says.as_ref().is_none_or(NodesSay::is_confirmed);
            let line = says.map(|says| says.line());
            let more = output.hint();
            let hints = [line.as_deref(), output.note(), more.as_deref()];
            for hint in hints.into_iter().flatten().filter(|_| !reach.json) {
                let _ = writeln!(io::stderr(), "{hint}");
            }
            Ok(if is_confirmed {
                ExitCode::SUCCESS
            } else {
                NOT_CONFIRMED.into()
            })
        }
        Err(failure) => {
            let text = match failure.json().filter(|_| reach.json) {
                Some(problem) => format!("{problem}\n"),
                None => {
                    let line = failure.nodes_say().map(|says| says.line() + "\n").unwrap_or_default();
                    format!("{}: {failure}\n{line}", server.program.name)
                }
            };
            let _ = io::stderr().write_all(text.as_bytes());
            Ok(failure.exit_status().into())
        }
    }
}

/// The socket that is named, or that the settings name, or where it usually is.
fn socket(server: &Server, config: Option<&Path>, reach: &Reach) -> anyhow::Result<PathBuf> {
    let program = server.program;
    let of_environment = |variable: String| env::var_os(variable).filter(|value| !value.is_empty());
    if let Some(socket) = &reach.socket {
        return Ok(socket.clone());
    }
    let config = reach.config.as_deref().or(config);
    if let Some(socket) = of_environment(program.socket_variable()).filter(|_| config.is_none()) {
        return Ok(socket.into());
    }
    let of_environment = || of_environment(program.settings_variable()).map(PathBuf::from);
    let Some(file) = config.map(Path::to_owned).or_else(of_environment) else {
        return Ok(Path::new("/run").join(program.name).join("admin.sock"));
    };
    server.admin_socket(&file)
}

/// The fields of a body. A field that is not given is left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn with(mut self, field: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(field.to_owned(), value.into());
        }
        self
    }

    /// A field that `none` removes.
    fn with_or_none(self, field: &str, value: Option<String>) -> Self {
        let value = value.map(|text| match text.as_str() {
            "none" => Value::Null,
            _ => Value::String(text),
        });
        self.with(field, value)
    }

    fn body(self) -> Value {
        Value::Object(self.0)
    }
}
