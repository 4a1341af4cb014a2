//! `kms-double check` and `kms-double serve`.

#![forbid(unsafe_code)]

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use kms_double::serve;

/// The exit code when a command could not do what it is for.
const COULD_NOT_RUN: u8 = 2;

/// What AWS KMS does to an external key store proxy.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the AWS KMS API on loopback, for the AWS CLI and the AWS SDKs
    Serve(Box<serve::Arguments>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Serve(arguments) => Box::pin(arguments.run()).await,
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "kms-double: {error}");
        COULD_NOT_RUN.into()
    })
}
