//! The state in force: key stores, key managers, certificates. All of it can be replaced while requests are
//! served; a request, and a connection, goes on with what it began with.

mod in_force;

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

#[cfg(feature = "lifecycle")]
use std::sync::{OnceLock, Weak};

use anyhow::ensure;
use arc_swap::ArcSwap;
use thiserror::Error;
use xks_core::{KeyBackend, KeyId, KeyStore, KeyStores, Proxy, key_store::UriPathPrefix};

use self::in_force::InForce;
use crate::{
    backend::OpenBackend,
    backends::Backends,
    certificates::{Certificates, Prepared},
    lifecycle::Guard,
    metrics::{Metrics, Records},
    registry::ConfiguredBackend,
    server::Server,
    settings::{KeyStoreSettings, Settings},
    source::SourceError,
    timer::ServerTimer,
};
#[cfg(feature = "lifecycle")]
use crate::{lifecycle, metrics::Samples};

/// Beside the timeout of a request: until a key manager that is no longer served is closed.
const GRACE: Duration = Duration::from_secs(1);

/// Owns what is in force, and changes it: for the settings file by reloads, for other sources of key stores
/// one by one.
pub(crate) struct Reconciler {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) certificates: Certificates,
    backends: ArcSwap<Backends>,
    /// The backends that key stores are served from, each with the keys that the settings name.
    served: ArcSwap<BTreeMap<String, Arc<[KeyId]>>>,
    /// Locked while something else is put in force, so that two changes do not mix.
    in_force: Mutex<InForce>,
    /// Tokens that are being opened, also on behalf of a change that was given up: none is opened twice at
    /// once, or a PIN would be tried as often.
    opening: Mutex<Vec<ConfiguredBackend>>,
    /// Counts changes, so that one that was given up does not come after another.
    turn: AtomicU64,
    timeout: Duration,
    #[cfg(feature = "lifecycle")]
    managed: OnceLock<Managed>,
}

/// What is under management.
#[cfg(feature = "lifecycle")]
struct Managed {
    in_use: lifecycle::InUse,
    key_stores: Weak<lifecycle::KeyStoresInForce>,
    measured: Weak<lifecycle::Measured>,
}

/// A backend, with the keys that key stores name of it.
type WithKeys = (Arc<dyn OpenBackend>, Arc<[KeyId]>);

/// Why settings are not in force, or not whole.
#[derive(Debug, Error)]
#[error("{cause:#}")]
pub(crate) struct NotReplaced {
    /// All that needs no key manager to be opened is in force.
    pub(crate) is_in_force_in_part: bool,
    cause: anyhow::Error,
}

impl NotReplaced {
    /// It may succeed when an earlier change has come to its end.
    pub(crate) fn waits_for_another(&self) -> bool {
        self.cause.is::<StillOpening>()
    }
}

/// The token of this backend is still being opened by an earlier change.
#[derive(Debug, Error)]
#[error("[backends.{0}]: an earlier attempt is still opening the token")]
struct StillOpening(String);

impl Reconciler {
    pub(crate) fn new(
        settings: &Settings,
        backends: Backends,
        certificates: Certificates,
        metrics: Arc<Metrics>,
        server: &Server,
        guard: Option<Guard>,
    ) -> anyhow::Result<Self> {
        let key_stores = KeyStores::new(iter::empty::<KeyStore>())?;
        let mut in_force = InForce::new(guard);
        in_force.change(&key_stores, &settings.key_stores, &backends, &backends)?;
        let proxy = Proxy::builder(key_stores)
            .timer(ServerTimer)
            .vendor(server.program.name)
            // HLT-6
            .model(server.program.to_string())
            .audit(Records::new(Arc::clone(&metrics), server.audit_sinks.clone()))
            .build();
        Ok(Self {
            proxy: Arc::new(proxy),
            metrics,
            certificates,
            backends: ArcSwap::from_pointee(backends),
            served: ArcSwap::from_pointee(served(&settings.key_stores)),
            in_force: Mutex::new(in_force),
            opening: Mutex::default(),
            turn: AtomicU64::new(0),
            timeout: settings.server.timeout,
            #[cfg(feature = "lifecycle")]
            managed: OnceLock::new(),
        })
    }

