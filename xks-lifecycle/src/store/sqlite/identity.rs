//! Which file was opened: not the one that has its name later.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::StoreError;

/// A file, by its path and by what the file system knows it by.
#[derive(Clone, Debug)]
pub(super) struct Identity(Arc<(PathBuf, Number)>);

type Number = (u64, u64);

impl Identity {
    /// That of the file that has this path now.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::unavailable(format!("{path:?} cannot be opened"), error);
        Ok(Self(Arc::new((path.into(), number(path).map_err(failed)?))))
    }

    /// Checks that it still has its path.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let (path, known) = &*self.0;
        match number(path) {
            Ok(found) if found == *known => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::unavailable(format!("{path:?} cannot be looked at"), error))
            }
            Ok(_) | Err(_) => Err(StoreError::Replaced { path: path.clone() }),
        }
    }
}

#[cfg(unix)]
fn number(path: &Path) -> io::Result<Number> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
fn number(path: &Path) -> io::Result<Number> {
    path.metadata().map(|_| (0, 0))
}
