//! The log: for people or for programs, to a stream and to files that change with the time.
//!
//! Lines go through a queue to a thread that writes, so that a disk or a reader that hangs never holds up a request. What
//! finds the queue full, or cannot be written, is lost, and counted.

mod json;
mod queue;

use std::{
    env,
    io::{self, IsTerminal as _, Write},
    sync::Arc,
};

use anyhow::Context as _;
use tracing_appender::rolling::{RollingFileAppender, Rotation as Rolling};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::{json::Json, queue::Queue};
use crate::settings::{AuditLevel, LogFile, LogFormat, LogOutput, LogSettings, Rotation};

/// What the core's audit records are logged under.
const AUDIT_TARGET: &str = "xks::audit";

/// Writes what is left when it is dropped.
#[derive(Default)]
pub(crate) struct Log {
    queues: Vec<Queue>,
}

impl Log {
    /// Begins to log.
    pub(crate) fn start(settings: &LogSettings) -> anyhow::Result<Self> {
        let mut log = Self::default();
        let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = Vec::new();
        match settings.output {
            LogOutput::Stderr => {
                let has_colours = io::stderr().is_terminal();
                layers.push(layer(settings.format, has_colours, log.queue(io::stderr())?));
            }
            LogOutput::Stdout => {
                let has_colours = io::stdout().is_terminal();
                layers.push(layer(settings.format, has_colours, log.queue(io::stdout())?));
            }
            LogOutput::None => {}
        }
        if let Some(file) = &settings.file {
            let files = files(file)?;
            layers.push(layer(settings.format, false, log.queue(files)?));
        }
        tracing_subscriber::registry()
            .with(layers.with_filter(filter(settings)?))
            .init();
        // What a panic says may be anything; where it happened says enough.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(String::new, ToString::to_string);
            tracing::error!(place, "a panic: this is a defect, please report it");
        }));
        Ok(log)
    }

    /// Counts the lines that were lost so far.
    pub(crate) fn lost_lines(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let queues = self.queues.clone();
        Arc::new(move || queues.iter().map(Queue::lost).sum())
    }

    fn queue(&mut self, writer: impl Write + Send + 'static) -> anyhow::Result<Queue> {
        let queue = Queue::to(writer).context("no thread for the log")?;
        self.queues.push(queue.clone());
        Ok(queue)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queues.iter().for_each(Queue::close);
    }
}

/// LOG-2: the formatters quote and escape what comes from requests.
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

/// `RUST_LOG` goes before the level; audit records have a level of their own, unless `RUST_LOG` speaks of them.
fn filter(settings: &LogSettings) -> anyhow::Result<EnvFilter> {
    let variable = env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .filter(|variable| !variable.is_empty());
    let directives = variable.unwrap_or_else(|| settings.level.as_str().to_lowercase());
    let filter = EnvFilter::try_new(&directives).context("the variable RUST_LOG")?;
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

fn files(settings: &LogFile) -> anyhow::Result<RollingFileAppender> {
    let mut builder = RollingFileAppender::builder()
        .rotation(match settings.rotation {
            Rotation::Minutely => Rolling::MINUTELY,
            Rotation::Hourly => Rolling::HOURLY,
            Rotation::Daily => Rolling::DAILY,
            Rotation::Never => Rolling::NEVER,
        })
        .filename_prefix(&settings.prefix);
    if let Some(keep) = settings.keep {
        builder = builder.max_log_files(keep);
    }
    let files = builder.build(&settings.directory);
    files.with_context(|| format!("cannot write log files in {}", settings.directory.display()))
}
