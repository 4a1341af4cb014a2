//! Software keys for a demo, which are gone when the process ends.

use std::{error::Error, sync::Arc};

use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    KeyId,
    backend::{KeyStatus, KeyUsage},
};

use crate::Demo;

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

/// Makes new software keys: one for each way in which a key may be usable, or not.
///
/// # Errors
/// When the system has no random bytes.
pub fn soft_demo() -> Result<Demo, Box<dyn Error + Send + Sync>> {
    let (backend, mut ids) = (SoftBackend::new(), Vec::new());
    for (name, usages, status, purpose) in KEYS {
        let id: KeyId = name.parse()?;
        let key = SoftKey::generate()?
            .with_usages(usages.iter().copied())
            .with_status(status);
        backend.insert(id.clone(), key);
        ids.push((id, purpose));
    }
    let demo = Demo::new(Arc::new(backend));
    Ok(ids.into_iter().fold(demo, |demo, (id, purpose)| demo.key(id, purpose)))
}
