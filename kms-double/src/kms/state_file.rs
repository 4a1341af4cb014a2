//! The file that a state is kept in: JSON, readable for its owner alone, since secrets and key material stand
//! in it.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use thiserror::Error;
use zeroize::Zeroizing;

use super::state::State;

/// The error of a double that cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The state file cannot be read or written.
    #[error("{0}: {1}")]
    StateFile(PathBuf, io::Error),
    /// A file that TLS needs is not there.
    #[error(transparent)]
    Endpoint(#[from] crate::wire::EndpointError),
}

/// Returns the state that was kept; an empty state where there is no file yet.
pub(crate) fn read(path: &Path) -> Result<State, BuildError> {
    let failed = |error| BuildError::StateFile(path.to_owned(), error);
    let text = match std::fs::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(failed(error)),
    };
    serde_json::from_slice(&text).map_err(|error| {
        let place = format!("not a state file: line {}, column {}", error.line(), error.column());
        failed(io::Error::new(ErrorKind::InvalidData, place))
    })
}

/// Puts it in the place of the former one at one moment.
pub(crate) fn write(path: &Path, state: &State) -> io::Result<()> {
    let text = Zeroizing::new(serde_json::to_vec_pretty(state)?);
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut file = for_owner_alone(Path::new(&name))?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&name, path)
}

fn for_owner_alone(path: &Path) -> io::Result<File> {
    // One that was left behind could have other permissions.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
