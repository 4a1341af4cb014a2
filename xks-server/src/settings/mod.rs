//! What the program is told by its settings file, whole and checked: ours, or one that was written for AWS's sample
//! proxy.
//!
//! `check` and the server read alike: they read and try each named file, certificates and policies too, so
//! only a key manager that does not open can leave a reload incomplete.

mod convert;
mod model;
mod ours;
mod sample_proxy;
mod secrecy;
mod shared;
mod source;
mod syntax;
mod table;

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
};

use self::source::{NoText, Source};
pub(crate) use self::{
    convert::to_our_format,
    model::*,
    source::{Problem, Severity},
};

/// The module's path, where it is to be another one than the file's.
pub(crate) const MODULE_VARIABLE: &str = "PKCS11_HSM_MODULE";

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
pub(crate) fn load(path: &Path) -> std::io::Result<Loaded> {
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
            None => parse(&path, text),
            Some(nul) => {
                let wrong = "this line has a NUL: the file is binary, or UTF-16 text; save it as UTF-8";
                no_settings(nul, wrong.to_owned())
            }
        },
        Err(wrong @ NoText::Utf16) => no_settings(0, format!("the file {wrong}")),
        Err(wrong @ NoText::NotUtf8(end)) => no_settings(end, format!("this line {wrong}")),
    })
}

pub(crate) fn parse(path: &Path, text: &str) -> Loaded {
    let source = Source::new(path, text);
    let module = env::var_os(MODULE_VARIABLE)
        .filter(|module| !module.is_empty())
        .map(PathBuf::from);
    let root = source.root();
    let is_sample_proxys = root.as_ref().is_some_and(sample_proxy::is_one);
    let settings = root.and_then(|root| match is_sample_proxys {
        true => sample_proxy::settings(root, module.as_ref()),
        false => ours::settings(root, module.as_ref()),
    });
    Loaded::new(settings, source, is_sample_proxys)
}
