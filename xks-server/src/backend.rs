//! Kinds of backends: what a `[backends.NAME]` table is read into, and the open backend that it becomes.
//!
//! A kind is a function that reads a table into settings, registered under the word that `kind` has to be.
//! All tables are read, and all errors reported, before any backend is opened. Settings are compared by
//! equality: a reload that leaves a backend's settings as they were leaves the backend open.
//!
//! ```
//! use std::sync::Arc;
//!
//! use xks_backend_soft::{SoftBackend, SoftKey};
//! use xks_core::KeyId;
//! use xks_server::{
//!     Server,
//!     backend::{BackendSettings, OpenBackend, OpenError, Opening, ReadContext},
//!     settings::Table,
//! };
//!
//! /// `kind = "acme"`: its keys are new at each start.
//! #[derive(PartialEq)]
//! struct Acme {
//!     keys: Vec<KeyId>,
//!     name: String,
//! }
//!
//! impl Acme {
//!     fn read(table: &mut Table<'_, '_>, _: &ReadContext) -> Option<Self> {
//!         // Every key is taken before the first `?`: those that are left would be reported as unknown.
//!         let keys = table.parsed_list("keys"); // each error with its line
//!         let name = table.text("name");
//!         let keys = table.needed("keys", keys)?; // "`keys` is missing in [backends.NAME]"
//!         Some(Self {
//!             keys: keys.into_iter().map(|key| key.value).collect(),
//!             name: name.map_or_else(|| "acme".to_owned(), |name| name.value),
//!         })
//!     }
//! }
//!
//! impl BackendSettings for Acme {
//!     fn open(&self, _: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
//!         let backend = SoftBackend::new().with_id(self.name.clone());
//!         for key in &self.keys {
//!             backend.insert(key.clone(), SoftKey::generate().map_err(OpenError::temporary)?);
//!         }
//!         Ok(Arc::new(backend))
//!     }
//! }
//!
//! let server = Server::new("acme-proxy", "1.0.0").backend("acme", Acme::read);
//! ```

use std::{error::Error, fmt, sync::Arc, time::Duration};

use xks_core::{KeyBackend, KeyId, fleet::Fleet, manage::KeyManager};

use crate::{backends::Backends, metrics::Samples};

/// Settings of a backend, read from a `[backends.NAME]` table.
///
/// Two that are equal describe the same open backend: secrets belong to the comparison, and the contents of
/// files that the settings name.
pub trait BackendSettings: PartialEq + Send + Sync + 'static {
    /// Opens the backend.
    ///
    /// Called on a thread that may block, after all settings were read without an error.
    ///
    /// # Errors
    /// When the backend cannot be opened. The error's kind decides the exit status of a start; a reload
    /// leaves in force what needs no new backend.
    fn open(&self, opening: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError>;

    /// Returns the names of the backends that this one is made of, for a backend around others.
    fn members(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Returns whether opening may take longer than a request, as it does where a device has to be reached. A
    /// reload puts in force at once what does not need such a backend.
    fn may_block(&self) -> bool {
        true
    }

    /// Returns whether both are the same device. No device is opened twice at once.
    fn is_same_device(&self, other: &Self) -> bool {
        self == other
    }

    /// Returns whether both may have the same key under the same id.
    fn shares_keys_with(&self, other: &Self) -> bool {
        self.is_same_device(other)
    }

    /// Returns whether both may be the same device, as far as settings tell: of two descriptions of one token
    /// that differ, neither names the other. Keys under management in one are guarded in the other.
    fn may_share_device_with(&self, other: &Self) -> bool {
        self.shares_keys_with(other)
    }

    /// Returns whether both know a key of one device by the same id.
    fn names_keys_as(&self, other: &Self) -> bool {
        let _ = other;
        true
    }

    /// Returns whether `key` serves the backend's own health check, and so must back no KMS key.
    fn is_test_key(&self, key: &KeyId) -> bool {
        let _ = key;
        false
    }

    /// Returns what has ciphertext metadata of its own, such as "software keys", where that rules out
    /// `ciphertext_metadata` of a key store.
    fn own_metadata(&self) -> Option<&'static str> {
        None
    }

    /// Returns by what its device is found, such as the label of a token: other nodes show it.
    fn device(&self) -> Option<String> {
        None
    }

    /// Returns why no keys can be made in such a backend, as a message ends that begins with its name; `None`
    /// where the open backend has a [key manager](OpenBackend::as_key_manager).
    fn makes_no_keys(&self) -> Option<&'static str> {
        Some("keys cannot be made in a backend of this kind")
    }

    /// Returns the log line for a reload that replaces `open`, whose backend works, by these settings.
    fn replacement_notice(&self, open: &Self) -> Option<&'static str> {
        let _ = open;
        None
    }
}

