//! Software keys, each in a file.

use std::{path::PathBuf, sync::Arc};

use xks_backend_soft::{KeyDirectoryError, KeyFile, KeyMaterialError, KeyVersion, SoftBackend, SoftKey};
use xks_core::{KeyId, manage::KeyManager, text::ErrorChain};

use crate::{
    backend::{BackendSettings, OpenBackend, OpenError, Opening, ReadContext},
    settings::Table,
};

/// Software keys: the table `keys` names the file of each, and `directory` has those that are made.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftSettings {
    /// Each key, with its file as it was read.
    keys: Vec<(KeyId, KeyFile)>,
    directory: Option<PathBuf>,
}

impl SoftSettings {
    /// Reads the settings of a `[backends.NAME]` table, and the files that it names.
    ///
    /// Returns `None` if something is missing or wrong, which is reported to the table.
    pub fn read(table: &mut Table<'_, '_>, _: &ReadContext) -> Option<Self> {
        let source = table.source;
        let directory = table.folder("directory").map(|directory| directory.value);
        let keys = table.table("keys");
        let keys = match (&directory, keys) {
            (Some(_), None) if !table.is_present("keys") => Vec::new(),
            (_, keys) => table.needed("keys", keys)?.into_texts(),
        };
        let keys = keys.into_iter().filter_map(|(id, file)| {
            let path = source.file(&id, file, true)?;
            let id = id
                .parse::<KeyId>()
                .map_err(|error| source.error(path.span.clone(), format!("{id:?}: {error}")));
            let file = source.read_by(&path, |path| match KeyFile::read(path) {
                Err(KeyMaterialError::Unreadable { reason, .. }) => Err(reason),
                read => Ok(read),
            });
            let file = file?.map_err(|error| source.error(path.span, ErrorChain(&error).to_string()));
            Some((id.ok()?, file.ok()?))
        });
        Some(Self {
            keys: keys.collect(),
            directory,
        })
    }
}

impl BackendSettings for SoftSettings {
    fn open(&self, _: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        let mut backend = SoftBackend::new();
        if let Some(directory) = &self.directory {
            backend = backend.with_directory(directory).map_err(|error| match error {
                // What is open keeps its directory until it is closed.
                KeyDirectoryError::InUse(_) => OpenError::temporary(format!(
                    "{error}; where that is this process, a restart is needed to change the backend's settings"
                )),
                error => OpenError::permanent(error),
            })?;
        }
        for (id, file) in &self.keys {
            file.log_warnings();
            let version = KeyVersion::new(1, file.material().clone()).map_err(OpenError::permanent)?;
            backend.insert(id.clone(), SoftKey::new(version));
        }
        Ok(Arc::new(backend))
    }

    fn may_block(&self) -> bool {
        false
    }

    /// Whether both have one directory, or a key of the same material under the same id.
    fn shares_keys_with(&self, other: &Self) -> bool {
        let is_there = |id: &KeyId, file: &KeyFile| {
            let mut others = other.keys.iter();
            others.any(|(other_id, other)| id == other_id && file.material() == other.material())
        };
        let is_same_directory = self.directory.is_some() && self.directory == other.directory;
        is_same_directory || self.keys.iter().any(|(id, file)| is_there(id, file))
    }

    fn own_metadata(&self) -> Option<&'static str> {
        Some("software keys")
    }

    fn makes_no_keys(&self) -> Option<&'static str> {
        let keys_would_be_lost = "software keys are made in a `directory`: set one";
        self.directory.is_none().then_some(keys_would_be_lost)
    }
}

impl OpenBackend for SoftBackend {
    fn as_key_manager(self: Arc<Self>) -> Option<Arc<dyn KeyManager>> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::{backends::Backends, settings::Source};

    /// A file that changes between the check and the opening, or is gone, changes nothing.
    #[test]
    fn a_key_is_opened_as_its_file_was_when_it_was_checked() {
        let folder = std::env::temp_dir().join(format!("xks-server-soft-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("usable.key"), [7; 32]).unwrap();
        let path = folder.join("settings.toml");
        let context = ReadContext {
            timeout: Duration::from_secs(1),
            tables_of_kind: 1,
        };
        let read = || {
            let source = Source::new(&path, "keys = { usable = \"usable.key\" }");
            let settings = SoftSettings::read(&mut source.root().unwrap(), &context);
            settings.filter(|_| !source.has_errors())
        };
        let settings = read().unwrap();
        assert!(read().unwrap() == settings);
        fs::write(folder.join("usable.key"), [8; 32]).unwrap();
        assert!(read().unwrap() != settings);
        fs::remove_dir_all(&folder).unwrap();
        assert!(read().is_none());
        let open = &Backends::open(&[], None).unwrap();
        let opened = settings.open(&Opening { is_member: false, open });
        assert!(opened.is_ok());
    }
}
