//! The log: for people or for programs, to a stream and to files that change with the time.
//!
//! Each output has a queue and a thread that writes, so that a disk or a reader that hangs never holds up a
//! request, nor another output. What finds the queue full, or cannot be written, is lost, and counted.

mod file;
mod json;
mod queue;
mod stream;

use std::{
    env,
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, ParseError, Targets, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

pub(crate) use self::file::{DIRECTORY_MODE, FILE_MODE, is_in_place};
use self::{file::Files, json::Json, queue::Queue, stream::Stream};
use crate::{
    audit,
    settings::{AuditLevel, LogFormat, LogOutput, LogSettings},
};

/// The target of audit records in the log.
const AUDIT_TARGET: &str = "xks::audit";

/// The time limit at the end for outputs that hang.
const PATIENCE: Duration = Duration::from_secs(1);

/// The variable `RUST_LOG` cannot be understood.
#[derive(Debug, Error)]
#[error("RUST_LOG = {directives:?}: not a log filter, such as \"info\" or \"warn,xks_server=debug\"")]
pub(crate) struct WrongFilter {
    directives: String,
    source: ParseError,
}

/// Writes what is left when it is dropped.
#[derive(Default)]
pub(crate) struct Log {
    queues: Vec<Queue>,
}

impl Log {
    /// Begins to log. `audit` takes the records of all requests, whatever the settings of the log say.
    pub(crate) fn start(settings: &LogSettings, audit: Option<audit::Queue>) -> anyhow::Result<Self> {
        let mut log = Self::default();
        let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = Vec::new();
        match settings.output {
            LogOutput::Stderr => {
                let has_colours = io::stderr().is_terminal();
                let stderr = log.stream("stderr", &io::stderr())?;
                layers.push(layer(settings.format, has_colours, stderr));
            }
            LogOutput::Stdout => {
                let has_colours = io::stdout().is_terminal();
                let stdout = log.stream("stdout", &io::stdout())?;
                layers.push(layer(settings.format, has_colours, stdout));
            }
            // Of trouble with the files, which they cannot tell themselves.
            LogOutput::None if settings.file.is_some() => {
                let trouble = filter_fn(|event| event.target().starts_with(module_path!()));
                let layer = layer(settings.format, false, log.stream("stderr", &io::stderr())?);
                layers.push(layer.with_filter(trouble).boxed());
            }
            LogOutput::None => {}
        }
        if let Some(file) = &settings.file {
            let files = log.queue("file", Files::open(file)?)?;
            layers.push(layer(settings.format, false, files));
        }
        tracing_subscriber::registry()
            .with(layers.with_filter(filter(settings)?))
            .with(audit.map(|audit| {
                let records = Targets::new().with_target(AUDIT_TARGET, LevelFilter::INFO);
                let layer = tracing_subscriber::fmt::layer().with_writer(audit).with_ansi(false);
                layer.event_format(Json).with_filter(records)
            }))
            .init();
        // What a panic says may be anything; where it happened says enough.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(String::new, ToString::to_string);
            tracing::error!(place, "panic: this is a defect, please report it");
        }));
        log.queues.iter().for_each(Queue::look_after_output);
        Ok(log)
    }

    /// Within a runtime: at each SIGHUP, log files that were renamed or deleted are made again, whatever
    /// keeps the settings from being read.
    pub(crate) fn reopen_files_at_hangup(&self) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let queues = self.queues.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                queues.iter().for_each(Queue::look_after_output);
            }
        });
        Ok(())
    }

    /// Counts the lines that were lost so far.
    pub(crate) fn lost_lines(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let queues = self.queues.clone();
        Arc::new(move || queues.iter().map(Queue::lost).sum())
    }

    fn stream(&mut self, output: &'static str, stream: &impl AsFd) -> anyhow::Result<Queue> {
        let stream = Stream::to(stream).with_context(|| format!("cannot log to {output}"))?;
        self.queue(output, stream)
    }

    fn queue(&mut self, output: &'static str, writer: impl Write + Send + 'static) -> anyhow::Result<Queue> {
        let queue = Queue::to(output, writer).context("cannot start a thread for the log")?;
        self.queues.push(queue.clone());
        Ok(queue)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queues.iter().for_each(Queue::close);
        let end = Instant::now() + PATIENCE;
        self.queues.iter().for_each(|queue| queue.wait_for_end(end));
    }
}

// LOG-2: the formatters quote and escape what comes from requests.
fn layer<W>(format: LogFormat, has_colours: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(has_colours);
    match format {
        LogFormat::Human => layer.boxed(),
        LogFormat::Json => layer.event_format(Json).boxed(),
    }
}

/// `RUST_LOG` goes before the level; audit records have a level of their own, unless `RUST_LOG` speaks of
/// them.
fn filter(settings: &LogSettings) -> anyhow::Result<EnvFilter> {
    let variable = env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .filter(|variable| !variable.is_empty());
    let directives = variable.unwrap_or_else(|| settings.level.as_str().to_lowercase());
    let filter = EnvFilter::try_new(&directives).map_err(|source| WrongFilter {
        directives: directives.clone(),
        source,
    })?;
    if directives.contains(AUDIT_TARGET) {
        return Ok(filter);
    }
    let level = match settings.audit {
        AuditLevel::All => "info",
        AuditLevel::Failures => "warn",
        AuditLevel::Off => "off",
    };
    Ok(filter.add_directive(format!("{AUDIT_TARGET}={level}").parse()?))
}
