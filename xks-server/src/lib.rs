//! An AWS KMS external key store proxy, for production, as a library: the program `xks-proxy` calls [`main`].
//!
//! To embed a proxy in a server of your own, take `xks-core` and `xks-http`.
//!
//! ```text
//! lib        command line, exit status                                  reading  what a settings text comes to, for the fuzzer
//! settings   what it is told: our format, or the sample proxy's         demo     what it serves without
//! life       from the settings to the end                               summary  what it says of itself
//! app        what is in force: key stores, backends, certificates       reload   replaces it
//! expiry     when certificates end
//! backends   the key managers           limits, described               layers around one
//! server     phases, the end            listener, api, connection, tls  one connection and its time limits
//! workers    the threads for connections
//! auxiliary  listeners for health and metrics
//! health, metrics, log, service_manager                                 what others learn of it
//! ```

#![forbid(unsafe_code)]

mod api;
mod app;
mod auxiliary;
mod backends;
mod command_line;
mod comparing;
mod connection;
mod credential;
mod demo;
mod described;
mod expiry;
mod health;
mod life;
mod limits;
mod listener;
mod log;
mod metrics;
mod process;
mod reading;
mod reload;
mod server;
mod service_manager;
mod settings;
mod summary;
mod tls;
mod workers;

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use clap::Parser as _;
use thiserror::Error;
use xks_core::text::ErrorChain;

use crate::{
    command_line::{Command, CommandLine, SETTINGS_VARIABLE},
    settings::Loaded,
};

#[doc(hidden)]
pub use crate::reading::{Reading, read_settings};

/// The exit status when the program fails otherwise; another start may go well.
pub(crate) const FAILURE: u8 = 1;
/// The exit status when the settings are wrong, or when what they say can never be served: a token without
/// AES-GCM, a vendor that is not the module's. A service manager should not start the program again then, nor
/// when a token refuses its PIN, since HSMs lock. They are `EX_CONFIG` and `EX_NOPERM` of `sysexits.h`.
pub(crate) const WRONG_SETTINGS: u8 = 78;
pub(crate) const PIN_REFUSED: u8 = 77;

/// What the program does: reads the command line, obeys it, and says how that went.
#[must_use]
pub fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let done = match command_line.command {
        Some(Command::Check { file }) => check(&file),
        Some(Command::Convert { file }) => convert(&file),
        Some(Command::NewCredential { uri_path_prefix }) => credential::new()
            .and_then(|new| print(&credential::text(&new, &uri_path_prefix)).map(|()| ExitCode::SUCCESS)),
        None => {
            let of_environment = || env::var_os(SETTINGS_VARIABLE).map(PathBuf::from);
            let file = command_line.config.or_else(of_environment);
            life::serve(file.as_deref(), command_line.listen)
        }
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "xks-proxy: {}", ErrorChain(&*error));
        match error.is::<SettingsUnreadable>() || error.is::<log::WrongFilter>() {
            true => WRONG_SETTINGS.into(),
            false => ExitCode::FAILURE,
        }
    })
}

pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

pub(crate) fn load(file: &Path) -> anyhow::Result<Loaded> {
    // A unit whose variable is empty wants no demo.
    let loaded = match file.as_os_str().is_empty() {
        true => Err(io::Error::other(format!(
            "the name is empty; set {SETTINGS_VARIABLE} to the settings file, or unset it for a demo"
        ))),
        false => settings::load(file),
    };
    loaded.map_err(|source| {
        let file = file.to_owned();
        SettingsUnreadable { file, source }.into()
    })
}

#[derive(Debug, Error)]
#[error("cannot read the settings from {}", file.display())]
struct SettingsUnreadable {
    file: PathBuf,
    source: io::Error,
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let loaded = load(file)?;
    let (errors, warnings) = (loaded.errors(), loaded.warnings());
    let plural = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let mut text: String = loaded.problems.iter().map(|problem| format!("{problem}\n")).collect();
    text.push_str(&format!(
        "{}, {}\n",
        plural(errors, "error"),
        plural(warnings, "warning")
    ));
    print(&text)?;
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        WRONG_SETTINGS.into()
    })
}

fn convert(file: &Path) -> anyhow::Result<ExitCode> {
    let loaded = load(file)?;
    report(&loaded)?;
    let Some(settings) = &loaded.settings else {
        return Ok(WRONG_SETTINGS.into());
    };
    if !loaded.is_sample_proxys {
        return Err(anyhow!("{} is in this program's format already", file.display()));
    }
    print(&settings::to_our_format(settings))?;
    Ok(ExitCode::SUCCESS)
}

/// Problems, to standard error.
pub(crate) fn report(loaded: &Loaded) -> anyhow::Result<()> {
    let text: String = loaded.problems.iter().map(|problem| format!("{problem}\n")).collect();
    io::stderr()
        .write_all(text.as_bytes())
        .context("cannot write to standard error")
}
