//! `xks-proxy`: an AWS KMS external key store proxy, for production.
//!
//! ```text
//! main      command line, exit status
//! settings  what it is told: our format, or the sample proxy's      demo      what it serves without
//! app       what is in force: key stores, backends, certificates    reload    replaces it
//! server    ports, phases, the end       listener, connection, tls  one connection and its time limits
//! limits, described                      layers around a backend
//! health, metrics, log, service_manager  what others learn of it
//! ```

#![forbid(unsafe_code)]

mod app;
mod backends;
mod command_line;
mod connection;
mod credential;
mod demo;
mod described;
mod health;
mod limits;
mod listener;
mod log;
mod metrics;
mod process;
mod reload;
mod server;
mod service_manager;
mod settings;
mod summary;
mod tls;

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Parser as _;
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::{
    app::App,
    backends::{BackendError, Backends},
    command_line::{Command, CommandLine, SETTINGS_VARIABLE},
    health::Health,
    log::Log,
    metrics::Metrics,
    reload::{Hangup, Reload},
    server::Server,
    settings::{Loaded, LogOutput, Settings, Severity},
};

/// The exit status when the settings are wrong, and when a token refuses its PIN: whoever starts the program anew by itself
/// should not do so then, for HSMs lock. They are `EX_CONFIG` and `EX_NOPERM` of `sysexits.h`.
const WRONG_SETTINGS: u8 = 78;
const PIN_REFUSED: u8 = 77;

/// How long tasks that outlived the server's own patience may take to be dropped.
const LAST_TASKS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let done = match command_line.command {
        Some(Command::Check { file }) => check(&file),
        Some(Command::Convert { file }) => convert(&file),
        Some(Command::NewCredential { uri_path_prefix }) => credential::new()
            .and_then(|new| print(&credential::text(&new, &uri_path_prefix)).map(|()| ExitCode::SUCCESS)),
        None => {
            let of_environment = || {
                env::var_os(SETTINGS_VARIABLE)
                    .filter(|file| !file.is_empty())
                    .map(PathBuf::from)
            };
            serve(
                command_line.config.or_else(of_environment).as_deref(),
                command_line.listen,
            )
        }
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "xks-proxy: {}", with_causes(&*error));
        match error.is::<SettingsUnreadable>() {
            true => WRONG_SETTINGS.into(),
            false => ExitCode::FAILURE,
        }
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn load(file: &Path) -> anyhow::Result<Loaded> {
    settings::load(file).map_err(|source| {
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
fn report(loaded: &Loaded) -> anyhow::Result<()> {
    let text: String = loaded.problems.iter().map(|problem| format!("{problem}\n")).collect();
    io::stderr()
        .write_all(text.as_bytes())
        .context("cannot write to standard error")
}

fn serve(file: Option<&Path>, listen: Option<SocketAddr>) -> anyhow::Result<ExitCode> {
    let (settings, loaded, demo) = match file {
        Some(file) => {
            let mut loaded = load(file)?;
            if loaded.errors() > 0 {
                report(&loaded)?;
                return Ok(WRONG_SETTINGS.into());
            }
            let settings = loaded.settings.take().context("no settings")?;
            (settings, Some(loaded), None)
        }
        None => {
            let (settings, backends) = demo::settings()?;
            (settings, None, Some(backends))
        }
    };
    process::put_into_environment(&settings.environment)?;
    let log = Log::start(&settings.log)?;
    for problem in loaded.iter().flat_map(|loaded| &loaded.problems) {
        match problem.severity {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        }
    }
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let served = run(&runtime, &settings, listen, file.zip(loaded.as_ref()), demo, &log);
    // With the runtime goes everything that may still hold a backend.
    runtime.shutdown_timeout(LAST_TASKS);
    let (result, backends) = served;
    if let Some(backends) = backends {
        backends.close_all_but(None);
    }
    let Err(error) = result else {
        tracing::info!("stopped");
        return Ok(ExitCode::SUCCESS);
    };
    // It is said on standard error, in one line, wherever the log goes.
    if settings.log.output != LogOutput::Stderr {
        let _ = writeln!(io::stderr(), "xks-proxy: {}", with_causes(&*error));
    }
    tracing::error!("{}", with_causes(&*error));
    Ok(match error.downcast_ref::<BackendError>() {
        Some(error) if error.refused_pin().is_some() => PIN_REFUSED.into(),
        _ => ExitCode::FAILURE,
    })
}

/// Serves until it is told to stop. The backends are the caller's to close, when nobody can use them any more.
fn run(
    runtime: &Runtime,
    settings: &Settings,
    listen: Option<SocketAddr>,
    file: Option<(&Path, &Loaded)>,
    demo: Option<Backends>,
    log: &Log,
) -> (anyhow::Result<()>, Option<Arc<Backends>>) {
    let start = || {
        process::raise_descriptor_limit(settings.server.max_connections);
        let _in_runtime = runtime.enter();
        let hangup = Hangup::catch().context("cannot catch signals")?;
        let server = Server::bind(settings, listen.unwrap_or(settings.server.listen))?;
        let backends = demo.map_or_else(|| Backends::open(&settings.backends, None), Ok)?;
        let metrics = Arc::new(Metrics::new(log.lost_lines()));
        let app = Arc::new(App::new(settings, backends, Arc::clone(&metrics))?);
        metrics.look_at(&app);
        Ok((hangup, server, app))
    };
    let (hangup, server, app) = match start() {
        Ok(started) => started,
        Err(error) => return (Err(error), None),
    };
    let result = runtime.block_on(async {
        let health = Arc::new(Health::new(settings.health.clone()));
        health.look(&app).await;
        let path = file.map(|(path, _)| path);
        let summary = summary::summary(settings, path, &server.addresses(), &app.backends()).await;
        if let Some((path, loaded)) = file {
            let reload = Reload::new(path, loaded, settings, hangup);
            let app = Arc::clone(&app);
            tokio::spawn(async move { reload.run(&app).await });
        }
        let (watching, watched) = (Arc::clone(&health), Arc::clone(&app));
        tokio::spawn(async move { watching.watch(&watched).await });
        tokio::spawn(service_manager::keep_alive());
        let mut printed = Ok(());
        let ready = || {
            let end = if file.is_some() {
                "\nReady.\n"
            } else {
                "Press Ctrl-C to stop.\n"
            };
            // Where the log has standard output for itself, a reader of it gets nothing else.
            if settings.log.output == LogOutput::Stdout {
                summary
                    .lines()
                    .filter(|line| !line.is_empty())
                    .for_each(|line| tracing::info!("{line}"));
                tracing::info!("ready");
            } else {
                printed = print(&summary).and_then(|()| print(end));
            }
            service_manager::ready();
        };
        server.run(&app, &health, ready).await?;
        printed
    });
    let backends = app.backends();
    (result, Some(backends))
}
