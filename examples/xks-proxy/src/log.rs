//! The log: for people or for programs, to a stream and to files that change with the time.
//!
//! Lines go through a queue to a thread that writes, so that a disk or a reader that hangs never holds up a request. What
//! finds the queue full, or cannot be written, is lost, and counted.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use tracing_appender::{
    non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard},
    rolling::{RollingFileAppender, Rotation as Rolling},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::settings::{AuditLevel, LogFile, LogFormat, LogOutput, LogSettings, Rotation};

/// What the core's audit records are logged under.
const AUDIT_TARGET: &str = "xks::audit";

/// How many lines may wait to be written: most of a second at full load.
const QUEUE_LENGTH: usize = 16 * 1024;

/// Writes what is left when it is dropped.
#[derive(Default)]
pub(crate) struct Log {
    guards: Vec<WorkerGuard>,
    queues: Vec<ErrorCounter>,
    unwritten: Arc<AtomicU64>,
}

impl Log {
    /// Begins to log.
    pub(crate) fn start(settings: &LogSettings) -> anyhow::Result<Self> {
        let mut log = Self::default();
        let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = Vec::new();
        match settings.output {
            LogOutput::Stderr => {
                let has_colours = io::stderr().is_terminal();
                layers.push(layer(settings.format, has_colours, log.queue(io::stderr())));
            }
            LogOutput::Stdout => {
                let has_colours = io::stdout().is_terminal();
                layers.push(layer(settings.format, has_colours, log.queue(io::stdout())));
            }
            LogOutput::None => {}
        }
        if let Some(file) = &settings.file {
            let files = files(file)?;
            layers.push(layer(settings.format, false, log.queue(files)));
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
        let (queues, unwritten) = (self.queues.clone(), Arc::clone(&self.unwritten));
        Arc::new(move || {
            let dropped: usize = queues.iter().map(ErrorCounter::dropped_lines).sum();
            u64::try_from(dropped)
                .unwrap_or(u64::MAX)
                .saturating_add(unwritten.load(Ordering::Relaxed))
        })
    }

    fn queue(&mut self, writer: impl Write + Send + 'static) -> NonBlocking {
        let counted = Counted {
            writer,
            unwritten: Arc::clone(&self.unwritten),
        };
        let (queue, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(QUEUE_LENGTH)
            .thread_name("xks-log")
            .finish(counted);
        self.guards.push(guard);
        self.queues.push(queue.error_counter());
        queue
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
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
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

/// Counts what could not be written, and says so once on standard error.
struct Counted<W> {
    writer: W,
    unwritten: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.writer.write_all(line)
            && self.unwritten.fetch_add(1, Ordering::Relaxed) == 0
        {
            let _ = writeln!(io::stderr(), "xks-proxy: lines of the log are lost: {error}");
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
