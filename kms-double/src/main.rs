//! `kms-double check` and `kms-double serve`.

#![forbid(unsafe_code)]

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use kms_double::{check, serve};
use xks_core::text::ErrorChain;

/// The exit code when a command could not run.
const COULD_NOT_RUN: u8 = 2;

/// Simulates AWS KMS for external key store proxies.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tests a proxy with every kind of request that KMS may send, and reports the results
    Check(Box<check::Arguments>),
    /// Serves the AWS KMS API on loopback, for the AWS CLI and the AWS SDKs
    Serve(Box<serve::Arguments>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done: Result<_, Box<dyn Error>> = match CommandLine::parse().command {
        Command::Check(arguments) => Box::pin(arguments.run()).await.map_err(Into::into),
        Command::Serve(arguments) => Box::pin(arguments.run()).await.map_err(Into::into),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "kms-double: {}", ErrorChain(&*error));
        COULD_NOT_RUN.into()
    })
}
