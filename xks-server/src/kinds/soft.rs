//! Software keys, each in a file.

use std::{path::PathBuf, sync::Arc};

use xks_backend_soft::{KeyMaterial, KeyVersion, SoftBackend, SoftKey};
use xks_core::{KeyId, text::ErrorChain};

use crate::{
    backend::{BackendSettings, OpenBackend, OpenError, Opening, ReadContext},
    settings::{Secret, Table},
};

/// Software keys: the table `keys` names the file of each.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftSettings {
    /// Each key, the file that holds it, and what the file holds.
    keys: Vec<(KeyId, PathBuf, Secret)>,
}

impl SoftSettings {
    /// Reads the settings of a `[backends.NAME]` table.
    ///
    /// Returns `None` if something is missing or wrong, which is reported to the table.
    pub fn read(table: &mut Table<'_, '_>, _: &ReadContext) -> Option<Self> {
        let source = table.source;
        let keys = table.table("keys");
        let keys = table
            .needed("keys", keys)?
            .into_texts()
            .into_iter()
            .filter_map(|(id, file)| {
                let path = source.file(&id, file, true)?;
                let content = source.read(&path);
                let id = id
                    .parse::<KeyId>()
                    .map_err(|error| source.error(path.span.clone(), format!("{id:?}: {error}")));
                let content = Secret(content?);
                if let Err(error) = KeyMaterial::from_file(&path.value) {
                    source.error(path.span, ErrorChain(&error).to_string());
                    return None;
                }
                Some((id.ok()?, path.value, content))
            });
        Some(Self { keys: keys.collect() })
    }
}

impl BackendSettings for SoftSettings {
    fn open(&self, _: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        let backend = SoftBackend::new();
        for (id, path, _) in &self.keys {
            let material = KeyMaterial::from_file(path).map_err(OpenError::permanent)?;
            let version = KeyVersion::new(1, material).map_err(OpenError::permanent)?;
            backend.insert(id.clone(), SoftKey::new(version));
        }
        Ok(Arc::new(backend))
    }

    fn may_block(&self) -> bool {
        false
    }

    /// Whether one key has the same material under the same id.
    fn shares_keys_with(&self, other: &Self) -> bool {
        let is_there = |id: &KeyId, secret: &Secret| {
            let mut others = other.keys.iter();
            others.any(|(other_id, _, other)| id == other_id && secret == other)
        };
        self.keys.iter().any(|(id, _, secret)| is_there(id, secret))
    }

    fn own_metadata(&self) -> Option<&'static str> {
        Some("software keys")
    }
}

impl OpenBackend for SoftBackend {}
