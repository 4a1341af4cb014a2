//! What the clients share with each other and with the disturbers.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;
use kms_double::wire::{Client, Credential, Endpoint, Http, Tls};
use tokio::time::sleep;

use crate::{
    process::Process,
    rules::Phases,
    settings::{REGION, STORES, Settings},
    tally::Tally,
    vault::Vault,
};

/// Which versions of HTTP clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Versions {
    #[value(name = "1")]
    One,
    #[value(name = "2")]
    Two,
    Both,
}

pub(crate) struct Shared {
    pub(crate) phases: Phases,
    tally: Mutex<Tally>,
    vault: Mutex<Vault>,
    /// The values of each key, the present one last.
    values: Mutex<HashMap<&'static str, Vec<[u8; 32]>>>,
    /// Which IV was used under which value.
    ivs: Mutex<HashSet<([u8; 32], [u8; 12])>>,
    served: RwLock<Arc<Served>>,
    pub(crate) has_to_stop: AtomicBool,
    /// The module flips bits: only encryptions whose verification must notice it.
    pub(crate) is_flipping: AtomicBool,
    /// How many turns each client has ended.
    turns: Vec<AtomicU64>,
}

/// A proxy that serves, and as whom it is called.
pub(crate) struct Served {
    /// Another one for each start.
    pub(crate) number: usize,
    pub(crate) doors: Vec<Door>,
    pub(crate) health: Endpoint,
    pub(crate) metrics: Endpoint,
    /// The one connection of all clients that speak HTTP/2.
    pub(crate) two: Client,
}

/// How a key store is called.
pub(crate) struct Door {
    pub(crate) one: Endpoint,
    pub(crate) two: Endpoint,
}

impl Served {
    pub(crate) fn new(number: usize, process: &Process, settings: &Settings) -> anyhow::Result<Self> {
        let base = process.fact("address")?;
        let tls = || Tls::default().roots(settings.roots());
        let endpoint = |url: &str, credential: &Credential, http| {
            let endpoint = Endpoint::builder(url, credential.clone()).http(http).tls(tls());
            // A proxy is late when it has not answered in its own budget, and a busy machine adds to it.
            endpoint
                .timeout(Duration::from_secs(15))
                .connect_timeout(Duration::from_secs(15))
                .build()
        };
        let mut doors = Vec::new();
        for (store, credentials) in STORES.iter().zip(&settings.credentials) {
            let Some(credential) = credentials.last() else {
                bail!("a key store without a credential");
            };
            let url = format!("{base}{}", store.prefix);
            doors.push(Door {
                one: endpoint(&url, credential, Http::One)?,
                two: endpoint(&url, credential, Http::Two)?,
            });
        }
        let nobody = Credential::new("", "", REGION);
        let beside = |fact: &str| -> anyhow::Result<Endpoint> {
            let url = fact.rsplit_once('/').map_or(fact, |(host, _)| host);
            Ok(endpoint(url, &nobody, Http::One)?)
        };
        Ok(Self {
            number,
            health: beside(process.fact("health")?)?,
            metrics: beside(process.fact("metrics")?)?,
            two: Client::new(endpoint(base, &nobody, Http::Two)?),
            doors,
        })
    }

    pub(crate) fn door(&self, store: usize, http: Http) -> anyhow::Result<&Endpoint> {
        match self.doors.get(store) {
            Some(door) if http == Http::One => Ok(&door.one),
            Some(door) => Ok(&door.two),
            None => bail!("no such key store"),
        }
    }
}

impl Shared {
    pub(crate) fn new(clients: usize, served: Served) -> Self {
        Self {
            phases: Phases::new(),
            tally: Mutex::default(),
            vault: Mutex::default(),
            values: Mutex::default(),
            ivs: Mutex::default(),
            served: RwLock::new(Arc::new(served)),
            has_to_stop: AtomicBool::new(false),
            is_flipping: AtomicBool::new(false),
            turns: (0..clients).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    pub(crate) fn vault(&self) -> MutexGuard<'_, Vault> {
        lock(&self.vault)
    }

    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn serve(&self, served: Served) {
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }

    /// The values that a key has had, the present one first, each with its version.
    pub(crate) fn values(&self, key: &str) -> Vec<(usize, [u8; 32])> {
        let values = lock(&self.values);
        let values = values.get(key).map(Vec::as_slice).unwrap_or_default();
        values.iter().copied().enumerate().rev().collect()
    }

    /// Gives a key another value, and returns its version.
    pub(crate) fn add_value(&self, key: &'static str, value: [u8; 32]) -> usize {
        let mut values = lock(&self.values);
        let values = values.entry(key).or_default();
        values.push(value);
        values.len() - 1
    }

    /// Whether it is the first time for this IV under this value.
    pub(crate) fn is_new_iv(&self, value: [u8; 32], iv: [u8; 12]) -> bool {
        lock(&self.ivs).insert((value, iv))
    }

    pub(crate) fn end_turn(&self, client: usize) {
        if let Some(turns) = self.turns.get(client) {
            turns.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until no request is under way that has begun before now.
    pub(crate) async fn quiesce(&self) -> anyhow::Result<()> {
        let now = || self.turns.iter().map(|turns| turns.load(Ordering::SeqCst));
        let before: Vec<_> = now().collect();
        let start = Instant::now();
        while now().zip(&before).any(|(now, before)| now == *before) {
            if start.elapsed() > Duration::from_secs(60) {
                bail!("clients are stuck");
            }
            if self.has_to_stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
