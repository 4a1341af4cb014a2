//! Settings as a comparable model: for the fuzzer, which tests whether two texts mean the same.

use std::{fmt, path::Path};

use xks_core::Zeroizing;

use crate::{
    Server,
    settings::{self, Settings},
};

/// The result of [`Server::read_settings`].
#[non_exhaustive]
pub struct Reading {
    /// Errors and warnings, each with file and line.
    pub problems: Vec<String>,
    /// It was written for AWS's sample proxy.
    pub is_sample_proxys: bool,
    /// All that was understood; none when there were errors.
    pub model: Option<Model>,
    /// The same in this program's format, secrets included, where it was written for the sample proxy.
    pub converted: Option<Zeroizing<String>>,
}

/// All that was understood of a settings text, equal for texts that mean the same.
#[derive(Debug, PartialEq)]
pub struct Model(Settings);

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Reads `text` as if it stood in the file at `path`, and every file that it names.
    #[doc(hidden)]
    #[must_use]
    pub fn read_settings(&self, path: &Path, text: &str) -> Reading {
        let loaded = settings::parse(path, text, &self.formats);
        let is_sample_proxys = loaded.is_sample_proxys;
        let convertible = loaded.settings.as_ref().filter(|_| is_sample_proxys);
        Reading {
            problems: loaded.problems.iter().map(ToString::to_string).collect(),
            is_sample_proxys,
            converted: convertible.map(settings::to_our_format),
            model: loaded.settings.map(Model),
        }
    }
}
