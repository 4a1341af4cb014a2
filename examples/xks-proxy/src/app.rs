//! What is in force: key stores, key managers, certificates. All of it can be replaced while requests are served; a
//! request, and a connection, goes on with what it began with (SIG-7).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use arc_swap::{ArcSwap, ArcSwapOption};
use xks_core::{Fleet, KeyBackend, KeyId, KeyStore, KeyStores, Limits, Proxy, UriPathPrefix};

use crate::{
    backends::{Backend, BackendError, Backends},
    described::Described,
    limits::{Limited, Traffic},
    metrics::{Metrics, Records},
    settings::{Authorization, BackendSettings, KeyStoreSettings, Settings, TrafficLimits},
    tls::TlsMaterial,
};

/// Beside the budget of a request: until a key manager that is no longer served is closed.
const GRACE: Duration = Duration::from_secs(1);

pub(crate) struct App {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) metrics: Arc<Metrics>,
    /// What new connections are greeted with; none for plain HTTP.
    pub(crate) tls: ArcSwapOption<TlsMaterial>,
    backends: ArcSwap<Backends>,
    /// Names of the backends that key stores are served from.
    served: ArcSwap<Vec<String>>,
    /// The keys that are served from each backend, as far as the settings name them.
    keys: ArcSwap<HashMap<String, Arc<[KeyId]>>>,
    traffic: Mutex<HashMap<UriPathPrefix, Arc<Traffic>>>,
    /// Tokens that refused their PIN. As they are, they are not opened again: HSMs lock.
    refused: Mutex<Vec<BackendSettings>>,
    /// Tokens that are being opened, also on behalf of a change that was given up: none is opened twice at once, or a PIN
    /// would be tried as often.
    opening: Mutex<Vec<BackendSettings>>,
    /// Counts changes, so that one that was given up does not come after another.
    turn: AtomicU64,
    budget: Duration,
}

