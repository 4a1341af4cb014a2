//! Tokens of SoftHSM2 with keys in them, for the server to serve.

use std::path::PathBuf;

use xks_pkcs11_fixture::{KeyTemplate, SoftHsm};

use crate::server::key;

/// The PIN of each token.
pub(crate) const PIN: &str = "1234";

/// A token of SoftHSM2.
#[derive(Clone, Debug)]
pub struct Token {
    pub(crate) config: PathBuf,
    pub(crate) label: String,
}

impl Token {
    /// A new one with so many keys.
    #[must_use]
    pub fn new(hsm: &SoftHsm, keys: usize) -> Self {
        let label = format!("bench-{keys}");
        hsm.token(&label, PIN);
        let templates: Vec<_> = (0..keys).map(|number| KeyTemplate::aes256(&key(number))).collect();
        hsm.many_keys(&label, &templates);
        Self {
            config: hsm.config(),
            label,
        }
    }
}
