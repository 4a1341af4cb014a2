//! `xks-proxy`: an AWS KMS external key store proxy.
//!
//! For now it has a demo mode only: started without a configuration it serves software keys on loopback, and prints all
//! that is needed to call it.

#![forbid(unsafe_code)]

mod demo;
mod server;

use std::{io::IsTerminal as _, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// An AWS KMS external key store proxy. Without a configuration it serves a demo key store with software keys, which
/// are gone when it stops.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 takes any free port. The demo speaks plain HTTP, so keep it on loopback.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,

    /// The AWS Region that requests are signed for.
    #[arg(long, default_value = "us-east-1")]
    region: String,

    /// Milliseconds that a request may take before it is answered DependencyTimeoutException.
    #[arg(long, default_value_t = 200, value_name = "MS")]
    budget: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let server = server::Server::bind(arguments.listen).await?;
    let demo = demo::Demo::new(&arguments.region)?;
    let introduction = demo.introduction(server.address());
    let service = xks_http::XksService::new(demo.proxy).budget(Duration::from_millis(arguments.budget));
    let stop = server::stop_signal().context("cannot catch signals")?;
    demo::print(&introduction)?;
    server.serve(service, stop).await;
    Ok(())
}
