//! A root: what wraps the data key, in an HSM or in a file.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use subtle::ConstantTimeEq as _;
use thiserror::Error;
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{CiphertextMetadata, DecryptRequest, EncryptRequest, Encrypted, Iv, Tag},
    text::ErrorChain,
};

use super::{SealError, gcm};
use crate::{
    FieldError, Name, Timestamp,
    field::{named, named_enum},
    id::fill_random,
    record::{CellReader, CellWriter, Record, RowProblem},
    store::Table,
};

/// What wraps the data key. A store may have several roots; each opens it alone, and who has lost all of them
/// has lost all that is sealed.
///
/// A root is known by its name: the store keeps the data key wrapped under each name.
#[derive(Clone)]
pub struct Root {
    name: Name,
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Backend { backend: Arc<dyn KeyBackend>, key: KeyId },
    File(Zeroizing<[u8; 32]>),
}

/// Where a root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RootKind {
    /// A key of a [`KeyBackend`], such as an HSM.
    Backend,
    /// A file.
    File,
}

named_enum! {
    RootKind,
    Backend => "backend",
    File => "file",
}

/// Why a root cannot be used. It shows no key material.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RootError {
    /// A name that is not legal.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The file cannot be read or made.
    #[error("{path:?} {action}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was not possible.
        action: &'static str,
        /// What the operating system says.
        reason: io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error("{path:?} has mode {mode:03o}: a root must be accessible by its owner alone (chmod 600)")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file does not hold 32 bytes.
    #[error("{path:?} must hold 32 bytes, and nothing else")]
    Length {
        /// The file.
        path: PathBuf,
    },
    /// The backend failed.
    #[error("key {key} of the backend: {}", ErrorChain(.error))]
    Backend {
        /// Which key.
        key: KeyId,
        /// How it failed.
        error: BackendError,
    },
    /// What is stored was not wrapped under this root.
    #[error("the data key was not wrapped under this root")]
    Other,
    /// What was wrapped did not unwrap to the same.
    #[error("the data key was wrapped, and did not unwrap to the same")]
    Unreadable,
    /// The data key cannot be wrapped.
    #[error(transparent)]
    Seal(#[from] SealError),
}

const LENGTH: usize = 32;
/// The framing of what a backend wraps: this byte, the lengths of IV and metadata, IV, metadata, tag,
/// ciphertext.
const FORMAT: u8 = 1;

impl Root {
    /// A root in a key backend: an AES-256 key that encrypts and decrypts and serves nothing else.
    ///
    /// # Errors
    /// Of the field `root`: a name that is not legal.
    pub fn backend(name: &str, backend: Arc<dyn KeyBackend>, key: KeyId) -> Result<Self, RootError> {
        let inner = Inner::Backend { backend, key };
        let name = Name::new("root", name)?;
        Ok(Self { name, inner })
    }

    /// A root in a file of 32 bytes, which no other user may read.
    ///
    /// # Errors
    /// [`RootError::Mode`], [`RootError::Length`], [`RootError::File`], or of the field `root`.
    pub fn file(name: &str, path: &Path) -> Result<Self, RootError> {
        let name = Name::new("root", name)?;
        let inner = Inner::File(read(path)?);
        Ok(Self { name, inner })
    }