impl App {
    pub(crate) fn new(settings: &Settings, backends: Backends, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let mut traffic = HashMap::new();
        let key_stores = key_stores(settings, &backends, &mut traffic)?;
        let proxy = Proxy::builder(KeyStores::new(key_stores)?)
            .vendor("xks-proxy")
            .model(concat!("xks-proxy ", env!("CARGO_PKG_VERSION")))
            .audit(Records::new(Arc::clone(&metrics)))
            .build();
        Ok(Self {
            proxy: Arc::new(proxy),
            metrics,
            tls: ArcSwapOption::new(settings.tls.as_ref().map(|tls| Arc::new(tls.material.clone()))),
            backends: ArcSwap::from_pointee(backends),
            served: ArcSwap::from_pointee(served(settings)),
            keys: ArcSwap::from_pointee(keys(settings)),
            traffic: Mutex::new(traffic),
            refused: Mutex::default(),
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

    /// Puts other settings in force, or changes nothing. It blocks for as long as it takes to open new key managers; if
    /// another turn has begun by then, nothing changes either.
    pub(crate) fn replace(&self, settings: &Settings, turn: u64) -> anyhow::Result<()> {
        let former = self.backends.load_full();
        let backends = Arc::new(self.open(&settings.backends, &former)?);
        // Held until the end, so that two changes do not mix.
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = traffic.clone();
        let is_late = self.is_late(turn);
        let replaced = key_stores(settings, &backends, &mut next).and_then(|key_stores| {
            ensure!(!is_late, "it took too long");
            let gone = self.proxy.key_stores().all();
            let gone = gone
                .iter()
                .filter(|store| !settings.key_stores.iter().any(|new| new.prefix == *store.prefix()));
            gone.for_each(|store| tracing::warn!(key_store = store.prefix().as_str(), "no longer served"));
            Ok(self.proxy.key_stores().replace(key_stores)?)
        });
        if let Err(error) = replaced {
            backends.close_all_but(Some(&former));
            return Err(error);
        }
        *traffic = next;
        if let (Some(tls), true) = (&settings.tls, self.tls.load().is_some()) {
            self.tls.store(Some(Arc::new(tls.material.clone())));
        }
        self.served.store(Arc::new(served(settings)));
        self.keys.store(Arc::new(keys(settings)));
        self.backends.store(Arc::clone(&backends));
        former.retire(backends, self.budget + GRACE);
        Ok(())
    }

    fn open(&self, settings: &[BackendSettings], former: &Backends) -> anyhow::Result<Backends> {
        // Never locked while a module is called, which may not return.
        let refused = || self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_refused = |new: &&BackendSettings| refused().iter().any(|old| old.has_same_login(new));
        if let Some(known) = settings.iter().find(is_refused) {
            let name = &known.name;
            bail!("[backends.{name}]: the token has refused this PIN, which is not tried again");
        }
        for new in settings {
            if former.settings().any(|old| old.has_another_pin_than(new)) {
                let backend = new.name.as_str();
                tracing::warn!(
                    backend,
                    "the token is open under the former PIN: the new one is tried when it has to be opened anew, at the \
                     latest at the next start"
                );
            }
        }
        let opening = || self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |new: &&BackendSettings| !former.settings().any(|old| old == *new);
        let new: Vec<_> = settings.iter().filter(is_new).cloned().collect();
        {
            let mut opening = opening();
            if let Some(known) = new.iter().find(|new| opening.iter().any(|old| old.is_same_token(new))) {
                bail!(
                    "[backends.{}]: the token is still being opened by an earlier attempt",
                    known.name
                );
            }
            opening.extend(new.iter().cloned());
        }
        let opened = Backends::open(settings, Some(former));
        opening().retain(|old| !new.contains(old));
        refused().extend(opened.as_ref().err().and_then(BackendError::refused_pin).cloned());
        Ok(opened?)
    }

    pub(crate) fn backends(&self) -> Arc<Backends> {
        self.backends.load_full()
    }

    /// The key managers that key stores are served from, by name.
    pub(crate) fn served_backends(&self) -> Vec<(String, Arc<dyn KeyBackend>)> {
        let (backends, served) = (self.backends.load(), self.served.load());
        served
            .iter()
            .filter_map(|name| Some((name.clone(), backends.get(name)?)))
            .collect()
    }

    /// All fleets, those within others too, with the keys that are served from them by name.
    pub(crate) fn fleets(&self) -> Vec<(Arc<Fleet>, Arc<[KeyId]>)> {
        let (backends, keys) = (self.backends.load(), self.keys.load());
        let fleet = |(name, backend): (&str, &Backend)| match backend {
            Backend::Fleet(fleet) => Some((Arc::clone(fleet), keys.get(name).cloned().unwrap_or_default())),
            Backend::Pkcs11(_) | Backend::Soft(_) => None,
        };
        backends.iter().filter_map(fleet).collect()
    }
}

fn keys(settings: &Settings) -> HashMap<String, Arc<[KeyId]>> {
    let mut keys: HashMap<String, Vec<KeyId>> = HashMap::new();
    for store in &settings.key_stores {
        let named = keys.entry(store.backend.clone()).or_default();
        named.extend(store.keys.iter().flatten().cloned());
    }
    keys.into_iter().map(|(backend, keys)| (backend, keys.into())).collect()
}

fn served(settings: &Settings) -> Vec<String> {
    let mut names: Vec<_> = settings.key_stores.iter().map(|store| store.backend.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn key_stores(
    settings: &Settings,
    backends: &Backends,
    traffic: &mut HashMap<UriPathPrefix, Arc<Traffic>>,
) -> anyhow::Result<Vec<KeyStore>> {
    traffic.retain(|prefix, _| settings.key_stores.iter().any(|store| store.prefix == *prefix));
    let build = |store: &KeyStoreSettings| key_store(store, backends, traffic);
    settings.key_stores.iter().map(build).collect()
}

fn key_store(
    settings: &KeyStoreSettings,
    backends: &Backends,
    traffic: &mut HashMap<UriPathPrefix, Arc<Traffic>>,
) -> anyhow::Result<KeyStore> {
    let name = &settings.backend;
    let inner = backends
        .get(name)
        .with_context(|| format!("there is no [backends.{name}]"))?;
    let mut backend: Arc<dyn KeyBackend> = Arc::new(Described {
        inner,
        name: (!backends.is_fleet(name)).then(|| name.clone()),
        metadata: settings.ciphertext_metadata,
        limits: Some(settings.limits).filter(|limits| *limits != Limits::default()),
    });
    if settings.traffic == TrafficLimits::default() {
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
    if let Authorization::By { authorizer, .. } = &settings.authorization {
        builder = builder.authorizer(Arc::clone(authorizer));
    }
    Ok(builder.build()?)
}
