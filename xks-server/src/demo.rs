//! The demo: without settings, one key store with keys that live as long as the process.

use std::{
    collections::BTreeMap,
    fmt,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use xks_core::{
    KeyId,
    aad::AadFraming,
    backend::Limits,
    key_store::{Region, UriPathPrefix},
};

use crate::{
    backend::{BackendSettings, OpenBackend, OpenError, Opening},
    credential,
    registry::ConfiguredBackend,
    settings::{
        Authorization, CredentialSettings, HealthSettings, KeyStoreSettings, Listeners, LogSettings, SecretOrigin,
        ServerSettings, Settings, TrafficLimits,
    },
};

const BACKEND: &str = "demo";

/// Returns the default address of a demo: on loopback, with the first free port from 8000 on.
pub(crate) fn free_address() -> SocketAddr {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    (8000..8100).map(address).find(is_free).unwrap_or(address(8000))
}

/// What a server without settings serves, on loopback.
#[derive(Clone)]
pub struct Demo {
    backend: Arc<dyn OpenBackend>,
    keys: Vec<(KeyId, &'static str)>,
}

impl Demo {
    /// Creates a demo of a backend, without keys.
    #[must_use]
    pub fn new(backend: Arc<dyn OpenBackend>) -> Self {
        let keys = Vec::new();
        Self { backend, keys }
    }

    /// Adds a key of the backend, and what the summary says of it, such as "encrypts and decrypts".
    #[must_use]
    pub fn key(mut self, id: KeyId, purpose: &'static str) -> Self {
        self.keys.push((id, purpose));
        self
    }

    pub(crate) fn purpose(&self, key: &KeyId) -> Option<&'static str> {
        let mut keys = self.keys.iter();
        keys.find(|(known, _)| known == key).map(|(_, purpose)| *purpose)
    }

    /// The settings of a key store with these keys and a new credential.
    pub(crate) fn settings(&self, listen: SocketAddr) -> anyhow::Result<Settings> {
        Ok(Settings {
            environment: BTreeMap::new(),
            server: ServerSettings {
                drain_delay: Duration::ZERO,
                ..ServerSettings::new(listen)
            },
            tls: Listeners::default(),
            health: HealthSettings::default(),
            metrics: None,
            log: LogSettings::default(),
            audit: None,
            watch: None,
            backends: vec![ConfiguredBackend::new(BACKEND, BACKEND, self.clone())],
            key_stores: vec![KeyStoreSettings {
                prefix: UriPathPrefix::new("/demo-key-store")?,
                regions: vec![Region::new("us-east-1")?],
                backend: BACKEND.to_owned(),
                keys: Some(self.keys.iter().map(|(id, _)| id.clone()).collect()),
                credentials: vec![CredentialSettings {
                    credential: credential::new()?,
                    origin: SecretOrigin::New,
                }],
                aad_framing: AadFraming::Spec,
                ciphertext_metadata: None,
                limits: Limits::default(),
                traffic: TrafficLimits::NONE,
                authorization: Authorization::AllowAll,
            }],
            #[cfg(feature = "lifecycle")]
            lifecycle: None,
        })
    }
}

impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl PartialEq for Demo {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend) && self.keys == other.keys
    }
}

impl BackendSettings for Demo {
    fn open(&self, _: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        Ok(Arc::clone(&self.backend))
    }

    fn may_block(&self) -> bool {
        false
    }
}
