//! The state in force: key stores, key managers, certificates. All of it can be replaced while requests are
//! served; a request, and a connection, goes on with what it began with.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use thiserror::Error;
use xks_core::{KeyBackend, KeyId, KeyStore, KeyStores, Proxy, backend::Limits, key_store::UriPathPrefix};

use crate::{
    backend::OpenBackend,
    backends::Backends,
    certificates::{Certificates, Prepared},
    described::Described,
    limits::{Limited, Traffic},
    metrics::{Metrics, Records},
    registry::ConfiguredBackend,
    server::Server,
    settings::{KeyStoreSettings, Settings},
    source::SourceError,
};

/// The source of key stores that a reload changes.
const SETTINGS_FILE: &str = "the settings file";

/// Beside the budget of a request: until a key manager that is no longer served is closed.
const GRACE: Duration = Duration::from_secs(1);

pub(crate) struct App {
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
    budget: Duration,
}

/// A backend, with the keys that key stores name of it.
type WithKeys = (Arc<dyn OpenBackend>, Arc<[KeyId]>);

/// What the key stores in force were made of.
struct InForce {
    key_stores: Vec<KeyStoreSettings>,
    traffic: HashMap<UriPathPrefix, Arc<Traffic>>,
    /// The prefixes of other sources than the settings file, and which source has each.
    others: HashMap<UriPathPrefix, &'static str>,
}

impl InForce {
    /// Refuses a prefix that is another source's.
    fn check_owner(&self, source: &'static str, prefix: &UriPathPrefix) -> Result<(), SourceError> {
        let is_in_file = self.key_stores.iter().any(|store| store.prefix == *prefix);
        let owner = self.others.get(prefix).copied().or(is_in_file.then_some(SETTINGS_FILE));
        match owner.filter(|owner| *owner != source) {
            Some(owner) => Err(SourceError::PrefixTaken {
                prefix: prefix.clone(),
                owner,
            }),
            None => Ok(()),
        }
    }
}

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

