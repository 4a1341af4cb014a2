//! The external key stores under management that are in force, beside those of the settings file.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use thiserror::Error;
use xks_core::{
    KeyStore,
    key_store::{KeyStoreError, Region, RegionError, UriPathPrefix},
    text::ErrorChain,
};
use xks_lifecycle::{
    ExternalKeyStore, KeyStoreId,
    commands::{Observed, Observer},
};

use crate::{reconciler::Reconciler, source::SourceError};

/// The source of key stores, as errors call it.
const SOURCE: &str = "an external key store under management";

/// Puts each external key store in force when the command that makes or changes it commits.
///
/// Its credentials, its block and its keys are seen by requests without this: prefix and Regions make the key
/// store.
pub(crate) struct KeyStoresInForce {
    reconciler: Arc<Reconciler>,
    known: Mutex<BTreeMap<KeyStoreId, Known>>,
    has_any: AtomicBool,
}

/// A key store as it is wanted.
struct Known {
    name: String,
    key_store: Arc<KeyStore>,
    is_in_force: bool,
}

/// Why an external key store is not served.
#[derive(Debug, Error)]
enum NotServed {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    #[error(transparent)]
    Region(#[from] RegionError),
}

impl KeyStoresInForce {
    pub(super) fn new(reconciler: &Arc<Reconciler>) -> Self {
        Self {
            reconciler: Arc::clone(reconciler),
            known: Mutex::default(),
            has_any: AtomicBool::new(false),
        }
    }

    /// Whether there are any, in force or not.
    pub(super) fn has_any(&self) -> bool {
        self.has_any.load(Ordering::Relaxed)
    }

    /// How many external key stores are in force, and how many are not.
    pub(crate) fn count(&self) -> (usize, usize) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let in_force = known.values().filter(|known| known.is_in_force).count();
        (in_force, known.len() - in_force)
    }

    /// Puts those in force that could not be before: a reload may have made way.
    pub(crate) fn retry(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for known in known.values_mut().filter(|known| !known.is_in_force) {
            self.put_in_force(known);
        }
    }

    fn put_in_force(&self, known: &mut Known) {
        let prefix = known.key_store.prefix().as_str();
        match self.reconciler.insert(SOURCE, Arc::clone(&known.key_store)) {
            Ok(_) => known.is_in_force = true,
            Err(error) => say(&known.name, prefix, &error.into()),
        }
    }

    fn take_out_of_force(&self, prefix: &UriPathPrefix) {
        // It is this source's own, and so it is taken.
        if let Err(error) = self.reconciler.remove(SOURCE, prefix) {
            tracing::error!(key_store = prefix.as_str(), "still served: {error}");
        }
    }
}

fn say(name: &str, prefix: &str, error: &NotServed) {
    tracing::error!(
        key_store = prefix,
        "the external key store {name:?} is not served: {}; give it another prefix, or remove what has this one",
        ErrorChain(error)
    );
}

fn build(wanted: &ExternalKeyStore, state: &Observed<'_>) -> Result<KeyStore, NotServed> {
    let regions: Result<Vec<Region>, _> = wanted.regions.iter().map(Region::new).collect();
    let backend = Arc::new(state.managed(wanted.id));
    let builder = KeyStore::builder(wanted.prefix.clone(), backend).all_keys_of_backend();
    let builder = builder.credentials_from(state.credentials(wanted.id));
    Ok(builder.regions(regions?).build()?)
}

impl Observer for KeyStoresInForce {
    fn changed(&self, state: &Observed<'_>) {
        let touched = state.key_stores();
        if touched.is_empty() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // All of them first: one may get the prefix that another has had.
        for id in &touched {
            let wanted = state.snapshot().key_store(*id).map(|wanted| &wanted.prefix);
            let is_moved = |known: &&mut Known| wanted != Some(known.key_store.prefix());
            if let Some(known) = known.get_mut(id).filter(is_moved)
                && std::mem::take(&mut known.is_in_force)
            {
                self.take_out_of_force(known.key_store.prefix());
            }
        }
        for id in touched {
            let Some(wanted) = state.snapshot().key_store(id) else {
                known.remove(&id);
                continue;
            };
            let name = wanted.name.to_string();
            match build(wanted, state) {
                Ok(key_store) => {
                    let mut new = Known {
                        name,
                        key_store: Arc::new(key_store),
                        is_in_force: false,
                    };
                    let mut others = known.iter().filter(|(other, known)| **other != id && known.is_in_force);
                    match others.find(|(_, other)| other.key_store.prefix() == new.key_store.prefix()) {
                        Some((_, other)) => tracing::error!(
                            key_store = new.key_store.prefix().as_str(),
                            "the external key store {:?} is not served: {:?} has its prefix; give it another one",
                            new.name,
                            other.name
                        ),
                        None => self.put_in_force(&mut new),
                    }
                    known.insert(id, new);
                }
                Err(error) => say(&name, wanted.prefix.as_str(), &error),
            }
        }
        self.has_any.store(!known.is_empty(), Ordering::Relaxed);
    }
}

impl fmt::Debug for KeyStoresInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStoresInForce").finish_non_exhaustive()
    }
}
