//! Tokens of SoftHSM2 with keys in them, for the server to serve. Programs that make them have to call
//! [`run_admin_if_asked`](xks_pkcs11_fixture::run_admin_if_asked) first in `main`.

use std::{path::PathBuf, sync::Arc};

use xks_pkcs11_fixture::{KeyTemplate, SoftHsm};

use crate::setup::key;

pub(crate) const LABEL: &str = "bench";
pub(crate) const PIN: &str = "1234";

/// A token of SoftHSM2, in a folder of its own: a module loads all tokens of a folder.
#[derive(Clone, Debug)]
pub struct Token(Arc<SoftHsm>);

impl Token {
    /// A new one with so many keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let hsm = SoftHsm::for_others();
        hsm.token(LABEL, PIN);
        let templates: Vec<_> = (0..keys).map(|number| KeyTemplate::aes256(&key(number))).collect();
        hsm.many_keys(LABEL, &templates);
        Self(Arc::new(hsm))
    }

    /// What the variable `SOFTHSM2_CONF` has to name.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.config()
    }
}
