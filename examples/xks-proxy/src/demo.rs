//! The demo's keys: software keys that live as long as the process.

use std::sync::Arc;

use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{KeyId, KeyStatus, KeyUsage};

use crate::{introduction::About, key_store::Keys};

/// The keys: what they are called, what they may do, and what that is good for.
const KEYS: [(&str, &[KeyUsage], KeyStatus, &str); 5] = [
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

/// New keys each time.
pub(crate) fn keys() -> anyhow::Result<Keys> {
    let (backend, mut ids, mut listing) = (SoftBackend::new(), Vec::new(), Vec::new());
    for (name, usages, status, what) in KEYS {
        let id: KeyId = name.parse()?;
        let key = SoftKey::generate()?
            .with_usages(usages.iter().copied())
            .with_status(status);
        backend.insert(id.clone(), key);
        ids.push(id);
        listing.push(format!("{name:<14}{what}"));
    }
    Ok(Keys {
        backend: Arc::new(backend),
        about: About {
            title: "demo key store over plain HTTP, with software keys that are gone when it stops. Not for production.",
            hsm: None,
            listing,
            example: ids.first().cloned(),
        },
        ids: Some(ids),
    })
}
