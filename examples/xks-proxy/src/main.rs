//! `xks-proxy`: an AWS KMS external key store proxy.
//!
//! Told of a PKCS#11 module it serves the keys of a token; without one, software keys for a demo. Either way it prints
//! all that is needed to call it.

#![forbid(unsafe_code)]

mod demo;
mod introduction;
mod key_store;
mod options;
mod server;
mod token;

use std::{io::IsTerminal as _, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;
use xks_backend_pkcs11::OpenError;

use crate::{
    introduction::Introduction,
    key_store::Keys,
    options::{Options, Settings},
    server::Server,
    token::Token,
};

/// The exit status when the token refuses its PIN: whoever starts the program anew by itself should not do so then, for
/// HSMs lock. It is `EX_NOPERM` of `sysexits.h`.
const PIN_REFUSED: u8 = 77;

/// How long requests that outlived the server's own patience may take to be dropped.
const LAST_TASKS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match options.settings().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            match error.downcast_ref() {
                Some(OpenError::PinRefused(_)) => ExitCode::from(PIN_REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(mut settings: Settings) -> anyhow::Result<()> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let server = runtime.block_on(Server::bind(settings.listen))?;
    let token = settings.token.take().map(Token::open).transpose()?;
    let served = runtime.block_on(serve(server, settings, token.as_ref()));
    // With the runtime goes everything that may still hold the token's backend.
    runtime.shutdown_timeout(LAST_TASKS);
    if let Some(token) = token {
        token.close();
    }
    served
}

async fn serve(server: Server, settings: Settings, token: Option<&Token>) -> anyhow::Result<()> {
    let keys = match token {
        Some(token) => token.keys().await,
        None => demo::keys()?,
    };
    let Keys { backend, ids, about } = keys;
    let introduction = Introduction {
        address: server.address(),
        key_store: &settings.key_store,
        about,
    };
    let proxy = settings.key_store.proxy(backend, ids)?;
    let service = xks_http::XksService::new(proxy).budget(settings.budget);
    let stop = server::stop_signal().context("cannot catch signals")?;
    introduction.print()?;
    server.serve(service, stop).await;
    Ok(())
}