impl App {
    pub(crate) fn new(
        settings: &Settings,
        backends: Backends,
        certificates: Certificates,
        metrics: Arc<Metrics>,
        server: &Server,
    ) -> anyhow::Result<Self> {
        let mut traffic = HashMap::new();
        let key_stores = key_stores(&settings.key_stores, &backends, &mut traffic)?;
        let proxy = Proxy::builder(KeyStores::new(key_stores)?)
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
            in_force: Mutex::new(InForce {
                key_stores: settings.key_stores.clone(),
                traffic,
                others: HashMap::new(),
            }),
            opening: Mutex::default(),
            turn: AtomicU64::new(0),
            budget: settings.server.budget,
        })
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
        let former = self.backends.load_full();
        let is_to_be_opened = |new: &ConfiguredBackend| new.may_block() && !former.keeps(&new.name, &settings.backends);
        let has_to_wait = settings.backends.iter().any(is_to_be_opened);
        if has_to_wait {
            let meanwhile = |old: &[KeyStoreSettings]| meanwhile(settings, old, &former);
            self.put_in_force(meanwhile, &certificates, &former, turn)
                .map_err(not_replaced(false))?;
        }
        let backends = self
            .open(&settings.backends, &former)
            .map_err(not_replaced(has_to_wait))?;
        let backends = Arc::new(backends);
        let whole = |_: &[KeyStoreSettings]| settings.key_stores.clone();
        if let Err(error) = self.put_in_force(whole, &certificates, &backends, turn) {
            backends.close_all_but(Some(&former));
            return Err(not_replaced(has_to_wait)(error));
        }
        former.retire(backends, self.budget + GRACE);
        Ok(())
    }

    /// Puts key stores in force, which are made of those that are, and of these backends; or changes nothing.
    fn put_in_force(
        &self,
        key_stores_after: impl FnOnce(&[KeyStoreSettings]) -> Vec<KeyStoreSettings>,
        certificates: &Prepared,
        backends: &Arc<Backends>,
        turn: u64,
    ) -> anyhow::Result<()> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(!self.is_late(turn), "superseded by a later change");
        let settings = key_stores_after(&in_force.key_stores);
        let mut traffic = in_force.traffic.clone();
        let key_stores = key_stores(&settings, backends, &mut traffic)?;
        for store in &settings {
            in_force.check_owner(SETTINGS_FILE, &store.prefix)?;
        }
        let all = self.proxy.key_stores().snapshot();
        let others = all.iter().filter(|store| in_force.others.contains_key(store.prefix()));
        let others = others.cloned();
        self.proxy
            .key_stores()
            .replace(others.chain(key_stores.into_iter().map(Arc::new)))?;
        for old in &in_force.key_stores {
            if !settings.iter().any(|new| new.prefix == old.prefix) {
                tracing::warn!(key_store = old.prefix.as_str(), "no longer served");
            }
        }
        self.certificates.put_in_force(certificates);
        self.served.store(Arc::new(served(&settings)));
        self.backends.store(Arc::clone(backends));
        in_force.key_stores = settings;
        in_force.traffic = traffic;
        Ok(())
    }

    /// Puts a key store of another source in force, in place of its own with the same prefix.
    pub(crate) fn insert(
        &self,
        source: &'static str,
        key_store: Arc<KeyStore>,
    ) -> Result<Option<Arc<KeyStore>>, SourceError> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = key_store.prefix().clone();
        in_force.check_owner(source, &prefix)?;
        let former = self.proxy.key_stores().insert(key_store)?;
        in_force.others.insert(prefix, source);
        Ok(former)
    }

    /// Takes a key store of another source out of force.
    pub(crate) fn remove(
        &self,
        source: &'static str,
        prefix: &UriPathPrefix,
    ) -> Result<Option<Arc<KeyStore>>, SourceError> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        in_force.check_owner(source, prefix)?;
        in_force.others.remove(prefix);
        Ok(self.proxy.key_stores().remove(prefix.as_str()))
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

    /// The key managers that key stores are served from, by name.
    pub(crate) fn served_backends(&self) -> Vec<(String, Arc<dyn KeyBackend>)> {
        let (backends, served) = (self.backends.load(), self.served.load());
        served
            .keys()
            .filter_map(|name| Some((name.clone(), backends.get(name)?)))
            .collect()
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
fn meanwhile(settings: &Settings, in_force: &[KeyStoreSettings], open: &Backends) -> Vec<KeyStoreSettings> {
    let meanwhile = |new: &KeyStoreSettings| {
        if open.keeps(&new.backend, &settings.backends) {
            return Some(new.clone());
        }
        let old = in_force.iter().find(|old| old.prefix == new.prefix)?;
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

fn key_stores(
    settings: &[KeyStoreSettings],
    backends: &Backends,
    traffic: &mut HashMap<UriPathPrefix, Arc<Traffic>>,
) -> anyhow::Result<Vec<KeyStore>> {
    traffic.retain(|prefix, _| settings.iter().any(|store| store.prefix == *prefix));
    let build = |store: &KeyStoreSettings| key_store(store, backends, traffic);
    settings.iter().map(build).collect()
}

fn key_store(
    settings: &KeyStoreSettings,
    backends: &Backends,
    traffic: &mut HashMap<UriPathPrefix, Arc<Traffic>>,
) -> anyhow::Result<KeyStore> {
    let name = &settings.backend;
    let inner = backends
        .get(name)
        .with_context(|| format!("[backends.{name}] does not exist"))?;
    let mut backend: Arc<dyn KeyBackend> = Arc::new(Described {
        inner,
        name: (!backends.is_fleet(name)).then(|| name.as_str().into()),
        metadata: settings.ciphertext_metadata,
        limits: Some(settings.limits).filter(|limits| *limits != Limits::default()),
    });
    if !settings.traffic.is_limit() {
        traffic.remove(&settings.prefix);
    } else {
        let known = traffic
            .get(&settings.prefix)
            .filter(|known| known.limits() == settings.traffic);
        let limited = known.map_or_else(|| Arc::new(Traffic::new(settings.traffic)), Arc::clone);
        traffic.insert(settings.prefix.clone(), Arc::clone(&limited));
        backend = Arc::new(Limited::new(backend, limited));
    }
    let mut builder = KeyStore::builder(settings.prefix.clone(), backend)
        .limits(settings.limits)
        .aad_framing(settings.aad_framing);
    for region in &settings.regions {
        builder = builder.region(region.as_str());
    }
    for credential in &settings.credentials {
        builder = builder.credential(credential.credential.clone());
    }
    builder = match &settings.keys {
        Some(keys) => builder.keys(keys.iter().cloned()),
        None => builder.all_keys_of_backend(),
    };
    if let Some(authorizer) = settings.authorization.authorizer()? {
        builder = builder.authorizer(authorizer);
    }
    Ok(builder.build()?)
}
