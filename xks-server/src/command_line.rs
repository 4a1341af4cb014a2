//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use xks_core::key_store::UriPathPrefix;

use crate::program::Program;

/// The variable that names the settings file, if the command line does not.
pub(crate) const SETTINGS_VARIABLE: &str = "XKS_PROXY_SETTINGS_TOML";

/// An AWS KMS external key store proxy. Without a settings file it serves a demo on loopback.
///
/// The environment variable XKS_PROXY_SETTINGS_TOML may also name the file. It is in this program's own
/// format, or in that of AWS's sample proxy.
#[derive(Debug, Parser)]
#[command(version = "")]
pub(crate) struct CommandLine {
    /// The settings file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The address to listen on, instead of the one in the settings; port 0 selects a free port
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
    /// Checks a settings file and reports all problems, without starting the server
    Check {
        /// The settings file, in either format
        file: PathBuf,
    },
    /// Converts the settings of AWS's sample proxy to this program's format, and prints them with their
    /// secrets
    Convert {
        /// The settings file of the sample proxy
        file: PathBuf,
    },
    /// Creates a credential, and prints it for the settings file and for the AWS KMS console
    NewCredential {
        /// The key store's prefix: the part of its paths before /kms/xks/v1
        #[arg(long, default_value = "", value_name = "PREFIX")]
        uri_path_prefix: UriPathPrefix,
    },
}
