//! The settings, whole and checked: from our own file, or one that was written for AWS's
//! sample proxy. A kind of backend reads its own table, a [`Table`].
//!
//! `check` and the server read alike: they read and try each named file, certificates and policies too, so
//! only a key manager that does not open can leave a reload incomplete.

mod audit;
mod convert;
#[cfg(feature = "lifecycle")]
mod lifecycle;
mod model;
mod ours;
mod sample_proxy;
mod secrecy;
mod secret;
mod shared;
mod source;
mod syntax;
mod table;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

#[cfg(feature = "lifecycle")]
pub(crate) use self::lifecycle::*;
use self::source::NoText;
pub(crate) use self::{
    audit::{AuditSettings, Durability, HeadSettings},
    convert::to_our_format,
    model::*,
    secrecy::shown,
    secret::SecretOrigin,
    source::{BYTE_ORDER_MARK, Problem, Severity, Source},
    table::TIMEOUT_MS,
};
pub use self::{
    secret::Secret,
    table::{Item, Table},
};
use crate::registry::Kinds;

/// A day, in seconds and in milliseconds: no time is longer.
pub(crate) const DAY: u64 = 24 * 60 * 60;
pub(crate) const DAY_MS: u64 = DAY * 1000;

/// The formats that can be read: the kinds of backends, and whether a file may be one of AWS's sample proxy.
#[derive(Clone, Default)]
pub(crate) struct Formats {
    pub(crate) kinds: Kinds,
    /// The kind of the HSM that those files are about; none if they are not read.
    pub(crate) sample_proxy: Option<&'static str>,
}

/// A file, and all that was found in it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// None when there were errors.
    pub(crate) settings: Option<Settings>,
    pub(crate) problems: Vec<Problem>,
    /// Every file that was read, or should have been.
    pub(crate) files: BTreeSet<PathBuf>,
    /// It was written for AWS's sample proxy.
    pub(crate) is_sample_proxys: bool,
}

impl Loaded {
    fn new(settings: Option<Settings>, source: Source<'_>, is_sample_proxys: bool) -> Self {
        let findings = source.finish();
        Self {
            settings: settings.filter(|_| !findings.has_errors),
            problems: findings.problems,
            files: findings.files,
            is_sample_proxys,
        }
    }

    pub(crate) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    pub(crate) fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    }
}

/// Reads a settings file of either format, and every file that it names.
///
/// # Errors
/// The file itself cannot be read. Whatever else is wrong is in the answer.
pub(crate) fn load(path: &Path, formats: &Formats) -> std::io::Result<Loaded> {
    let content = source::read(path)?;
    let path = std::path::absolute(path)?;
    let no_settings = |end: usize, wrong: String| {
        let readable = content.get(..end).and_then(|readable| str::from_utf8(readable).ok());
        let source = Source::new(&path, readable.unwrap_or_default());
        source.error(end..end, wrong);
        Loaded::new(None, source, false)
    };
    Ok(match source::text_of(&content) {
        Ok(text) => match text.find('\0') {
            None => parse(&path, text, formats),
            Some(nul) => {
                let wrong = "this line holds a NUL byte: the file is binary or UTF-16; save it as UTF-8";
                no_settings(nul, wrong.to_owned())
            }
        },
        Err(wrong @ NoText::Utf16) => no_settings(0, format!("the file {wrong}")),
        Err(wrong @ NoText::NotUtf8(end)) => no_settings(end, format!("this line {wrong}")),
    })
}

pub(crate) fn parse(path: &Path, text: &str, formats: &Formats) -> Loaded {
    let source = Source::new(path, text);
    let root = source.root();
    let is_sample_proxys = root.as_ref().is_some_and(sample_proxy::is_one);
    let sample_proxy = formats.sample_proxy.filter(|_| is_sample_proxys);
    let settings = root.and_then(|root| match sample_proxy {
        Some(kind) => sample_proxy::settings(root, kind),
        None => ours::settings(root, &formats.kinds),
    });
    Loaded::new(settings, source, sample_proxy.is_some())
}
