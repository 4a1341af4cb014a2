//! The backends that have keys under management, in step with those that reloads open.

use std::sync::Arc;

use anyhow::{bail, ensure};

use super::backend::NamedBackend;
use crate::{backends::Backends, registry::ConfiguredBackend};

/// The backends in which keys under management are made and used, and the names of those that have roots.
pub(crate) struct InUse {
    backends: Vec<Arc<NamedBackend>>,
    with_roots: Vec<String>,
}

impl InUse {
    pub(super) const fn new(backends: Vec<Arc<NamedBackend>>, with_roots: Vec<String>) -> Self {
        Self { backends, with_roots }
    }

    /// The names of the backends in which keys are made.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.backends.iter().map(|backend| backend.name())
    }

    /// Refuses settings that do not have these backends any more, or that reach keys in them by other names:
    /// which are in use is settled at the start.
    pub(crate) fn check(&self, new: &[ConfiguredBackend]) -> anyhow::Result<()> {
        let makes_keys = |name: &str| {
            let mut new = new.iter().filter(|new| new.name == name);
            new.any(|new| new.makes_no_keys().is_none())
        };
        for name in self.names() {
            ensure!(
                makes_keys(name),
                "[backends.{name}] has keys under management until the server is restarted: keep it"
            );
        }
        for name in self.names().chain(self.with_roots.iter().map(String::as_str)) {
            if let Some(wrong) = other_names(name, new) {
                bail!(wrong);
            }
        }
        Ok(())
    }

    /// Takes those of the same names into use.
    pub(crate) fn replace(&self, new: &Backends) {
        for backend in &self.backends {
            if let Some((configured, open)) = new.open_as(backend.name()) {
                backend.replace(configured, open);
            }
        }
    }
}

/// What is wrong where another backend may be the same device as `name`, and knows keys by other names: a key
/// under management could be reached there by one that nobody knows.
pub(crate) fn other_names(name: &str, backends: &[ConfiguredBackend]) -> Option<String> {
    let known = backends.iter().find(|known| known.name == name)?;
    let is_other = |other: &&ConfiguredBackend| known.may_share_device_with(other) && !known.names_keys_as(other);
    let other = backends.iter().find(is_other)?;
    Some(format!(
        "[backends.{}] may be the device of [backends.{name}], which has keys under management, and has another \
         `key_lookup`: set the same",
        other.name
    ))
}
