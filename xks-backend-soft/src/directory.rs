//! A directory with a file for each key that the backend was asked to create.
//!
//! Every change is one step of the file system: a file is written under another name, flushed to the disk,
//! and then gets its name, or takes the place of the earlier one. So a key is there whole or not at all,
//! whenever the power fails.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use thiserror::Error;
use xks_core::{KeyId, Zeroizing};

use crate::{SoftKey, SoftKeyError, stored_key};

/// The directory, which belongs to this process until it is dropped.
#[derive(Debug)]
pub(crate) struct KeyDirectory {
    path: PathBuf,
    /// Held locked.
    _lock: File,
}

/// Why a directory of keys cannot be used. No message tells key material.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyDirectoryError {
    /// The directory, or a file in it, cannot be read or written.
    #[error("{path:?}: {action}: {reason}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
    /// Another process, or another backend of this one, has the directory open.
    #[error("{0:?} is in use by another process; a directory of keys belongs to one")]
    InUse(PathBuf),
    /// A file that is not what this crate writes.
    #[error("{path:?} is not a key of this version: {problem}; restore it or take it out of the directory")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two keys with one id.
    #[error("key {0} is in the directory, and the backend has another key with this id; remove one")]
    KeyExists(KeyId),
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] SoftKeyError),
}

/// What the name of a key's file ends with, and that of a file that is being written.
const KEY: &str = "key";
const UNFINISHED: &str = "unfinished";

impl KeyDirectory {
    /// Opens a directory, which is made if there is none, and reads its keys.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<(KeyId, SoftKey)>), KeyDirectoryError> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .recursive(true)
            .create(path)
            .map_err(at(path, "cannot be created"))?;
        let lock_file = path.join("lock");
        let lock = File::create(&lock_file).map_err(at(&lock_file, "cannot be created"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(KeyDirectoryError::InUse(path.into())),
            Err(fs::TryLockError::Error(error)) => return Err(at(&lock_file, "cannot be locked")(error)),
        }
        let mut keys = Vec::new();
        for entry in fs::read_dir(path).map_err(at(path, "cannot be listed"))? {
            let file = entry.map_err(at(path, "cannot be listed"))?.path();
            match file.extension().and_then(|extension| extension.to_str()) {
                Some(KEY) => keys.push(load(&file)?),
                // Its key was never acknowledged.
                Some(UNFINISHED) => fs::remove_file(&file).map_err(at(&file, "cannot be removed"))?,
                _ => {}
            }
        }
        let directory = Self {
            path: path.into(),
            _lock: lock,
        };
        Ok((directory, keys))
    }

    /// Adds the file of a new key.
    pub(crate) fn add(&self, id: &KeyId, key: &SoftKey) -> io::Result<()> {
        let (file, unfinished) = (self.file(id), self.write(id, key)?);
        // Unlike a rename, a link does not replace a file that is there, as where case does not tell names
        // apart.
        let linked = fs::hard_link(&unfinished, &file);
        fs::remove_file(&unfinished)?;
        linked?;
        self.flush().inspect_err(|_| {
            let _ = fs::remove_file(&file); // the key is not made; the next attempt finds its place free
        })
    }

    /// Puts the key in the place of its earlier state.
    pub(crate) fn replace(&self, id: &KeyId, key: &SoftKey) -> io::Result<()> {
        let unfinished = self.write(id, key)?;
        fs::rename(&unfinished, self.file(id))?;
        self.flush()
    }

    /// Removes the file of a key. What the disk keeps of it is not overwritten.
    pub(crate) fn remove(&self, id: &KeyId) -> io::Result<()> {
        match fs::remove_file(self.file(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // an earlier call has, and could not flush
            outcome => outcome?,
        }
        self.flush()
    }

    fn file(&self, id: &KeyId) -> PathBuf {
        self.path.join(format!("{id}.{KEY}"))
    }

    /// Writes a key to a file with another name, down to the disk.
    fn write(&self, id: &KeyId, key: &SoftKey) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{id}.{UNFINISHED}"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        file.write_all(&stored_key::encode(key))?;
        file.sync_all()?;
        Ok(path)
    }

    /// Flushes the names of the files.
    fn flush(&self) -> io::Result<()> {
        if cfg!(unix) {
            File::open(&self.path)?.sync_all()?; // other systems do not open directories
        }
        Ok(())
    }
}

fn at<'p>(path: &'p Path, action: &'static str) -> impl Fn(io::Error) -> KeyDirectoryError + 'p {
    move |reason| KeyDirectoryError::Io {
        action,
        path: path.into(),
        reason,
    }
}

fn load(path: &Path) -> Result<(KeyId, SoftKey), KeyDirectoryError> {
    let malformed = |problem| KeyDirectoryError::Malformed {
        path: path.into(),
        problem,
    };
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let id = name.parse().map_err(|_| malformed("its name is not a key id"))?;
    let content = read(path).map_err(at(path, "cannot be read"))?;
    let key = stored_key::decode(&content).map_err(malformed)?;
    Ok((id, key))
}

/// The whole file, in a buffer that is large enough from the start: nothing moves what it holds.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut content = Zeroizing::new(vec![0; length]);
    file.read_exact(&mut content)?;
    Ok(content)
}
