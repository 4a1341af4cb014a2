//! The demo: without settings, one key store with software keys that live as long as the process.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    KeyId,
    aad::AadFraming,
    backend::{KeyStatus, KeyUsage, Limits},
    key_store::UriPathPrefix,
};

use crate::{
    backends::Backends,
    credential,
    settings::{
        Authorization, CredentialSettings, HealthSettings, KeyStoreSettings, LogSettings, SecretOrigin, ServerSettings,
        Settings, TrafficLimits,
    },
};

const BACKEND: &str = "demo";

/// The keys: what they are called, what they may do, and what that is good for.
pub(crate) const KEYS: [(&str, &[KeyUsage], KeyStatus, &str); 5] = [
    (
        "usable",
        &[KeyUsage::Encrypt, KeyUsage::Decrypt],
        KeyStatus::Enabled,
        "encrypts and decrypts",
    ),
    (
        "encrypt-only",
        &[KeyUsage::Encrypt],
        KeyStatus::Enabled,
        "refuses to decrypt",
    ),
    (
        "decrypt-only",
        &[KeyUsage::Decrypt],
        KeyStatus::Enabled,
        "refuses to encrypt",
    ),
    ("neither", &[], KeyStatus::Enabled, "refuses both"),
    (
        "disabled",
        &[KeyUsage::Encrypt, KeyUsage::Decrypt],
        KeyStatus::Disabled,
        "is disabled",
    ),
];

/// Returns the address of a demo that is told none: on loopback, with the first free port from 8000 on.
pub(crate) fn free_address() -> SocketAddr {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    (8000..8100).map(address).find(is_free).unwrap_or(address(8000))
}

/// New keys and a new credential each time.
pub(crate) fn settings(listen: SocketAddr) -> anyhow::Result<(Settings, Backends)> {
    let (backend, mut ids) = (SoftBackend::new(), Vec::new());
    for (name, usages, status, _) in KEYS {
        let id: KeyId = name.parse()?;
        let key = SoftKey::generate()?
            .with_usages(usages.iter().copied())
            .with_status(status);
        backend.insert(id.clone(), key);
        ids.push(id);
    }
    let settings = Settings {
        environment: Vec::new(),
        server: ServerSettings {
            drain_delay: Duration::ZERO,
            ..ServerSettings::new(listen)
        },
        tls: None,
        health: HealthSettings::default(),
        metrics: None,
        log: LogSettings::default(),
        watch: None,
        backends: Vec::new(),
        key_stores: vec![KeyStoreSettings {
            prefix: UriPathPrefix::new("/demo-key-store")?,
            regions: vec!["us-east-1".to_owned()],
            backend: BACKEND.to_owned(),
            keys: Some(ids),
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
    };
    Ok((settings, Backends::of_demo(BACKEND, backend)))
}
