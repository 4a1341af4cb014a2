//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use xks_core::key_store::UriPathPrefix;

use crate::program::Program;

/// The settings file, where the command line names none.
pub(crate) const SETTINGS_VARIABLE: &str = "XKS_PROXY_SETTINGS_TOML";

/// An AWS KMS external key store proxy. Without a settings file it serves a demo on loopback.
///
/// The file may also be named by the environment variable XKS_PROXY_SETTINGS_TOML. It is in this program's
/// own format, or one that was written for AWS's sample proxy.
#[derive(Debug, Parser)]
#[command(version = "")]
pub(crate) struct CommandLine {
    /// The settings file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where to listen, in place of what the settings say; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl CommandLine {
    /// Ends the process where the arguments are wrong, or ask for help or the version.
    pub(crate) fn of(program: Program, arguments: impl Iterator<Item = OsString>) -> Self {
        let command = Self::command().name(program.name).version(program.version);
        let read = command.clone().get_matches_from(arguments);
        Self::from_arg_matches(&read).unwrap_or_else(|error| error.format(&mut command.clone()).exit())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Says everything that is wrong with a settings file, and serves nothing
    Check {
        /// The file, in either format
        file: PathBuf,
    },
    /// Prints the settings of AWS's sample proxy in this program's format, secrets included
    Convert {
        /// The file
        file: PathBuf,
    },
    /// Makes a credential: for the settings file, and as the file that the AWS KMS console takes
    NewCredential {
        /// The key store's: what stands before /kms/xks/v1 in its paths
        #[arg(long, default_value = "", value_name = "PREFIX")]
        uri_path_prefix: UriPathPrefix,
    },
}
