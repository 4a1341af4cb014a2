//! The one key store that is served: how it is called, and with which keys.

use std::{path::PathBuf, sync::Arc};

use xks_core::{AadFraming, Credential, KeyBackend, KeyId, KeyStore, KeyStores, Proxy, UriPathPrefix};

use crate::introduction::About;

/// All of a key store but its keys.
#[derive(Debug)]
pub(crate) struct KeyStoreSettings {
    pub(crate) prefix: UriPathPrefix,
    pub(crate) region: String,
    pub(crate) credential: Credential,
    pub(crate) origin: CredentialOrigin,
    pub(crate) aad_framing: AadFraming,
}

/// Where the secret access key came from. Only one that nobody knows yet is printed.
#[derive(Debug)]
pub(crate) enum CredentialOrigin {
    /// Made at this start.
    New,
    File(PathBuf),
    Environment(&'static str),
}

/// The keys, and what there is to say of them.
pub(crate) struct Keys {
    pub(crate) backend: Arc<dyn KeyBackend>,
    /// Those that are served; none for all that the backend has.
    pub(crate) ids: Option<Vec<KeyId>>,
    pub(crate) about: About,
}

impl KeyStoreSettings {
    pub(crate) fn proxy(&self, backend: Arc<dyn KeyBackend>, ids: Option<Vec<KeyId>>) -> anyhow::Result<Proxy> {
        let builder = KeyStore::builder(self.prefix.clone(), backend)
            .region(self.region.as_str())
            .credential(self.credential.clone())
            .aad_framing(self.aad_framing);
        let key_store = match ids {
            Some(ids) => builder.keys(ids),
            None => builder.all_keys_of_backend(),
        };
        Ok(Proxy::builder(KeyStores::new([key_store.build()?])?)
            .vendor("xks-proxy")
            .model(concat!("xks-proxy ", env!("CARGO_PKG_VERSION")))
            .build())
    }
}
