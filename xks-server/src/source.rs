//! Key stores of other sources than the settings file, such as an administration or a directory of tenants.

use std::{fmt, sync::Arc};

use thiserror::Error;
use xks_core::{
    KeyStore,
    key_store::{KeyStoreError, UriPathPrefix},
};

use crate::reconciler::Reconciler;

/// Adds and removes key stores of one source while the server runs, beside those of the settings file.
///
/// A URI path prefix belongs to the source that has a key store there. A reload of the settings file changes
/// the key stores of the file alone.
///
/// ```
/// use std::sync::{Mutex, mpsc};
///
/// use xks_core::{KeyStore, key_store::UriPathPrefix};
/// use xks_server::{KeyStoreSource, Server, SourceError};
///
/// enum Change {
///     Added(KeyStore),
///     Removed(UriPathPrefix),
/// }
///
/// fn apply(source: &KeyStoreSource, change: Change) -> Result<(), SourceError> {
///     match change {
///         Change::Added(key_store) => source.insert(key_store)?, // in place of a former one
///         Change::Removed(prefix) => source.remove(&prefix)?,
///     };
///     Ok(())
/// }
///
/// let (administration, changes) = mpsc::channel();
/// let changes = Mutex::new(changes);
/// let server = Server::new("acme-proxy", "1.0.0").key_stores("tenants", move |source| {
///     let Ok(changes) = changes.lock() else { return };
///     for change in changes.iter() {
///         if let Err(error) = apply(&source, change) {
///             eprintln!("not served: {error}");
///         }
///     }
/// });
/// # administration.send(Change::Removed("/tenant-a".parse()?)).ok();
/// # drop(server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeyStoreSource {
    pub(crate) name: &'static str,
    pub(crate) reconciler: Arc<Reconciler>,
}

/// The error of a source's key store that is not in force.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The prefix belongs to another source.
    #[error("the URI path prefix {:?} belongs to {owner}", prefix.as_str())]
    PrefixTaken {
        /// The prefix.
        prefix: UriPathPrefix,
        /// The name of the source that has it.
        owner: &'static str,
    },
    /// The key store does not fit beside the others.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
}

impl KeyStoreSource {
    /// Adds a key store, in place of this source's own with the same prefix if there is one, which is
    /// returned.
    ///
    /// Requests that begin after this returns are served from it.
    ///
    /// # Errors
    /// [`SourceError::PrefixTaken`] when another source, or the settings file, has a key store there;
    /// [`SourceError::KeyStore`] when an access key id has another secret elsewhere. Nothing has changed
    /// then.
    pub fn insert(&self, key_store: impl Into<Arc<KeyStore>>) -> Result<Option<Arc<KeyStore>>, SourceError> {
        self.reconciler.insert(self.name, key_store.into())
    }

    /// Removes and returns this source's key store with that prefix, if there is one.
    ///
    /// Requests that begin after this returns are answered `InvalidUriPathException`.
    ///
    /// # Errors
    /// [`SourceError::PrefixTaken`] when the key store there is another source's, or the settings file's.
    pub fn remove(&self, prefix: &UriPathPrefix) -> Result<Option<Arc<KeyStore>>, SourceError> {
        self.reconciler.remove(self.name, prefix)
    }
}

impl fmt::Debug for KeyStoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStoreSource")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
