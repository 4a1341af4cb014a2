//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use xks_core::key_store::UriPathPrefix;

#[cfg(feature = "lifecycle")]
use crate::admin::AdminCommand;
use crate::{audit::AuditCommand, program::Program};

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
    pub(crate) fn of(command: &clap::Command, arguments: impl Iterator<Item = OsString>) -> Self {
        let read = command.clone().get_matches_from(arguments);
        Self::from_arg_matches(&read).unwrap_or_else(|error| error.format(&mut command.clone()).exit())
    }

    /// What can be typed, with its help: that of a server which has a demo, or reads settings of AWS's sample
    /// proxy, or does not.
    pub(crate) fn described(program: Program, has_demo: bool, reads_sample_proxys: bool) -> clap::Command {
        let mut about = "An AWS KMS external key store proxy.".to_owned();
        if has_demo {
            about.push_str(" Without a settings file it serves a demo on loopback.");
        }
        let variable = program.settings_variable();
        let mut long_about = format!("{about}\n\nThe environment variable {variable} may also name the file.");
        if reads_sample_proxys {
            long_about.push_str(" It is in this program's own format, or in that of AWS's sample proxy.");
        }
        Self::command()
            .name(program.name)
            .version(program.version)
            .about(about)
            .long_about(long_about)
            .mut_subcommand("convert", |convert| convert.hide(!reads_sample_proxys))
    }
}

/// What a shell reads to complete the commands of this program as they are typed.
pub(crate) fn completions(shell: Shell, program: Program, mut command: clap::Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, program.name, &mut script);
    script
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Checks a settings file and reports all problems, without starting the server
    Check {
        /// The settings file
        file: PathBuf,
    },
    /// Converts the settings of AWS's sample proxy to this program's format, and prints them with their
    /// secrets
    Convert {
        /// The settings file of the sample proxy
        file: PathBuf,
    },
    /// Verifies audit logs, and makes the key that signs their heads; needs no server
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Makes, backs up or restores the store of keys under management
    #[cfg(feature = "lifecycle")]
    #[command(subcommand)]
    Store(StoreCommand),
    #[cfg(feature = "lifecycle")]
    #[command(flatten)]
    Admin(Box<AdminCommand>),
    /// Prints what a shell reads to complete the commands of this program as they are typed
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Creates a credential, and prints it for the settings file and for the AWS KMS console
    NewCredential {
        /// The key store's prefix: the part of its paths before /kms/xks/v1
        #[arg(long, default_value = "", value_name = "PREFIX")]
        uri_path_prefix: UriPathPrefix,
    },
}

#[cfg(feature = "lifecycle")]
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Makes the store and the root files of a settings file, before the first start
    Create {
        /// The settings file
        file: PathBuf,
    },
    /// Writes a backup of the whole store to a new file, while the server runs or not
    Backup {
        /// The settings file
        file: PathBuf,
        /// The file to be written
        backup: PathBuf,
    },
    /// Makes the store from a backup, while the server does not run
    Restore {
        /// The settings file
        file: PathBuf,
        /// The backup
        backup: PathBuf,
    },
}