/// A backend that the server has opened.
pub trait OpenBackend: KeyBackend {
    /// Closes the backend `name`, when its last request has ended. May block for some seconds.
    fn close(&self, name: &str) {
        let _ = name;
    }

    /// Returns whether the backend works, as far as that is known without asking it.
    fn works(&self) -> bool {
        true
    }

    /// Returns for how long no call of the backend's module has returned, where only a restart of the process
    /// helps.
    fn stuck_for(&self) -> Option<Duration> {
        None
    }

    /// Adds what is to be measured of the backend `name` at this moment.
    fn measure(&self, name: &str, samples: &mut Samples) {
        let _ = (name, samples);
    }

    /// Returns the fleet, where this is one: its members are compared, and named in audit records.
    fn as_fleet(&self) -> Option<&Fleet> {
        None
    }

    /// Returns the manager by which keys are made and destroyed in this backend, where it has one and its
    /// keys outlive the process.
    fn as_key_manager(self: Arc<Self>) -> Option<Arc<dyn KeyManager>> {
        None
    }
}

/// The rest of the settings, for the reader of a backend's table.
#[derive(Clone, Copy, Debug)]
pub struct ReadContext {
    pub(crate) timeout: Duration,
    pub(crate) tables_of_kind: usize,
}

impl ReadContext {
    /// Returns the time that a request has as a whole (`server.timeout_ms`).
    #[must_use]
    pub const fn request_timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the deadline for a backend's call unless one is set: shorter than the request's, since the
    /// backend knows better than the server why it took so long.
    #[must_use]
    pub fn default_deadline(&self) -> Duration {
        self.timeout * 9 / 10
    }

    /// Returns the number of `[backends.NAME]` tables of this kind.
    #[must_use]
    pub const fn tables_of_kind(&self) -> usize {
        self.tables_of_kind
    }
}

/// The context of an opening: other open backends that a backend may use.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    pub(crate) is_member: bool,
    pub(crate) open: &'a Backends,
}

impl Opening<'_> {
    /// Returns whether another backend is made of this one. It may then be down at first, and connect later.
    #[must_use]
    pub const fn is_member(&self) -> bool {
        self.is_member
    }

    /// Returns the open backend of that name, one of [`BackendSettings::members`].
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Arc<dyn KeyBackend>> {
        self.open.get(name)
    }
}

impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("is_member", &self.is_member)
            .finish_non_exhaustive()
    }
}

/// The error of a backend that cannot be opened. Displayed as its source.
#[derive(Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenErrorKind {
    Temporary,
    Permanent,
    CredentialRefused,
}

impl OpenError {
    /// Creates an error that another start may not meet: the server exits with status 1.
    #[must_use]
    pub fn temporary(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(OpenErrorKind::Temporary, source)
    }

    /// Creates an error that every start meets until the settings change: the server exits with status 78.
    #[must_use]
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(OpenErrorKind::Permanent, source)
    }

    /// Creates an error of a PIN or password that was refused, which must not be tried again and again: the
    /// server exits with status 77.
    #[must_use]
    pub fn credential_refused(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(OpenErrorKind::CredentialRefused, source)
    }

    fn new(kind: OpenErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        Self { kind, source }
    }

    pub(crate) const fn kind(&self) -> OpenErrorKind {
        self.kind
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