    /// Makes a file of 32 random bytes, which this user alone may read, and flushes it to the disk.
    ///
    /// # Errors
    /// [`RootError::File`], also where there is a file already.
    pub fn create_file(path: &Path) -> Result<(), RootError> {
        let at = |action| move |reason| failed(path, action, reason);
        let mut key = Zeroizing::new([0; LENGTH]);
        fill_random(&mut *key).map_err(SealError::from)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(at("cannot be created"))?;
        file.write_all(&*key)
            .and_then(|()| file.sync_all())
            .map_err(at("cannot be written"))
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns where it is.
    #[must_use]
    pub const fn kind(&self) -> RootKind {
        match self.inner {
            Inner::Backend { .. } => RootKind::Backend,
            Inner::File(_) => RootKind::File,
        }
    }

    fn aad(&self) -> Vec<u8> {
        [b"xks-lifecycle data key", self.name.as_str().as_bytes()].concat()
    }

    /// Wraps the data key, and sees that it unwraps again.
    pub(crate) async fn wrap(&self, key: &Zeroizing<[u8; 32]>, created: Timestamp) -> Result<Wrapped, RootError> {
        let wrapped = match &self.inner {
            Inner::File(root) => gcm::seal(root, &self.aad(), &key[..])?,
            Inner::Backend { backend, key: id } => self.wrap_in(&**backend, id, key).await?,
        };
        let wrapped = Wrapped {
            name: self.name.clone(),
            kind: self.kind(),
            backend_key: match &self.inner {
                Inner::Backend { key, .. } => Some(key.clone()),
                Inner::File(_) => None,
            },
            created,
            wrapped,
        };
        let unwrapped = self.unwrap(&wrapped).await?;
        if !bool::from(unwrapped.ct_eq(&key[..])) {
            return Err(RootError::Unreadable);
        }
        Ok(wrapped)
    }

    /// Unwraps the data key.
    pub(crate) async fn unwrap(&self, wrapped: &Wrapped) -> Result<Zeroizing<[u8; 32]>, RootError> {
        let key = match &self.inner {
            Inner::File(root) => gcm::open(root, &self.aad(), &wrapped.wrapped).ok_or(RootError::Other)?,
            Inner::Backend { backend, key } => self.unwrap_in(&**backend, key, &wrapped.wrapped).await?,
        };
        let mut array = Zeroizing::new([0; LENGTH]);
        if key.len() != LENGTH {
            return Err(RootError::Other);
        }
        array.copy_from_slice(&key);
        Ok(array)
    }

    async fn wrap_in(&self, backend: &dyn KeyBackend, id: &KeyId, key: &[u8; 32]) -> Result<Vec<u8>, RootError> {
        let aad = self.bound(None)?;
        let mut request = EncryptRequest::new(RequestMetadata::default(), Zeroizing::new(key.to_vec()), aad);
        let encrypted = backend
            .encrypt(id, &mut request)
            .await
            .map_err(|error| RootError::Backend { key: id.clone(), error })?;
        let (iv, metadata) = (encrypted.iv().as_bytes(), encrypted.bound_aad().metadata());
        let metadata = metadata.map_or(&[][..], CiphertextMetadata::as_bytes);
        // 16 bytes and 20 at most
        let lengths = [FORMAT, iv.len() as u8, metadata.len() as u8];
        Ok([
            &lengths,
            iv,
            metadata,
            encrypted.tag().as_bytes(),
            encrypted.ciphertext(),
        ]
        .concat())
    }

    async fn unwrap_in(
        &self,
        backend: &dyn KeyBackend,
        id: &KeyId,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootError> {
        let (iv, metadata, tag, ciphertext) = parts(wrapped).ok_or(RootError::Other)?;
        let encrypted = Encrypted::new(ciphertext.to_vec(), iv, tag, self.bound(metadata)?);
        let request = DecryptRequest::new(RequestMetadata::default(), encrypted);
        backend
            .decrypt(id, &request)
            .await
            .map_err(|error| RootError::Backend { key: id.clone(), error })
    }

    fn bound(&self, metadata: Option<CiphertextMetadata>) -> Result<BoundAad, RootError> {
        // A name is short enough.
        BoundAad::new(AadFraming::Spec, Some(&self.aad()), metadata).map_err(|_| RootError::Other)
    }
}

type Parts<'w> = (Iv, Option<CiphertextMetadata>, Tag, &'w [u8]);

fn parts(wrapped: &[u8]) -> Option<Parts<'_>> {
    let ([format, iv, metadata], rest) = wrapped.split_first_chunk::<3>()?;
    if *format != FORMAT {
        return None;
    }
    let (iv, rest) = rest.split_at_checked(usize::from(*iv))?;
    let (metadata, rest) = rest.split_at_checked(usize::from(*metadata))?;
    let (tag, ciphertext) = rest.split_first_chunk::<16>()?;
    let metadata = match metadata {
        [] => None,
        bytes => Some(CiphertextMetadata::try_from(bytes).ok()?),
    };
    Some((Iv::new(iv).ok()?, metadata, Tag::from(*tag), ciphertext))
}

fn failed(path: &Path, action: &'static str, reason: io::Error) -> RootError {
    RootError::File {
        path: path.into(),
        action,
        reason,
    }
}

fn read(path: &Path) -> Result<Zeroizing<[u8; 32]>, RootError> {
    let at = |action| move |reason| failed(path, action, reason);
    // To open a pipe waits for who writes to it.
    if !fs::metadata(path).map_err(at("cannot be read"))?.is_file() {
        return Err(failed(path, "cannot be read", io::Error::other("not a regular file")));
    }
    let mut file = File::open(path).map_err(at("cannot be read"))?;
    check_mode(path, &file)?;
    // Room for one byte too many, so that a longer file shows.
    let mut content = Zeroizing::new([0; LENGTH + 1]);
    let mut filled = 0;
    while let Some(room) = content.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(path, "cannot be read", error)),
        }
    }
    let mut key = Zeroizing::new([0; LENGTH]);
    match content.first_chunk::<LENGTH>() {
        Some(first) if filled == LENGTH => key.copy_from_slice(first),
        _ => return Err(RootError::Length { path: path.into() }),
    }
    Ok(key)
}

#[cfg(unix)]
fn check_mode(path: &Path, file: &File) -> Result<(), RootError> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = file
        .metadata()
        .map_err(|reason| failed(path, "cannot be read", reason))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(RootError::Mode {
            path: path.into(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _file: &File) -> Result<(), RootError> {
    Ok(())
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("name", &self.name)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

/// The data key as it is kept for one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    pub(crate) name: Name,
    pub(crate) kind: RootKind,
    pub(crate) backend_key: Option<KeyId>,
    pub(crate) created: Timestamp,
    pub(crate) wrapped: Vec<u8>,
}

/// The id of a root is its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RootId(pub(crate) Name);

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for RootId {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Name::new("root", text).map(Self)
    }
}

impl Record for Wrapped {
    type Id = RootId;
    const TABLE: Table = Table::Roots;

    fn id(&self) -> RootId {
        RootId(self.name.clone())
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        cells.text("kind", &self.kind);
        cells.optional("backend_key", self.backend_key.as_ref());
        cells.number("created", self.created.seconds());
        cells.optional_bytes("wrapped", Some(&self.wrapped));
    }

    fn read(id: RootId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            name: id.0,
            kind: named("kind", cells.text("kind")?, RootKind::NAMES)?,
            backend_key: cells.optional_parsed("backend_key")?,
            created: cells.time("created")?,
            wrapped: cells.bytes("wrapped")?.to_vec(),
        })
    }
}
