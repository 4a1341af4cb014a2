//! The log: for people or for programs, to a stream and to files that change with the time.
//!
//! Lines go through a queue to a thread that writes, so that a disk or a reader that hangs never holds up a request. What
//! finds the queue full, or cannot be written, is lost, and counted.

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

use self::queue::Queue;
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
                layers.push(layer(
                    settings.format,
                    has_colours,
                    log.queue(settings.format, io::stderr())?,
                ));
            }
            LogOutput::Stdout => {
                let has_colours = io::stdout().is_terminal();
                layers.push(layer(
                    settings.format,
                    has_colours,
                    log.queue(settings.format, io::stdout())?,
                ));
            }
            LogOutput::None => {}
        }
        if let Some(file) = &settings.file {
            let files = files(file)?;
            layers.push(layer(settings.format, false, log.queue(settings.format, files)?));
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

    fn queue(&mut self, format: LogFormat, writer: impl Write + Send + 'static) -> anyhow::Result<Queue> {
        let finish = match format {
            LogFormat::Human => |_: &[u8]| None, // its formatter escapes everything
            LogFormat::Json => escaped,
        };
        let queue = Queue::to(writer, finish).context("no thread for the log")?;
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

/// LOG-2: JSON lets characters beyond ASCII stand as they are that end a line for some programs, or that no reader sees, or
/// that turn the text around. Where there are any: the line with each in its escaped form, which means the same.
fn escaped(line: &[u8]) -> Option<Vec<u8>> {
    let line = std::str::from_utf8(line).ok()?;
    if line.is_ascii() && !line.contains('\u{7f}') || !line.contains(is_hidden) {
        return None;
    }
    let mut escaped = Vec::with_capacity(line.len() + 64);
    for c in line.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(escaped)
}

/// Control and format characters, and what separates lines and paragraphs; but for the line break at a line's end.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(
            c,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOG-2: nothing in a line of JSON ends it for anybody, and the text stays what it was.
    #[test]
    fn a_line_of_json_is_one_line_to_everybody() {
        assert_eq!(escaped("{\"a\":\"ü\"}\n".as_bytes()), None);
        let text = "\u{7f}\u{85}\u{2028}\u{202e}\u{e0041}ü";
        let line = format!("{}\n", serde_json::json!({ "a": text }));
        let escaped = String::from_utf8(escaped(line.as_bytes()).unwrap()).unwrap();
        assert_eq!(escaped, "{\"a\":\"\\u007f\\u0085\\u2028\\u202e\\udb40\\udc41ü\"}\n");
        let read: serde_json::Value = serde_json::from_str(&escaped).unwrap();
        assert_eq!(read["a"], text);
    }
}