    /// Keeps what is under management in step with reloads, and measures it. Called before the first reload.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn manage(
        &self,
        in_use: lifecycle::InUse,
        key_stores: &Arc<lifecycle::KeyStoresInForce>,
        measured: &Arc<lifecycle::Measured>,
    ) {
        // Those that have this are not held by it.
        let (key_stores, measured) = (Arc::downgrade(key_stores), Arc::downgrade(measured));
        let managed = Managed {
            in_use,
            key_stores,
            measured,
        };
        drop(self.managed.set(managed)); // once
    }

    /// Adds what is to be measured of keys under management.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn measure_managed(&self, samples: &mut Samples) {
        if let Some(measured) = self.managed.get().and_then(|managed| managed.measured.upgrade()) {
            measured.measure(samples);
        }
    }

    /// Says that a change begins, which ends all others that are under way.
    pub(crate) fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether another change has begun since.
    pub(crate) fn is_late(&self, turn: u64) -> bool {
        self.turn.load(Ordering::Relaxed) != turn
    }

    /// Puts other settings in force. It blocks for as long as it takes to open new key managers. What needs
    /// none of those is in force before, and stays so whatever comes of them: a credential, a key or a rule
    /// that is taken away must not wait for a token. If another turn has begun, nothing changes any more.
    pub(crate) fn replace(&self, settings: &Settings, turn: u64) -> Result<(), NotReplaced> {
        let not_replaced = |is_in_force_in_part| {
            move |cause| NotReplaced {
                is_in_force_in_part,
                cause,
            }
        };
        let certificates = Prepared::new(&settings.tls).map_err(not_replaced(false))?;
        #[cfg(feature = "lifecycle")]
        if let Some(managed) = self.managed.get() {
            managed.in_use.check(&settings.backends).map_err(not_replaced(false))?;
        }
        let former = self.backends.load_full();
        let is_to_be_opened = |new: &ConfiguredBackend| new.may_block() && !former.keeps(&new.name, &settings.backends);
        let has_to_wait = settings.backends.iter().any(is_to_be_opened);
        if has_to_wait {
            let meanwhile = |in_force: &InForce| meanwhile(settings, in_force, &former);
            self.put_in_force(meanwhile, &certificates, &former, turn)
                .map_err(not_replaced(false))?;
        }
        let backends = self
            .open(&settings.backends, &former)
            .map_err(not_replaced(has_to_wait))?;
        let backends = Arc::new(backends);
        let whole = |_: &InForce| settings.key_stores.clone();
        if let Err(error) = self.put_in_force(whole, &certificates, &backends, turn) {
            backends.close_all_but(Some(&former));
            return Err(not_replaced(has_to_wait)(error));
        }
        former.retire(backends, self.timeout + GRACE);
        Ok(())
    }

    /// Puts key stores in force, which are made of those that are, and of these backends; or changes nothing.
    fn put_in_force(
        &self,
        key_stores_after: impl FnOnce(&InForce) -> Vec<KeyStoreSettings>,
        certificates: &Prepared,
        backends: &Arc<Backends>,
        turn: u64,
    ) -> anyhow::Result<()> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(!self.is_late(turn), "superseded by a later change");
        let settings = key_stores_after(&in_force);
        in_force.change(self.proxy.key_stores(), &settings, &self.backends.load(), backends)?;
        self.certificates.put_in_force(certificates);
        #[cfg(feature = "lifecycle")]
        if let Some(managed) = self.managed.get() {
            managed.in_use.replace(backends);
        }
        self.served.store(Arc::new(served(&settings)));
        self.backends.store(Arc::clone(backends));
        drop(in_force);
        #[cfg(feature = "lifecycle")]
        if let Some(key_stores) = self.managed.get().and_then(|managed| managed.key_stores.upgrade()) {
            key_stores.retry();
        }
        Ok(())
    }

    /// Puts a key store of another source in force, in place of its own with the same prefix.
    pub(crate) fn insert(
        &self,
        source: &'static str,
        key_store: Arc<KeyStore>,
    ) -> Result<Option<Arc<KeyStore>>, SourceError> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        in_force.insert(self.proxy.key_stores(), source, key_store)
    }

    /// Takes a key store of another source out of force.
    pub(crate) fn remove(
        &self,
        source: &'static str,
        prefix: &UriPathPrefix,
    ) -> Result<Option<Arc<KeyStore>>, SourceError> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        in_force.remove(self.proxy.key_stores(), source, prefix)
    }

    fn open(&self, settings: &[ConfiguredBackend], former: &Backends) -> anyhow::Result<Backends> {
        for new in settings {
            if let Some(notice) = former.replacement_notice(new) {
                tracing::warn!(backend = new.name.as_str(), "{notice}");
            }
        }
        // Never locked while a module is called, which may not return.
        let opening = || self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |new: &&ConfiguredBackend| !former.has(new);
        let new: Vec<_> = settings.iter().filter(is_new).cloned().collect();
        {
            let mut opening = opening();
            if let Some(known) = new.iter().find(|new| opening.iter().any(|old| old.is_same_device(new))) {
                return Err(StillOpening(known.name.clone()).into());
            }
            opening.extend(new.iter().cloned());
        }
        let opened = Backends::open(settings, Some(former));
        opening().retain(|old| !new.contains(old));
        Ok(opened?)
    }

    pub(crate) fn backends(&self) -> Arc<Backends> {
        self.backends.load_full()
    }

    /// The key managers that key stores are served from, by name: those of the settings file, and those under
    /// management.
    pub(crate) fn served_backends(&self) -> Vec<(String, Arc<dyn KeyBackend>)> {
        let (backends, served) = (self.backends.load(), self.served.load());
        let names: BTreeSet<&str> = served.keys().map(String::as_str).collect();
        #[cfg(feature = "lifecycle")]
        let names = {
            let managed = self.managed.get().map(|managed| managed.in_use.names());
            names
                .into_iter()
                .chain(managed.into_iter().flatten())
                .collect::<BTreeSet<_>>()
        };
        names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), backends.get(name)?)))
            .collect()
    }

    /// Whether keys that are sealed in a store are served, which need no key manager.
    pub(crate) fn serves_sealed_keys(&self) -> bool {
        #[cfg(feature = "lifecycle")]
        return self.managed.get().is_some();
        #[cfg(not(feature = "lifecycle"))]
        false
    }

    /// All fleets, with the keys that are served from them by name.
    pub(crate) fn fleets(&self) -> Vec<WithKeys> {
        let (backends, served) = (self.backends.load(), self.served.load());
        let fleets = backends.iter().filter(|(_, backend)| backend.as_fleet().is_some());
        let keys = |name: &str| served.get(name).cloned().unwrap_or_default();
        fleets.map(|(name, fleet)| (Arc::clone(fleet), keys(name))).collect()
    }
}

/// The key stores of new settings as far as they need no key manager but those that are open. One that is to
/// be served from another one stays with the former, and with those of its keys that it is to keep; one that
/// is new has to wait.
fn meanwhile(settings: &Settings, in_force: &InForce, open: &Backends) -> Vec<KeyStoreSettings> {
    let meanwhile = |new: &KeyStoreSettings| {
        if open.keeps(&new.backend, &settings.backends) {
            return Some(new.clone());
        }
        let old = in_force.of_file(&new.prefix)?;
        Some(new.clone().with_the_backend_of(old))
    };
    settings.key_stores.iter().filter_map(meanwhile).collect()
}

fn served(settings: &[KeyStoreSettings]) -> BTreeMap<String, Arc<[KeyId]>> {
    let mut served: BTreeMap<String, Vec<KeyId>> = BTreeMap::new();
    for store in settings {
        let named = served.entry(store.backend.clone()).or_default();
        named.extend(store.keys.iter().flatten().cloned());
    }
    served
        .into_iter()
        .map(|(backend, keys)| (backend, keys.into()))
        .collect()
}

#[cfg(test)]
mod tests;
