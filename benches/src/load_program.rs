//! Puts load on any proxy: `cargo run --release -p xks-benches --bin load -- --help`.

#![forbid(unsafe_code)]

use std::{
    io::{Write as _, stdout},
    path::PathBuf,
    time::Duration,
};

use clap::Parser;
use xks_benches::{
    Size,
    load::{Load, Operation, Process, Protocol, Target, pin, raise_descriptor_limit},
};
use xks_core::Credential;

/// Puts load on an external key store proxy and says what it makes of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Of the key store, with its URI path prefix: https://localhost:8000/example
    #[arg(long)]
    url: String,
    #[arg(long, default_value = "us-east-1")]
    region: String,
    #[arg(long)]
    access_key_id: String,
    /// The secret access key itself
    #[arg(long)]
    secret: String,
    /// The external key id
    #[arg(long)]
    key: String,
    #[arg(long, value_enum, default_value = "encrypt")]
    operation: Operation,
    /// Bytes
    #[arg(long, default_value_t = 32)]
    plaintext: usize,
    /// Bytes
    #[arg(long, default_value_t = 200)]
    aad: usize,
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// At the same time on a connection of HTTP/2
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// A signature holds for five minutes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=240))]
    seconds: u64,
    /// Requests a second, whether or not they are answered; without it, as many as the proxy takes
    #[arg(long)]
    rate: Option<f64>,
    /// How long a request waits for a connection before it is given up, in milliseconds
    #[arg(long, default_value_t = 250)]
    patience: u64,
    #[arg(long, value_enum, default_value = "http1")]
    http: Protocol,
    /// PEM, with the certificate that the proxy's leads to, or the proxy's own
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Of the proxy, where it runs on this machine: its processor time and memory are printed too
    #[arg(long)]
    pid: Option<u32>,
    /// Keep the client to this core
    #[arg(long)]
    core: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(core) = arguments.core {
        pin(core)?;
    }
    raise_descriptor_limit()?;
    let target = Target::new(
        &arguments.url,
        &arguments.region,
        Credential::new(arguments.access_key_id, arguments.secret)?,
        &arguments.key,
        arguments.http,
        arguments.ca.as_deref(),
    )?;
    let load = Load {
        operation: arguments.operation,
        size: Size {
            plaintext: arguments.plaintext,
            aad: arguments.aad,
        },
        connections: arguments.connections,
        streams: arguments.streams,
        time: Duration::from_secs(arguments.seconds),
        rate: arguments.rate,
        patience: Duration::from_millis(arguments.patience),
    };
    let server = arguments.pid.map(Process::new);
    let outcome = load.put_on(&target, server)?;
    let mut out = stdout();
    writeln!(out, "{outcome}")?;
    if let Some(server) = server {
        let resident = server.resident()? as f64 / 1e6;
        writeln!(out, "  resident memory of the server: {resident:.1} MB")?;
    }
    Ok(())
}
